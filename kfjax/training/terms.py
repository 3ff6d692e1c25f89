"""Terms of losses: `(params, trajectory, outputs) -> (values, counts)` of one trajectory."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax import linalg
from kfjax._support.arguments import real_numbers
from kfjax._support.precision import eps_of
from kfjax._support.types import Numbers
from kfjax.base import Estimate, Params
from kfjax.data import Dataset
from kfjax.models.lens import model_of

__all__: list[str] = []


@dataclasses.dataclass(frozen=True)
class SquaredError:
    """|e|^2 per known component, whitened by standard deviations or a covariance (tuples)."""

    scale: tuple | None = None

    def __call__(self, params: Params, trajectory: Dataset, mean: Array) -> tuple[Array, Array]:
        """Return squared errors and counts, [T, n]; with a covariance, of every step."""
        error, known = state_errors(params, trajectory, mean)
        scale = None if self.scale is None else jnp.asarray(self.scale, error.dtype)
        if scale is not None and scale.shape[0] != error.shape[-1]:
            raise ValueError(
                f"state_mse: scale has {scale.shape[0]} components; expected {error.shape[-1]}, as"
                " the difference of two states has."
            )
        if scale is None or scale.ndim == 1:
            return (error if scale is None else error / scale[None, :]) ** 2, known
        distance = jax.vmap(lambda e, k: _normalised(e, k, scale)[0])(error, known)
        return distance, known.sum(-1)


@dataclasses.dataclass(frozen=True)
class StateLikelihood:
    """The negative log-likelihood of the known components of the state."""

    floor: float = 0.0

    def __call__(
        self, params: Params, trajectory: Dataset, outputs: Estimate
    ) -> tuple[Array, Array]:
        """Return the values and counts of every step, [T]."""
        if outputs.cov is None:
            raise ValueError("nll: the filter gives no covariance; expected one. Use state_mse.")
        error, known = state_errors(params, trajectory, outputs.mean)
        identity = jnp.eye(error.shape[-1], dtype=error.dtype)
        cov = outputs.cov + (self.floor * identity)[None]
        distance, logdet = jax.vmap(_normalised)(error, known, cov)
        count = known.sum(-1)
        log_2pi = np.log(2 * np.pi).astype(error.dtype)
        return 0.5 * (distance + logdet + count * log_2pi), count > 0


def minus_log_likelihood(
    params: Params, trajectory: Dataset, log_likelihood: Array | None
) -> tuple[Array, Array]:
    del params
    if log_likelihood is None:
        raise ValueError(
            "innovation_nll: the filter gives no log-likelihood; expected one. Use"
            " prediction_error, or state_mse (in tune, objective='mse')."
        )
    return -log_likelihood, _seen(trajectory).any(-1)


def squared_innovation(
    params: Params, trajectory: Dataset, innovation: Array | None
) -> tuple[Array, Array]:
    del params
    if innovation is None:
        raise ValueError(
            "prediction_error: the filter gives no innovation; expected one. Use innovation_nll."
        )
    return innovation**2, _seen(trajectory)


def state_errors(params: Params, trajectory: Dataset, mean: Array) -> tuple[Array, Array]:
    """Return the errors of a trajectory's estimates [T, n], and which components are known.

    Args:
        params: a `StateSpaceModel`, or params that hold one, which says how states are subtracted;
            without a model, x - m.
        trajectory: with true states.
        mean: [T, n].

    Raises:
        ValueError: if there are no true states.
    """
    if trajectory.xs is None:
        raise ValueError(
            "losses: the data have no true states; expected xs. Use innovation_nll or"
            " prediction_error."
        )
    model = model_of(params)
    if jnp.shape(trajectory.xs) != mean.shape:
        raise ValueError(
            f"losses: xs has shape {jnp.shape(trajectory.xs)} and the estimates {mean.shape};"
            " expected [T, n] for both. Mark unknown components as NaN in xs."
        )
    difference = jnp.subtract if model is None else jax.vmap(model.state_space.difference)
    known = ~jnp.isnan(difference(trajectory.xs, trajectory.xs))
    # fill first, mask after: the gradient of a masked NaN is NaN
    error = difference(jnp.where(jnp.isnan(trajectory.xs), mean, trajectory.xs), mean)
    return jnp.where(known, error, 0), known


def _normalised(error: Array, known: Array, P: Array) -> tuple[Array, Array]:
    """Return e' P^-1 e and log det P of the known components."""
    both = known[:, None] & known[None, :]
    P = jnp.where(both, P, jnp.diag((~known).astype(P.dtype)))
    S = linalg.factorise(P)
    distance = jnp.sum(error * S.solve(error))
    return jnp.where(_is_semidefinite(P, S.lower), distance, jnp.inf), S.logdet()


def _is_semidefinite(P: Array, L: Array) -> Array:
    """Return whether L L' is P: the factor leaves out pivots of zero and negative pivots."""
    P, L = jax.lax.stop_gradient((P, L))
    std = jnp.sqrt(jnp.maximum(jnp.diag(P), 0))
    rounding = eps_of(P) ** 0.5 * std[:, None] * std[None, :]
    error = jnp.abs(linalg.matmul(L, L.T) - P)
    return (error <= rounding).all()


def _seen(trajectory: Dataset) -> Array:
    """Return which entries of y were observed, [T, m]."""
    observed = trajectory.observed
    return jnp.ones(trajectory.ys.shape, bool) if observed is None else jnp.asarray(observed, bool)


def static_scale(scale: Numbers) -> tuple | None:
    """Return a scale as nested tuples, which can be compared and hashed."""
    if scale is None:
        return None
    array = real_numbers("state_mse: scale", scale).astype(np.float64)
    square = array.ndim == 2 and array.shape[0] == array.shape[1]
    covariance = square and np.allclose(array, array.T)
    if not (array.ndim == 1 or covariance) or not np.isfinite(array).all():
        raise ValueError(
            f"state_mse: scale has shape {array.shape}; expected finite standard deviations [n] or"
            " a finite covariance [n, n]."
        )
    sizes = array if array.ndim == 1 else np.linalg.eigvalsh(array)
    if sizes.min() <= 0:
        raise ValueError(
            "state_mse: the scale is zero or negative somewhere; expected positive (definite)"
            " numbers."
        )
    return tuple(map(tuple, array.tolist())) if covariance else tuple(array.tolist())
