"""Names in error texts: the known ones, and the one that was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__: list[str] = []


def suggest(name: str, known: Iterable[str]) -> str:
    """Return the end of an error text: the known names, and the one near to `name` if there is one.

    Example:
        >>> from kfjax._support.naming import suggest
        >>> suggest("unscend", ["extended", "unscented"])
        "expected one of extended, unscented. Did you mean 'unscented'?"
    """
    by_lower = {other.lower(): other for other in sorted(known)}
    if not by_lower:
        return "there is none to choose from."
    expected = f"expected one of {', '.join(by_lower.values())}."
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    if not near:
        return expected
    return f"{expected} Did you mean {by_lower[near[0]]!r}?"
