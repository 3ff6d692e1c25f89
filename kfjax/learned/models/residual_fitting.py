"""Training of models with a learned part, in two stages.

The first stage is one-step regression on labelled states (`fit_residual`), the second trains
through the filter, noise covariances included (`refine`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from kfjax._support.arguments import check_kind, choose_some
from kfjax._support.compiling import jit
from kfjax._support.types import Key, RunKeys
from kfjax.base import Filter
from kfjax.data import Dataset
from kfjax.learned.models.labels import Pairs, sightings, transitions
from kfjax.learned.models.residuals import Corrected, ResidualParams, learned_weights
from kfjax.models.averages import centre_and_spread
from kfjax.models.state_space import StateSpaceModel
from kfjax.training import Fitted, fit, free_noise, nll, noise_of, through
from kfjax.training.history import through_params

__all__ = ["fit_residual", "refine"]


def fit_residual(
    model: StateSpaceModel, data: Dataset, *, key: Key | None = None
) -> StateSpaceModel:
    """Fit the learned parts of a model by one-step regression on labelled states.

    min_W sum_t |x_t - f(x_{t-1}, u_t) - r(x_{t-1}, u_t)|^2
    min_W sum_t |y_t - h(x_t, u_t) - r(x_t, u_t)|^2

    This is the first stage of training. Inputs and residuals are standardised by their mean and
    spread in these data. A polynomial is fitted in closed form, in double precision; an `MLP` by
    gradient, from its present weights. Missing channels and unknown states are left out. The noise
    covariances are kept: fit them with `fit_labelled(learn=("Q", "R"))`, or through the filter by
    `refine` or `kfjax.training.tune`. If the truth has little noise, the remaining residuals are
    not white, and with a Q of their size, a filter of a chaotic system loses track: tune Q on long
    trajectories instead.

    Args:
        model: a model from `residual_model`.
        data: trajectories with true states.
        key: random key, for an `MLP`.

    Returns:
        The model with the learned parts fitted.

    Raises:
        ValueError: if the model has no learned part, there are no labelled pairs, or an `MLP` is
            given no key.

    Example:
        >>> truth = kf.systems.lorenz(q_std=0.01)
        >>> xs, ys = kf.simulate(jax.random.key(0), truth, steps=500)
        >>> design = kf.systems.lorenz(taylor_order=1)
        >>> model = kf.learned.residual_model(design)
        >>> model = kf.learned.fit_residual(model, kf.Dataset(ys[None], xs[None]))
        >>> error = lambda m, x: jnp.abs(m.f(x, None) - truth.f(x, None))
        >>> mean_error = lambda m: float(jax.vmap(lambda x: error(m, x))(xs).mean())
        >>> mean_error(model) < 0.1 * mean_error(design)
        True
    """
    check_kind("fit_residual: model", model, StateSpaceModel)
    found = {on: getattr(model, on) for on in ("f", "h") if _is_corrected(getattr(model, on))}
    if not found:
        raise ValueError(
            "fit_residual: the model has no learned part; expected one from"
            " kf.learned.residual_model."
        )
    fitted = {}
    for on, fn in found.items():
        pairs = (transitions if on == "f" else sightings)("fit_residual", model, data)
        pairs = jax.tree.map(
            lambda a: jnp.asarray(a, model.dtype) if np.asarray(a).dtype.kind == "f" else a, pairs
        )
        rule = fn.func
        theta = fn.args[0]
        theta = _standardise(rule, model, theta, pairs)
        v, target = _regression(on, rule, model, theta, pairs)
        theta, target = _scale_targets(
            theta, np.asarray(target, np.float64), np.asarray(pairs.seen)
        )
        fitted[on] = Partial(
            rule,
            theta._replace(weights=rule.regressor.fit(key, theta.weights, v, target, pairs.seen)),
        )
    return model.replace(**fitted)


def refine(
    filter: Filter,
    model: StateSpaceModel,
    data: Dataset,
    *,
    key: RunKeys,
    loss: Callable | None = None,
    learn: Sequence[str] = ("Q", "R"),
    **options: Any,
) -> Fitted:
    """Train the learned parts of a model and its noise covariances through a filter.

    This is the second stage, after `fit_residual`.

    Args:
        filter: a filter that takes the model, such as `kfjax.extended()`.
        model: a model from `residual_model`, preferably after `fit_residual`, or from
            `context_noise`.
        data: trajectories, a `Dataset`.
        key: random key of the batches.
        loss: default `kfjax.training.nll(filter)`, the likelihood of the true states;
            `innovation_nll` needs no true states, and under `state_mse` a common factor of Q and R
            changes nothing.
        learn: constant covariances to train with the weights, among "Q", "R" and "P0"; may be
            empty.
        **options: other arguments of `kfjax.training.fit`: updates, validation, optimizer, ...

    Returns:
        `Fitted`, whose params are a model.

    Raises:
        ValueError: as in `kfjax.training.fit` and `kfjax.training.free_noise`.
    """
    check_kind("refine: model", model, StateSpaceModel)
    if not isinstance(learn, (tuple, list, set, frozenset)):
        choose_some("refine: learn", learn, ("Q", "R", "P0"))
    loss = nll(filter) if loss is None else loss
    if not learn:
        return fit(loss, model, data, key=key, learn=learned_weights, **options)
    free = free_noise(model, learn)
    if (chosen := options.pop("validation_loss", None)) is not None:
        options["validation_loss"] = through(chosen, noise_of)
    options["callback"] = through_params(options.get("callback"), noise_of)
    fitted = fit(
        through(loss, noise_of), free, data, key=key, learn=_weights_and_factors, **options
    )
    return fitted._replace(params=noise_of(fitted.params))


def _weights_and_factors(path: str, leaf: object) -> bool:
    return learned_weights(path, leaf) or path.startswith("factors/")


def _is_corrected(fn: object) -> bool:
    return isinstance(fn, Partial) and isinstance(fn.func, Corrected)


def _standardise(
    rule: Corrected, model: StateSpaceModel, theta: ResidualParams, pairs: Pairs
) -> ResidualParams:
    """Return theta with the mean and the spread of the inputs (1 where they do not vary)."""
    of_x, of_u = theta.centre
    largest = jnp.abs(_offsets(rule, theta, pairs)).max(axis=0)
    middle, _ = centre_and_spread(model.state_space, pairs.x, of_x)
    theta = theta._replace(centre=(jnp.asarray(middle, model.dtype), of_u))
    offsets = np.asarray(_offsets(rule, theta, pairs), np.float64)
    mean, spread = (
        jnp.asarray(a, model.dtype) for a in (offsets.mean(axis=0), offsets.std(axis=0))
    )
    spread = jnp.where(spread > 1e-6 * largest, spread, 1)
    centre = (theta.centre[0], of_u + mean[model.n :])
    return theta._replace(centre=centre, spread=spread)


@functools.partial(jit, static_argnums=0)
def _offsets(rule: Corrected, theta: ResidualParams, pairs: Pairs) -> Array:
    return jax.vmap(lambda x, u: rule.offsets(theta, x, u))(pairs.x, pairs.u)


@functools.partial(jit, static_argnums=(0, 1))
def _regression(
    on: str, rule: Corrected, model: StateSpaceModel, theta: ResidualParams, pairs: Pairs
) -> tuple:
    """Return the inputs v and the targets of the learned part."""
    space = model.state_space if on == "f" else model.observation_space
    v = jax.vmap(lambda x, u: rule.standardised(theta, x, u))(pairs.x, pairs.u)
    target = jax.vmap(lambda x, u, y: space.difference(y, theta.base(x, u)))(*pairs[:3])
    return v, target


def _scale_targets(
    theta: ResidualParams, target: np.ndarray, seen: np.ndarray
) -> tuple[ResidualParams, np.ndarray]:
    """Return theta with the mean and spread of the residuals, and the residuals in these units."""
    count = np.maximum(seen.sum(axis=0), 1)
    shift = np.where(seen, target, 0).sum(axis=0) / count
    squares = np.where(seen, (target - shift) ** 2, 0)
    unit = np.sqrt(squares.sum(axis=0) / count)
    unit = np.where(unit > 0, unit, 1)
    dtype = theta.shift.dtype
    theta = theta._replace(shift=jnp.asarray(shift, dtype), unit=jnp.asarray(unit, dtype))
    return theta, (target - shift) / unit
