"""Every array in a public annotation has a shape."""

import collections.abc
import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Iterator
from typing import Any

import jax
import jaxtyping
import numpy as np
import pytest
from support.good_calls import public_callables

import kfjax as kf

BARE = (jax.Array, np.ndarray)
# Why an annotation may have an array without a shape.
WITHOUT_A_SHAPE = {
    "exporting.Program": "its file is copied into archives, whose loader must import only JAX",
}


def functions_of(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield a function, or the fields and the public methods of a class, with their names."""
    if not inspect.isclass(value):
        yield name, inspect.unwrap(value)
        return
    yield name, value
    for key, member in vars(value).items():
        function = getattr(member, "fget", None) or getattr(member, "func", None) or member
        function = inspect.unwrap(getattr(function, "__func__", function))
        is_public = not key.startswith("_") or key in ("__call__", "__getitem__")
        if is_public and inspect.isfunction(function):
            yield f"{name}.{key}", function


class Attributes(type):
    def __getattr__(cls, name: str) -> Any:
        return Any


class Unknown(metaclass=Attributes):
    """A name, such as that of a package, that is imported for type checkers only."""

    def __class_getitem__(cls, item: Any) -> Any:
        return Any


@functools.cache
def hints_of(value: Any) -> dict[str, Any]:
    """Return the annotations of a function or class, evaluated."""
    unknown: dict[str, Any] = {}
    while True:
        try:
            return typing.get_type_hints(value, localns=unknown or None)
        except NameError as error:
            unknown[error.name] = Unknown


def bare_arrays(hint: Any) -> bool:
    """Return whether a type has an array without a shape."""
    if hint in BARE:
        return True
    if inspect.isclass(hint) and issubclass(hint, jaxtyping.AbstractArray):
        return False
    inner = typing.get_args(hint)
    if typing.get_origin(hint) is collections.abc.Callable and isinstance(inner[0], list):
        inner = (*inner[0], *inner[1:])
    return any(bare_arrays(part) for part in inner if not isinstance(part, list))


def annotated() -> Iterator[tuple[str, str, Any]]:
    """Yield (name, argument or field, type) of every public annotation of kfjax."""
    for name, value in public_callables():
        if not getattr(value, "__module__", "").startswith("kfjax"):
            continue
        for part, function in functions_of(name, value):
            for argument, hint in hints_of(function).items():
                if not argument.startswith("_"):
                    yield part, argument, hint


def test_arrays_in_public_annotations_have_shapes():
    bare = {f"{name}: {argument}" for name, argument, hint in annotated() if bare_arrays(hint)}
    unexplained = {text for text in bare if not text.startswith(tuple(WITHOUT_A_SHAPE))}
    assert unexplained == set(), "write the shape, such as Float[Array, 'T n'], or ' ...' for any"
    assert all(any(text.startswith(name) for text in bare) for name in WITHOUT_A_SHAPE)


def test_most_arrays_are_found():
    shaped = sum("jaxtyping" in str(hint) or "'" in str(hint) for _, _, hint in annotated())
    assert shaped > 400


@pytest.mark.parametrize(
    ("hint", "is_bare"),
    [
        (jax.Array, True),
        (dict[str, tuple[np.ndarray, ...]] | None, True),
        (collections.abc.Callable[[jax.Array], float], True),
        (collections.abc.Callable[..., jax.Array], True),
        (jax.typing.ArrayLike, True),
        (jaxtyping.Float[jax.Array, "n"], False),
        (jaxtyping.Real[jax.typing.ArrayLike, " ..."] | None, False),
        (types.NoneType, False),
    ],
)
def test_an_array_without_a_shape_is_noticed(hint, is_bare):
    assert bare_arrays(hint) == is_bare


def test_a_public_function_without_shapes_is_noticed(monkeypatch):
    def invented(x: jax.Array) -> None:
        del x

    @dataclasses.dataclass
    class Invented:
        x: np.ndarray

    for value in (invented, Invented):
        value.__module__ = "kfjax.systems"
        monkeypatch.setattr(kf.systems, "invented", value, raising=False)
        monkeypatch.setattr(kf.systems, "__all__", [*kf.systems.__all__, "invented"])
        with pytest.raises(AssertionError, match=r"systems\.invented: x"):
            test_arrays_in_public_annotations_have_shapes()
