"""Ensemble Kalman filters against the Kalman filter, with exact ensembles to rounding; and a
thousand dimensions.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.compiling import quick_jit
from support.sampling import KEY, assert_angles, assert_convergence, exact
from support.table import Problem, linear, update

import kfjax as kf
from kfjax.filters import GaspariCohn, Perturbed, Transform
from kfjax.filters.ensembles.forms import inverse_root
from kfjax.filters.ensembles.localisation import gaspari_cohn

FORMS = [Perturbed(), Transform()]
every_form = pytest.mark.parametrize("form", FORMS, ids=["perturbed", "transform"])
close = {"rtol": 1e-9, "atol": 1e-11}


@every_form
def test_mean_and_covariance_converge_to_those_of_the_kalman_filter(form):
    assert_convergence(kf.ensemble(60, form=form), kf.ensemble(960, form=form), linear(), 4)


def wide():
    """More channels than an ensemble of five members: n = 3, m = 9 with correlated noise, some
    missing.
    """
    rng = np.random.default_rng(0)
    H, L = rng.normal(size=(9, 3)), 0.2 * rng.normal(size=(9, 9))
    F, P = (
        np.eye(3) + 0.3 * np.eye(3, k=1),
        np.array([[1.0, 0.3, 0.0], [0.3, 0.8, 0.1], [0.0, 0.1, 0.5]]),
    )
    prior = kf.Gaussian(np.array([0.5, -0.2, 0.1]), P)
    model = kf.linear_gaussian(F, H, 0.1 * np.eye(3), np.eye(9) + L @ L.T, prior)
    return Problem(model, rng.normal(size=(5, 9)), None, rng.random((5, 9)) < 0.8)


def everywhere(problem):
    """A localisation that tapers nothing: all positions are the same."""
    return GaspariCohn(1.0, np.zeros(problem.model.n), np.zeros(problem.ys.shape[1]))


CASES = {
    "narrow": (linear, 9, False),
    "wide": (wide, 5, False),
    "narrow, local": (linear, 9, True),
    "wide, local": (wide, 5, True),
}


def prepared(name, form, **options):
    """An ensemble filter, a problem without process noise, and an ensemble with the moments of the
    prior.
    """
    build, members, local = CASES[name]
    problem = build()
    problem = problem._replace(model=problem.model.replace(Q=0 * problem.model.Q))
    method = kf.ensemble(
        members, form=form, localisation=everywhere(problem) if local else None, **options
    )
    return method, problem, like_the_prior(method, problem.model)


@functools.partial(quick_jit, static_argnums=0)
def like_the_prior(method, model):
    return method.recentre(model, method.init(model, KEY), model.prior)


@functools.partial(quick_jit, static_argnums=0)
def run(method, model, ys, observed, initial):
    return kf.run(method, model, ys, observed=observed, state=initial, emit=kf.estimate_and_info)


@pytest.mark.parametrize("name", CASES)
def test_the_transform_of_an_exact_ensemble_is_the_kalman_filter(x64, name):
    method, problem, initial = prepared(name, Transform())
    est, info = run(method, problem.model, problem.ys, problem.observed, initial).outputs
    expected = exact(problem)
    jax.tree.map(lambda got, want: np.testing.assert_allclose(got, want, **close), est, expected)
    np.testing.assert_allclose(info.dof, problem.observed.sum(1))


@pytest.mark.parametrize("name", CASES)
def test_perturbed_observations_move_the_mean_of_an_exact_ensemble_like_the_kalman_filter(
    x64, name
):
    method, problem, predicted = prepared(name, Perturbed())
    y, seen = problem.ys[0], problem.observed[0]
    state, info = update(method, problem.model, predicted, y, None, seen)
    expected, expected_info = update(kf.kalman(), problem.model, problem.model.prior, y, None, seen)
    np.testing.assert_allclose(state.mean, expected.mean, **close)
    jax.tree.map(
        lambda got, want: np.testing.assert_allclose(got, want, **close), info, expected_info
    )
    assert np.abs(state.cov - expected.cov).max() > 1e-3  # right on average only


@every_form
@pytest.mark.parametrize("name", ["narrow", "wide"])
def test_inflation_is_that_of_the_predicted_anomalies(x64, name, form):
    method, problem, predicted = prepared(name, form, inflation=1.3)
    state, info = update(method, problem.model, predicted, problem.ys[0], None, None)
    mean, cov = problem.model.prior
    inflated = kf.Gaussian(mean, 1.69 * cov)
    expected, expected_info = update(
        kf.kalman(), problem.model, inflated, problem.ys[0], None, None
    )
    np.testing.assert_allclose(state.mean, expected.mean, **close)
    np.testing.assert_allclose(info.log_likelihood, expected_info.log_likelihood, **close)
    if form == Transform():
        np.testing.assert_allclose(state.cov, expected.cov, **close)


@pytest.mark.parametrize("name", ["narrow", "wide, local"])
def test_a_channel_that_is_never_observed_might_as_well_not_exist(x64, name):
    method, problem, initial = prepared(name, Transform())
    model, ys, keep = problem.model, problem.ys.copy(), np.arange(problem.ys.shape[1] - 1)
    ys[:, -1] = np.nan
    masked = run(
        method, model, ys, np.tile(np.arange(ys.shape[1]) < len(keep), (len(ys), 1)), initial
    )[1][0]
    fewer = model.replace(h=kf.Linear(model.h.A[keep]), R=model.R[np.ix_(keep, keep)])
    local = everywhere(problem._replace(ys=ys[:, keep])) if CASES[name][2] else None
    deleted = kf.ensemble(CASES[name][1], form=Transform(), localisation=local)
    expected = run(deleted, fewer, ys[:, keep], None, initial).outputs[0]
    jax.tree.map(lambda got, want: np.testing.assert_allclose(got, want, **close), masked, expected)


@every_form
@pytest.mark.parametrize("name", ["wide", "wide, local"])
def test_gradients_are_exact(x64, name, form):
    method, problem, initial = prepared(name, form)

    @quick_jit
    @jax.value_and_grad
    def score(scales, model, initial):
        mean, noise = scales
        model = model.replace(R=noise * model.R)
        moved = initial._replace(members=initial.members + mean)
        est = kf.run(method, model, problem.ys, observed=problem.observed, state=moved).outputs
        return sum(jnp.sum(jnp.cos(1.0 + leaf)) for leaf in jax.tree.leaves(est))

    at = lambda *scales: score(tuple(map(jnp.asarray, scales)), problem.model, initial)  # noqa: E731
    step, gradient = 1e-5, at(0.1, 0.9)[1]
    numeric = [
        (at(0.1 + step, 0.9)[0] - at(0.1 - step, 0.9)[0]) / (2 * step),
        (at(0.1, 0.9 + step)[0] - at(0.1, 0.9 - step)[0]) / (2 * step),
    ]
    np.testing.assert_allclose(gradient, numeric, rtol=1e-6)


def test_the_root_has_the_derivative_of_the_definition_where_eigenvalues_coincide(x64):
    B = np.array([[1.0, 2, 3, 4], [2, 1, 0, 1], [3, 0, 2, 2], [4, 1, 2, 0]])
    for A in (np.zeros((4, 4)), np.diag([2.0, 2.0, 0.0, 5.0])):
        (root, log_det), (d_root, d_log_det) = jax.jvp(
            inverse_root, (jnp.asarray(A),), (jnp.asarray(B),)
        )
        np.testing.assert_allclose(root @ root @ (np.eye(4) + A), np.eye(4), atol=1e-12)
        np.testing.assert_allclose(log_det, np.linalg.slogdet(np.eye(4) + A)[1], atol=1e-12)
        # from root (I + A) root = I
        change = d_root @ (np.eye(4) + A) @ root + root @ B @ root + root @ (np.eye(4) + A) @ d_root
        np.testing.assert_allclose(change, 0, atol=1e-12)
        np.testing.assert_allclose(
            d_log_det, np.trace(np.linalg.solve(np.eye(4) + A, B)), rtol=1e-12
        )


@every_form
@pytest.mark.parametrize("R", [np.zeros((9, 9)), np.ones((9, 9))], ids=["none", "rank one"])
def test_singular_noise_and_more_channels_than_members_stay_finite_in_all_units(form, R):
    problem, unit = wide(), 2.0**-30
    model = problem.model.replace(R=R)
    smaller = model.replace(R=unit**2 * R, h=kf.Linear(unit * np.asarray(model.h.A)))
    for localisation in (None, GaspariCohn(6.0, np.arange(3), np.arange(9) / 3)):
        method = kf.ensemble(5, form=form, localisation=localisation)
        est = kf.run(method, model, problem.ys, key=KEY).outputs
        assert np.isfinite(est.mean).all()
        assert np.isfinite(est.log_likelihood).all()
        found = kf.run(method, smaller, unit * problem.ys, key=KEY).outputs
        np.testing.assert_allclose(found.mean, est.mean, rtol=1e-4, atol=1e-4)


@every_form
def test_angles_are_averaged_across_the_cut(form):
    assert_angles(kf.ensemble(10_000, form=form), 0.1)


def test_gaspari_cohn_is_the_published_function():
    np.testing.assert_allclose(
        gaspari_cohn(np.array([0.0, 1.0, 2.0, 5.0])), [1, 5 / 24, 0, 0], atol=1e-15
    )
    half, more = 263 / 384, 19 / 1152  # by hand from eq. (4.10), at 1/2 and 3/2
    np.testing.assert_allclose(
        gaspari_cohn(np.array([0.5, -0.5, 1.5])), [half, half, more], rtol=1e-13
    )
    r = np.array([1.0, 2.0])
    left, right = (
        (gaspari_cohn(r) - gaspari_cohn(r - 1e-6)) / 1e-6,
        (gaspari_cohn(r + 1e-6) - gaspari_cohn(r)) / 1e-6,
    )
    np.testing.assert_allclose(left, right, atol=1e-5)


def test_tapers_are_positive_semidefinite():
    rng = np.random.default_rng(0)
    for radius, period, dimensions in (
        (3.0, None, 1),
        (3.0, None, 2),
        (5.0, None, 3),
        (4.0, 10.0, 1),
    ):
        positions = rng.uniform(0, 10, (60, dimensions))
        local = GaspariCohn(radius, positions, positions, period)
        assert np.linalg.eigvalsh(local.observation_observation).min() > -1e-12
        distance = np.abs(positions[:, None] - positions[None])
        distance = np.linalg.norm(np.minimum(distance, (period or np.inf) - distance), axis=-1)
        far = distance >= radius
        assert far.any()
        assert np.abs(local.state_observation[far]).max() < 1e-15
        assert local.state_observation.min() >= 0
        assert (local.state_observation[distance < 0.95 * radius] > 0).all()
        near, taper = local.neighbours
        np.testing.assert_array_equal((taper > 0).sum(1), (local.state_observation > 0).sum(1))
        np.testing.assert_array_equal(np.take_along_axis(local.state_observation, near, 1), taper)


# a thousand dimensions

SIZE = 1000


def mixing(x, u):
    """A ring whose neighbours mix."""
    return 0.5 * x + 0.24 * (jnp.roll(x, 1) + jnp.roll(x, -1))


def every_fifth(x, u):
    return x[::5]


def chain():
    prior = kf.Gaussian(np.zeros(SIZE), np.eye(SIZE))
    return kf.StateSpaceModel(
        mixing, every_fifth, 0.2 * np.eye(SIZE), 0.1 * np.eye(SIZE // 5), prior
    )


RING = GaspariCohn(6.0, np.arange(SIZE), np.arange(0, SIZE, 5), period=float(SIZE))


def mean_of(state, info):
    """Keep the mean: the covariance would be [n, n]."""
    return state.mean


@pytest.mark.slow
@every_form
def test_a_small_ensemble_of_a_long_chain_needs_localisation(form):
    model = chain()
    xs, ys = kf.simulate(KEY, model, steps=8)

    def error(localisation):
        method = kf.ensemble(25, form=form, localisation=localisation)
        means = kf.run(method, model, ys, key=jax.random.key(1), emit=mean_of).outputs
        return np.sqrt(np.mean((means - xs)[4:] ** 2))

    unobserved, local, spurious = np.sqrt(np.mean(xs[4:] ** 2)), error(RING), error(None)
    assert local < 0.9 * unobserved
    assert spurious > unobserved  # worse than no filter at all


@every_form
@pytest.mark.parametrize("localisation", [None, RING], ids=["plain", "local"])
def test_an_update_forms_no_matrix_of_the_size_of_the_state_covariance(form, localisation):
    model, method = chain(), kf.ensemble(10, form=form, localisation=localisation)
    state = jax.eval_shape(method.init, model, KEY)
    one = lambda Q, state, y: method.update(model.replace(Q=Q), state, y)  # noqa: E731
    text = str(jax.make_jaxpr(one)(jax.eval_shape(lambda: model.Q), state, jnp.zeros(SIZE // 5)))
    assert text.count("[1000,10]") + text.count("[10,1000]") > 1
    assert text.count("[1000,1000]") <= 1  # Q itself


def test_bad_arguments_are_explained():
    with pytest.raises(ValueError, match="members is 1; expected a whole number of at least 2"):
        kf.ensemble(1)
    with pytest.raises(ValueError, match=r"inflation is 0\.0; expected a finite number above 0"):
        kf.ensemble(inflation=0.0)
    with pytest.raises(ValueError, match="got no key; expected a random key"):
        kf.ensemble().init(linear().model)
    wrong = kf.ensemble(localisation=GaspariCohn(1.0, np.arange(3), np.arange(2)))
    with pytest.raises(
        ValueError, match="3 positions of states and 2 of observations; expected 4 and 2"
    ):
        kf.run(wrong, linear().model, linear().ys, key=KEY)
    for arguments, text in {
        (0.0, (0.0,), (0.0,), None): "radius is 0.0; expected a finite number above 0",
        (
            2.0,
            (0.0,),
            (0.0,),
            3.0,
        ): "radius is 2.0 on a ring of length 3.0; expected at most half of it",
        (2.0, (), (0.0,), None): "expected finite positions",
        (2.0, ((0.0, 1.0),), (0.0,), None): "states have 2 coordinates, observations 1",
    }.items():
        with pytest.raises(ValueError, match=text):
            GaspariCohn(*arguments)
