"""Warnings about tables whose rows can be read but may not mean what they seem to."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np

__all__: list[str] = []

# what loggers write where nothing was measured
CODES = (-99.0, -999.0, -9999.0, -99999.0, -32768.0, 999.0, 9999.0, 99999.0, 1e20, 1e30, -1e30)
FAR = 3.0  # ranges of the other values, beyond which a number is not one of them


def warn_of_repeats(
    who: str,
    steps: Sequence[np.ndarray],
    rows: Sequence[np.ndarray],
    observations: np.ndarray,
    inputs: Mapping[str, np.ndarray],
    hint: str = "",
) -> None:
    """Warn if rows observe the same channels at the time, and with the inputs, of the row before.

    Args:
        who: the function, for the text.
        steps: dt of the rows of every trajectory.
        rows: their numbers.
        observations: [all rows, m], NaN where missing.
        inputs: columns [all rows] by name, without dt.
        hint: a sentence for the end of the text.
    """
    seen = np.isfinite(observations)
    repeats: list[int] = []
    for dt, some in zip(steps, rows, strict=True):
        before, after = some[:-1], some[1:]
        again = (dt[1:] == 0) & (seen[before] & seen[after]).any(axis=1)
        for column in inputs.values():
            again &= column[before] == column[after]
        repeats += after[again].tolist()
    if not repeats:
        return
    first = repeats[0]
    same = np.array_equal(observations[first], observations[first - 1], equal_nan=True)
    values = "the same values" if same else "other values"
    many = "rows observe" if len(repeats) > 1 else "row observes"
    warnings.warn(
        f"{who}: {len(repeats)} {many} the same channels as the row before at the same time (row"
        f" {first}, {values}). Each counts as another observation. If rows were written twice, drop"
        " them (frame.drop_duplicates()); if they belong to several series, name the column that"
        f" tells these apart (by); if times are too coarse, leave them out.{hint}",
        stacklevel=4,
    )


def warn_of_codes(who: str, names: Sequence[str], observations: np.ndarray) -> None:
    """Warn if a channel holds a number that usually means that nothing was measured.

    Args:
        who: the function, for the text.
        names: m names of the channels.
        observations: [rows, m].
    """
    for name, values in zip(names, observations.T, strict=True):
        known = values[np.isfinite(values)]
        for code in CODES:
            others = known[known != code]
            if others.size in (0, known.size):
                continue
            room = FAR * max(np.ptp(others), 1e-12)
            if others.min() - room < code < others.max() + room:
                continue
            count = known.size - others.size
            rows = "row" if count == 1 else "rows"
            warnings.warn(
                f"{who}: column {name!r} holds {code:g} in {count} {rows}, far from its other"
                f" values ({others.min():.4g} to {others.max():.4g}). If that means that nothing"
                f" was measured, say so with missing=[{code:g}] (on the command line"
                f" --missing={code:g}).",
                stacklevel=4,
            )
