"""The problems that speed is measured on: models of fixed form, and trajectories drawn from them.

`draw_problem(model, size)` draws trajectories of a model. A problem depends on its size and on the
precision alone, so that every library is timed on the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax import systems
from kfjax.base import Gaussian
from kfjax.learned.gains.kalman_nets import published
from kfjax.learned.params import init_params
from kfjax.models.simulation import simulate
from kfjax.models.state_space import StateSpaceModel

__all__: list[str] = []


class Size(NamedTuple):
    """The size of a workload.

    Attributes:
        batch: number of trajectories, or None for a single one without a batch axis.
        steps: T.
        n: dimension of the state, if it can be chosen.
        particles: number of particles, if there are any.
    """

    batch: int | None
    steps: int
    n: int = 4
    particles: int = 0

    @property
    def text(self) -> str:
        """The size as text."""
        batch = f"{self.batch} x " if self.batch else ""
        particles = f", {self.particles} particles" if self.particles else ""
        return f"{batch}{self.steps} steps, n = {self.n}{particles}"


class Problem(NamedTuple):
    """A problem, as a pytree: everything but `params` has a leading batch axis.

    A problem whose size has no batch has no such axis.

    Attributes:
        params: the model, or the params of a learned filter.
        ys: observations [B, T, m].
        priors: a belief about x_0 for each trajectory, or None if all share the model's prior.
        keys: a random key for each trajectory, or None.
        xs: true states [B, T, n], for training, or None.
    """

    params: Any
    ys: Array
    priors: Gaussian | None = None
    keys: Array | None = None
    xs: Array | None = None


def draw_problem(
    model: Callable[[Size], StateSpaceModel], size: Size, *, own: bool = False, draws: bool = False
) -> Problem:
    """Draw trajectories of a model.

    Args:
        model: `(Size) -> StateSpaceModel`.
        size: number and length of the trajectories.
        own: whether each trajectory has its own prior covariance.
        draws: whether each trajectory has a random key, for filters that draw.
    """
    built = model(size)
    keys = jax.random.split(jax.random.key(0), size.batch or 1)
    xs, ys = jax.vmap(lambda key: simulate(key, built, size.steps))(keys)
    priors = _priors(built, keys.shape[0]) if own else None
    problem = Problem(None, ys, priors, keys if draws else None, xs)
    if not size.batch:
        problem = jax.tree.map(lambda a: a[0], problem)
    return problem._replace(params=built)


def _priors(model: StateSpaceModel, count: int) -> Gaussian:
    """Return beliefs with the same mean and random covariances."""
    # With one covariance for all, the covariance recursion of a linear filter does not depend on
    # the trajectory, and a batch computes it once. I + A A' is well above singular, so that no
    # library is timed on rounding.
    generator = np.random.default_rng(0)
    A = generator.normal(size=(count, model.n, model.n)) / np.sqrt(model.n)
    covs = np.eye(model.n) + A @ A.swapaxes(1, 2)
    mean = jnp.tile(model.prior.mean, (count, 1))
    return Gaussian(mean, jnp.asarray(covs, model.dtype))


def moving(size: Size) -> StateSpaceModel:
    """Return a body that moves with nearly constant velocity along n / 2 axes."""
    return systems.constant_velocity(size.n // 2, dt=0.1, q_density=1.0, r_std=0.5)


def lorenz(size: Size) -> StateSpaceModel:
    """Return the Lorenz attractor, whose state always has three dimensions."""
    del size
    return systems.lorenz(q_std=0.1, r_std=0.5)


def canonical(size: Size) -> StateSpaceModel:
    """Return the linear system in canonical form of the KalmanNet paper, of n dimensions."""
    return systems.canonical(size.n, q_std=0.1, r_std=1.0)


def draw_learned(name: str, model: Callable[[Size], StateSpaceModel], size: Size) -> Problem:
    """Draw the problem of a published configuration of KalmanNet, with untrained weights."""
    # the time of a step does not depend on the values of the weights, so that none are trained
    problem = draw_problem(model, size)
    n = problem.params.n
    return problem._replace(
        params=init_params(jax.random.key(1), published(name, n=n, m=n), problem.params)
    )
