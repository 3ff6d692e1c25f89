"""Types of arguments: functions that read the text of an argument, or say what was expected."""

from __future__ import annotations

import argparse
import contextlib
import math

__all__: list[str] = []


def count(text: str) -> int:
    """Return a whole number of at least 1."""
    return _whole_from(1, text)


def whole(text: str) -> int:
    """Return a whole number of at least 0."""
    return _whole_from(0, text)


def _whole_from(least: int, text: str) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(
            f"got {text!r}; expected a whole number of at least {least}"
        )
    return int(text)


def sizes(text: str) -> tuple[int, ...]:
    """Return the sizes of several layers."""
    return tuple(count(size.strip()) for size in text.split(","))


def components(text: str) -> tuple[int, ...]:
    """Return indices of components of a state."""
    numbers = [number.strip() for number in text.split(",")]
    if not all(number.isdecimal() for number in numbers):
        raise argparse.ArgumentTypeError(
            f"got {text!r}; expected numbers from 0 with commas between, such as 0,1"
        )
    return tuple(map(int, numbers))


def positive(text: str) -> float:
    """Return a finite number above zero."""
    return _between(0, math.inf, text, "a positive number")


def probability(text: str) -> float:
    """Return a number between 0 and 1."""
    return _between(0, 1, text, "a number between 0 and 1")


def _between(low: float, high: float, text: str, expected: str) -> float:
    with contextlib.suppress(ValueError):
        if low < float(text) < high:
            return float(text)
    raise argparse.ArgumentTypeError(f"got {text!r}; expected {expected}")
