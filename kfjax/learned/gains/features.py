"""Features of gain networks: the four differences of the KalmanNet paper.

    F1  observation difference        y_t - y_{t-1}
    F2  innovation                    y_t - h(x_{t|t-1})
    F3  forward evolution difference  x_{t-1|t-1} - x_{t-2|t-2}
    F4  forward update difference     x_{t-1|t-1} - x_{t-1|t-2}

F1 and F2 are differences in the model's `observation_space`, F3 and F4 in its `state_space`. Where
y has gaps, a missing channel counts as its prediction: F2 is 0 there, and F1 is the change from the
last value to the predicted one. After a row without data F4 is 0 and F3 is the predicted change.
Before the first step, x and y are constant: x_{-1|-1} = x_{0|-1} = x_{0|0} and y_0 = h(x_{0|0}), so
that F3 and F4 are 0 at t = 1. (If h needs an input, there is no y_0, and F1 equals F2 at t = 1.)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from kfjax._support.naming import suggest
from kfjax.base import Inputs
from kfjax.models.calling import call
from kfjax.models.state_space import StateSpaceModel

__all__ = ["FEATURES"]

FEATURES = ("F1", "F2", "F3", "F4")


class Past(NamedTuple):
    """Past values from which the features are computed.

    Attributes:
        y: the latest observation [m], with its prediction in channels that were not (or not yet)
            observed; NaN before the first step of a model whose h needs an input.
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
    """Return the past of a filter that starts at the prior.

    Every array is a copy, so that it can be donated.
    """
    x = model.prior.mean
    zero = jnp.zeros(model.n, model.dtype)
    try:
        y = jnp.asarray(model.h(x, None), model.dtype)
    except (
        TypeError,
        AttributeError,
        KeyError,
        IndexError,
        ValueError,
    ):  # h needs an input, and there is no input yet
        y = jnp.full(m, jnp.nan, model.dtype)
    return Past(*map(jnp.copy, (y, y, x, x, zero, zero)))


def next_past(
    model: StateSpaceModel, past: Past, filtered: Array, predicted: Array, u: Inputs
) -> Past:
    """Return the past after a prediction from `filtered` to `predicted`.

    Until y is observed, its prediction takes its place.
    """
    difference = model.state_space.difference
    y = call("h", model.h, predicted, u).astype(model.dtype)
    y_before = jnp.where(jnp.isnan(past.y), y, past.y)
    evolution = difference(filtered, past.filtered)
    correction = difference(filtered, past.predicted)
    return Past(y, y_before, filtered, predicted, evolution, correction)


def differences(
    names: tuple[str, ...], model: StateSpaceModel, past: Past, innovation: Array
) -> dict[str, Array]:
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


def check_features(who: str, names: object) -> tuple[str, ...]:
    """Return the names of features in order; raise if one is unknown or repeated."""
    if not isinstance(names, tuple) or not names:
        raise ValueError(
            f"{who}: features is {names!r}; expected a tuple of names, such as ('F2', 'F4')."
        )
    for name in names:
        if name not in FEATURES:
            raise ValueError(f"{who}: got feature {name!r}; {suggest(str(name), FEATURES)}")
    if len(set(names)) != len(names):
        raise ValueError(f"{who}: features is {names!r}; expected each name once.")
    return tuple(sorted(names))
