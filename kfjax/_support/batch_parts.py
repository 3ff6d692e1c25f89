"""Loops over a large batch, part by part.

The arrays of a thousand filters leave the fastest cache between one operation and the next. In
parts of some dozens of trajectories they stay there, and the loop over the steps of a part is small
enough to be compiled as one function. Filters of a thousand trajectories over 100 steps in float64
took 0.40 (Kalman), 0.66 (extended) and 0.80 (unscented) of the time on one core. Several cores
would share the operations on very large arrays, which parts do not, so those stay whole where there
are several cores.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.core import ShapedArray
from jax.extend.core import ClosedJaxpr, JaxprEqn
from jax.extend.core.primitives import scan_p

from kfjax._support import batch_indexing, batch_rules  # noqa: F401  # they register rules
from kfjax._support.batch_cuts import Cut, Part, scan_of_part, with_size
from kfjax._support.loop_contents import times_too_large, typical_size
from kfjax._support.programs import Value, interpreted, loop_parts

__all__: list[str] = []

TYPICAL_SIZE = 400  # numbers in an array of a part, on average
REGISTER = 8  # numbers; parts of a multiple of it leave no rest (112 trajectories take 0.85 of 110)
MORE_MEMBERS = 1.1  # as the last part overlaps another, that may add members to compute
SMALLEST_PART = 16  # trajectories; fewer do not fill the vector registers
SHARED_BY_CORES = 16384  # numbers in an array, above which XLA splits operations among cores
MORE_WORK = 2.0  # what all members share is computed in each part: how much work that may add

# A loop that keeps much for derivatives is slower in parts: more than this share of all numbers in
# a step, and more than this multiple of what it carries (filters and smoothers: up to about 2).
MOST_MOVED = 0.04
MOVED_OF_CARRY = 3.0
Axes = Sequence[int | None]


class LoopInParts(NamedTuple):
    """A loop over time, cut along the batch.

    Attributes:
        program: takes the index of the first member of a part, then the part of each argument, and
            holds one loop.
        loop: that loop.
        axes: axes of the batch in the arguments.
        result_axes: axes of the batch in the results.
        batch: number of members.
        part: number of members of a part.
    """

    program: ClosedJaxpr
    loop: JaxprEqn
    axes: Axes
    result_axes: Axes
    batch: int
    part: int

    @property
    def number(self) -> int:
        """Number of parts."""
        return math.ceil(self.batch / self.part)


def loop_in_parts(
    step: ClosedJaxpr, shapes: Sequence[ShapedArray], params: dict[str, Any]
) -> LoopInParts | None:
    """Return a loop cut along its batch; None if it has none, or parts would not be faster.

    Args:
        step: its body, with calls inlined.
        shapes: shapes and dtypes of its arguments.
        params: its parameters, as an equation.
    """
    batch = _size_of_batch(shapes, params)
    part = _size_of_part(step, batch)
    if part is None:
        return None
    try:
        found = _cut(shapes, {**params, "jaxpr": step}, batch, part)
    except Exception:  # whatever the rules do not foresee: nothing is cut
        return None
    whole, parts = _work(step), found.number * _work(found.loop.params["jaxpr"])
    if parts > MORE_WORK * whole or _moves_much(step, params, MOST_MOVED * whole):
        return None
    return found


def _moves_much(step: ClosedJaxpr, params: dict[str, Any], most: float) -> bool:
    """Return whether a step reads much from arrays over time and writes much to them."""
    _, carry, xs = loop_parts(step.in_avals, params)
    moved = sum(a.size for a in (*xs, *step.out_avals[len(carry) :]))
    return moved > max(most, MOVED_OF_CARRY * sum(a.size for a in carry))


def _size_of_batch(shapes: Sequence[ShapedArray], params: dict[str, Any]) -> int:
    """Return the most common size of the first axis, where `jax.vmap` puts the batch."""
    _, start, xs = loop_parts(shapes, params)
    sizes = Counter([a.shape[0] for a in start if a.ndim] + [a.shape[1] for a in xs if a.ndim > 1])
    return max(sizes, key=lambda size: (sizes[size], size), default=0)


def _size_of_part(step: ClosedJaxpr, batch: int) -> int | None:
    """Return how many members make a part; None if the batch should stay whole."""
    typical = typical_size(step, least=batch)  # of arrays that the members do not share
    if batch <= SMALLEST_PART or (typical > SHARED_BY_CORES and _cores() > 2):
        return None
    number = math.ceil(max(typical / TYPICAL_SIZE, times_too_large(step)))
    part = math.ceil(batch / number)
    even = math.ceil(part / REGISTER) * REGISTER
    if math.ceil(batch / even) * even <= MORE_MEMBERS * batch:
        part = even
    return part if SMALLEST_PART <= part < batch else None


def _cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _work(step: ClosedJaxpr) -> float:
    """Return how many numbers a step computes."""
    return typical_size(step) * len(step.jaxpr.eqns)


def _cut(
    shapes: Sequence[ShapedArray], params: dict[str, Any], batch: int, part: int
) -> LoopInParts:
    """Return a loop cut along the axes of this size."""
    consts, start, xs = loop_parts(shapes, params)
    axes = [_axis(a.shape, batch, 0) for a in (*consts, *start)]
    axes += [_axis(a.shape, batch, 1) for a in xs]
    result_axes: list[int | None] = []

    def of_part(first: Array, *arguments: Array) -> list[Array]:
        operands = [Part(value, axis) for value, axis in zip(arguments, axes, strict=True)]
        results = scan_of_part(params, operands, Cut(first, batch, part))
        result_axes[:] = [result.axis for result in results]
        return [result.value for result in results]

    parts = [
        jax.ShapeDtypeStruct(with_size(a.shape, axis, part), a.dtype)
        for a, axis in zip(shapes, axes, strict=True)
    ]
    program = jax.make_jaxpr(of_part)(jax.ShapeDtypeStruct((), jnp.int32), *parts)
    (loop,) = (equation for equation in program.jaxpr.eqns if equation.primitive is scan_p)
    return LoopInParts(program, loop, axes, result_axes, batch, part)


def _axis(shape: tuple[int, ...], batch: int, start: int) -> int | None:
    """Return the first axis, from this one on, that has the size of the batch."""
    return next((k for k in range(start, len(shape)) if shape[k] == batch), None)


def run_in_parts(
    loop: LoopInParts, run: Callable[..., Sequence[Array]], args: Sequence[Array]
) -> list[Array]:
    """Return the results of a loop, computed part by part.

    Args:
        loop: the loop.
        run: runs the loop of a part; takes its operands.
        args: the arguments for the whole batch.
    """

    def instead(equation: JaxprEqn, values: list[Value]) -> list[Value] | None:
        return list(run(*values)) if equation is loop.loop else None

    def part_from(first: Array) -> list[Array]:
        parts = [
            value if axis is None else lax.dynamic_slice_in_dim(value, first, loop.part, axis)
            for value, axis in zip(args, loop.axes, strict=True)
        ]
        results = interpreted(loop.program, [first, *parts], instead)
        both = zip(map(jnp.asarray, results), loop.result_axes, strict=True)
        return [v if axis is None else jnp.moveaxis(v, axis, 0) for v, axis in both]

    def step(before: list[Array], k: Array) -> tuple[list[Array], None]:
        first = jnp.minimum(k * loop.part, loop.batch - loop.part)  # the last may overlap another
        both = zip(before, part_from(first), loop.result_axes, strict=True)
        return [
            value if axis is None else lax.dynamic_update_slice_in_dim(whole, value, first, 0)
            for whole, value, axis in both
        ], None

    shapes = jax.eval_shape(part_from, jax.ShapeDtypeStruct((), jnp.int32))
    empty = [
        jnp.zeros(with_size(a.shape, None if axis is None else 0, loop.batch), a.dtype)
        for a, axis in zip(shapes, loop.result_axes, strict=True)
    ]
    # A loop over parts and not one `concatenate` of them: the program of a part is compiled once.
    results, _ = lax.scan(step, empty, jnp.arange(loop.number, dtype=jnp.int32))
    return [
        value if axis is None else jnp.moveaxis(value, 0, axis)
        for value, axis in zip(results, loop.result_axes, strict=True)
    ]
