"""Factors on Q and R as what is trained: the search for good ones, coarse and to the end."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree

from kfjax._support.compiling import jit
from kfjax.base import Filter
from kfjax.data.dataset import Dataset
from kfjax.models.state_space import StateSpaceModel
from kfjax.training.losses import innovation_nll, state_mse
from kfjax.training.minimising import Minimum, leave_plateaus, minimise
from kfjax.training.noise import Scales, scale_noise
from kfjax.training.rollout import Rollout
from kfjax.training.stepping import measure
from kfjax.training.wrapping import BatchLoss, through

__all__: list[str] = []

# grid of the coarse search: powers of ten on the variances
GRID = np.log(10.0) * np.arange(-4, 5)
ROUNDS = 4  # of that search, at most
ENOUGH = 1e-2  # of the gradient per observation, in roots of the rounding
LOOK_AROUND = 4.0  # logarithms of a variance
LEAST = 1e-6  # difference per observation


class Factors(NamedTuple):
    """Params with factors on their noise, whose logarithms are trained.

    Attributes:
        params: the given params.
        logarithms: `Scales` of the logarithms of the factors.
    """

    params: Any
    logarithms: Any


def loss_of(filter: Filter, objective: str, skip: int) -> BatchLoss:
    """Return the objective of that name as a loss of factors, without the leading steps."""
    rollout = Rollout(burn_in=skip)
    if objective == "likelihood":
        return through(innovation_nll(filter, rollout=rollout), _scaled)
    return through(state_mse(filter, rollout=rollout), _scaled_without_common_factor)


def _scaled(factors: Factors) -> Any:
    """Return the params with their noise scaled."""
    return scale_noise(factors.params, jax.tree.map(jnp.exp, factors.logarithms))


def _scaled_without_common_factor(factors: Factors) -> Any:
    return _scaled(without_common_factor(factors))


# The gain is the same for (a Q, a R) as for (Q, R) once the prior is forgotten, and so is the
# squared error: with both free, the common factor would drift along a valley without slope. Fixing
# the mean logarithm of R removes that direction and no other.
def without_common_factor(factors: Factors) -> Factors:
    """Return factors on R whose geometric mean is one: the squared error does not depend on it."""
    Q, R = factors.logarithms
    return factors._replace(logarithms=Scales(Q, R - R.mean()))


def value_on(loss: BatchLoss, factors: Factors, data: Dataset, key: Array) -> float:
    """Return a loss on a whole part of the data; infinite if it is not finite."""
    value = float(measure(loss, factors, jax.tree.map(jnp.asarray, data), key))
    return value if math.isfinite(value) else math.inf


def logarithms_of_one(model: StateSpaceModel, data: Dataset, structure: str) -> Scales:
    """Return the logarithms of factors of one."""
    diagonal = structure == "diagonal"
    states, channels = ((model.n,), data.ys.shape[2:]) if diagonal else ((), ())
    return Scales(jnp.zeros(states, model.dtype), jnp.zeros(channels, model.dtype))


def coarse(loss: BatchLoss, objective: str, one: Factors, data: Dataset, key: Array) -> Factors:
    """Return the best of a grid of powers of ten, which moves on while the best is at its edge."""
    # A factor of 10^4 in both directions on Q, and of 10^2 on R: R is often known from data sheets,
    # whereas Q is usually guessed. For the squared error only their ratio matters, and R stays.
    on_R = [0.0] if objective == "mse" else GRID[2:-2]
    best = one
    for _ in range(ROUNDS):
        centre = best.logarithms
        offsets = list(itertools.product(GRID, on_R))
        # The start decides where gradients lead: far from the optimum the likelihood of a wrong Q
        # is flat in its logarithm, and a gradient there says little. A grid of powers of ten costs
        # some tens of passes and no gradient.
        candidates = [
            one._replace(logarithms=Scales(centre.Q + q, centre.R + r)) for q, r in offsets
        ]
        losses = np.array([value_on(loss, factors, data, key) for factors in candidates])
        # the nearest of those as good as the best: the search must not wander along a plateau
        distance = np.abs(offsets).sum(axis=1)
        as_good = losses <= losses.min() + LEAST
        lowest = int(np.where(as_good, distance, np.inf).argmin())
        best = candidates[lowest]
        q, r = np.abs(offsets[lowest])
        at_edge = q == GRID[-1] or (len(on_R) > 1 and r == on_R[-1])
        if not at_edge or math.isinf(losses[lowest]):
            return best
    return best


class Found(NamedTuple):
    """Factors, their objective on the validation part, and the updates made and refused."""

    factors: Factors
    validation: float
    update: Any
    refused: Any


def to_the_end(
    fitting: BatchLoss,
    choosing: BatchLoss,
    start: Factors,
    data: Dataset,
    validation: Dataset,
    key: Array,
    updates: int,
) -> Found:
    """Return the best factors on the training part, unless the start is better on validation.

    Few trajectories are one batch, so that L-BFGS finds the end, however far it is.
    """
    flat, as_scales = ravel_pytree(start.logarithms)
    arrays = jax.tree.map(jnp.asarray, data)

    def factors(free: Array) -> Factors:
        return start._replace(logarithms=as_scales(free))

    tolerance = ENOUGH * float(jnp.finfo(flat.dtype).eps) ** 0.5

    def evaluate(free: Array) -> tuple[Array, Array]:
        value, slope = _value_and_slope(fitting, factors(free), arrays, key)
        return value, ravel_pytree(slope)[0]

    def lowest(free: Array) -> Minimum:
        return minimise(evaluate, free, updates=updates, tolerance=tolerance)

    found = leave_plateaus(
        lambda free: value_on(fitting, factors(free), data, key),
        lowest,
        lowest(flat),
        np.full(flat.shape, LOOK_AROUND),
        LEAST,
    )
    end = factors(found.theta)
    before, after = (value_on(choosing, some, validation, key) for some in (start, end))
    if before <= after:
        sound = bool(np.isfinite(np.asarray(evaluate(flat)[1])).all())
        return Found(start, before, 0, 0 if sound else updates)
    return Found(end, after, found.updates, 0)


@functools.partial(jit, static_argnums=0)
def _value_and_slope(
    loss: BatchLoss, start: Factors, data: Dataset, key: Array
) -> tuple[Array, Scales]:
    """Return the loss and its gradient with respect to the logarithms of factors."""

    def of(logarithms: Scales) -> Array:
        return loss(start._replace(logarithms=logarithms), data, key)

    return jax.value_and_grad(of)(start.logarithms)
