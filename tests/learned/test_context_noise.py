"""Noise that depends on the context: it starts at the nominal noise, stays a covariance, and learns
which context makes data noisy.

"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from support import table
from support.compiling import quick_jit

import kfjax as kf
from kfjax.learned.models.noise_from_context import context_noise, input_context, state_context
from kfjax.learned.models.residual_fitting import refine

LIKELIHOOD = kf.training.innovation_nll(kf.extended())


def loud(x, u):
    """A standard deviation of exp(u)."""
    return jnp.exp(2 * u[:1])[:, None]


def walk(R):
    return kf.linear_gaussian([[0.9]], [[1.0]], [[0.2]], R, kf.Gaussian(np.zeros(1), np.eye(1)))


@pytest.mark.slow
def test_the_likelihood_of_other_data_is_above_that_of_the_best_constant_noise():
    us = np.random.default_rng(0).uniform(-1.5, 1.5, size=(96, 20, 1)).astype(np.float32)
    keys = jax.random.split(jax.random.key(0), 96)
    ys = quick_jit(jax.vmap(lambda key, u: kf.simulate(key, walk(loud), 20, us=u)[1]))(keys, us)
    train, test = kf.Dataset(ys, us=us).split(64, 32)
    fit = {"key": jax.random.key(1), "reports": 1}
    constant = kf.training.fit_noise(
        kf.extended(), walk([[1.0]]), train, updates=60, learning_rate=0.1, **fit
    ).params
    start = context_noise(constant, size=1, hidden=(8,), key=jax.random.key(2))
    options = {"updates": 200, "optimizer": kf.training.clipped_adam(0.02), **fit}
    moody = refine(kf.extended(), start, train, loss=LIKELIHOOD, learn=(), **options).params

    loss = quick_jit(LIKELIHOOD)
    nll = {
        name: float(loss(m, test, fit["key"]))
        for name, m in (("truth", walk(loud)), ("moody", moody), ("constant", constant))
    }
    gain = nll["constant"] - nll["truth"]
    assert gain > 0.1
    assert nll["moody"] < nll["constant"] - 0.75 * gain
    grid = jnp.linspace(-1.2, 1.2, 7)[:, None]
    std = jnp.sqrt(jax.vmap(lambda u: moody.R(jnp.zeros(1), u)[0, 0])(grid))
    np.testing.assert_allclose(jnp.log(std), grid[:, 0], atol=0.25)


@pytest.mark.parametrize("full", [False, True])
def test_it_starts_at_the_nominal_and_stays_a_covariance(x64, full):
    problem = table.pendulum()
    model = context_noise(
        problem.model,
        context=state_context,
        size=2,
        full=full,
        centre=0.3,
        spread=[2.0, 1.0],
        key=jax.random.key(0),
    )
    x = jnp.array([0.4, -0.2])
    for name in ("Q", "R"):
        noise, nominal = getattr(model, name), getattr(problem.model, name)
        np.testing.assert_allclose(noise(x, None), nominal, rtol=1e-12)
        theta, rng = noise.args[0], np.random.default_rng(4)
        weights = jax.tree.map(lambda a: a + rng.normal(size=a.shape), theta.weights)
        wild = Partial(noise.func, theta._replace(weights=weights))
        there, elsewhere = wild(x, None), wild(x + 1, None)
        assert np.linalg.eigvalsh(there).min() > 0
        assert np.abs(there / elsewhere - 1).max() > 0.01
        correlation = lambda C: C[0, 1] / np.sqrt(C[0, 0] * C[1, 1])  # noqa: E731
        assert np.isclose(correlation(there), correlation(nominal), rtol=1e-9) != full
    ekf = lambda m: kf.run(kf.extended(), m, problem.ys).outputs.mean  # noqa: E731
    np.testing.assert_allclose(ekf(model), ekf(problem.model), rtol=1e-10)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: noisy(learn=("P",)), "learn is"),
        (lambda: noisy(size=0), "size is 0"),
        (lambda: noisy(spread=[1.0, 2.0]), "spread has shape"),
        (lambda: noisy(spread=0.0), "expected positive numbers"),
        (lambda: context_noise(walk(loud), size=1, key=jax.random.key(0)), "R is a function"),
        (lambda: noisy(size=2).R(jnp.zeros(1), jnp.ones(1)), r"the context has shape \(1,\)"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def noisy(**options):
    return context_noise(
        walk([[1.0]]), **{"size": 1, "key": jax.random.key(0), "context": input_context} | options
    )
