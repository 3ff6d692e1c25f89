"""Time-invariant linear models in the long run: the steady gain, the filter that uses it, and observability."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax import linalg
from kfjax.base import Filter, Info, constructor
from kfjax.models import Linear, StateSpaceModel, is_concrete
from kfjax.observing import bind, keep_unobserved, observe
from kfjax.scan_elements import combine_filters, steady_element

__all__ = ["ConstantGain", "SteadyState", "constant_gain", "controllability", "observability", "steady_state"]

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


class ConstantGain(NamedTuple):
    """Params of `constant_gain()`.

    Attributes:
        model: a `StateSpaceModel`, nonlinear ones included.
        gain: K [n, m].
    """

    model: StateSpaceModel
    gain: Array


class PointState(NamedTuple):
    """A state estimate without a covariance.

    Attributes:
        mean: [..., n].
    """

    mean: Array

    @property
    def cov(self) -> None:
        """There is none."""
        return


def time_invariant(who: str, model: StateSpaceModel) -> tuple[Array, Array]:
    """Return F and H, or raise: both must be constant matrices, without offset, and Q and R constant."""
    f, h = model.f, model.h
    if not all(isinstance(fn, Linear) and not callable(fn.A) and fn.b is None for fn in (f, h)) or any(
        callable(noise) for noise in (model.Q, model.R)
    ):
        raise ValueError(
            f"{who}: the model is not linear and time-invariant; expected kf.Linear f and h with constant matrices and"
            " no offset b, and constant Q and R."
        )
    return f.A, h.A


def steady_state(model: StateSpaceModel) -> SteadyState:
    """Solve the discrete algebraic Riccati equation of a time-invariant linear model.

    P = F (P - P H' (H P H' + R)^-1 H P) F' + Q, by doubling the horizon of the filter in square-root form.

    Args:
        model: a linear, time-invariant `StateSpaceModel`; inputs do not matter.

    Returns:
        `SteadyState(predicted_cov, cov, innovation_cov, gain)`.

    Raises:
        ValueError: if the model is not linear and time-invariant, or there is no limit: an unstable mode that is not
            observed (seen only outside a trace).

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
            f"steady_state: the covariance does not settle (relative change {float(gap):.2g} per step); expected every"
            " mode that does not decay to be observed. See kf.observability."
        )
    return result


@jax.jit
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
    return SteadyState(P, linalg.symmetric(linalg.quadratic(rest, P) + linalg.quadratic(K, model.R)), S.matrix, K)


@constructor
def constant_gain() -> Filter:
    """The filter with a given gain: m = f(m) and m = m + K (y - h(m)); the cheapest observer there is.

    Its estimate has no covariance and no likelihood; for linear models `kfjax.evaluation.expected_error` gives the
    exact error, mismatch included. In missing channels the innovation is zero, which is not optimal with a fixed gain.

    Returns:
        A `Filter` with params `ConstantGain(model, gain)`.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> xs, ys = kf.simulate(jax.random.key(0), model, steps=20)
        >>> params = kf.ConstantGain(model, kf.steady_state(model).gain)
        >>> kf.run(kf.constant_gain(), params, ys)[1].mean.shape
        (20, 2)
    """

    def init(params: ConstantGain, key: Array | None = None) -> PointState:
        del key
        n, m = params.model.n, params.gain.shape[-1]
        if params.gain.shape != (n, m):
            raise ValueError(f"constant_gain: gain has shape {params.gain.shape}; expected ({n}, m).")
        return PointState(jnp.copy(params.model.prior.mean))

    def predict(params: ConstantGain, state: PointState, u: Any = None) -> PointState:
        return PointState(bind(params.model.f, u)(state.mean).astype(state.mean.dtype))

    def update(
        params: ConstantGain, state: PointState, y: Array, u: Any = None, observed: Any = None
    ) -> tuple[PointState, Info]:
        seen = observe(params.model, state.mean, y, u, observed)
        innovation = seen.innovation(seen.fn(state.mean))
        mean = params.model.state_space.retract(state.mean, linalg.matmul(params.gain, innovation))
        dof = jnp.asarray(y.shape[0] if seen.mask is None else jnp.sum(seen.mask), jnp.int32)
        return keep_unobserved(observed, PointState(mean), state), Info(innovation=innovation, dof=dof)

    def recentre(params: ConstantGain, state: PointState, gaussian: Any) -> PointState:
        del params, state
        return PointState(gaussian.mean)

    return Filter(init, predict, update, recentre)


class Rank(NamedTuple):
    """How much of the state an input or output reaches.

    Attributes:
        rank: number of state directions reached.
        singular_values: [n] of the Gramian matrix, largest first; the gap tells how sharp the rank is.
        missing: an orthonormal basis [n, n - rank] of the directions that are not reached.
    """

    rank: int
    singular_values: np.ndarray
    missing: np.ndarray


def observability(model: StateSpaceModel, x: Array | None = None, u: Any = None) -> Rank:
    """Tell which state directions y can see: the rank of (H, H F, ..., H F^{n-1}).

    Args:
        model: any `StateSpaceModel`; a nonlinear one is linearised.
        x: where to linearise [n]; default the prior mean.
        u: the input there, or None.

    Returns:
        `Rank(rank, singular_values, missing)`; rank = n if the model is observable.

    Raises:
        ValueError: if the state space is curved.

    Example:
        >>> kf.observability(kf.systems.constant_velocity()).rank
        2
    """
    F, H = _jacobians("observability", model, x, u)
    return _rank(np.concatenate([H @ np.linalg.matrix_power(F, k) for k in range(F.shape[0])]))


def controllability(model: StateSpaceModel, x: Array | None = None, u: Any = None) -> Rank:
    """Tell which state directions the process noise drives: the rank of (G, F G, ..., F^{n-1} G), G G' = Q.

    Args:
        model: any `StateSpaceModel`; a nonlinear one is linearised.
        x: where to linearise [n]; default the prior mean.
        u: the input there, or None.

    Returns:
        `Rank(rank, singular_values, missing)`; rank = n if noise reaches every direction.

    Raises:
        ValueError: if the state space is curved.
    """
    F, _ = _jacobians("controllability", model, x, u)
    mean = model.prior.mean if x is None else x
    G = np.asarray(linalg.cholesky(model.process_noise(mean, u)), np.float64)
    return _rank(np.concatenate([np.linalg.matrix_power(F, k) @ G for k in range(F.shape[0])], axis=1).T)


def _jacobians(who: str, model: StateSpaceModel, x: Array | None, u: Any) -> tuple[np.ndarray, np.ndarray]:
    """F and H at a point, in double precision."""
    if model.retract is not None:
        raise ValueError(f"{who}: the model has a curved state space; expected a Euclidean one.")
    at = model.prior.mean if x is None else jnp.asarray(x, model.dtype)
    jacobian = functools.partial(lambda fn: np.asarray(jax.jacfwd(bind(fn, u))(at), np.float64))
    return jacobian(model.f), jacobian(model.h)


def _rank(matrix: np.ndarray) -> Rank:
    """Rank, singular values and null space of a matrix [k, n]."""
    _, values, directions = np.linalg.svd(matrix)
    n = matrix.shape[1]
    values = np.pad(values, (0, max(0, n - values.size)))[:n]
    rank = int((values > n * np.finfo(np.float32).eps * values.max(initial=0.0)).sum())
    return Rank(rank, values, directions[rank:].T)
