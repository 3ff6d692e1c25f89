"""Loss functions: values `loss(params, batch, key) -> scalar` over a batch of trajectories."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax

from kfjax._support.arguments import check_number
from kfjax._support.naming import described
from kfjax.base import (
    Filter,
    Params,
    estimate,
    innovation_only,
    log_likelihood_only,
    mean_only,
)
from kfjax.data import Dataset, run_trajectory
from kfjax.training.mean_losses import FilterLoss, SmootherLoss
from kfjax.training.rollout import FULL, Rollout
from kfjax.training.terms import (
    SquaredError,
    StateLikelihood,
    minus_log_likelihood,
    squared_innovation,
    static_scale,
)

__all__ = ["innovation_nll", "nll", "prediction_error", "smoothed_mse", "state_mse"]


def state_mse(filter: Filter, *, scale: Any = None, rollout: Rollout = FULL) -> FilterLoss:
    """Return the mean squared error of the estimates, raw or whitened by a scale.

    L = 1/B sum_i 1/(n T_i) sum_t |e_t|^2,   e_t = x_t - E[x_t | y_1..t],   or e_t' W^-1 e_t with a
    scale

    Args:
        filter: the `Filter`.
        scale: the units of errors: standard deviations [n], or a covariance W [n, n]; fixed
            numbers. Without a scale, a component with small values hardly counts.
        rollout: how the filter is run, see `Rollout`.

    Returns:
        A `FilterLoss`. Unknown components of the state (NaN) do not count. States are subtracted in
        the state space of the model.

    Raises:
        ValueError: if the scale does not have one or two axes of positive numbers, or a covariance
            is not definite.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> keys = jax.random.split(jax.random.key(0), 40)
        >>> xs, ys = jax.vmap(lambda key: kf.simulate(key, model, 50))(keys)
        >>> loss = kf.training.state_mse(kf.kalman())
        >>> value = loss(model, kf.Dataset(ys, xs), jax.random.key(1))
        >>> value.shape, loss == kf.training.state_mse(kf.kalman())
        ((), True)

    References:
        G. Revach et al., KalmanNet, IEEE Trans. Signal Process. 70 (2022), eq. (12)-(13); there
        without 1/n.
    """
    return FilterLoss(filter, SquaredError(static_scale(scale)), mean_only, rollout)


def nll(filter: Filter, *, floor: float = 0.0, rollout: Rollout = FULL) -> FilterLoss:
    """Return the Gaussian negative log-likelihood of the true states under the estimates.

    L = 1/B sum_i 1/T_i sum_t 1/2 (e_t' P_t^-1 e_t + log det P_t + n log 2 pi)

    Begin with `state_mse` and continue with this loss (`fit_stages`): far from the truth, its
    gradient explodes where P is small.

    Args:
        filter: a `Filter` with a covariance.
        floor: a number added to every variance, in squared units of the state. Without it,
            directions that are known exactly (P singular) are left out.
        rollout: how the filter is run, see `Rollout`.

    Returns:
        A `FilterLoss`. If components of the state are unknown, the likelihood is that of the
        others.

    Raises:
        ValueError: if floor is negative.
    """
    check_number("nll: floor", floor, least=0)
    return FilterLoss(filter, StateLikelihood(float(floor)), estimate, rollout)


def innovation_nll(filter: Filter, *, rollout: Rollout = FULL) -> FilterLoss:
    """Return the negative log-likelihood per observation, which needs no true states.

    L = -1/B sum_i 1/T_i sum_t log p(y_t | y_1..t-1), where T_i counts the steps with any observed
    channel, whether or not the filter then used it

    Args:
        filter: a `Filter` with a likelihood.
        rollout: how the filter is run, see `Rollout`.

    Returns:
        A `FilterLoss`.
    """
    return FilterLoss(filter, minus_log_likelihood, log_likelihood_only, rollout)


def prediction_error(filter: Filter, *, rollout: Rollout = FULL) -> FilterLoss:
    """Return the mean squared error of predicting y one step ahead.

    L = 1/B sum_i 1/(number of observed entries) sum_t |y_t - E[y_t | y_1..t-1]|^2

    Args:
        filter: a `Filter` that reports its innovation.
        rollout: how the filter is run, see `Rollout`.

    Returns:
        A `FilterLoss`.
    """
    return FilterLoss(filter, squared_innovation, innovation_only, rollout)


def smoothed_mse(smoother: Callable[..., Any], *, scale: Any = None) -> SmootherLoss:
    """Return the mean squared error of smoothed states, raw or whitened by a scale.

    L = 1/B sum_i 1/(n T_i) sum_t |e_t|^2,   e_t = x_t - E[x_t | y_1..T],   or e_t' W^-1 e_t with a
    scale

    Args:
        smoother: what smooths one record, `(params, ys, *, us, observed, length) -> result` with
            `result.mean` [T, n]; hashable, such as `kfjax.learned.rts_net(...)` or a function of
            yours.
        scale: the units of errors, as in `state_mse`.

    Returns:
        A `SmootherLoss`. Unknown components of the state (NaN) do not count.

    Raises:
        ValueError: as in `state_mse`.

    Example:
        >>> def smoother(model, ys, *, us, observed, length):
        ...     filtered = kf.run(
        ...         kf.kalman(), model, ys, us=us, observed=observed, length=length
        ...     ).outputs
        ...     return kf.smooth(kf.kalman(), model, filtered, us=us, length=length)
        >>> model = kf.systems.constant_velocity()
        >>> keys = jax.random.split(jax.random.key(0), 40)
        >>> xs, ys = jax.vmap(lambda key: kf.simulate(key, model, 50))(keys)
        >>> data = kf.Dataset(ys, xs)
        >>> smoothed = kf.training.smoothed_mse(smoother)(
        ...     model, data, jax.random.key(1)
        ... )
        >>> filtered = kf.training.state_mse(kf.kalman())(
        ...     model, data, jax.random.key(1)
        ... )
        >>> bool(smoothed < filtered)
        True
    """
    if not callable(smoother):
        raise ValueError(
            f"smoothed_mse: smoother is {described(smoother)}; expected a learned smoother, such as"
            " kf.learned.rts_net(...), or a function (params, ys, *, us, observed, length)."
        )
    return SmootherLoss(smoother, SquaredError(static_scale(scale)))


def unlabelled_loss(filter: Filter, params: Params, data: Dataset) -> FilterLoss:
    """Return `innovation_nll`, or `prediction_error` for a filter without a likelihood.

    Args:
        filter: a `Filter` that reports its innovation.
        params: its parameters.
        data: trajectories, of which only the shapes matter.
    """
    one = jax.tree.map(lambda a: a[0], data)
    run = functools.partial(run_trajectory, filter, emit=log_likelihood_only)
    likelihood = jax.eval_shape(run, params, one).outputs
    return prediction_error(filter) if likelihood is None else innovation_nll(filter)
