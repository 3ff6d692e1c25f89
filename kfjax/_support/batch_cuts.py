"""Compute a program for a part of a batch.

When a loop is lowered, the batch is one more axis of its arrays, and nothing names it. Given the
axis of each argument, the rules below go through a program to its results. A rule knows on which
axis of a result the batch is, and that a part of the result needs the same part of the operands
and nothing else. An operation that mixes the members of a batch, or that has no rule, ends the
search. So it does not matter whether an axis really is a batch: a program is cut only along an axis
along which it computes every entry by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal, Var

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
        require(value.axis is None and jnp.shape(value.value)[axis] == self.batch)
        return lax.dynamic_slice_in_dim(value.value, self.first, self.part, axis)


def require(holds: bool) -> None:
    """Raise unless an operation computes the members of the batch one by one."""
    if not holds:
        raise WholeError


def with_size(shape: Sequence[int], axis: int | None, size: int) -> tuple[int, ...]:
    """Return a shape with another size of one axis."""
    return tuple(size if k == axis else n for k, n in enumerate(shape))


Rule: TypeAlias = Callable[[JaxprEqn, list[Part], Cut], list[Part]]
"""`(equation, operands, cut) -> results`, where an operand has an axis of the batch."""

_rules: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Make a function the rule of the operations with these names."""

    def registered(function: Rule) -> Rule:
        _rules.update(dict.fromkeys(names, function))
        return function

    return registered


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
        # What no member owns is computed once per part, as a whole: `MORE_WORK` in `batch_parts.py`
        # is the limit for that.
        whole = as_it_is(equation, [operand.value for operand in operands])
        return [Part(value, None) for value in whole]
    rule = _rules.get(equation.primitive.name)
    if rule is None:
        raise WholeError
    return rule(equation, operands, cut)


def _spread(equation: JaxprEqn, operands: list[Part], cut: Cut) -> list[Part]:
    """The same numbers for all members; the batch is the first new axis of its size, if any."""
    # The size alone says which new axis the batch is. A wrong guess does no harm: all entries along
    # a new axis are equal, and a later operation that needs the axis elsewhere raises `WholeError`.
    shape, placed = equation.params["shape"], equation.params["broadcast_dimensions"]
    new = [axis for axis, n in enumerate(shape) if n == cut.batch and axis not in placed]
    axis = new[0] if new and len(operands) == 1 else None
    shape = with_size(shape, axis, cut.part)
    (result,) = as_it_is(equation, [operand.value for operand in operands], shape=shape)
    return [Part(result, axis)]


def bound(equation: JaxprEqn, operands: Sequence[Array], axis: int, **changed: Any) -> list[Part]:
    """Return the results of an operation on parts, all with the batch on the same axis."""
    return [Part(value, axis) for value in as_it_is(equation, [*operands], **changed)]


def first_axis(operands: Sequence[Part]) -> int:
    """Return the axis of the batch in the first operand that has one."""
    return next(operand.axis for operand in operands if operand.axis is not None)


def alone(operands: list[Part]) -> tuple[Any, int]:
    """Return the only operand and the axis of its batch."""
    ((value, axis),) = operands
    if axis is None:
        raise WholeError
    return value, axis


def axes_without(operand: Part, others: Sequence[int]) -> list[int]:
    """Return the axes of an operand but for these."""
    return [axis for axis in range(operand.value.ndim) if axis not in others]


@rule("scan")
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
    # Axis 0 of what a loop reads is time; a batch there would be a batch of steps.
    require(x.axis != 0)
    axis = None if x.axis is None else x.axis - 1
    return Part(jax.ShapeDtypeStruct(x.value.shape[1:], x.value.dtype), axis)


def _over_time(axis: int | None) -> int | None:
    """Return the axis of the batch in an array stacked over time, from that in one step."""
    return None if axis is None else axis + 1


def on_axis(value: Part, axis: int | None, cut: Cut) -> Array:
    """Return the part of a value with the batch on this axis, or the value that is shared."""
    if axis is None:
        require(value.axis is None)
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
    # A carry that all members share at first, such as zeros, has a batch after one step. The axes
    # are found again until a step changes none; each round gives an axis to one more, so that there
    # are at most as many rounds as arrays.
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
