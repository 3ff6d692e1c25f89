"""What training makes small: `loss(params, batch, key) -> scalar` over a batch of trajectories, as values.

Losses built alike are equal, so that a second `fit` with the same loss compiles nothing again.
Every loss is averaged over the steps of a trajectory first, then over the trajectories, so that
short ones weigh as much as long ones.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax import linalg
from kfjax.base import (
    Estimate,
    Filter,
    Info,
    estimate,
    innovation_only,
    log_likelihood_only,
    mean_only,
)
from kfjax.data import Dataset
from kfjax.filters.checks import check_filter
from kfjax.models.lens import model_of
from kfjax.training.rollout import FULL, Rollout, roll, start_state

__all__ = ["FilterLoss", "innovation_nll", "mse", "nll", "prediction_error", "state_errors"]


def mse(filter: Filter, *, scale: Any = None, rollout: Rollout = FULL) -> FilterLoss:
    """Return the supervised loss, the mean squared error of the estimates; raw, or whitened by a scale.

    L = 1/B sum_i 1/(n T_i) sum_t |e_t|^2,   e_t = x_t - E[x_t | y_1..t],   or e_t' W^-1 e_t with a
    scale

    Args:
        filter: the `Filter`.
        scale: what errors are measured in: standard deviations [n], or a covariance W [n, n]; fixed
            numbers. A component with small values otherwise counts for nothing.
        rollout: how the filter is run, see `Rollout`.

    Returns:
        A `FilterLoss`. Components of the state that are not known (NaN) do not count. Differences
        on curved spaces are those of the model.

    Raises:
        ValueError: if the scale is not one or two axes of positive numbers, or a covariance is not
            definite.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> xs, ys = jax.vmap(lambda key: kf.simulate(key, model, 50))(jax.random.split(jax.random.key(0), 40))
        >>> loss = kf.training.mse(kf.kalman())
        >>> value = loss(model, kf.Dataset(ys, xs), jax.random.key(1))
        >>> value.shape, loss == kf.training.mse(kf.kalman())
        ((), True)

    References:
        G. Revach et al., KalmanNet, IEEE Trans. Signal Process. 70 (2022), eq. (12)-(13); there
        without 1/n.
    """
    return FilterLoss(filter, SquaredError(_static_scale(scale)), mean_only, rollout)


def nll(filter: Filter, *, floor: float = 0.0, rollout: Rollout = FULL) -> FilterLoss:
    """Return the Gaussian negative log-likelihood of the true states under the estimates: it trains covariances too.

    L = 1/B sum_i 1/T_i sum_t 1/2 (e_t' P_t^-1 e_t + log det P_t + n log 2 pi)

    Begin with `mse` and go on with this (`fit_stages`): far from the truth its gradient explodes
    where P is small.

    Args:
        filter: a `Filter` with a covariance.
        floor: is added to every variance, in squared units of the state. Without one, a state that
            is known exactly (P singular) is left out with its direction.
        rollout: how the filter is run, see `Rollout`.

    Returns:
        A `FilterLoss`. Where components of the state are not known, the likelihood is that of the
        others.

    Raises:
        ValueError: if floor is negative.
    """
    if not floor >= 0:
        raise ValueError(f"nll: floor is {floor}; expected a variance of 0 or more.")
    return FilterLoss(filter, StateLikelihood(float(floor)), estimate, rollout)


def innovation_nll(filter: Filter, *, rollout: Rollout = FULL) -> FilterLoss:
    """Return minus the log-likelihood per observation; it needs no true states.

    L = -1/B sum_i 1/T_i sum_t log p(y_t | y_1..t-1), where T_i counts the steps with any observed
    channel

    Args:
        filter: a `Filter` with a likelihood.
        rollout: how the filter is run, see `Rollout`.

    Returns:
        A `FilterLoss`.
    """
    return FilterLoss(filter, _minus_log_likelihood, log_likelihood_only, rollout)


def prediction_error(filter: Filter, *, rollout: Rollout = FULL) -> FilterLoss:
    """Return the mean squared error of predicting y one step ahead; it needs no true states and no covariance.

    L = 1/B sum_i 1/(number of observed entries) sum_t |y_t - E[y_t | y_1..t-1]|^2

    Args:
        filter: a `Filter` that reports its innovation.
        rollout: how the filter is run, see `Rollout`.

    Returns:
        A `FilterLoss`.
    """
    return FilterLoss(filter, _squared_innovation, innovation_only, rollout)


@dataclasses.dataclass(frozen=True)
class FilterLoss:
    """A filter over every trajectory of a batch, and the mean of a term over the steps; made by `mse` and the others.

    Attributes:
        filter: the `Filter`.
        term: `(params, trajectory, outputs) -> (values, counts)`, arrays [T] or [T, n] of one
            trajectory; hashable.
        emit: what the term needs of every step, as in `kfjax.run`.
        rollout: how the filter is run.
    """

    filter: Filter
    term: Callable[[Any, Dataset, Any], tuple[Array, Array]]
    emit: Callable[[Any, Info], Any]
    rollout: Rollout = FULL

    def __post_init__(self) -> None:
        check_filter("losses", self.filter)

    @property
    def is_squared_error(self) -> bool:
        """Whether the loss is a mean squared error in units of the data, and so has decibels."""
        return self.term in (SquaredError(), _squared_innovation)

    def __call__(self, params: Any, batch: Dataset, key: Array) -> Array:
        """Return the loss of a batch."""
        return self.continued(params, batch, key, None)[0]

    def start(self, params: Any, batch: Dataset, key: Array) -> Any:
        """Return the beliefs about x_0 of every trajectory, to go on from."""
        keys = jax.random.split(key, batch.ys.shape[0])
        return jax.vmap(lambda one, k: start_state(self.filter, params, one, k))(batch, keys)

    def continued(self, params: Any, batch: Dataset, key: Array, states: Any) -> tuple[Array, Any]:
        """Return the loss of windows that go on from states (None: from x_0), and the states at their ends."""
        keys = jax.random.split(key, batch.ys.shape[0])

        def one(trajectory: Dataset, key: Array, state: Any) -> tuple[Any, Array, Array]:
            final, outputs = roll(
                self.filter, params, trajectory, self.rollout, key=key, state=state, emit=self.emit
            )
            values, counts = self.term(params, trajectory, outputs)
            within = self.rollout.counts(trajectory)
            counts = counts * within.reshape(-1, *(1,) * (counts.ndim - 1))
            return final, jnp.sum(jnp.where(counts > 0, values, 0)), counts.sum()

        finals, totals, counts = jax.vmap(one)(batch, keys, states)
        means = totals / jnp.maximum(counts, 1)  # a window after the end of a trajectory has none
        return means.sum() / jnp.maximum(jnp.sum(counts > 0), 1), finals


@dataclasses.dataclass(frozen=True)
class SquaredError:
    """|e|^2 per known component, whitened by standard deviations (a tuple) or a covariance (a tuple of rows)."""

    scale: tuple | None = None

    def __call__(self, params: Any, trajectory: Dataset, mean: Array) -> tuple[Array, Array]:
        """Return squared errors and counts, [T, n]; with a covariance, of every step."""
        error, known = state_errors(params, trajectory, mean)
        scale = None if self.scale is None else jnp.asarray(self.scale, error.dtype)
        if scale is None or scale.ndim == 1:
            return (error if scale is None else error / scale[None, :]) ** 2, known
        distance = jax.vmap(lambda e, k: _normalised(e, k, scale)[0])(error, known)
        return distance, known.sum(-1)


@dataclasses.dataclass(frozen=True)
class StateLikelihood:
    """Minus the log-likelihood of the known components of the state."""

    floor: float = 0.0

    def __call__(self, params: Any, trajectory: Dataset, outputs: Estimate) -> tuple[Array, Array]:
        """Return it for every step, [T]."""
        if outputs.cov is None:
            raise ValueError("nll: the filter gives no covariance; expected one. Use mse.")
        error, known = state_errors(params, trajectory, outputs.mean)
        cov = outputs.cov + (self.floor * jnp.eye(error.shape[-1], dtype=error.dtype))[None]
        distance, logdet = jax.vmap(_normalised)(error, known, cov)
        count = known.sum(-1)
        return 0.5 * (distance + logdet + count * np.log(2 * np.pi).astype(error.dtype)), count > 0


def state_errors(params: Any, trajectory: Dataset, mean: Array) -> tuple[Array, Array]:
    """Return the errors of one trajectory's estimates [T, n], and which components are known (0 where not).

    Args:
        params: a `StateSpaceModel`, or params that hold one, which says how states are subtracted;
            else x - m.
        trajectory: with true states.
        mean: [T, n].

    Raises:
        ValueError: if there are no true states.
    """
    if trajectory.xs is None:
        raise ValueError(
            "losses: the data have no true states; expected some. Use innovation_nll or"
            " prediction_error."
        )
    model = model_of(params)
    difference = jnp.subtract if model is None else jax.vmap(model.state_space.difference)
    known = ~jnp.isnan(difference(trajectory.xs, trajectory.xs))
    # filled first, masked after: the gradient of a masked NaN is NaN
    error = difference(jnp.where(jnp.isnan(trajectory.xs), mean, trajectory.xs), mean)
    return jnp.where(known, error, 0), known


def _normalised(error: Array, known: Array, P: Array) -> tuple[Array, Array]:
    """e' P^-1 e and log det P of the known components."""
    P = jnp.where(known[:, None] & known[None, :], P, jnp.diag((~known).astype(P.dtype)))
    S = linalg.factorise(P)
    return jnp.sum(error * S.solve(error)), S.logdet()


def _minus_log_likelihood(
    params: Any, trajectory: Dataset, log_likelihood: Array | None
) -> tuple[Array, Array]:
    del params
    if log_likelihood is None:
        raise ValueError(
            "innovation_nll: the filter gives no log-likelihood; expected one. Use"
            " prediction_error."
        )
    return -log_likelihood, _seen(trajectory).any(-1)


def _squared_innovation(
    params: Any, trajectory: Dataset, innovation: Array | None
) -> tuple[Array, Array]:
    del params
    if innovation is None:
        raise ValueError(
            "prediction_error: the filter gives no innovation; expected one. Use innovation_nll."
        )
    return innovation**2, _seen(trajectory)


def _seen(trajectory: Dataset) -> Array:
    """Which entries of y were observed, [T, m]."""
    observed = trajectory.observed
    return jnp.ones(trajectory.ys.shape, bool) if observed is None else jnp.asarray(observed, bool)


def _static_scale(scale: Any) -> tuple | None:
    """A scale as nested tuples, which can be compared and hashed."""
    if scale is None:
        return None
    array = np.asarray(scale, np.float64)
    covariance = (
        array.ndim == 2 and array.shape[0] == array.shape[1] and np.allclose(array, array.T)
    )
    if not (array.ndim == 1 or covariance) or not np.isfinite(array).all():
        raise ValueError(
            f"mse: scale has shape {array.shape}; expected standard deviations [n] or a covariance"
            " [n, n], finite."
        )
    if (array.min() if array.ndim == 1 else np.linalg.eigvalsh(array).min()) <= 0:
        raise ValueError(
            "mse: the scale is zero or negative somewhere; expected positive (definite) numbers."
        )
    return tuple(map(tuple, array.tolist())) if covariance else tuple(array.tolist())
