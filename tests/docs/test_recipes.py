"""Recipes on pages give right numbers, compared with joint Gaussians in numpy and other filters."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kfjax as kf

DOCS = Path(__file__).parents[2] / "docs"


def names_of(page, blocks):
    """Run the first Python blocks of a page, and return the names that they define."""
    code = re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(), flags=re.M | re.S)
    names = {}
    for block in code[:blocks]:
        exec(block, names)
    return names


def joint_posterior(F, H, Q, R, mean, cov, ys):
    """Return E[x_1..T | y_1..T] for x_1 ~ N(mean, cov), by conditioning the joint Gaussian."""
    T, n = len(ys), len(F)
    means = [mean]
    blocks = np.zeros((T, T, n, n))
    blocks[0, 0] = cov
    for t in range(1, T):
        means.append(F @ means[-1])
        blocks[t, t] = F @ blocks[t - 1, t - 1] @ F.T + Q
        for s in range(t):
            blocks[t, s] = F @ blocks[t - 1, s]
            blocks[s, t] = blocks[t, s].T
    P = blocks.transpose(0, 2, 1, 3).reshape(T * n, T * n)
    C = np.kron(np.eye(T), H)
    S = C @ P @ C.T + np.kron(np.eye(T), R)
    x = np.concatenate(means)
    return (x + P @ C.T @ np.linalg.solve(S, ys.reshape(-1) - C @ x)).reshape(T, n)


def test_smoothing_after_a_start_with_an_update():
    names = names_of("start/coming-from-another-library.md", 2)
    model = [names[name] for name in ("F", "H", "Q", "R", "mean", "cov")]
    expected = joint_posterior(*model, names["zs"])
    np.testing.assert_allclose(names["smoothed"].mean, expected, atol=1e-4)


def test_a_record_of_stone_soup_is_smoothed_as_there():
    """The prior is about the time of the first detection; numbers of its test of smoothers."""
    F, Q = np.array([[1.0, 1.0], [0.0, 1.0]]), np.array([[1 / 3, 1 / 2], [1 / 2, 1.0]])
    prior = kf.Gaussian(np.ones(2), np.eye(2))
    model = kf.linear_gaussian(F, [[1.0, 0.0]], Q, [[0.4]], prior, first="update")
    ys = np.array([[2.4865597], [2.4241656], [6.6031767], [9.3290991], [14.6379753]])
    smoothed = kf.smooth(kf.kalman(), model, kf.run(kf.kalman(), model, ys).outputs)
    expected = joint_posterior(F, np.array([[1.0, 0.0]]), Q, [[0.4]], np.ones(2), np.eye(2), ys)
    np.testing.assert_allclose(expected[0], [1.688814, 1.267196], rtol=1e-5)
    np.testing.assert_allclose(smoothed.mean, expected, rtol=1e-4)


def test_the_smoother_of_the_conventions_knows_where_the_run_began():
    names = names_of("conventions.md", 1)
    model, ys = names["model"], np.asarray(names["ys"])
    F, H = np.asarray(model.f.A), np.asarray(model.h.A)
    prior = [np.asarray(model.prior.mean), np.asarray(model.prior.cov)]
    expected = joint_posterior(F, H, np.asarray(model.Q), np.asarray(model.R), *prior, ys)
    np.testing.assert_allclose(names["smoothed"].mean, expected, atol=1e-3)


def test_the_combinator_leaves_every_member_its_own_noise():
    cautious = names_of("howto/write-your-own-combinator.md", 1)["cautious"]
    model = kf.systems.constant_velocity()
    models = (model, model.replace(R=100 * model.R))
    doubled = tuple(member.replace(R=2 * member.R) for member in models)
    mixing = {"transition": [[0.9, 0.1], [0.1, 0.9]], "weights": [0.5, 0.5]}
    imm = kf.imm((kf.kalman(), kf.kalman()))
    _, ys = kf.simulate(jax.random.key(0), model, steps=20)
    found = kf.run(cautious(imm, 2.0), kf.IMMParams(models, **mixing), ys).outputs
    expected = kf.run(imm, kf.IMMParams(doubled, **mixing), ys).outputs
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-5)
    np.testing.assert_allclose(found.log_likelihood, expected.log_likelihood, rtol=1e-5)


@pytest.mark.parametrize("alpha", [1.0, 1.1])
def test_the_factor_of_fading_is_the_square_of_the_alpha_of_filterpy(alpha):
    """filterpy's FadingKalmanFilter computes P <- alpha^2 F P F' + Q."""
    model = kf.systems.constant_velocity()
    fading = kf.fading(kf.kalman(), alpha**2)
    F, Q, P = (np.asarray(a) for a in (model.f.A, model.Q, model.prior.cov))
    predicted = fading.predict(model, fading.init(model))
    np.testing.assert_allclose(predicted.cov, alpha**2 * F @ P @ F.T + Q, rtol=1e-5)


def test_the_nis_is_the_square_of_the_mahalanobis_distance():
    model = kf.systems.constant_velocity()
    _, info = kf.step(kf.kalman(), model, kf.kalman().init(model), jnp.array([2.0]))
    distance = info.innovation[0] / jnp.sqrt(info.innovation_cov[0, 0])
    np.testing.assert_allclose(jnp.sqrt(info.nis), distance, rtol=1e-5)


def test_the_recursive_kalman_net_counts_the_noise_of_the_gain_once():
    """L L' stands for K R K', which is therefore no term of its own."""
    page = (DOCS / "methods" / "learned.md").read_text()
    (equation,) = re.findall(r"P_\{t\|t\} = (.*?), \\qquad", page)
    joseph = r"(I - K_t H)\, P_{t|t-1}\, (I - K_t H)^\top"
    assert equation == joseph + r" + L_t L_t^\top"
    docstring = " ".join(kf.learned.recursive_kalman_net.__doc__.split())
    assert "P_{t|t} = (I - K_t H) P_{t|t-1} (I - K_t H)' + L_t L_t'," in docstring
    assert "L L' stands for K R K'" in docstring
