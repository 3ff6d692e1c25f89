"""Calls of public functions with one bad argument each, and their outcomes.

A call ends in one of five ways:

    clear     an error of kfjax that names the argument or function, and says what was expected
    accepted  a result without NaN: the value was not bad for this argument
    nan       a result with NaN where the good call has none
    obscure   any other exception, from inside JAX or Python
    slow      nothing after `LIMIT` seconds
"""

import contextlib
import dataclasses
import itertools
import signal
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from support.good_calls import GOOD, THROUGH, function_of

import kfjax as kf
from kfjax import training

LIMIT = 30.0
PACKAGE = str(Path(kf.__file__).parent)
NOT_FILES = (ValueError, TypeError)


class Bad(NamedTuple):
    """A call with one bad argument.

    Attributes:
        name: the row of the table of good calls.
        argument: which argument is bad, or both names of swapped ones.
        label: what is wrong with it.
    """

    name: str
    argument: str
    label: str


class Outcome(NamedTuple):
    """The outcome of a call, and the text of its error."""

    kind: str
    text: str


class Nothing:
    """An object of a type that kfjax does not know."""


def is_number(value: Any) -> bool:
    """Return whether a value is a plain float."""
    return isinstance(value, float)


def is_array(value: Any) -> bool:
    """Return whether a value is an array of numbers."""
    return isinstance(value, (np.ndarray, jax.Array)) and not is_key(value)


def is_key(value: Any) -> bool:
    """Return whether a value is a random key."""
    return isinstance(value, jax.Array) and jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key)


def bad_values(value: Any) -> dict[str, Any]:
    """Return values of other types than a good one, by what is wrong with them."""
    bad: dict[str, Any] = {"None": None, "a string": "nonsense", "an object": Nothing()}
    if isinstance(value, bool):
        return {}
    if isinstance(value, int):
        return bad | {"-1": -1, "1.5": 1.5, "True": True, "NaN": np.nan, "a list": [1, 2]}
    if is_number(value):
        return bad | {
            "NaN": np.nan,
            "inf": np.inf,
            "complex": 1j,
            "a matrix": np.full((3, 3), 0.5),
            "an empty array": np.zeros(0),
        }
    if is_key(value):
        return bad | {"an integer": 0, "floats": np.zeros(2), "two keys": jax.random.split(value)}
    if is_array(value):
        return bad | bad_arrays(np.asarray(value))
    if isinstance(value, str):
        return bad | {"a number": 3}
    return bad | {"a number": 3, "an array": np.zeros(3), "a dict": {}, "a list": [1.0]}


def bad_arrays(array: np.ndarray) -> dict[str, Any]:
    """Return arrays that differ from a good one."""
    bad = {
        "a number": 3.0,
        "another axis": array[None],
        "an empty array": array[:0],
        "a longer one": np.concatenate([array, array]),
        "objects": np.full(array.shape, None, object),
        "strings": np.full(array.shape, "a"),
        "a ragged list": [[1.0], [1.0, 2.0]],
    }
    if array.dtype.kind == "f":
        spoilt = {"NaN": np.nan, "inf": np.inf}
        for label, number in spoilt.items():
            bad[label] = array.copy()
            bad[label].flat[-1] = number
        bad["complex"] = array * 1j
    if array.ndim > 1:
        bad["an axis less"] = array[0]
        bad["transposed"] = np.swapaxes(array, 0, -1)
    return bad


def calls(names: Iterator[str] | None = None) -> Iterator[tuple[Bad, dict[str, Any]]]:
    """Yield every bad call of some rows of the table, all by default, with its arguments."""
    for name in GOOD if names is None else names:
        good = GOOD[name]()
        for argument, value in good.items():
            for label, bad in bad_values(value).items():
                yield Bad(name, argument, label), good | {argument: bad}
        given = list(good)
        for first, second in itertools.pairwise(given):
            swapped = {first: good[second], second: good[first]}
            yield Bad(name, f"{first}, {second}", "swapped"), good | swapped


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in a call that takes longer, as far as Python can be interrupted."""

    def stop(*_: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(
        signal.ITIMER_PROF, seconds
    )  # processor time, so that other load does not count
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def called(name: str, arguments: dict[str, Any]) -> Any:
    """Return what the function of a row returns, called in a folder that is deleted afterwards."""
    positional = []
    named = {}
    for argument, value in arguments.items():
        if argument.startswith("*"):
            positional += value if isinstance(value, (tuple, list)) else [value]
        else:
            named[argument] = value
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        return function_of(name)(*positional, **named)


def outcome(bad: Bad, arguments: dict[str, Any]) -> Outcome:
    """Return the outcome of a call."""
    try:
        with time_limit(LIMIT), warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            result = called(bad.name, arguments)
    except TimeoutError:
        return Outcome("slow", "")
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        return Outcome("clear" if is_clear(error, bad) else "obscure", text)
    through = any(bad.name in names for names in THROUGH.values())
    passed = not through and has_nan(result)
    return Outcome("nan" if passed else "accepted", "")


def is_clear(error: Exception, bad: Bad) -> bool:
    """Return whether an error comes from kfjax and says what was expected."""
    if any(note.startswith("kfjax: ") for note in getattr(error, "__notes__", ())):
        return True
    raised_in = traceback.extract_tb(error.__traceback__)[-1].filename
    says = "expected" in str(error) and len(str(error)) < 600
    return isinstance(error, NOT_FILES) and raised_in.startswith(PACKAGE) and says


def is_history(value: Any) -> bool:
    """Return whether a value is the history of a training."""
    return isinstance(value, training.History)


def has_nan(result: Any) -> bool:
    """Return whether there is NaN in what a function returned, fields of dataclasses included.

    A history of a training has NaN where nothing was measured.
    """
    if dataclasses.is_dataclass(result) and not jax.tree.leaves(result):
        return False
    with contextlib.suppress(Exception):
        for leaf in jax.tree.leaves(result, is_leaf=is_history):
            if isinstance(leaf, (np.ndarray, jax.Array, float)) and not is_key(leaf):
                array = np.asarray(leaf)
                if array.dtype.kind in "fc" and np.isnan(array).any():
                    return True
    return False
