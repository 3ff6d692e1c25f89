"""Covariances of learned gains, by the model's recursion or from the outputs of a network."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax import linalg
from kfjax.base import Gaussian, Inputs
from kfjax.learned.gains.gain_filters import GainRule, GainState
from kfjax.learned.params import Learned
from kfjax.models.observing import bind
from kfjax.moments import Taylor

__all__: list[str] = []


class CovarianceRule(GainRule):
    """A gain rule whose covariance starts at the prior's and is predicted as F P F' + Q."""

    def cov(self, params: Learned) -> Array:
        """Return the covariance of the model's prior."""
        return jnp.copy(params.model.prior.cov)

    def process_noise(self, params: Learned, state: GainState, u: Inputs) -> Array:
        """Return the model's Q [n, n]."""
        return params.model.process_noise(state.mean, u)

    def predicted_cov(self, params: Learned, state: GainState, u: Inputs) -> Array:
        """Return F P F' + Q, with F = f' at the mean."""
        space = params.model.state_space
        moments = Taylor()(bind(params.model.f, u), Gaussian(state.mean, state.cov), space, space)
        return moments.cov + self.process_noise(params, state, u)


def entries(n: int) -> int:
    """Return the number of entries in a triangle of n rows."""
    return n * (n + 1) // 2


def triangle(values: Array, n: int) -> Array:
    """Return the lower triangular matrix [n, n] of n (n + 1) / 2 numbers, row by row."""
    rows, columns = np.tril_indices(n)
    at = np.zeros((n, n), int)
    at[rows, columns] = np.arange(rows.size)
    return jnp.where(np.tri(n, dtype=bool), values[at], 0)


def unit_triangle(values: Array, n: int) -> Array:
    """Return the triangular matrix T [n, n] whose diagonal is exp of the numbers there.

    T = I where all numbers are 0.
    """
    T = triangle(values, n)
    return jnp.where(np.eye(n, dtype=bool), jnp.exp(T), T)


def bounded(values: Array, limit: float = 3.0) -> Array:
    """Return numbers within +-limit, with slope 1 at 0."""
    # With the usual limit of 3 a network can change a standard deviation by a factor of e^3 = 20:
    # more than a wrong noise level needs, and far from overflow whatever the network outputs.
    # Slope 1 at 0 leaves small corrections as they are.
    return limit * jnp.tanh(values / limit)


def rescaled(cov: Array, values: Array, mask: Array | None = None) -> Array:
    """Return cov [n, n] with standard deviations multiplied by exp(bounded(values [n])).

    Factors apply where the mask is true.
    """
    values = bounded(values if mask is None else jnp.where(mask, values, 0))
    return cov * jnp.exp(values[:, None] + values[None, :])


def stretched(cov: Array, values: Array, mask: Array | None = None) -> Array:
    """Return L T T' L' for cov = L L' [n, n] and T = unit_triangle(bounded(values)).

    The result is cov where values are 0.

    It is positive semidefinite for all numbers, does not depend on units, and has a gradient at its
    start (the square of a factor that starts at zero has none). Rows and columns outside the mask
    stay as they are.
    """
    n = cov.shape[-1]
    T = unit_triangle(bounded(values), n)
    if mask is not None:
        T = jnp.where(mask[:, None] & mask[None, :], T, np.eye(n))
    # L T T' L' is positive definite for every T with a positive diagonal, and has the units of cov:
    # no constraint is left for training to respect.
    factor = linalg.matmul(linalg.cholesky(cov), T)
    return linalg.matmul(factor, factor.T)
