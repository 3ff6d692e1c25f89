"""What a gain network sees: the four differences of the KalmanNet paper, and how they are scaled.

    F1  observation difference        y_t - y_{t-1}
    F2  innovation                    y_t - h(x_{t|t-1})
    F3  forward evolution difference  x_{t-1|t-1} - x_{t-2|t-2}
    F4  forward update difference     x_{t-1|t-1} - x_{t-1|t-2}

F1 and F2 are formed with the model's `difference`, F3 and F4 with its `state_difference`. Where y has gaps, a missing
channel counts as its prediction: F2 is 0 there, and F1 is the change from the last value to the predicted one. After a
row without data F4 is 0 and F3 is the predicted change. Before the first step x and y stand still:
x_{-1|-1} = x_{0|-1} = x_{0|0} and y_0 = h(x_{0|0}), so that F3 and F4 are 0 at t = 1. (If h needs an input there is no
y_0: F1 equals F2 at t = 1.)
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from kfjax import linalg
from kfjax.models import StateSpaceModel
from kfjax.naming import suggest

__all__ = ["FEATURES", "NORMALISED", "Asinh", "FeatureMap", "Normalised", "Past", "Raw", "Whitened"]

FEATURES = ("F1", "F2", "F3", "F4")


class Past(NamedTuple):
    """What the features remember.

    Attributes:
        y: the latest observation [m], with its prediction in channels that were not (or not yet) observed; NaN before
            the first step of a model whose h needs an input.
        y_before: y_{t-1} [m].
        filtered: the latest x_{t-1|t-1} that a prediction started from, [N].
        predicted: the latest prediction x_{t|t-1}, [N].
        evolution: F3 [n].
        correction: F4 [n].
    """

    y: Array
    y_before: Array
    filtered: Array
    predicted: Array
    evolution: Array
    correction: Array


def first_past(model: StateSpaceModel, m: int) -> Past:
    """Return the past of a filter that starts at the prior; every array is its own, so that it can be donated."""
    x, zero = model.prior.mean, jnp.zeros(model.n, model.dtype)
    try:
        y = jnp.asarray(model.h(x, None), model.dtype)
    except (TypeError, AttributeError, KeyError, IndexError, ValueError):  # h needs an input, and there is none yet
        y = jnp.full(m, jnp.nan, model.dtype)
    return Past(*map(jnp.copy, (y, y, x, x, zero, zero)))


def next_past(model: StateSpaceModel, past: Past, filtered: Array, predicted: Array, u: Any) -> Past:
    """Return the past after a prediction from `filtered` to `predicted`; y is predicted until it is observed."""
    difference = model.state_space.difference
    y = model.h(predicted, u).astype(model.dtype)
    y_before = jnp.where(jnp.isnan(past.y), y, past.y)
    evolution, correction = difference(filtered, past.filtered), difference(filtered, past.predicted)
    return Past(y, y_before, filtered, predicted, evolution, correction)


def differences(names: tuple[str, ...], model: StateSpaceModel, past: Past, innovation: Array) -> dict[str, Array]:
    """Return the features by name, unscaled."""
    values = {
        "F1": model.observation_space.difference(past.y, past.y_before),
        "F2": innovation,
        "F3": past.evolution,
        "F4": past.correction,
    }
    return {name: values[name] for name in names}


def sizes(names: Iterable[str], n: int, m: int) -> dict[str, int]:
    """Return the length of each feature."""
    return {name: {"F1": m, "F2": m, "F3": n, "F4": n}[name] for name in names}


def check_features(who: str, names: Any) -> tuple[str, ...]:
    """Return names of features in order, or raise."""
    if not isinstance(names, tuple) or not names:
        raise ValueError(f"{who}: features is {names!r}; expected a tuple of names, such as ('F2', 'F4').")
    for name in names:
        if name not in FEATURES:
            raise ValueError(f"{who}: got feature {name!r}; {suggest(str(name), FEATURES)}")
    if len(set(names)) != len(names):
        raise ValueError(f"{who}: features is {names!r}; expected every name once.")
    return tuple(sorted(names))


FeatureMap = Callable[[Array, Any], Array]


@dataclasses.dataclass(frozen=True)
class Raw:
    """Features as they are, in the units of the model."""

    def __call__(self, feature: Array, whitener: Array | None = None) -> Array:
        """Return the feature."""
        del whitener
        return feature


@dataclasses.dataclass(frozen=True)
class Normalised:
    """Every feature divided by its length, v / max(|v|, eps), as the authors of KalmanNet do it.

    The network sees directions only: how large an innovation was is lost. The derivative is 0 where |v| <= eps, so that
    features which are 0 (the first step, steps without data) pass no infinite gradient.

    Attributes:
        eps: the smallest length to divide by, positive.
    """

    eps: float = 1e-12

    def __post_init__(self) -> None:
        _check_positive("Normalised: eps", self.eps)

    def __call__(self, feature: Array, whitener: Array | None = None) -> Array:
        """Return v / max(|v|, eps)."""
        del whitener
        largest = jax.lax.stop_gradient(jnp.max(jnp.abs(feature)))  # squares of tiny numbers underflow in float32
        regular = largest > self.eps
        v = feature / jnp.where(regular, largest, 1)
        length = jnp.sqrt(jnp.sum(jnp.where(regular, v, 1) ** 2))
        return jnp.where(regular, v / length, jax.lax.stop_gradient(feature) / self.eps)


NORMALISED = Normalised()


@dataclasses.dataclass(frozen=True)
class Whitened:
    """Features in units of their usual spread: W v with W' W = E[v v']^-1, from `constants["scales"]` of the params.

    Of the innovation this is the Cholesky whitening by a nominal S. See `kfjax.learned.measure_scales`.
    """

    def __call__(self, feature: Array, whitener: Array | None = None) -> Array:
        """Return W v."""
        if whitener is None:
            raise ValueError(
                "Whitened: the params have no scale for a feature; expected Learned.constants['scales'] by name."
                " Make them with kf.learned.measure_scales."
            )
        return linalg.matmul(whitener, feature)


@dataclasses.dataclass(frozen=True)
class Asinh:
    """asinh(v / scale) by components: linear for small features, logarithmic for large ones. The size is kept.

    With `constants["scales"]` in the params v is whitened first, as by `Whitened`.

    Attributes:
        scale: where the curve bends, positive: in units of the feature, or of its spread where it is whitened.
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        _check_positive("Asinh: scale", self.scale)

    def __call__(self, feature: Array, whitener: Array | None = None) -> Array:
        """Return asinh(v / scale)."""
        v = feature if whitener is None else linalg.matmul(whitener, feature)
        return jnp.arcsinh(v / self.scale)


def _check_positive(name: str, value: float) -> None:
    """Refuse what is no positive number."""
    if not 0 < value < math.inf:
        raise ValueError(f"{name} is {value}; expected a positive number.")
