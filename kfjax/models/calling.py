"""Calls of the functions of a model, whose errors say which function failed and what to do.

An exception in a function that a user wrote keeps its type and its traceback. What is known about
its cause is added as a note (PEP 678), which Python prints below the error.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import jax
from jax.tree_util import Partial

from kfjax._support.types import PyTree

__all__: list[str] = []

MARK = "kfjax: "
SIGNATURES = {  # by their length
    1: ("u",),
    2: ("x", "u"),
    3: ("y", "u", "observed"),
    4: ("x", "y", "u", "observed"),
}
CURES = {  # the first that fits
    jax.errors.TracerArrayConversionError: "Use jnp (jax.numpy) instead of np (numpy).",
    jax.errors.TracerBoolConversionError: (
        "Use jnp.where(condition, a, b) or jax.lax.cond instead of `if`, and & or | instead of"
        " `and` or `or`."
    ),
    jax.errors.TracerIntegerConversionError: (
        "Make the table that is indexed a JAX array: jnp.asarray(table)[index]."
    ),
    jax.errors.ConcretizationTypeError: (
        "Values are not known while JAX traces the function: use jnp instead of math, and avoid"
        " float() and int()."
    ),
}


def call(name: str, fn: Callable[..., Any], *arguments: Any) -> Any:
    """Return fn(*arguments); an error in it is raised again with a note.

    Args:
        name: which function of the model it is: f, h, Q, R, observation_log_density, or the
            emission or transition of a hidden Markov model.
        fn: the function.
        *arguments: (x, u), or u alone for the matrices of a `Linear`; u may be None. The density
            has (x, y, u, observed), an emission (y, u, observed).
    """
    try:
        return fn(*arguments)
    except Exception as error:
        # the innermost call has the best note: a function may call that of another model
        if not any(note.startswith(MARK) for note in getattr(error, "__notes__", ())):
            error.add_note(_note(name, fn, arguments, error))
        raise


def _note(name: str, fn: Callable[..., Any], arguments: tuple[Any, ...], error: Exception) -> str:
    """Return which function was called with what, and the cure."""
    names = SIGNATURES[len(arguments)]
    given = [f"{one} {_shapes(value)}" for one, value in zip(names, arguments, strict=True)]
    text = f"{MARK}this error is from {name} of the model, {_readable(fn)}, called with"
    return f"{text} {', '.join(given)}. {_cure(name, fn, arguments, error)}".rstrip()


def advice(error: Exception) -> str:
    """Return the note that `call` added to an error, after a space; nothing without one."""
    notes = [note for note in getattr(error, "__notes__", ()) if note.startswith(MARK)]
    return f" {notes[0].removeprefix(MARK)}" if notes else ""


def _readable(fn: object) -> str:
    """Return the name of a function."""
    while isinstance(fn, Partial):
        fn = fn.func
    return getattr(fn, "__qualname__", type(fn).__name__)


def _shapes(tree: PyTree) -> str:
    """Describe a pytree of arrays by their shapes."""
    if tree is None:
        return "None"
    if hasattr(tree, "shape"):
        return f"of shape {tree.shape}"
    return f"of shapes {jax.tree.map(lambda leaf: getattr(leaf, 'shape', leaf), tree)}"


def _cure(name: str, fn: Callable[..., Any], arguments: tuple[Any, ...], error: Exception) -> str:
    """Return the advice that fits an error, or an empty string."""
    names = SIGNATURES[len(arguments)]
    for kind, cure in CURES.items():
        if isinstance(error, kind):
            return cure
    text = str(error)
    if isinstance(error, TypeError) and not _accepts(fn, len(arguments)):
        return f"It is called with ({', '.join(names)}): write def {name}({', '.join(names)})."
    if isinstance(error, TypeError) and "item assignment" in text:
        return "JAX arrays are immutable: write x = x.at[i].set(value)."
    if "NoneType" in text and _needs_input(fn, arguments, names.index("u")):
        return "The model reads u, and there are no inputs: pass us=, or u= of one step."
    return ""


def _accepts(fn: Callable[..., Any], count: int) -> bool:
    """Return whether a function takes this many arguments, as far as is known."""
    try:
        inspect.signature(fn).bind(*range(count))
    except TypeError:
        return False
    except ValueError:
        return True  # built in, without a signature
    return True


def _needs_input(fn: Callable[..., Any], arguments: tuple[Any, ...], at: int) -> bool:
    """Return whether u is None and that is what the function fails on."""
    if arguments[at] is not None:
        return False
    try:
        fn(*arguments[:at], object(), *arguments[at + 1 :])
    except Exception as error:
        return "NoneType" not in str(error)
    return True
