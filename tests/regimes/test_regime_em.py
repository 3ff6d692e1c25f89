"""Expectation maximisation of hidden Markov models."""

import jax
import numpy as np
import pytest
from support.regimes import CHAIN, WEIGHTS, counts, enumerated, gaussian, symbols

import kfjax as kf
from kfjax import training

close = {"rtol": 1e-9, "atol": 1e-12}


def constant(case):
    """The Gaussian case with an array as transition."""
    return case._replace(model=case.model.replace(transition=CHAIN), us=None)


CASES = {"gaussian": lambda: constant(gaussian()), "counts": counts, "symbols": symbols}


def completed(case, k):
    """E[y], E[y y'] of every row given its observed channels and regime k, by conditioning."""
    mean, cov = np.asarray(case.model.emission.mean[k]), np.asarray(case.model.emission.cov[k])
    first, second = [], []
    for y, seen in zip(case.ys, case.observed, strict=True):
        e, C = np.where(seen, y, mean), np.zeros_like(cov)
        if not seen.all():
            gain = cov[np.ix_(~seen, seen)] @ np.linalg.inv(cov[np.ix_(seen, seen)])
            e[~seen] = mean[~seen] + gain @ (y[seen] - mean[seen])
            C[np.ix_(~seen, ~seen)] = cov[np.ix_(~seen, ~seen)] - gain @ cov[np.ix_(seen, ~seen)]
        first.append(e)
        second.append(C + np.outer(e, e))
    return np.array(first), np.array(second)


@pytest.mark.parametrize("name", CASES)
def test_a_step_is_the_textbooks(x64, name):
    """Expected counts by the sum over all paths."""
    case = CASES[name]()
    paths = enumerated(case)
    ys = np.where(case.observed, case.ys, np.nan)[None]
    fitted, history = training.em(case.model, kf.Dataset(ys), iterations=1)
    np.testing.assert_allclose(history[0], paths.log_likelihood.sum(), **close)
    assert history[1] > history[0]
    expected = paths.joint.sum(axis=0)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(fitted.transition, expected, **close)
    first = paths.joint[0].sum(axis=1) if name == "counts" else paths.smoothed[0]
    np.testing.assert_allclose(fitted.weights, first, **close)
    w = paths.smoothed * case.observed.any(axis=1)[:, None]
    if name == "gaussian":
        for k in range(3):
            e, second = completed(case, k)
            mean = w[:, k] @ e / w[:, k].sum()
            cov = np.tensordot(w[:, k], second, 1) / w[:, k].sum() - np.outer(mean, mean)
            np.testing.assert_allclose(fitted.emission.mean[k], mean, **close)
            np.testing.assert_allclose(fitted.emission.cov[k], cov, rtol=1e-8, atol=1e-11)
    elif name == "counts":
        rate = w.T @ np.where(case.observed, case.ys, 0) / (w.T @ case.observed)
        np.testing.assert_allclose(fitted.emission.rate, rate, **close)
    else:
        chosen = (case.ys[..., None] == np.arange(4)) & case.observed[..., None]
        p = np.einsum("tk,tmc->kmc", paths.smoothed, chosen)
        p /= p.sum(axis=2, keepdims=True)
        np.testing.assert_allclose(fitted.emission.probabilities, p, **close)


def test_the_likelihood_never_falls_and_what_drew_the_data_is_found(x64):
    truth = kf.HiddenMarkovModel(
        kf.GaussianEmission([[0.0], [4.0]], [[[1.0]], [[0.25]]]),
        [[0.95, 0.05], [0.1, 0.9]],
        [0.5, 0.5],
    )
    draw = jax.vmap(lambda key: kf.simulate(key, truth, 60))
    ys = np.array(draw(jax.random.split(jax.random.key(0), 40))[1])
    ys[:, 20:23] = np.nan
    data = kf.Dataset(ys, length=np.arange(21, 61))
    start = truth.replace(
        emission=kf.GaussianEmission([[-1.0], [2.0]], [[[4.0]], [[4.0]]]),
        transition=[[0.6, 0.4], [0.4, 0.6]],
    )
    fitted, history = training.em(start, data, iterations=40)
    assert (np.diff(history) > -1e-9).all()
    assert history[-1] - history[-2] < 1e-2
    np.testing.assert_allclose(fitted.transition, truth.transition, atol=0.03)
    np.testing.assert_allclose(fitted.emission.mean, truth.emission.mean, atol=0.1)
    np.testing.assert_allclose(fitted.emission.cov, truth.emission.cov, atol=0.15)


@pytest.mark.slow
def test_only_what_is_named_is_learned(x64):
    case = CASES["gaussian"]()
    ys = np.where(case.observed, case.ys, np.nan)[None]
    fitted = training.em(case.model, kf.Dataset(ys), learn=["cov"], iterations=1).model
    w = enumerated(case).smoothed * case.observed.any(axis=1)[:, None]
    for k in range(3):
        e, second = completed(case, k)
        m = np.asarray(case.model.emission.mean[k])
        cov = second - e[:, :, None] * m - m[:, None] * e[:, None, :] + np.outer(m, m)
        expected = np.tensordot(w[:, k], cov, 1) / w[:, k].sum()
        np.testing.assert_allclose(fitted.emission.cov[k], expected, rtol=1e-8)
    np.testing.assert_array_equal(fitted.emission.mean, case.model.emission.mean)
    np.testing.assert_array_equal(fitted.transition, CHAIN)
    np.testing.assert_array_equal(fitted.weights, WEIGHTS)


def test_a_regime_that_shrinks_to_a_point_is_named():
    emission = kf.GaussianEmission([[0.0], [50.0]], np.ones((2, 1, 1)))
    model = kf.HiddenMarkovModel(emission, np.full((2, 2), 0.5), [0.5, 0.5])
    ys = np.random.default_rng(0).normal(size=(1, 20, 1))
    ys[0, 7] = 50.0
    with pytest.warns(UserWarning, match="covariance of regime 1"):
        training.em(model, kf.Dataset(ys), iterations=3)


def test_what_cannot_be_learned_is_said():
    case = gaussian()
    data = kf.Dataset(case.ys[None], us=case.us[None])
    with pytest.raises(ValueError, match="transition is a function"):
        training.em(case.model, data)
    with pytest.raises(ValueError, match="rate"):
        training.em(case.model, data, learn=["rate"])
    own = kf.HiddenMarkovModel(lambda y, u, observed: y, np.eye(2), [0.5, 0.5])
    with pytest.raises(ValueError, match="whose step is not known"):
        training.em(own, data, learn=["mean"])
    with pytest.raises(ValueError, match="expected a Dataset"):
        training.em(symbols().model, np.zeros((3, 2)))
