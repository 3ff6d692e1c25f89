"""The steady state of the Kalman filter of a time-invariant linear model."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax import linalg
from kfjax._support.arguments import check_kind, is_concrete
from kfjax._support.compiling import jit
from kfjax.models.functions import Linear
from kfjax.models.state_space import StateSpaceModel
from kfjax.smoothers.scan_elements import combine_filters, steady_element

__all__ = ["SteadyState", "steady_state"]

DOUBLINGS = 50  # of the horizon: 2^50 steps


class SteadyState(NamedTuple):
    """The limit of the Kalman filter's covariance recursion.

    Attributes:
        predicted_cov: P_{t|t-1} [n, n], which solves the discrete algebraic Riccati equation.
        cov: P_{t|t} [n, n].
        innovation_cov: S = H P_{t|t-1} H' + R, [m, m].
        gain: K = P_{t|t-1} H' S^-1, [n, m].
    """

    predicted_cov: Array
    cov: Array
    innovation_cov: Array
    gain: Array


def time_invariant(who: str, model: StateSpaceModel) -> tuple[Array, Array]:
    """Return F and H, or raise unless they, Q and R are constant and there is no offset."""
    check_kind("steady_state: model", model, StateSpaceModel)
    f, h = model.f, model.h
    if not all(
        isinstance(fn, Linear) and not callable(fn.A) and fn.b is None for fn in (f, h)
    ) or any(callable(noise) for noise in (model.Q, model.R)):
        raise ValueError(
            f"{who}: the model is not linear and time-invariant; expected kf.Linear f and h with"
            " constant matrices and"
            " no offset b, and constant Q and R."
        )
    return f.A, h.A


def steady_state(model: StateSpaceModel) -> SteadyState:
    """Solve the discrete algebraic Riccati equation of a time-invariant linear model.

    P = F (P - P H' (H P H' + R)^-1 H P) F' + Q, by doubling the horizon of the filter in
    square-root form.

    Args:
        model: a linear, time-invariant `StateSpaceModel`; inputs do not matter.

    Returns:
        `SteadyState(predicted_cov, cov, innovation_cov, gain)`.

    Raises:
        ValueError: if the model is not linear and time-invariant, or there is no limit: an unstable
            mode that is not observed (seen only outside a trace).

    Example:
        >>> limit = kf.steady_state(kf.systems.constant_velocity())
        >>> limit.gain.shape
        (2, 1)

    References:
        B. D. O. Anderson, J. B. Moore, Optimal Filtering (1979), section 6.7 (doubling).
    """
    time_invariant("steady_state", model)
    result, gap = _steady_state(model)
    if is_concrete(gap) and not float(gap) < 1e3 * float(np.sqrt(jnp.finfo(model.dtype).eps)):
        raise ValueError(
            f"steady_state: the covariance does not settle (relative change {float(gap):.2g} per"
            " step); expected every"
            " mode that does not decay to be observed. See kf.observability."
        )
    return result


@jit
def _steady_state(model: StateSpaceModel) -> tuple[SteadyState, Array]:
    F, H = model.f.A, model.h.A
    element = steady_element(F, H, linalg.cholesky(model.Q), linalg.cholesky(model.R))
    element = jax.lax.scan(lambda e, _: (combine_filters(e, e), None), element, length=DOUBLINGS)[0]
    result = _one_step(F, H, model, linalg.matmul(element.U, element.U.T))
    again = _one_step(F, H, model, result.cov)
    change = jnp.abs(again.predicted_cov - result.predicted_cov).max()
    return result, change / jnp.abs(result.predicted_cov).max()


def _one_step(F: Array, H: Array, model: StateSpaceModel, cov: Array) -> SteadyState:
    """One step of the covariance recursion, from P_{t-1|t-1}."""
    P = linalg.symmetric(linalg.quadratic(F, cov) + model.Q)
    S = linalg.factorise(linalg.symmetric(linalg.quadratic(H, P) + model.R))
    K = S.solve(linalg.matmul(H, P)).T
    rest = jnp.eye(P.shape[0], dtype=P.dtype) - linalg.matmul(K, H)
    return SteadyState(
        P, linalg.symmetric(linalg.quadratic(rest, P) + linalg.quadratic(K, model.R)), S.matrix, K
    )
