"""Compute a program for a part of a batch.

When a loop is lowered, the batch is one more axis of its arrays, and nothing names it. Given the
axis of each argument, the rules below go through a program to its results. A rule knows on which
axis of a result the batch is, and that a part of the result needs the same part of the operands
and nothing else. An operation that mixes the members of a batch, or that has no rule, ends the
search. So it does not matter whether an axis really is a batch: a program is cut only along an axis
along which it computes every entry by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal, Var

from kfjax._support.loop_contents import ELEMENTWISE, REDUCTIONS
from kfjax._support.programs import as_it_is, loop_parts

__all__: list[str] = []


class Part(NamedTuple):
    """A value in the program of a part.

    Attributes:
        value: the part of the array, or all of it.
        axis: which of its axes is the batch; None if all members of the batch share the array.
    """

    value: Any
    axis: int | None


class WholeError(Exception):
    """An operation does not compute the members of the batch one by one."""


class Cut(NamedTuple):
    """Where a batch is cut: index of the first member, size of the batch, size of the part."""

    first: Array
    batch: int
    part: int

    def of(self, value: Part, axis: int) -> Array:
        """Return the part of a value with the batch on this axis."""
        if value.axis == axis:
            return value.value
        _require(value.axis is None and jnp.shape(value.value)[axis] == self.batch)
        return lax.dynamic_slice_in_dim(value.value, self.first, self.part, axis)


def _require(holds: bool) -> None:
    """Raise unless an operation computes the members of the batch one by one."""
    if not holds:
        raise WholeError


def with_size(shape: Sequence[int], axis: int | None, size: int) -> tuple[int, ...]:
    """Return a shape with another size of one axis."""
    return tuple(size if k == axis else n for k, n in enumerate(shape))


Rule: TypeAlias = Callable[[JaxprEqn, list[Part], Cut], list[Part]]
"""`(equation, operands, cut) -> results`, where an operand has an axis of the batch."""


def interpreted_in_part(closed: ClosedJaxpr, arguments: Sequence[Part], cut: Cut) -> list[Part]:
    """Return the parts of the results of a program."""
    jaxpr = closed.jaxpr
    shared = [Part(value, None) for value in closed.consts]
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*shared, *arguments], strict=True))

    def read(atom: Var | Literal) -> Part:
        return Part(atom.val, None) if isinstance(atom, Literal) else values[atom]

    for equation in jaxpr.eqns:
        results = _one(equation, [read(atom) for atom in equation.invars], cut)
        values.update(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _one(equation: JaxprEqn, operands: list[Part], cut: Cut) -> list[Part]:
    """Return the parts of the results of one operation."""
    if all(operand.axis is None for operand in operands):
        if equation.primitive.name == "broadcast_in_dim":
            return _spread(equation, operands, cut)
        whole = as_it_is(equation, [operand.value for operand in operands])
        return [Part(value, None) for value in whole]
    rule = RULES.get(equation.primitive.name)
    if rule is None:
        raise WholeError
    return rule(equation, operands, cut)


def _bound(equation: JaxprEqn, operands: Sequence[Array], axis: int, **changed: Any) -> list[Part]:
    """Return the results of an operation on parts, all with the batch on the same axis."""
    return [Part(value, axis) for value in as_it_is(equation, [*operands], **changed)]


def _elementwise(equation: JaxprEqn, operands: list[Part], cut: Cut) -> list[Part]:
    """Operands of one shape, but for axes of size one and scalars; results of that shape."""
    axis = _first_axis(operands)
    return _bound(equation, [_aligned(operand, axis, cut) for operand in operands], axis)


def _first_axis(operands: Sequence[Part]) -> int:
    """Return the axis of the batch in the first operand that has one."""
    return next(operand.axis for operand in operands if operand.axis is not None)


def _aligned(operand: Part, axis: int, cut: Cut) -> Array:
    """Return the part of an operand of an elementwise operation."""
    shape = jnp.shape(operand.value)
    is_spread = operand.axis is None and (not shape or shape[axis] == 1)
    return operand.value if is_spread else cut.of(operand, axis)


def _barrier(equation: JaxprEqn, operands: list[Part], cut: Cut) -> list[Part]:
    """Any operands, which are also the results."""
    del cut
    values = as_it_is(equation, [operand.value for operand in operands])
    return [Part(value, operand.axis) for value, operand in zip(values, operands, strict=True)]


def _broadcast_in_dim(equation: JaxprEqn, operands: list[Part], cut: Cut) -> list[Part]:
    """`broadcast_dimensions` are the axes of the operand in the result."""
    value, axis = _alone(operands)
    result = equation.params["broadcast_dimensions"][axis]
    shape = with_size(equation.params["shape"], result, cut.part)
    return _bound(equation, [value], result, shape=shape)


def _spread(equation: JaxprEqn, operands: list[Part], cut: Cut) -> list[Part]:
    """The same numbers for all members; the batch is the first new axis of its size, if any."""
    shape, placed = equation.params["shape"], equation.params["broadcast_dimensions"]
    new = [axis for axis, n in enumerate(shape) if n == cut.batch and axis not in placed]
    axis = new[0] if new and len(operands) == 1 else None
    shape = with_size(shape, axis, cut.part)
    (result,) = as_it_is(equation, [operand.value for operand in operands], shape=shape)
    return [Part(result, axis)]


def _alone(operands: list[Part]) -> tuple[Any, int]:
    """Return the only operand and the axis of its batch."""
    ((value, axis),) = operands
    if axis is None:
        raise WholeError
    return value, axis


def _reshape(equation: JaxprEqn, operands: list[Part], cut: Cut) -> list[Part]:
    """The batch stays an axis of its own if as many numbers come before it as did."""
    value, axis = _alone(operands)
    before = math.prod(value.shape[:axis])
    sizes = equation.params["new_sizes"]
    fitting = [
        result
        for result, size in enumerate(sizes)
        if size == cut.batch and math.prod(sizes[:result]) == before
    ]
    _require(len(fitting) > 0 and equation.params["dimensions"] is None)
    sizes = with_size(sizes, fitting[0], cut.part)
    return _bound(equation, [value], fitting[0], new_sizes=sizes)


def _squeeze(equation: JaxprEqn, operands: list[Part], cut: Cut) -> list[Part]:
    """`dimensions` of size one are removed."""
    del cut
    return _without(equation, operands, equation.params["dimensions"])


def _reduction(equation: JaxprEqn, operands: list[Part], cut: Cut) -> list[Part]:
    """`axes` are summed, or reduced in another way."""
    del cut
    return _without(equation, operands, equation.params["axes"])


def _without(equation: JaxprEqn, operands: list[Part], removed: Sequence[int]) -> list[Part]:
    """Return the results of an operation that removes axes, none of which is the batch."""
    value, axis = _alone(operands)
    _require(axis not in removed)
    return _bound(equation, [value], axis - sum(k < axis for k in removed))


def _along(name: str) -> Rule:
    """Return the rule of operations along the axis that this parameter names."""

    def rule(equation: JaxprEqn, operands: list[Part], cut: Cut) -> list[Part]:
        axis = _first_axis(operands)
        along = equation.params[name]
        _require(axis not in (along if isinstance(along, Sequence) else (along,)))
        return _bound(equation, [cut.of(operand, axis) for operand in operands], axis)

    return rule


def _tile(equation: JaxprEqn, operands: list[Part], cut: Cut) -> list[Part]:
    """Repetitions `reps` along the axes, once along the batch."""
    del cut
    value, axis = _alone(operands)
    reps = equation.params["reps"]
    _require(len(reps) == value.ndim and reps[axis] == 1)
    return _bound(equation, [value], axis)


def _stack(equation: JaxprEqn, operands: list[Part], cut: Cut) -> list[Part]:
    """A new axis `axis`."""
    axis = _first_axis(operands)
    parts = [cut.of(operand, axis) for operand in operands]
    return _bound(equation, parts, axis + (equation.params["axis"] <= axis))


def _unstack(equation: JaxprEqn, operands: list[Part], cut: Cut) -> list[Part]:
    """Axis `axis` becomes several arrays."""
    del cut
    return _without(equation, operands, (equation.params["axis"],))


def _transpose(equation: JaxprEqn, operands: list[Part], cut: Cut) -> list[Part]:
    """Axis k of the result is axis `permutation[k]` of the operand."""
    del cut
    value, axis = _alone(operands)
    return _bound(equation, [value], tuple(equation.params["permutation"]).index(axis))


def _slice(equation: JaxprEqn, operands: list[Part], cut: Cut) -> list[Part]:
    """A slice that takes the whole batch."""
    value, axis = _alone(operands)
    starts, limits = equation.params["start_indices"], equation.params["limit_indices"]
    strides = equation.params["strides"] or [1] * len(starts)
    _require((starts[axis], limits[axis], strides[axis]) == (0, cut.batch, 1))
    limits = with_size(limits, axis, cut.part)
    return _bound(equation, [value], axis, limit_indices=limits)


def _dynamic_slice(equation: JaxprEqn, operands: list[Part], cut: Cut) -> list[Part]:
    """A slice from indices that the batch shares, which takes the whole batch."""
    operand, *starts = operands
    axis = _shared_indices(operand, starts)
    sizes = equation.params["slice_sizes"]
    _require(sizes[axis] == cut.batch)
    values = [operand.value, *(start.value for start in starts)]
    return _bound(equation, values, axis, slice_sizes=with_size(sizes, axis, cut.part))


def _dynamic_update_slice(equation: JaxprEqn, operands: list[Part], cut: Cut) -> list[Part]:
    """The same slice, written."""
    operand, update, *starts = operands
    axis = _first_axis([operand, update])
    _require(all(start.axis is None for start in starts))
    values = [cut.of(operand, axis), cut.of(update, axis), *(start.value for start in starts)]
    return _bound(equation, values, axis)


def _shared_indices(operand: Part, indices: Sequence[Part]) -> int:
    """Return the axis of the batch in an operand; its indices must be shared."""
    if operand.axis is None or any(index.axis is not None for index in indices):
        raise WholeError
    return operand.axis


def _pad(equation: JaxprEqn, operands: list[Part], cut: Cut) -> list[Part]:
    """Padding with a scalar, of other axes than the batch."""
    del cut
    operand, filling = operands
    axis = _shared_indices(operand, [filling])
    _require(tuple(equation.params["padding_config"][axis]) == (0, 0, 0))
    return _bound(equation, [operand.value, filling.value], axis)


def _gather(equation: JaxprEqn, operands: list[Part], cut: Cut) -> list[Part]:
    """Entries at indices that the batch shares, or of each member at its own."""
    operand, indices = operands
    numbers = equation.params["dimension_numbers"]
    values = [operand.value, indices.value]
    if indices.axis is not None:
        _require(_is_member_by_member(operand, indices, numbers))
        rank = len(numbers.offset_dims) + indices.value.ndim - 1
        placed = [axis for axis in range(rank) if axis not in numbers.offset_dims]
        return _bound(equation, values, placed[indices.axis])
    axis = _shared_indices(operand, [indices])
    sizes = equation.params["slice_sizes"]
    _require(axis not in numbers.start_index_map and sizes[axis] == cut.batch)
    window = _window(operand, (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims))
    _require(axis in window)
    result = numbers.offset_dims[window.index(axis)]
    return _bound(equation, values, result, slice_sizes=with_size(sizes, axis, cut.part))


def _is_member_by_member(operand: Part, indices: Part, numbers: Any) -> bool:
    """Return whether each member has its own indices, into a shared array or into its own."""
    if indices.axis == indices.value.ndim - 1:
        return False
    if operand.axis is None:
        return indices.axis not in numbers.start_indices_batching_dims
    both = zip(numbers.operand_batching_dims, numbers.start_indices_batching_dims, strict=True)
    return (operand.axis, indices.axis) in both


def _window(operand: Part, others: Sequence[int]) -> list[int]:
    """Return the axes of an operand over which the window of a gather or scatter extends."""
    return [axis for axis in range(operand.value.ndim) if axis not in others]


def _scatter(equation: JaxprEqn, operands: list[Part], cut: Cut) -> list[Part]:
    """Entries written at indices that the batch shares, for the whole batch."""
    operand, indices, updates = operands
    numbers = equation.params["dimension_numbers"]
    window = _window(operand, (*numbers.inserted_window_dims, *numbers.operand_batching_dims))
    axis = operand.axis
    if axis is None:
        _require(updates.axis in numbers.update_window_dims)
        axis = window[numbers.update_window_dims.index(updates.axis)]
    _require(indices.axis is None and axis in window)
    _require(axis not in numbers.scatter_dims_to_operand_dims)
    written = numbers.update_window_dims[window.index(axis)]
    values = [cut.of(operand, axis), indices.value, cut.of(updates, written)]
    return _bound(equation, values, axis)


def _of_keys(equation: JaxprEqn, operands: list[Part], cut: Cut) -> list[Part]:
    """Random keys; new axes of the result come last."""
    del cut
    value, axis = _alone(operands)
    return _bound(equation, [value], axis)


def _random_wrap(equation: JaxprEqn, operands: list[Part], cut: Cut) -> list[Part]:
    """The words of random keys, which are the last axis."""
    del cut
    value, axis = _alone(operands)
    _require(axis < value.ndim - 1)
    return _bound(equation, [value], axis)


def _dot_general(equation: JaxprEqn, operands: list[Part], cut: Cut) -> list[Part]:
    """A product of which the batch is a batch dimension, or the rows of one operand."""
    contracted, batches = equation.params["dimension_numbers"]
    side = 0 if operands[0].axis is not None else 1
    axis = _first_axis([operands[side]])
    _require(axis not in contracted[side])
    if axis in batches[side]:
        which = tuple(batches[side]).index(axis)
        values = [cut.of(operand, batches[k][which]) for k, operand in enumerate(operands)]
        return _bound(equation, values, which)
    _require(operands[1 - side].axis is None)
    free = [_window(operands[k], (*contracted[k], *batches[k])) for k in (0, 1)]
    result = len(batches[0]) + side * len(free[0]) + free[side].index(axis)
    return _bound(equation, [operand.value for operand in operands], result)


def _scan(equation: JaxprEqn, operands: list[Part], cut: Cut) -> list[Part]:
    """A loop whose steps compute the members of the batch one by one."""
    return scan_of_part(equation.params, operands, cut)


def scan_of_part(params: dict[str, Any], operands: Sequence[Part], cut: Cut) -> list[Part]:
    """Return the results of a loop for a part of a batch.

    Args:
        params: the parameters of the loop over the whole batch, as an equation.
        operands: its operands.
        cut: the part.

    Raises:
        WholeError: if the members of the batch are not computed one by one.
    """
    consts, start, xs = loop_parts(operands, params)
    rows = [_row(x) for x in xs]
    program = params["jaxpr"]
    axes = _axes_of_carry(program, consts, start, rows, cut)
    after: list[int | None] = []

    def step(carry: Any, values: Any) -> tuple[Any, Any]:
        given = [
            *consts,
            *map(Part, carry, axes),
            *(Part(value, row.axis) for value, row in zip(values, rows, strict=True)),
        ]
        results = interpreted_in_part(program, given, cut)
        new, kept = results[: len(axes)], results[len(axes) :]
        after[:] = [result.axis for result in kept]
        return (
            [on_axis(part, axis, cut) for part, axis in zip(new, axes, strict=True)],
            [part.value for part in kept],
        )

    last, stacked = lax.scan(
        step,
        [on_axis(part, axis, cut) for part, axis in zip(start, axes, strict=True)],
        [x.value for x in xs],
        length=params["length"],
        reverse=params["reverse"],
    )
    kept = [Part(v, _over_time(a)) for v, a in zip(stacked, after, strict=True)]
    return [*map(Part, last, axes), *kept]


def _row(x: Part) -> Part:
    """Return the shape of one of the inputs of a loop in one step, and the axis of its batch."""
    _require(x.axis != 0)
    axis = None if x.axis is None else x.axis - 1
    return Part(jax.ShapeDtypeStruct(x.value.shape[1:], x.value.dtype), axis)


def _over_time(axis: int | None) -> int | None:
    """Return the axis of the batch in an array stacked over time, from that in one step."""
    return None if axis is None else axis + 1


def on_axis(value: Part, axis: int | None, cut: Cut) -> Array:
    """Return the part of a value with the batch on this axis, or the value that is shared."""
    if axis is None:
        _require(value.axis is None)
        return value.value
    return cut.of(value, axis)


def _axes_of_carry(
    program: ClosedJaxpr,
    consts: Sequence[Part],
    start: Sequence[Part],
    rows: Sequence[Part],
    cut: Cut,
) -> list[int | None]:
    """Return the axes of the batch in what a loop carries.

    An array that all members share at the start may have an axis of the batch after a step.
    """
    axes = [part.axis for part in start]
    while None in axes:
        carry = [
            Part(on_axis(part, axis, cut), axis) for part, axis in zip(start, axes, strict=True)
        ]
        after = _axes_after(program, [*consts, *carry, *rows], cut)[: len(axes)]
        joined = [before if new is None else new for before, new in zip(axes, after, strict=True)]
        if joined == axes:
            break
        axes = joined
    return axes


def _axes_after(program: ClosedJaxpr, given: Sequence[Part], cut: Cut) -> list[int | None]:
    """Return the axes of the batch in the results of a program."""
    found: list[int | None] = []

    def values(*arguments: Array) -> list[Array]:
        parts = [Part(value, part.axis) for value, part in zip(arguments, given, strict=True)]
        results = interpreted_in_part(program, parts, cut)
        found[:] = [result.axis for result in results]
        return [result.value for result in results]

    jax.eval_shape(values, *(part.value for part in given))
    return found


RULES: dict[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    **dict.fromkeys(REDUCTIONS, _reduction),
    **dict.fromkeys(("cumlogsumexp", "cummax", "cummin", "cumprod", "cumsum"), _along("axis")),
    "batch_innermost": _elementwise,
    "random_bits": _of_keys,
    "random_fold_in": _elementwise,
    "random_seed": _of_keys,
    "random_split": _of_keys,
    "random_unwrap": _of_keys,
    "random_wrap": _random_wrap,
    "broadcast_in_dim": _broadcast_in_dim,
    "concatenate": _along("dimension"),
    "dot_general": _dot_general,
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update_slice,
    "gather": _gather,
    "optimization_barrier": _barrier,
    "pad": _pad,
    "reshape": _reshape,
    "rev": _along("dimensions"),
    "scan": _scan,
    "scatter": _scatter,
    "scatter-add": _scatter,
    "slice": _slice,
    "split": _along("axis"),
    "squeeze": _squeeze,
    "stack": _stack,
    "tile": _tile,
    "transpose": _transpose,
    "unstack": _unstack,
}
