"""How operations that compute or rearrange numbers act on a part of a batch.

The rules are used by `batch_cuts`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array
from jax.extend.core import JaxprEqn

from kfjax._support.batch_cuts import (
    Cut,
    Part,
    Rule,
    alone,
    axes_without,
    bound,
    first_axis,
    require,
    rule,
    with_size,
)
from kfjax._support.loop_contents import ELEMENTWISE, REDUCTIONS
from kfjax._support.programs import as_it_is

__all__: list[str] = []


@rule(*ELEMENTWISE, "batch_innermost", "random_fold_in")
def _elementwise(equation: JaxprEqn, operands: list[Part], cut: Cut) -> list[Part]:
    """Operands of one shape, but for axes of size one and scalars; results of that shape."""
    axis = first_axis(operands)
    return bound(equation, [_aligned(operand, axis, cut) for operand in operands], axis)


def _aligned(operand: Part, axis: int, cut: Cut) -> Array:
    """Return the part of an operand of an elementwise operation."""
    shape = jnp.shape(operand.value)
    # What members share is broadcast to them; an operand that is as large as the batch without
    # being of it, such as a mask made of `iota`, is cut where the others are.
    is_spread = operand.axis is None and (not shape or shape[axis] == 1)
    return operand.value if is_spread else cut.of(operand, axis)


@rule("optimization_barrier")
def _barrier(equation: JaxprEqn, operands: list[Part], cut: Cut) -> list[Part]:
    """Any operands, which are also the results."""
    del cut
    values = as_it_is(equation, [operand.value for operand in operands])
    return [Part(value, operand.axis) for value, operand in zip(values, operands, strict=True)]


@rule("broadcast_in_dim")
def _broadcast_in_dim(equation: JaxprEqn, operands: list[Part], cut: Cut) -> list[Part]:
    """`broadcast_dimensions` are the axes of the operand in the result."""
    value, axis = alone(operands)
    result = equation.params["broadcast_dimensions"][axis]
    shape = with_size(equation.params["shape"], result, cut.part)
    return bound(equation, [value], result, shape=shape)


@rule("reshape")
def _reshape(equation: JaxprEqn, operands: list[Part], cut: Cut) -> list[Part]:
    """The batch stays an axis of its own if as many numbers precede it as before."""
    value, axis = alone(operands)
    before = math.prod(value.shape[:axis])
    sizes = equation.params["new_sizes"]
    fitting = [
        result
        for result, size in enumerate(sizes)
        if size == cut.batch and math.prod(sizes[:result]) == before
    ]
    # As many numbers before the axis, and the same size, mean the same strides: the entries of a
    # member stay where they were.
    require(len(fitting) > 0 and equation.params["dimensions"] is None)
    sizes = with_size(sizes, fitting[0], cut.part)
    return bound(equation, [value], fitting[0], new_sizes=sizes)


@rule("squeeze")
def _squeeze(equation: JaxprEqn, operands: list[Part], cut: Cut) -> list[Part]:
    """`dimensions` of size one are removed."""
    del cut
    return without(equation, operands, equation.params["dimensions"])


@rule(*REDUCTIONS)
def _reduction(equation: JaxprEqn, operands: list[Part], cut: Cut) -> list[Part]:
    """`axes` are summed, or reduced in another way."""
    del cut
    return without(equation, operands, equation.params["axes"])


def without(equation: JaxprEqn, operands: list[Part], removed: Sequence[int]) -> list[Part]:
    """Return the results of an operation that removes axes, none of which is the batch."""
    value, axis = alone(operands)
    require(axis not in removed)
    return bound(equation, [value], axis - sum(k < axis for k in removed))


def _along(name: str) -> Rule:
    """Return the rule of operations along the axis that this parameter names."""

    def rule(equation: JaxprEqn, operands: list[Part], cut: Cut) -> list[Part]:
        axis = first_axis(operands)
        along = equation.params[name]
        require(axis not in (along if isinstance(along, Sequence) else (along,)))
        return bound(equation, [cut.of(operand, axis) for operand in operands], axis)

    return rule


for _name, _parameter in (
    *(
        (name, "axis")
        for name in ("cumlogsumexp", "cummax", "cummin", "cumprod", "cumsum", "split")
    ),
    ("concatenate", "dimension"),
    ("rev", "dimensions"),
):
    rule(_name)(_along(_parameter))


@rule("tile")
def _tile(equation: JaxprEqn, operands: list[Part], cut: Cut) -> list[Part]:
    """Repetitions `reps` along the axes, once along the batch."""
    del cut
    value, axis = alone(operands)
    reps = equation.params["reps"]
    require(len(reps) == value.ndim and reps[axis] == 1)
    return bound(equation, [value], axis)


@rule("stack")
def _stack(equation: JaxprEqn, operands: list[Part], cut: Cut) -> list[Part]:
    """A new axis `axis`."""
    axis = first_axis(operands)
    parts = [cut.of(operand, axis) for operand in operands]
    return bound(equation, parts, axis + (equation.params["axis"] <= axis))


@rule("unstack")
def _unstack(equation: JaxprEqn, operands: list[Part], cut: Cut) -> list[Part]:
    """Axis `axis` becomes several arrays."""
    del cut
    return without(equation, operands, (equation.params["axis"],))


@rule("transpose")
def _transpose(equation: JaxprEqn, operands: list[Part], cut: Cut) -> list[Part]:
    """Axis k of the result is axis `permutation[k]` of the operand."""
    del cut
    value, axis = alone(operands)
    return bound(equation, [value], tuple(equation.params["permutation"]).index(axis))


@rule("random_bits", "random_seed", "random_split", "random_unwrap")
def _of_keys(equation: JaxprEqn, operands: list[Part], cut: Cut) -> list[Part]:
    """Random keys; new axes of the result come last."""
    del cut
    value, axis = alone(operands)
    return bound(equation, [value], axis)


@rule("random_wrap")
def _random_wrap(equation: JaxprEqn, operands: list[Part], cut: Cut) -> list[Part]:
    """The words of random keys, which are the last axis."""
    del cut
    value, axis = alone(operands)
    require(axis < value.ndim - 1)
    return bound(equation, [value], axis)


@rule("dot_general")
def _dot_general(equation: JaxprEqn, operands: list[Part], cut: Cut) -> list[Part]:
    """A product of which the batch is a batch dimension, or the rows of one operand."""
    contracted, batches = equation.params["dimension_numbers"]
    side = 0 if operands[0].axis is not None else 1
    axis = first_axis([operands[side]])
    require(axis not in contracted[side])
    if axis in batches[side]:
        which = tuple(batches[side]).index(axis)
        values = [cut.of(operand, batches[k][which]) for k, operand in enumerate(operands)]
        return bound(equation, values, which)
    require(operands[1 - side].axis is None)
    free = [axes_without(operands[k], (*contracted[k], *batches[k])) for k in (0, 1)]
    # The result of `dot_general` has batch axes first, then the free axes of the left operand, then
    # those of the right one.
    before = len(batches[0]) + side * len(free[0])
    result = before + free[side].index(axis)
    return bound(equation, [operand.value for operand in operands], result)
