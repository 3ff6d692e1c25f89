"""The backward kernel p(x_t | x_t+1, y_1..t) of smoothers, samplers and fixed lags."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from kfjax import linalg
from kfjax.base import Gaussian, Inputs
from kfjax.filters.diffuse_beliefs import DiffuseState, condition
from kfjax.filters.square_root_form import SquareRootGaussian, conditional_factors
from kfjax.models.observing import bind
from kfjax.models.state_space import StateSpaceModel

__all__: list[str] = []

Belief = Gaussian | SquareRootGaussian | DiffuseState


class BackwardKernel(NamedTuple):
    """x_t = m_t + gain (x_t+1 - predicted) + residual, given y_1..t; m_t is the filtered mean.

    Attributes:
        gain: [n, n].
        predicted: E[x_t+1 | y_1..t].
        residual: covariance [n, n] of the residual; its lower triangular factor if the belief was a
            `SquareRootGaussian` (with or without a diffuse part).
    """

    gain: Array
    predicted: Array
    residual: Array


def backward_kernel(rule: Any, model: StateSpaceModel, belief: Belief, u: Inputs) -> BackwardKernel:
    """Return the kernel from a filtered belief about x_t, and the input u_t+1."""
    space = model.state_space
    f = bind(model.f, u)
    Q = model.process_noise(belief.mean, u)
    if isinstance(belief, DiffuseState):
        identity = jnp.eye(Q.shape[0], dtype=Q.dtype)
        predicted, F, _ = rule.affine(f, belief.mean, identity, space, space)
        given = condition(belief, predicted, F, Q, noise_free=False)
        return BackwardKernel(given.gain, predicted, given.covariance)
    if isinstance(belief, SquareRootGaussian):
        predicted, dx, dy = rule.deviations(f, *belief, space, space)
        S, G, residual = conditional_factors(
            dx, dy, linalg.cholesky(Q), noise_free=bool(model.noise_free)
        )
        return BackwardKernel(linalg.solve_lower(S, G.T, transpose=True).T, predicted, residual)
    moments = rule(f, belief, space, space)
    factored = linalg.factorise(moments.cov + Q)
    G = factored.solve(moments.cross.T).T
    residual = moments.residual(G) + linalg.quadratic(G, Q)
    return BackwardKernel(G, moments.mean, residual)
