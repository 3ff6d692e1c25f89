"""The table of a comparison, as a terminal shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from kfjax.evaluation.intervals import Interval
from kfjax.evaluation.rows import Row

__all__: list[str] = []

# In a narrow terminal the intervals of these columns go below their values; no other column breaks.
BREAKING = ("MSE dB", "y ahead dB", "to best", "ANEES", "lag 1", "NIS")


def comparison_table(
    rows: Sequence[Row], best: str | None, settings: Mapping[str, Any], *, narrow: bool = False
) -> Table:
    """Return the table of a `Comparison`; without true states, errors are those of predicting y."""
    truth = rows[0].mse_db is not None
    spacing = 0 if narrow else 1
    table = Table(box=box.SIMPLE_HEAD, padding=(0, spacing), collapse_padding=True, pad_edge=False)
    table.caption = _caption(settings, truth)
    table.caption_justify = "left"
    for heading in _cells(rows[0], best, truth):
        breaks = heading in BREAKING
        justify: Literal["left", "right"] = "left" if heading == "filter" else "right"
        least = 7 if breaks else None
        table.add_column(heading, justify=justify, no_wrap=not breaks, min_width=least)
    for row in rows:
        style = "bold" if row.name == best else None
        table.add_row(*_cells(row, best, truth).values(), style=style)
    return table


def _cells(row: Row, best: str | None, truth: bool) -> dict[str, Text]:
    """Return the cells of a filter by their headings."""
    to_best = Text("best") if row.name == best else _spread(row.difference_db, "+")
    cells = {"filter": Text(row.name)}
    if truth:
        cells["MSE dB"] = _error(row, row.mse_db)
        cells["median"] = _number(row.median_db, 2)
        cells["to best"] = to_best
        cells["ANEES"] = _accepted(row.anees)
    else:
        cells["y ahead dB"] = _error(row, row.prediction_db)
        cells["to best"] = to_best
        cells["lag 1"] = _accepted(row.autocorrelation)
    likelihood = row.log_likelihood
    cells["NIS"] = _accepted(row.anis)
    cells["loglik"] = _number(None if likelihood is None else likelihood.value, 3)
    cells["µs/step"] = _number(row.microseconds, 2)
    cells["comp. s"] = _number(row.compile_seconds, 1)
    return cells


def _caption(settings: Mapping[str, Any], truth: bool) -> str:
    """Return what the numbers mean."""
    level = f"{100 * settings['level']:g} %"
    size = f"{settings['trajectories']} x {settings['steps']} steps"
    error = "y ahead: error of y, one step ahead."
    acceptance = "NIS (1) and the innovations' autocorrelation at lag 1 (0"
    if truth:
        error = "MSE: over trajectories, steps and state dimensions."
        acceptance = "ANEES and NIS (both 1"
    return (
        f"{size}, {settings['dtype']}, {settings['device']}. {error}"
        f" ±: {level} interval over trajectories, of the pairs in 'to best', all in dB."
        f" {acceptance} if consistent): in [ ] with {level} probability."
        " Log-likelihood is per step."
    )


def _number(value: float | np.ndarray | None, digits: int, sign: str = "") -> Text:
    """Return a number, in powers of ten where it is large; a dash where there is none."""
    if value is None or np.isnan(value):
        return Text("-", style="dim")
    number = float(value)
    form = f"{sign}.{digits}f" if abs(number) < 1e5 else f"{sign}.1e"
    return Text(format(number, form))


def _error(row: Row, value: Interval | None) -> Text:
    """Return an error, or how many trajectories failed."""
    if row.failed:
        return Text(f"failed {row.failed}/{row.trajectories}", style="red")
    return _spread(value)


def _spread(value: Interval | None, sign: str = "") -> Text:
    """Return a value ± half of its confidence interval, if there is one."""
    if value is None:
        return _number(None, 2)
    text = _number(value.value, 2, sign)
    if np.isfinite(value.high):
        text.append(f" ±{(value.high - value.low) / 2:.2f}")
    return text


def _accepted(value: Interval | None) -> Text:
    """Return a value with its acceptance interval, green inside and yellow outside."""
    if value is None or np.isnan(value.value):
        return _number(None, 2)
    text = _number(value.value, 3)
    text.append(f" [{value.low:.3f}, {value.high:.3f}]")
    inside = value.low <= value.value <= value.high
    text.stylize("green" if inside else "yellow")
    return text
