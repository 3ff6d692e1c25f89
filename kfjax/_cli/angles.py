"""Warnings about angles: whole turns that a model mistakes for changes, and degrees for radians."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.extend.core import Literal

from kfjax._support.programs import all_equations
from kfjax.base import Inputs
from kfjax.data import Dataset, Labels
from kfjax.models.inputs import evaluated, reads
from kfjax.models.shapes import functions_of
from kfjax.models.spaces import Space
from kfjax.models.state_space import StateSpaceModel
from kfjax.plotting.wraps import turn_and_wraps

__all__: list[str] = []

LEFT = 1e-3  # what is left of a whole turn where a space wraps it, but for rounding
WHOLE = 360.0
CONVERT = "Convert degrees to radians in the table (numpy.radians)"
OFTEN = 2  # so many jumps of a turn are no accident
LOOKED_AT = 1000  # steps
SHARE = 0.1  # of them that turn by more than half a turn
UNIT = re.compile(r"(deg|degrees?|°)( ?(/|per) ?s(ec(onds?)?)?| ?s\^?-1)?|dps", re.IGNORECASE)
NAME = re.compile(r".*[_ .](deg|degrees?|dps)([_ ]?(/|per[_ ]?)?s(ec)?)?", re.IGNORECASE)
TRIGONOMETRIC = {"sin", "cos", "tan", "asin", "acos", "atan", "atan2"}
CONVERSIONS = np.array([np.pi / 180, 180 / np.pi, 180.0, 360.0])


def warn_of_angles(model: StateSpaceModel, data: Dataset) -> None:
    """Warn where a model mistakes whole turns for changes, or degrees for radians."""
    first = np.array(data.ys[0, : data.lengths[0]], np.float64)
    if data.observed is not None:
        first[~np.asarray(data.observed[0, : data.lengths[0]])] = np.nan
    names = [str(name) for name in (data.labels or Labels()).ys or range(first.shape[1])]
    told = set()
    for j, (name, curve) in enumerate(zip(names, first.T, strict=True)):
        turn, wraps = turn_and_wraps(curve)
        if wraps.size < OFTEN or _is_whole(model.observation_space, j, len(names), turn):
            continue
        told.add(name)
        warnings.warn(
            f"channel {name!r} jumps by a whole turn {wraps.size} times, and the model takes such a"
            f" jump for a change. {_cure(model, j, len(names), turn)}",
            stacklevel=3,
        )
    given: Inputs = jax.tree.map(lambda values: values[0, 0], data.us)
    degrees = [name for name in names if name not in told and _is_in_degrees(data, name)]
    if isinstance(given, dict):
        degrees += [
            name for name in given if _is_in_degrees(data, name) and _read(model, given, name)
        ]
    if degrees and _takes_radians(model, given):
        warnings.warn(
            f"{', '.join(map(repr, degrees))} seem to be in degrees, while the model has sines and"
            " the like, which take radians, and nowhere a factor of pi / 180. Convert them"
            " (numpy.radians), in the table or in the model (jnp.radians).",
            stacklevel=3,
        )
    elif isinstance(given, dict):
        _warn_of_large_turns(model, data)


def _cure(model: StateSpaceModel, channel: int, count: int, turn: float) -> str:
    """Return what to do about a channel that wraps."""
    give = f"the model observation_space=kf.angles({channel})."
    if turn != WHOLE:
        return f"Give {give}"
    if _is_whole(model.observation_space, channel, count, 2 * np.pi):
        return f"{CONVERT}; its observation_space wraps these."
    return f"{CONVERT}, and give {give}"


def _is_whole(space: Space, component: int, count: int, turn: float) -> bool:
    """Return whether two points that differ by a turn are the same in a space."""
    point: Any = np.zeros(count)
    point[component] = turn
    difference = np.asarray(space.difference(point, 0 * point))
    return difference.shape == (count,) and bool(abs(difference[component]) < LEFT)


def _is_in_degrees(data: Dataset, name: str) -> bool:
    """Return whether the unit or name of a channel or input says degrees, or degrees per second."""
    unit = (data.labels or Labels()).units.get(name)
    if unit is not None:
        return UNIT.fullmatch(unit) is not None
    return NAME.fullmatch(name) is not None


def _read(model: StateSpaceModel, given: dict[str, Any], name: str) -> bool:
    """Return whether a model reads an input."""
    return reads(lambda value: evaluated(model, given | {name: value}), given[name])


def _takes_radians(model: StateSpaceModel, given: Inputs) -> bool:
    """Return whether f and h have trigonometric functions, and nothing that converts degrees."""
    found = False
    for name in ("f", "h"):
        program = jax.make_jaxpr(functions_of(model)[name])(model.prior.mean, given)
        for equation in all_equations(program.jaxpr):
            found = found or equation.primitive.name in TRIGONOMETRIC
        numbers = [*_numbers_in(program), *jax.tree.leaves((model.f, model.h))]
        if any(_converts(number) for number in numbers):
            return False
    return found


def _numbers_in(program: Any) -> Iterator[Any]:
    """Yield the numbers that are written in a program."""
    yield from program.consts
    for equation in all_equations(program.jaxpr):
        yield from (var.val for var in equation.invars if isinstance(var, Literal))


def _converts(number: Any) -> bool:
    """Return whether a number, or one of an array, is a factor between degrees and radians."""
    values = np.abs(np.asarray(number, np.float64)).reshape(-1, 1)
    return bool(np.isclose(values, CONVERSIONS, rtol=1e-5).any())


def _warn_of_large_turns(model: StateSpaceModel, data: Dataset) -> None:
    """Warn if inputs turn an angle of the state by more than half a turn in many steps."""
    n = model.n
    whole = [j for j in range(n) if _is_whole(model.state_space, j, n, 2 * np.pi)]
    if model.state_space.is_euclidean or not whole:
        return
    us = {name: values[0, : min(data.lengths[0], LOOKED_AT)] for name, values in data.us.items()}
    still = {name: us[name] if name == "dt" else np.zeros_like(us[name]) for name in us}
    moved = jax.jit(jax.vmap(model.f, in_axes=(None, 0)))
    turned = np.abs(moved(model.prior.mean, us) - moved(model.prior.mean, still))[:, whole]
    large = (turned > np.pi).mean(axis=0)
    worst = int(large.argmax())
    if large[worst] < SHARE:
        return
    name = whole[worst] if model.names is None else repr(model.names[whole[worst]])
    warnings.warn(
        f"the inputs turn state {name} by more than half a turn in {large[worst]:.0%} of the steps"
        f" (up to {turned[:, worst].max():.3g} rad), as turn rates in degrees would. Convert"
        " degrees to radians (numpy.radians).",
        stacklevel=4,
    )
