"""Models with a learned part: f or h plus a function that starts at zero, or a function in its place.

x_t = f(x_{t-1}, u_t) + s + D r(W, v) + e_t,   v = (x_{t-1} - c) / d   (and likewise h)

The result is a `StateSpaceModel`, so that every filter and smoother runs it. Training has two
stages: one-step regression on labelled states (`fit_residual`), then through the filter, noise
covariances included (`refine`).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from kfjax._support.arguments import choose
from kfjax.base import Filter
from kfjax.data import Dataset
from kfjax.learned.models.labels import Pairs, sightings, transitions
from kfjax.learned.models.regressors import MLP, Polynomial
from kfjax.models.state_space import StateSpaceModel
from kfjax.training import Fitted, fit, free_noise, nll, noise_of, through

__all__ = ["ResidualParams", "fit_residual", "learned_weights", "refine", "residual_model"]

CUBIC = Polynomial(3)


class ResidualParams(NamedTuple):
    """The numbers of a learned part; training moves the weights.

    Attributes:
        base: the function of (x, u) that is corrected.
        difference: `(x, c) -> d`, how states are subtracted.
        retract: `(base, r) -> value`, how the correction is added.
        centre: what inputs are measured from, (x [N], u [p]).
        spread: and in which units, [n + p].
        shift: s, in units of the output [k].
        unit: D, likewise.
        weights: of the regressor.
    """

    base: Any
    difference: Any
    retract: Any
    centre: tuple[Any, Any]
    spread: Any
    shift: Any
    unit: Any
    weights: Any


@dataclasses.dataclass(frozen=True)
class _Corrected:
    """(theta, x, u) -> base + s + D r(W, v); a value, so that models built alike share one compilation."""

    regressor: Any
    inputs: int

    def __call__(self, theta: ResidualParams, x: Array, u: Any) -> Array:
        base = theta.base(x, u)
        r = theta.shift + theta.unit * self.regressor(theta.weights, self.standardised(theta, x, u))
        return theta.retract(base, r)

    def standardised(self, theta: ResidualParams, x: Array, u: Any) -> Array:
        """Return v."""
        return self.offsets(theta, x, u) / theta.spread

    def offsets(self, theta: ResidualParams, x: Array, u: Any) -> Array:
        """Return what v is before it is scaled."""
        of_x, of_u = theta.centre
        d = theta.difference(x, of_x)
        return jnp.concatenate([d, jnp.asarray(u, d.dtype) - of_u]) if self.inputs else d


def residual_model(
    model: StateSpaceModel,
    on: str = "f",
    regressor: Polynomial | MLP = CUBIC,
    *,
    inputs: int = 0,
    full: bool = False,
    key: Array | None = None,
) -> StateSpaceModel:
    """Return the model with a learned part added to f or h, which starts at zero.

    Use it twice for both. On curved spaces the correction moves f(x) along a tangent vector.

    Args:
        model: the design model.
        on: "f" or "h".
        regressor: `Polynomial(degree)`, `MLP(sizes)`, or a value with their methods.
        inputs: how many entries of u [p] the learned part sees beside x; 0 for none.
        full: the learned part takes the place of the function, instead of being added to it.
        key: random key, for an `MLP`.

    Returns:
        A `StateSpaceModel` whose f (or h) is `Partial(fn, ResidualParams)`. Train its weights with
        `fit_residual`, `refine`, or `kfjax.training.fit(...,
        trainable=kf.learned.learned_weights)`.

    Raises:
        ValueError: if `on` is neither, or an `MLP` got no key.

    Example:
        >>> model = kf.learned.residual_model(kf.systems.lorenz(), "f", kf.learned.Polynomial(3))
        >>> sum(leaf.size for leaf in jax.tree.leaves(model.f.args[0].weights))
        60
    """
    choose("residual_model: on", on, ("f", "h"))
    if not isinstance(inputs, int) or inputs < 0:
        raise ValueError(
            f"residual_model: inputs is {inputs!r}; expected an integer of at least 0, the size of"
            " u."
        )
    start, dtype = model.prior.mean, model.dtype
    outputs = model.n if on == "f" else _observed_size(model)
    base = getattr(model, on)
    space = model.state_space if on == "f" else model.observation_space
    if full:
        base = Partial(_constant, start if on == "f" else jnp.zeros(outputs, dtype))
    theta = ResidualParams(
        base,
        model.state_space.difference,
        space.retract,
        (start, jnp.zeros(inputs, dtype)),
        jnp.ones(model.n + inputs, dtype),
        jnp.zeros(outputs, dtype),
        jnp.ones(outputs, dtype),
        regressor.init(key, model.n + inputs, outputs, dtype),
    )
    return model.replace(**{on: Partial(_Corrected(regressor, inputs), theta)})


def fit_residual(
    model: StateSpaceModel, data: Dataset, *, key: Array | None = None
) -> StateSpaceModel:
    """Fit the learned parts of a model by one-step regression on labelled states: the first stage.

    min_W sum_t |x_t - f(x_{t-1}, u_t) - r(x_{t-1}, u_t)|^2,   min_W sum_t |y_t - h(x_t, u_t) -
    r(x_t, u_t)|^2

    Inputs and residuals are standardised by their mean and spread in these data. A polynomial is
    fitted in closed form, in double precision; an `MLP` by gradient, from its present weights.
    Missing channels and unknown states are left out. The noise covariances stay: fit them with
    `fit_labelled(which=("Q", "R"))`, or through the filter by `refine` or `kfjax.training.tune`.
    Where the truth has little noise of its own, what remains of the residuals is not white, and a Q
    as small as they are makes a filter of a chaotic system lose its way: tune Q on long
    trajectories there.

    Args:
        model: of `residual_model`.
        data: trajectories with true states.
        key: random key, for an `MLP`.

    Returns:
        The model with the learned parts fitted.

    Raises:
        ValueError: if the model has no learned part, there are no labelled pairs, or an `MLP` got
            no key.

    Example:
        >>> truth = kf.systems.lorenz(q_std=0.01)
        >>> xs, ys = kf.simulate(jax.random.key(0), truth, steps=500)
        >>> design = kf.systems.lorenz(taylor_order=1)
        >>> model = kf.learned.fit_residual(kf.learned.residual_model(design), kf.Dataset(ys[None], xs[None]))
        >>> error = lambda m: float(jnp.abs(jax.vmap(lambda x: m.f(x, None) - truth.f(x, None))(xs)).mean())
        >>> error(model) < 0.1 * error(design)
        True
    """
    found = {on: getattr(model, on) for on in ("f", "h") if _is_corrected(getattr(model, on))}
    if not found:
        raise ValueError(
            "fit_residual: the model has no learned part; expected one of"
            " kf.learned.residual_model."
        )
    fitted = {}
    for on, fn in found.items():
        pairs = (transitions if on == "f" else sightings)("fit_residual", data)
        pairs = jax.tree.map(
            lambda a: jnp.asarray(a, model.dtype) if np.asarray(a).dtype.kind == "f" else a, pairs
        )
        rule, theta = fn.func, fn.args[0]
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
    data: Any,
    *,
    key: Array,
    loss: Callable | None = None,
    noise: Sequence[str] = ("Q", "R"),
    **options: Any,
) -> Fitted:
    """Train the learned parts of a model, and its noise covariances, through a filter: the second stage.

    Args:
        filter: a filter that takes the model, such as `kfjax.extended()`.
        model: of `residual_model`, best after `fit_residual`; or with `context_noise`.
        data: trajectories, a `Dataset`.
        key: one random key, of the batches.
        loss: default `kfjax.training.nll(filter)`, the likelihood of the true states;
            `innovation_nll` needs none, and under `mse` a common factor of Q and R changes nothing.
        noise: constant covariances to train beside the weights, among "Q", "R" and "P0"; may be
            empty.
        **options: other arguments of `kfjax.training.fit`: steps, validation, optimizer, ...

    Returns:
        `Fitted`, whose params are a model.

    Raises:
        ValueError: as `kfjax.training.fit` and `kfjax.training.free_noise`.
    """
    loss = nll(filter) if loss is None else loss
    if not noise:
        return fit(loss, model, data, key=key, trainable=learned_weights, **options)
    free = free_noise(model, noise)
    if (chosen := options.pop("validation_loss", None)) is not None:
        options["validation_loss"] = through(chosen, noise_of)
    fitted = fit(
        through(loss, noise_of), free, data, key=key, trainable=_weights_and_factors, **options
    )
    return fitted._replace(params=noise_of(fitted.params))


def learned_weights(path: str, leaf: Any) -> bool:
    """Tell whether a leaf of params belongs to the weights of a learned part: for `trainable=` of `fit`.

    Args:
        path: such as "f/0/0/weights/params/last/bias".
        leaf: the array.
    """
    del leaf
    return "weights" in path.split("/")


def _weights_and_factors(path: str, leaf: Any) -> bool:
    return learned_weights(path, leaf) or path.startswith("factors/")


def _is_corrected(fn: Any) -> bool:
    return isinstance(fn, Partial) and isinstance(fn.func, _Corrected)


def _constant(value: Array, x: Array, u: Any) -> Array:
    del x, u
    return value


def _observed_size(model: StateSpaceModel) -> int:
    """The number of channels, which a callable R does not tell."""
    if callable(model.R):
        raise ValueError(
            "residual_model: R is a function; expected a matrix while h is extended. Put it in"
            " afterwards."
        )
    return model.R.shape[-1]


def _standardise(
    rule: _Corrected, model: StateSpaceModel, theta: ResidualParams, pairs: Pairs
) -> ResidualParams:
    """Return theta with inputs measured from their mean, in units of their spread (1 where they do not vary)."""
    offsets = np.asarray(_offsets(rule, theta, pairs), np.float64)
    mean, spread = (
        jnp.asarray(a, model.dtype) for a in (offsets.mean(axis=0), offsets.std(axis=0))
    )
    spread = jnp.where(spread > 1e-6 * np.abs(offsets).max(), spread, 1)
    of_x, of_u = theta.centre
    centre = (model.state_space.retract(of_x, mean[: model.n]), of_u + mean[model.n :])
    return theta._replace(centre=centre, spread=spread)


@functools.partial(jax.jit, static_argnums=0)
def _offsets(rule: _Corrected, theta: ResidualParams, pairs: Pairs) -> Array:
    return jax.vmap(lambda x, u: rule.offsets(theta, x, u))(pairs.x, pairs.u)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _regression(
    on: str, rule: _Corrected, model: StateSpaceModel, theta: ResidualParams, pairs: Pairs
) -> tuple:
    """Return the inputs v of the learned part, and what it should give."""
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
    unit = np.sqrt(np.where(seen, (target - shift) ** 2, 0).sum(axis=0) / count)
    unit = np.where(unit > 0, unit, 1)
    dtype = theta.shift.dtype
    theta = theta._replace(shift=jnp.asarray(shift, dtype), unit=jnp.asarray(unit, dtype))
    return theta, (target - shift) / unit
