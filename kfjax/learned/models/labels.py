"""Labelled data as pairs for regression: transitions, and states with observations."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kfjax._support.arguments import check_kind
from kfjax._support.types import PyTree
from kfjax.data import Dataset
from kfjax.data.counting import counted_observations, counted_steps
from kfjax.models.spaces import Space
from kfjax.models.state_space import StateSpaceModel

__all__: list[str] = []


class Pairs(NamedTuple):
    """K pairs (x, target) in no order; numpy arrays.

    Attributes:
        x: states [K, N].
        u: inputs, a pytree of [K, ...], or None.
        target: targets [K, N] or [K, m], to which x is mapped.
        seen: which entries of a difference of targets count, booleans [K, k].
    """

    x: Any
    u: Any
    target: Any
    seen: Any


def transitions(who: str, model: StateSpaceModel, data: Dataset) -> Pairs:
    """Return (x_{t-1}, u_t) -> x_t for all t = 2..T with both states known.

    The start x_0 is a belief, not a label.
    """
    known = _known(who, model, data)
    both = known[:, 1:] & known[:, :-1]
    _check_number(who, "two known states in a row", both)
    state = np.asarray(data.xs)
    target = state[:, 1:][both]
    u = jax.tree.map(lambda a: np.asarray(a)[:, 1:][both], data.us)
    seen = np.ones((len(target), model.n), bool)  # entries of differences, in the tangent space
    return Pairs(state[:, :-1][both], u, target, seen)


def sightings(who: str, model: StateSpaceModel, data: Dataset) -> Pairs:
    """Return (x_t, u_t) -> y_t for all t with a known state and any channel observed."""
    known = _known(who, model, data)
    seen = counted_observations(data)
    rows = known & seen.any(axis=-1)
    _check_number(who, "a known state and an observation", rows)
    u = jax.tree.map(lambda a: np.asarray(a)[rows], data.us)
    states = np.asarray(data.xs)[rows]
    observations = np.asarray(data.ys)[rows]
    return Pairs(states, u, observations, seen[rows])


def residuals_of(fn: str, model: StateSpaceModel, pairs: Pairs) -> np.ndarray:
    """Return target - fn(x, u), 0 where the target was not seen."""
    space = model.state_space if fn == "f" else model.observation_space

    def cast(a: PyTree) -> PyTree:
        if np.asarray(a).dtype.kind != "f":
            return a
        return jnp.asarray(a, model.dtype)

    x, u, target = jax.tree.map(cast, pairs[:3])
    difference = jax.vmap(lambda x, u, y: space.difference(y, getattr(model, fn)(x, u)))(
        x, u, target
    )
    return np.where(pairs.seen, np.asarray(difference, np.float64), 0)


def check_flat(who: str, what: str, space: Space) -> None:
    """Raise unless values of that name lie on a Euclidean space."""
    if not space.is_euclidean:
        raise ValueError(
            f"{who}: got a model whose {what} lie on a curved space, such as angles; expected"
            " Euclidean ones, since a function that wraps is not linear. Keep this part, or use"
            " kf.learned.residual_model."
        )


def _known(who: str, model: StateSpaceModel, data: Dataset) -> np.ndarray:
    """Return which states [N, T] are known in every component."""
    check_kind(f"{who}: model", model, StateSpaceModel)
    check_kind(f"{who}: data", data, Dataset)
    if data.xs is None:
        raise ValueError(
            f"{who}: the data have no true states; expected xs. Pass xs= to the Dataset."
        )
    if data.xs.shape[-1:] != model.prior.mean.shape:
        raise ValueError(
            f"{who}: the states of the data have {data.xs.shape[-1]} components; expected"
            f" {model.prior.mean.size}, as in prior.mean of the model."
        )
    return counted_steps(data) & ~np.isnan(data.xs).any(axis=-1)


def _check_number(who: str, what: str, rows: np.ndarray) -> None:
    if not rows.any():
        raise ValueError(
            f"{who}: got no step with {what}; expected at least one. Check NaN in the states, and"
            " the lengths."
        )
