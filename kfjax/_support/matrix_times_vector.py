"""Products of a matrix with a vector, in a loop that a CPU runs as one function.

The compiler writes such a product as two loops, which fill the vector registers along the axis of
the matrix that is last in memory. That axis should be the longer one: a product of 720 numbers with
a [720, 9] matrix takes a tenth of the time with the matrix transposed. Matrices that are the same
in all steps, such as the weights of a network, are transposed once, before the loop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from jax import Array
from jax.core import ShapedArray
from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal, Var

from kfjax._support.programs import Value, as_it_is

__all__: list[str] = []

# Rows for each column. A [180, 36] matrix is also faster transposed, but not if it has left the
# cache before the next step, since it is then read across its rows.
TALL = 8


def is_matrix_times_vector(equation: JaxprEqn) -> bool:
    """Return whether this is a product with a vector."""
    if equation.primitive.name != "dot_general":
        return False
    (contracted, _), (batch, _) = equation.params["dimension_numbers"]
    return not batch and len(contracted) == 1 and min(map(_rank, equation.invars)) == 1


def tall_matrices(body: ClosedJaxpr, constants: Sequence[Var]) -> list[Var]:
    """Return the matrices with many more rows than columns that a loop multiplies by vectors.

    Args:
        body: the body of the loop.
        constants: its arguments that are the same in all steps.
    """
    products = filter(is_matrix_times_vector, body.jaxpr.eqns)
    multiplied = [atom for equation in products for atom in equation.invars]
    return [v for v in constants if v in multiplied and _is_tall(v)]


def with_transposed(
    equation: JaxprEqn, values: list[Value], transposed: Mapping[Var, Array]
) -> list[Value] | None:
    """Return a product of one of these matrices, computed from its transpose; None for others."""
    if not is_matrix_times_vector(equation):
        return None
    contracted, batch = equation.params["dimension_numbers"]
    axes = [axis for (axis,) in contracted]
    for place, atom in enumerate(equation.invars):
        if isinstance(atom, Var) and atom in transposed:
            values[place] = transposed[atom]
            axes[place] = 1 - axes[place]
    numbers = tuple((axis,) for axis in axes), batch
    return as_it_is(equation, values, dimension_numbers=numbers)


def _is_tall(atom: Var) -> bool:
    """Return whether this is a matrix with many more rows than columns."""
    shape = cast(ShapedArray, atom.aval).shape
    return len(shape) == 2 and shape[0] >= TALL * shape[1]


def _rank(atom: Var | Literal) -> int:
    """Return the number of axes of an operand."""
    return len(cast(ShapedArray, atom.aval).shape)
