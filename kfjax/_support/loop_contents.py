"""What a loop that a CPU runs as one function may hold.

XLA has a separate code generator for such functions, which knows elementary operations only; with
any other the compiler ends in an error. So the tables below list what is known to work, and a loop
that holds anything else is compiled in the ordinary way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import cast

import jax.numpy as jnp
from jax import Array, lax
from jax.core import ShapedArray
from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal, Var

from kfjax._support.matrix_times_vector import is_matrix_times_vector
from kfjax._support.primitives import value_of
from kfjax._support.programs import (
    Value,
    all_equations,
    for_platform,
    programs_in,
    rewritten,
)

__all__: list[str] = []


def _words(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


ELEMENTWISE = _words(
    """
    abs acos acosh add add_any and asin asinh atan atan2 atanh bessel_i0e bessel_i1e
    bitcast_convert_type cbrt ceil clamp clz complex conj convert_element_type copy copy_p cos
    cosh digamma div eq erf erf_inv erfc exp exp2 expm1 floor ge gt igamma igamma_grad_a igammac
    imag integer_pow is_finite le lgamma log log1p log2 logistic lt max min mul ne neg nextafter
    not one_minus_square or population_count pow real reduce_precision
    regularized_incomplete_beta rem round rsqrt select_n shift_left shift_right_arithmetic
    shift_right_logical sign sin sinh sqrt square stop_gradient sub tan tanh xor zeta
    """
)
SHAPES = _words(
    """
    batch_innermost broadcast_in_dim broadcast_to concatenate dynamic_slice dynamic_update_slice
    expand_dims gather iota iota_2x32_shape optimization_barrier pad reshape rev slice split squeeze
    stack tile transpose unstack
    """
)
RANDOM = _words(
    """
    random_bits random_clone random_fold_in random_seed random_split random_unwrap random_wrap
    threefry2x32
    """
)
CONTROL = _words("cond scan while")
REDUCTIONS = _words(
    """
    argmax argmin cumlogsumexp cummax cummin cumprod cumsum reduce_and reduce_max reduce_min
    reduce_or reduce_prod reduce_sum reduce_xor
    """
)
SCATTERS = frozenset({"scatter", "scatter-add"})
ALLOWED = ELEMENTWISE | SHAPES | RANDOM | CONTROL

LARGEST_REDUCTION = 1024  # above some 2000 numbers XLA hands a reduction to a library
UNROLLED = 8  # terms of a product that are added one by one
LARGEST_PRODUCT = 4096  # multiplications
SUMMED_AS_THEY_ARE = _words("float32 float64 complex64 complex128")
TYPICAL_SIZE = 512  # numbers in an array, on average: see `_too_large`


def with_products_written_out(closed: ClosedJaxpr) -> ClosedJaxpr:
    """Return the body of a loop with calls inlined and small matrix products written as sums."""
    return rewritten(closed, _written_out)


def for_a_part(closed: ClosedJaxpr) -> ClosedJaxpr:
    """Return the body of the loop of a part, also with sums that are too large written as several.

    Where nothing is cut, loops with such sums are faster kernel by kernel.
    """
    return rewritten(closed, _sums_written_out)


def _written_out(equation: JaxprEqn, values: list[Value]) -> list[Value] | None:
    """Return the results of a small product, of a primitive of kfjax or of a choice by platform."""
    value = value_of(equation.primitive)
    if value is not None and equation.primitive.name != "batch_innermost":
        return [value(*values, **equation.params)]
    if equation.primitive.name == "dot_general" and not is_matrix_times_vector(equation):
        return _product(equation, values)
    return for_platform(equation, values, "cpu", _written_out)


def _sums_written_out(equation: JaxprEqn, values: list[Value]) -> list[Value] | None:
    """Return the results of a product or a sum that is too large for one reduction."""
    if equation.primitive.name == "dot_general" and not is_matrix_times_vector(equation):
        return _product(equation, values, sum_of=_sum)
    if equation.primitive.name != "reduce_sum":
        return None
    array = _array(equation.invars[0])
    if array.size <= LARGEST_REDUCTION or _times_too_large_a_sum(array, equation) > 1:
        return None
    return [_sum(jnp.asarray(values[0]), equation.params["axes"])]


def _times_too_large_a_sum(array: ShapedArray, equation: JaxprEqn) -> float:
    """Return by how much a sum exceeds what can be written as a few reductions."""
    terms = math.prod(array.shape[axis] for axis in equation.params["axes"])
    if terms <= UNROLLED:
        return 0
    return array.size / (UNROLLED * LARGEST_REDUCTION)


def _sum(a: Array, axes: Sequence[int]) -> Array:
    """Return a sum over axes, written as at most `UNROLLED` sums of a size that is possible."""
    terms = jnp.moveaxis(a, axes, range(len(axes)))
    terms = terms.reshape(-1, *terms.shape[len(axes) :])
    rows = terms.shape[0]
    at_once = LARGEST_REDUCTION * rows // max(terms.size, 1)
    if at_once <= 1:
        return sum(terms[1:], terms[0])
    sums = [terms[k : k + at_once].sum(0, dtype=a.dtype) for k in range(0, rows, at_once)]
    return sum(sums[1:], sums[0])


def _product(
    equation: JaxprEqn, values: list[Value], sum_of: Callable[..., Array] = jnp.sum
) -> list[Value] | None:
    """Return a product of batches of matrices, written as a sum; None if it must not be.

    A product of short floats, of integers or of booleans is not the sum of their products: it is
    accumulated in longer floats, wraps around or is a disjunction.
    """
    (of_a, of_b), (batch_a, batch_b) = equation.params["dimension_numbers"]
    a, rows_a = _rows_and_terms(jnp.asarray(values[0]), batch_a, of_a)
    b, rows_b = _rows_and_terms(jnp.asarray(values[1]), batch_b, of_b)
    terms = a.shape[-1]
    result = _array(equation.outvars[0])
    if result.dtype.name not in SUMMED_AS_THEY_ARE:
        return None
    if not 0 < result.size * terms <= LARGEST_PRODUCT:
        return None
    batch = len(batch_a)
    a = lax.expand_dims(a, range(batch + rows_a, batch + rows_a + rows_b)).astype(result.dtype)
    b = lax.expand_dims(b, range(batch, batch + rows_a)).astype(result.dtype)
    if terms <= UNROLLED:
        return [sum((a[..., k] * b[..., k] for k in range(1, terms)), a[..., 0] * b[..., 0])]
    return [sum_of(a * b, (-1,))]


def _rows_and_terms(a: Array, batch: tuple[int, ...], terms: tuple[int, ...]) -> tuple[Array, int]:
    """Return an operand of a product with axes batch, rows, and one of all terms; how many rows.

    Axes of rows stay apart: one of them may be a batch that is cut later.
    """
    rows = tuple(axis for axis in range(a.ndim) if axis not in (*batch, *terms))
    first = lax.transpose(a, (*batch, *rows, *terms))
    shape = first.shape[: len(batch) + len(rows)]
    return first.reshape(*shape, math.prod(a.shape[axis] for axis in terms)), len(rows)


def reason_against(body: ClosedJaxpr) -> str:
    """Return why a loop with this body is not compiled as one function, or ""."""
    return reason_against_contents(body) or _too_large(body)


def reason_against_contents(body: ClosedJaxpr) -> str:
    """Return what in this body a loop that is one function cannot hold, or ""."""
    if body.effects:
        return "it calls back into Python"
    for equation in all_equations(body.jaxpr):
        reason = _reason_against_one(equation)
        if reason:
            return reason
    return ""


def _reason_against_one(equation: JaxprEqn) -> str:
    """Return why one operation cannot be in such a function, or ""."""
    name = equation.primitive.name
    if any(program.consts for program in programs_in(equation)) or _has_table(equation):
        return f"a {name} in it holds an array of constants"
    if name in REDUCTIONS:
        return _reason_against_reduction(name, _array(equation.invars[0]).size)
    if name in SCATTERS:
        return "" if _writes_one_slice(equation) else f"it holds {name} at more than one place"
    if name in ALLOWED or is_matrix_times_vector(equation):
        return ""
    return f"it holds {name}"


def _reason_against_reduction(name: str, size: int) -> str:
    """Return why a reduction of an array of this size cannot be in such a function, or ""."""
    if size <= LARGEST_REDUCTION:
        return ""
    return f"{name} over {size} numbers; at most {LARGEST_REDUCTION} are possible"


def _has_table(equation: JaxprEqn) -> bool:
    """Return whether an operand is an array that is written into the program as a literal."""
    return any(isinstance(atom, Literal) and _array(atom).size > 1 for atom in equation.invars)


def _writes_one_slice(equation: JaxprEqn) -> bool:
    """Return whether a scatter writes to one place only; the compiler makes it a slice update."""
    indices = _array(equation.invars[1])
    return indices.size == indices.shape[-1]


def _array(atom: Var | Literal) -> ShapedArray:
    """Return the shape and dtype of a value in a program."""
    return cast(ShapedArray, atom.aval)


def _too_large(body: ClosedJaxpr) -> str:
    """Return a reason if arrays are so large that calls take little of the time, or ""."""
    typical = typical_size(body)
    if typical <= TYPICAL_SIZE:
        return ""
    return f"its arrays have {typical:.0f} numbers on average; up to {TYPICAL_SIZE} it is faster"


def times_too_large(body: ClosedJaxpr) -> float:
    """Return by how much the largest array in a step exceeds what a function can hold."""
    found = [0.0]
    for equation in all_equations(body.jaxpr):
        if equation.primitive.name == "reduce_sum":
            found.append(_times_too_large_a_sum(_array(equation.invars[0]), equation))
        elif equation.primitive.name in REDUCTIONS:
            found.append(_array(equation.invars[0]).size / LARGEST_REDUCTION)
        if equation.primitive.name == "dot_general":
            found.append(_multiplications(equation) / LARGEST_PRODUCT)
    return max(found)


def _multiplications(equation: JaxprEqn) -> int:
    """Return how many multiplications a product takes."""
    (contracted, _), _ = equation.params["dimension_numbers"]
    a = _array(equation.invars[0])
    return _array(equation.outvars[0]).size * math.prod(a.shape[axis] for axis in contracted)


def typical_size(body: ClosedJaxpr, least: int = 0) -> float:
    """Return how many numbers the arrays in a step have on average, those below `least` aside."""
    sizes = [_array(v).size for equation in body.jaxpr.eqns for v in equation.outvars]
    counted = [size for size in sizes if size >= least]
    return sum(counted) / max(len(counted), 1)
