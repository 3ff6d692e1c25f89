"""Names in error texts: what is known, and what was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__: list[str] = []


def suggest(name: str, known: Iterable[str]) -> str:
    """Return the part of an error text that lists the known names and the one nearest to `name`, if any is near.

    Example:
        >>> from kfjax.naming import suggest
        >>> suggest("unscend", ["extended", "unscented"])
        "expected one of extended, unscented. Did you mean 'unscented'?"
    """
    by_lower = {other.lower(): other for other in sorted(known)}
    if not by_lower:
        return "there is none to choose from."
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    question = f" Did you mean {by_lower[near[0]]!r}?" if near else ""
    return f"expected one of {', '.join(by_lower.values())}.{question}"
