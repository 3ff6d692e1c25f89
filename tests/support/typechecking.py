"""The type checker of the tests."""

import typing

import beartype
import beartype.door
import jaxtyping

# by PEP 484 an int is accepted where a float is expected
_check = beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))


def check(item):
    """Check a function or a class; a `Run[...]` as a tuple, since beartype has no generic
    NamedTuples.
    """
    hints = getattr(item, "__annotations__", {})
    hints.update({name: tuple for name, hint in hints.items() if "Run[" in str(hint)})
    return _check(item)


def assert_fields(value, path="result"):
    """Raise unless every array in a NamedTuple of kfjax, at any depth, is as its field says."""
    if hasattr(value, "_fields"):
        with jaxtyping.jaxtyped("context"):  # a name stands for one size in all fields
            for name, hint in typing.get_type_hints(type(value)).items():
                field = getattr(value, name)
                found = f"{path}.{name} is {getattr(field, 'shape', field)}; expected {hint}"
                assert beartype.door.is_bearable(field, hint), found
    if isinstance(value, tuple):
        for name, item in zip(getattr(value, "_fields", value), value, strict=True):
            assert_fields(item, f"{path}.{name}" if isinstance(name, str) else path)
