"""Checks of every learned gain with a covariance."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from support.compiling import quick_jit

import kfjax as kf


def drawn(filter: kf.Filter, model: kf.StateSpaceModel, size: float = 0.1, **options: Any) -> Any:
    """Params of a network away from its start: zero-initialised layers have random numbers too."""
    params = kf.learned.init_params(jax.random.key(0), filter, model, **options)
    rng = np.random.default_rng(3)
    return params._replace(
        network=jax.tree.map(lambda a: a + size * rng.normal(size=a.shape), params.network)
    )


@functools.partial(quick_jit, static_argnums=0)
def everything(
    filter: kf.Filter, params: Any, ys: Any, us: Any = None, observed: Any = None
) -> Any:
    """A run that keeps everything, compiled quickly."""
    return kf.run(filter, params, ys, us=us, observed=observed, emit=kf.estimate_and_info).outputs


def walk(**changes: Any) -> kf.StateSpaceModel:
    """A scalar random walk, seen with noise."""
    fields = {
        "F": [[1.0]],
        "H": [[1.0]],
        "Q": [[0.5]],
        "R": [[1.0]],
        "prior": kf.Gaussian(np.zeros(1), np.eye(1)),
    }
    return kf.linear_gaussian(**(fields | changes))


def assert_likelihood_integrates_to_one(filter: kf.Filter) -> None:
    """exp(log_likelihood) is a density of the third observation, on which S does not depend."""
    params = drawn(filter, walk(), 0.3)
    grid = np.linspace(-60.0, 60.0, 2401)
    ys = np.stack([np.full_like(grid, 2.0), np.full_like(grid, -1.0), grid], axis=1)[:, :, None]
    _, info = quick_jit(
        jax.vmap(lambda y: kf.run(filter, params, y, emit=kf.estimate_and_info).outputs)
    )(ys)
    density = np.exp(np.asarray(info.log_likelihood)[:, 2])
    assert abs(density.sum() * (grid[1] - grid[0]) - 1) < 1e-6


def assert_stays_definite(filter: kf.Filter, problem: Any, spread: float = 2.0) -> None:
    """Covariances stay positive definite for any output of the network."""
    params = drawn(filter, problem.model, spread)
    est, info = everything(filter, params, problem.ys, problem.us, problem.observed)
    for cov in (est.cov, info.innovation_cov):
        assert np.isfinite(cov).all()
        lowest, highest = np.linalg.eigvalsh(cov)[..., [0, -1]].T
        assert (lowest >= -1e-12 * highest).all(), (lowest / highest).min()


def assert_learns_without_labels(
    filter: kf.Filter, params: Any, learning_rate: float = 0.01
) -> None:
    """A few steps on the innovation likelihood, and on the one-step prediction error, make each
    smaller.
    """
    truth = walk(F=[[0.6]], R=[[4.0]])
    ys = kf.simulate(jax.random.key(5), truth, steps=60)[1]
    optimizer = optax.adam(learning_rate)

    def likelihood(network: Any) -> Any:
        return -jnp.mean(
            kf.run(filter, params._replace(network=network), ys).outputs.log_likelihood
        )

    def prediction(network: Any) -> Any:
        run = kf.run(filter, params._replace(network=network), ys, emit=kf.estimate_and_info)
        return jnp.mean(run[1][1].innovation ** 2)

    for loss in (likelihood, prediction):

        @quick_jit
        def train(network: Any, loss: Any = loss) -> Any:
            def step(at: Any, _: None) -> Any:
                value, gradient = jax.value_and_grad(loss)(at[0])
                updates, memory = optimizer.update(gradient, at[1])
                return (optax.apply_updates(at[0], updates), memory), value

            return jax.lax.scan(step, (network, optimizer.init(network)), length=30)[1]

        losses = np.asarray(train(params.network))
        assert np.isfinite(losses).all()
        assert losses[-1] < losses[0] - 0.01 * abs(losses[0])
