"""How operations that read or write slices and entries act on a part of a batch.

The rules are used by `batch_cuts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jax.extend.core import JaxprEqn

from kfjax._support.batch_cuts import (
    Cut,
    Part,
    WholeError,
    alone,
    axes_without,
    bound,
    first_axis,
    require,
    rule,
    with_size,
)

__all__: list[str] = []


@rule("slice")
def _slice(equation: JaxprEqn, operands: list[Part], cut: Cut) -> list[Part]:
    """A slice that takes the whole batch."""
    value, axis = alone(operands)
    starts, limits = equation.params["start_indices"], equation.params["limit_indices"]
    strides = equation.params["strides"] or [1] * len(starts)
    require((starts[axis], limits[axis], strides[axis]) == (0, cut.batch, 1))
    limits = with_size(limits, axis, cut.part)
    return bound(equation, [value], axis, limit_indices=limits)


@rule("dynamic_slice")
def _dynamic_slice(equation: JaxprEqn, operands: list[Part], cut: Cut) -> list[Part]:
    """A slice from indices that the batch shares, which takes the whole batch."""
    operand, *starts = operands
    axis = _shared_indices(operand, starts)
    sizes = equation.params["slice_sizes"]
    require(sizes[axis] == cut.batch)
    values = [operand.value, *(start.value for start in starts)]
    return bound(equation, values, axis, slice_sizes=with_size(sizes, axis, cut.part))


@rule("dynamic_update_slice")
def _dynamic_update_slice(equation: JaxprEqn, operands: list[Part], cut: Cut) -> list[Part]:
    """The same slice, written."""
    operand, update, *starts = operands
    axis = first_axis([operand, update])
    require(all(start.axis is None for start in starts))
    values = [cut.of(operand, axis), cut.of(update, axis), *(start.value for start in starts)]
    return bound(equation, values, axis)


def _shared_indices(operand: Part, indices: Sequence[Part]) -> int:
    """Return the axis of the batch in an operand; its indices must be shared."""
    if operand.axis is None or any(index.axis is not None for index in indices):
        raise WholeError
    return operand.axis


@rule("pad")
def _pad(equation: JaxprEqn, operands: list[Part], cut: Cut) -> list[Part]:
    """Padding with a scalar, of other axes than the batch."""
    del cut
    operand, filling = operands
    axis = _shared_indices(operand, [filling])
    require(tuple(equation.params["padding_config"][axis]) == (0, 0, 0))
    return bound(equation, [operand.value, filling.value], axis)


@rule("gather")
def _gather(equation: JaxprEqn, operands: list[Part], cut: Cut) -> list[Part]:
    """Entries at indices that the batch shares, or of each member at its own."""
    operand, indices = operands
    numbers = equation.params["dimension_numbers"]
    values = [operand.value, indices.value]
    if indices.axis is not None:
        require(_is_member_by_member(operand, indices, numbers))
        rank = len(numbers.offset_dims) + indices.value.ndim - 1
        placed = [axis for axis in range(rank) if axis not in numbers.offset_dims]
        return bound(equation, values, placed[indices.axis])
    axis = _shared_indices(operand, [indices])
    sizes = equation.params["slice_sizes"]
    # No index selects along the batch, and every slice takes all of it: what is read for a member
    # is its own.
    require(axis not in numbers.start_index_map and sizes[axis] == cut.batch)
    window = axes_without(operand, (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims))
    require(axis in window)
    result = numbers.offset_dims[window.index(axis)]
    return bound(equation, values, result, slice_sizes=with_size(sizes, axis, cut.part))


def _is_member_by_member(operand: Part, indices: Part, numbers: Any) -> bool:
    """Return whether each member has its own indices, into a shared array or into its own."""
    if indices.axis == indices.value.ndim - 1:
        return False
    if operand.axis is None:
        return indices.axis not in numbers.start_indices_batching_dims
    both = zip(numbers.operand_batching_dims, numbers.start_indices_batching_dims, strict=True)
    return (operand.axis, indices.axis) in both


@rule("scatter", "scatter-add")
def _scatter(equation: JaxprEqn, operands: list[Part], cut: Cut) -> list[Part]:
    """Entries written at indices that the batch shares, for the whole batch."""
    operand, indices, updates = operands
    numbers = equation.params["dimension_numbers"]
    window = axes_without(operand, (*numbers.inserted_window_dims, *numbers.operand_batching_dims))
    axis = operand.axis
    if axis is None:
        require(updates.axis in numbers.update_window_dims)
        axis = window[numbers.update_window_dims.index(updates.axis)]
    require(indices.axis is None and axis in window)
    # The same for writing: indices that chose members would write into the parts of others.
    require(axis not in numbers.scatter_dims_to_operand_dims)
    written = numbers.update_window_dims[window.index(axis)]
    values = [cut.of(operand, axis), indices.value, cut.of(updates, written)]
    return bound(equation, values, axis)
