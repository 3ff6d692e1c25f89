"""The table of a comparison, for people."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from kfjax.evaluation.intervals import Interval

__all__: list[str] = []


def comparison_table(comparison: Any, *, narrow: bool = False) -> Table:
    """Return the table of a `Comparison`; without true states, errors are those of predicting y."""
    truth = comparison.rows[0].mse_db is not None
    columns = _columns(truth, comparison.best)
    table = Table(
        box=box.SIMPLE_HEAD, padding=(0, 0 if narrow else 1), collapse_padding=True, pad_edge=False
    )
    table.caption, table.caption_justify = _caption(comparison, truth), "left"
    for heading in columns:
        # in a narrow terminal intervals go below their values, and nothing else breaks
        breaks = heading in ("MSE dB", "y ahead dB", "to best", "ANEES", "lag 1", "NIS")
        justify: Literal["left", "right"] = "left" if heading == "filter" else "right"
        table.add_column(
            heading, justify=justify, no_wrap=not breaks, min_width=7 if breaks else None
        )
    for row in comparison.rows:
        table.add_row(
            *[cell(row) for cell in columns.values()],
            style="bold" if row.name == comparison.best else None,
        )
    return table


def _columns(truth: bool, best: str | None) -> dict[str, Callable[[Any], Text]]:
    """Headings, and what to write below them."""
    quality: dict[str, Callable[[Any], Text]] = {
        "MSE dB": lambda row: _error(row, row.mse_db),
        "median": lambda row: _number(row.median_db, 2),
        "to best": lambda row: (
            Text("best") if row.name == best else _spread(row.difference_db, "+")
        ),
        "ANEES": lambda row: _accepted(row.anees),
    }
    if not truth:
        quality = {
            "y ahead dB": lambda row: _error(row, row.prediction_db),
            "to best": quality["to best"],
            "lag 1": lambda row: _accepted(row.autocorrelation),
        }
    return {
        "filter": lambda row: Text(row.name),
        **quality,
        "NIS": lambda row: _accepted(row.anis),
        "loglik": lambda row: _number(
            None if row.log_likelihood is None else row.log_likelihood.value, 3
        ),
        "µs/step": lambda row: _number(row.microseconds, 2),
        "comp. s": lambda row: _number(row.compile_seconds, 1),
    }


def _caption(comparison: Any, truth: bool) -> str:
    """What the numbers mean."""
    settings = comparison.settings
    level = f"{100 * settings['level']:g} %"
    size = f"{settings['trajectories']} x {settings['steps']} steps, {settings['dtype']}, {settings['device']}."
    error = (
        "MSE: over trajectories, steps and state dimensions."
        if truth
        else "y ahead: error of y, one step ahead."
    )
    extra = (
        "ANEES and NIS (both 1"
        if truth
        else "NIS (1) and the innovations' autocorrelation at lag 1 (0"
    )
    return (
        f"{size} {error} ±: {level} interval over trajectories, of the pairs in 'to best', all in"
        " dB."
        f" {extra} if consistent): in [ ] with {level} probability. Log-likelihood is per step."
    )


def _number(value: float | None, digits: int, sign: str = "") -> Text:
    """A number, in powers of ten where it is large; a dash where there is none."""
    if value is None or np.isnan(value):
        return Text("-", style="dim")
    return Text(f"{value:{sign}.{digits}f}" if abs(value) < 1e5 else f"{value:{sign}.1e}")


def _error(row: Any, value: Interval | None) -> Text:
    """An error, or how many trajectories failed."""
    if row.failed:
        return Text(f"failed {row.failed}/{row.trajectories}", style="red")
    return _spread(value)


def _spread(value: Interval | None, sign: str = "") -> Text:
    """A value ± half of its confidence interval, where there is one."""
    if value is None:
        return _number(None, 2)
    text = _number(value.value, 2, sign)
    return text.append(f" ±{(value.high - value.low) / 2:.2f}") if np.isfinite(value.high) else text


def _accepted(value: Interval | None) -> Text:
    """A value with its acceptance interval, green inside and yellow outside."""
    if value is None or np.isnan(value.value):
        return _number(None, 2)
    text = _number(value.value, 3).append(f" [{value.low:.3f}, {value.high:.3f}]")
    text.stylize("green" if value.low <= value.value <= value.high else "yellow")
    return text
