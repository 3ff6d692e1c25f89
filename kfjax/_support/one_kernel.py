"""Loops over time that a CPU runs as one function.

On a CPU, most of the time of a loop over small matrices goes into calling its kernels, dozens of
them in every step. XLA can compile the whole loop as one function instead, if it is in a call that
carries two attributes. A Kalman filter of one trajectory then runs several times faster, with the
same values to rounding.

`scan` is `jax.lax.scan` with a mark: an entry in JAX's metadata for the compiler, which stays with
the loop under `jax.jit`, `jax.vmap` and `jax.grad`. Derivatives are those of JAX, and the backward
pass of a marked loop is marked, too. When a marked loop is lowered for a CPU, all transformations
are done and every shape is known: there `reason_against` decides, and `_as_one_function` puts the
loop into such a call. Nothing else reads the mark, and loops without it are lowered by JAX's rule.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental.xla_metadata import set_xla_metadata
from jax.extend.core import ClosedJaxpr, Var
from jax.extend.core.primitives import scan_p
from jax.interpreters import mlir

from kfjax._support.batch_parts import loop_in_parts, run_in_parts
from kfjax._support.loop_contents import (
    for_a_part,
    reason_against,
    reason_against_contents,
    with_products_written_out,
)
from kfjax._support.matrix_times_vector import tall_matrices, with_transposed
from kfjax._support.memory_layout import on_one_device
from kfjax._support.naming import described
from kfjax._support.persistence import is_key
from kfjax._support.programs import interpreted, loop_parts

__all__ = ["Loop", "describe_loops", "separate_kernels"]

Carry = TypeVar("Carry")
X = TypeVar("X")
Y = TypeVar("Y")

MARK = "kfjax_loop"
ONE = {"xla_cpu_small_call": "true", "inlineable": "false"}
OFF = "KFJAX_SEPARATE_KERNELS"


class Loop(NamedTuple):
    """How a loop over time is compiled; made by `kfjax.describe_loops`.

    Attributes:
        steps: number of steps.
        one_kernel: whether the loop is compiled as one function.
        parts: number of parts of the batch, one after the other, for each of which it is.
        reason: why it is not; "" if it is.
    """

    steps: int
    one_kernel: bool
    parts: int
    reason: str


_decided: contextvars.ContextVar[list[Loop] | None] = contextvars.ContextVar(
    "decided", default=None
)


def scan(
    body: Callable[[Carry, X], tuple[Carry, Y]],
    start: Carry,
    xs: X = None,  # type: ignore[assignment]  # the default of X
    *,
    length: int | None = None,
    reverse: bool = False,
) -> tuple[Carry, Y]:
    """Return what `jax.lax.scan` returns; on a CPU, compiled as one function if possible."""

    def unmarked(carry: Carry, x: X) -> tuple[Carry, Y]:
        with set_xla_metadata(**{MARK: None}):
            return body(carry, x)

    with set_xla_metadata(**{MARK: "true"}):
        return lax.scan(unmarked, start, xs, length=length, reverse=reverse)


@contextlib.contextmanager
def separate_kernels() -> Iterator[None]:
    """Compile loops over time within this context kernel by kernel, as JAX compiles other loops.

    On a CPU, kfjax otherwise has a loop on small arrays compiled as one function, which is faster.
    To turn that off for a whole process, set the environment variable `KFJAX_SEPARATE_KERNELS` to
    1. Results differ by rounding at most. What was compiled before stays as it is.

    Returns:
        A context manager.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> with kf.separate_kernels():
        ...     final, estimates = kf.run(kf.kalman(), model, jnp.zeros((50, 1)))
        >>> estimates.mean.shape
        (50, 2)
    """
    with set_xla_metadata(**{OFF.lower(): "true"}):
        yield


def describe_loops(function: Callable[..., Any], *args: Any) -> list[Loop]:
    """Tell how the loops over time in a function are compiled for these arguments.

    On a CPU, a loop is compiled as one function if its arrays are small and its steps consist of
    elementary operations: no library call (such as a Cholesky factor of more than 8 rows), no
    sorting, no scatter to several places, no callback. The function is traced and lowered; nothing
    is computed. Loops that do not come from kfjax are not listed.

    Args:
        function: a function of arrays that runs filters, under `jax.vmap` or `jax.grad` if that is
            how it will be used.
        *args: its arguments, or their shapes and dtypes as `jax.ShapeDtypeStruct`.

    Returns:
        A list with a `Loop(steps, one_kernel, parts, reason)` for each loop, in the order in which
        they are lowered; loops that are alike may share one.

    Raises:
        ValueError: if function cannot be called. What it raises itself when it is traced is raised
            as well.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> kf.describe_loops(
        ...     lambda ys: kf.run(kf.kalman(), model, ys), jnp.zeros((50, 1))
        ... )
        [Loop(steps=50, one_kernel=True, parts=1, reason='')]
    """
    if not callable(function):
        raise ValueError(
            f"describe_loops: function is {described(function)}; expected a function of arrays,"
            " such as lambda ys: kf.run(filter, model, ys)."
        )
    found: list[Loop] = []

    def anew(*args: Any) -> Any:  # JAX would not lower the same function a second time
        return function(*args)

    token = _decided.set(found)
    try:
        jax.jit(anew).lower(*args)
    finally:
        _decided.reset(token)
    return found


def _lower(ctx: mlir.LoweringRuleContext, *args: Any, **params: Any) -> Any:
    """Lower a scan: by JAX's rule, unless it is marked and there is no reason against it."""
    context = ctx.jaxpr_eqn_ctx
    marks = (context and context.xla_metadata) or {}
    if MARK not in marks:
        return _ordinary(ctx, *args, **params)
    with set_xla_metadata(**{MARK: None}):  # what is traced here is not to be marked
        return _lower_marked(ctx, marks, *args, **params)


def _lower_marked(
    ctx: mlir.LoweringRuleContext, marks: dict[str, Any], *args: Any, **params: Any
) -> Any:
    """Lower a marked scan."""
    reason = _turned_off(ctx, marks)
    function, parts = None, 1
    if not reason:
        function, parts, reason = _faster(ctx.avals_in, params)
    found = _decided.get()
    if found is not None:
        found.append(Loop(params["length"], function is not None, parts, reason))
    if function is None:
        return _ordinary(ctx, *args, **params)
    return mlir.lower_fun(function, multiple_results=True)(ctx, *args)


def _faster(
    shapes: Sequence[Any], params: dict[str, Any]
) -> tuple[Callable[..., Sequence[Array]] | None, int, str]:
    """Return a loop as one function, in how many parts, or why not."""
    body = with_products_written_out(params["jaxpr"])
    reason = reason_against(body)
    if not reason:
        return functools.partial(_as_one_function, body, params), 1, ""
    loop = loop_in_parts(body, shapes, params)
    if loop is None:
        return None, 1, reason
    of_part = for_a_part(loop.loop.params["jaxpr"])
    if reason_against_contents(of_part):
        return None, 1, reason
    run = functools.partial(_as_one_function, of_part, loop.loop.params)
    return lambda *args: run_in_parts(loop, run, args), loop.number, ""


def _turned_off(ctx: mlir.LoweringRuleContext, marks: dict[str, Any]) -> str:
    """Return why no loop of this program can be one function, or ""."""
    module = ctx.module_context
    if tuple(module.platforms) != ("cpu",):
        return f"it is compiled for {', '.join(module.platforms)}, and only a CPU can"
    if module.lowering_parameters.for_export:
        return "the program is exported"
    if not on_one_device(module.axis_context):
        return "the program is split over several devices"
    if OFF.lower() in marks or os.environ.get(OFF, "0") not in ("", "0"):
        return "it was turned off"
    return ""


def _as_one_function(body: ClosedJaxpr, params: dict[str, Any], *args: Array) -> Sequence[Array]:
    """Return the results of a scan, in a call that the compiler turns into one function."""
    tall = tall_matrices(body, loop_parts(body.jaxpr.invars, params)[0])
    if body.consts or tall:
        body, args, params = _with_more_arguments(body, args, params, tall)

    def one_kernel(*args: Array) -> tuple[Array, ...]:
        with set_xla_metadata(**dict.fromkeys((*ONE, MARK))):
            results = scan_p.bind(*args, **{**params, "jaxpr": body})
        return (*results, _read(args))

    # The compiler copies what it knows to be constant into the function, where a large array can
    # end the process. Behind the barrier it knows of no constants.
    with set_xla_metadata(**ONE):
        return jax.jit(one_kernel)(*lax.optimization_barrier(args))[:-1]


def _with_more_arguments(
    body: ClosedJaxpr, args: Sequence[Array], params: dict[str, Any], tall: Sequence[Var]
) -> tuple[ClosedJaxpr, tuple[Array, ...], dict[str, Any]]:
    """Return a loop with more among its arguments: arrays that its body holds, and transposes.

    Args:
        body: its body.
        args: its arguments.
        params: its parameters, as an equation.
        tall: the matrices of which it is to take the transposes.
    """
    consts, start, xs = loop_parts(args, params)
    given = dict(zip(body.jaxpr.invars, args, strict=True))
    of_body = [jnp.asarray(value) for value in body.consts]
    turned = [given[matrix].T for matrix in tall]

    def loop(consts: Any, of_body: Any, turned: Any, start: Any, xs: Any) -> Any:
        transposed = dict(zip(tall, turned, strict=True))
        products = functools.partial(with_transposed, transposed=transposed)

        def step(carry: Any, x: Any) -> tuple[Any, Any]:
            closed = ClosedJaxpr(body.jaxpr, of_body)
            results = interpreted(closed, [*consts, *carry, *x], products)
            return tuple(results[: len(carry)]), tuple(results[len(carry) :])

        return lax.scan(step, start, xs, length=params["length"], reverse=params["reverse"])

    traced = jax.make_jaxpr(loop)(consts, of_body, turned, start, xs)
    (found,) = (equation for equation in traced.jaxpr.eqns if equation.primitive is scan_p)
    arguments = [*consts, *of_body, *turned, *start, *xs]
    values = dict(zip(traced.jaxpr.invars, arguments, strict=True))
    return found.params["jaxpr"], tuple(values[v] for v in found.invars), found.params


def _read(*arguments: Sequence[Array]) -> Array:
    """Return a number that takes one entry of every array.

    The compiler ends the process at an argument of the function that nothing reads, and it may find
    out by itself that a step does not need one.
    """
    total = jnp.zeros((), jnp.float32)
    for array in jax.tree.leaves(arguments):
        words = jax.random.key_data(array) if is_key(array) else array
        if words.size:
            entry = lax.slice(words.reshape(-1), (0,), (1,)).reshape(())
            total = total + jnp.real(entry).astype(jnp.float32)
    return total


# JAX has no public way to ask for its rule. A version that keeps it elsewhere compiles all loops in
# the ordinary way.
_rules = getattr(mlir, "_lowerings", {})
if hasattr(_rules.get(scan_p), "rule"):
    _ordinary = _rules[scan_p].rule
    mlir.register_lowering(scan_p, _lower)
