"""Names in error texts: the known ones, and the one that was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__: list[str] = []


def suggest(name: object, known: Iterable[str]) -> str:
    """Return the end of an error text: the known names, and one close to `name` if any.

    Example:
        >>> from kfjax._support.naming import suggest
        >>> suggest("unscend", ["extended", "unscented"])
        "expected one of extended, unscented. Did you mean 'unscented'?"
    """
    by_lower = {other.lower(): other for other in sorted(known)}
    if not by_lower:
        return "there is none to choose from."
    expected = f"expected one of {', '.join(by_lower.values())}."
    near = difflib.get_close_matches(str(name).lower(), by_lower, n=1, cutoff=0.5)
    if not near:
        return expected
    return f"{expected} Did you mean {by_lower[near[0]]!r}?"


def described(value: object) -> str:
    """Return a short description of a wrong argument, for error texts.

    Example:
        >>> from kfjax._support.naming import described
        >>> described(None), described("mean"), described(np.zeros((3, 2)))
        ('None', "'mean'", 'ndarray of shape (3, 2) and float64')
    """
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        text = repr(value)
        return text if len(text) < 60 else f"{text[:56]}..."
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{type(value).__name__} of shape {tuple(value.shape)} and {value.dtype}"
    if isinstance(value, type) or (callable(value) and hasattr(value, "__name__")):
        return value.__name__
    return f"a {type(value).__name__}"


def not_installed(package: str, error: ImportError) -> ImportError:
    """Return the error that says how to install a package that only some functions need."""
    return ImportError(
        f"{package} is not installed ({error}). Install it with pip install 'kfjax[data]'."
    )
