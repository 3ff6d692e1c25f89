"""The table of a comparison, as a terminal shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from kfjax._support.saving import in_ascii
from kfjax.evaluation.answers import answer_of, question_of
from kfjax.evaluation.intervals import Interval
from kfjax.evaluation.rows import Row

__all__: list[str] = []

OUTSIDE = "!"  # marks a value outside its acceptance interval, also without colours

# In a narrow terminal the intervals of these columns go below their values; no other column breaks.
BREAKING = ("MSE dB", "y ahead dB", "to best", "ANEES", "lag 1", "NIS")


def comparison_table(
    rows: Sequence[Row],
    best: str | None,
    settings: Mapping[str, Any],
    *,
    narrow: bool = False,
    ascii_only: bool = False,
) -> Table:
    """Return the table of a `Comparison`; without true states, errors are those of predicting y."""
    write = _plain if ascii_only else _unchanged
    truth = rows[0].mse_db is not None
    spacing = 0 if narrow else 1
    table = Table(box=box.SIMPLE_HEAD, padding=(0, spacing), collapse_padding=True, pad_edge=False)
    answer = f"{question_of(rows)}\n{answer_of(rows, best)}\n"
    table.caption = Text.assemble(
        (write(Text(answer)).plain, "not dim not italic bold"),
        write(Text(_caption(rows, settings))).plain,
    )
    table.caption_justify = "left"
    rejects = any(row.rejected is not None for row in rows)
    for heading in _cells(rows[0], best, truth, rejects):
        breaks = heading in BREAKING
        justify: Literal["left", "right"] = "left" if heading == "filter" else "right"
        least = 7 if breaks else None
        table.add_column(write(Text(heading)), justify=justify, no_wrap=not breaks, min_width=least)
    for row in rows:
        style = "bold" if row.name == best else None
        table.add_row(*map(write, _cells(row, best, truth, rejects).values()), style=style)
    return table


def _unchanged(text: Text) -> Text:
    return text


def _plain(text: Text) -> Text:
    """Return a text in ASCII, before it is laid out, since "+-" is wider than its sign."""
    style = text.spans[0].style if text.spans else text.style
    return Text(in_ascii(text.plain), style)


def _cells(row: Row, best: str | None, truth: bool, rejects: bool) -> dict[str, Text]:
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
    if rejects:
        cells["rej. %"] = _number(None if row.rejected is None else 100 * row.rejected, 1)
    cells["loglik"] = _number(None if likelihood is None else likelihood.value, 3)
    cells["µs/step"] = _number(row.microseconds, 2)
    cells["comp. s"] = _number(row.compile_seconds, 1)
    return cells


def _caption(rows: Sequence[Row], settings: Mapping[str, Any]) -> str:
    """Return what was compared, and one line on the meaning of every column."""
    level = f"{100 * settings['level']:g} %"
    size = f"{settings['trajectories']} x {settings['steps']} steps"
    lines = [f"{size}, {settings['dtype']}, {settings['device']}."]
    tests = {"NIS": "normalised innovations, 1 if consistent"}
    if rows[0].mse_db is not None:
        lines.append(f"MSE: over trajectories, steps and state dimensions, ± {level} interval.")
        lines.append("median: of the MSE of single trajectories, dB.")
        tests = {"ANEES": "normalised errors, 1 if consistent"} | tests
    else:
        lines.append(f"y ahead: error of y predicted one step ahead, ± {level} interval.")
        tests = {"lag 1": "autocorrelation of innovations, 0 if consistent"} | tests
    lines.append(
        f"to best: difference to the least error, ± {level} interval over pairs; no verdict where"
        " it contains 0; - where there is none."
    )
    lines += [f"{name}: {text}." for name, text in tests.items()]
    lines.append(
        f"[ ]: a consistent filter is inside with {level} probability; {OUTSIDE}: outside."
    )
    if any(row.rejected is not None for row in rows):
        lines.append("rej. %: observed channels that the filter did not use; all are scored.")
    lines.append("loglik: log-likelihood of y per step, the higher the better.")
    lines.append("µs/step: time of one step of one trajectory; comp. s: seconds to compile.")
    return "\n".join(lines)


def _number(value: float | np.ndarray | None, digits: int, sign: str = "") -> Text:
    """Format a number, with a power of ten if it is large, or None as a dash."""
    if value is None or np.isnan(value):
        return Text("-", style="dim")
    number = float(value)
    form = f"{sign}.{digits}f" if abs(number) < 1e5 else f"{sign}.1e"
    return Text(format(number, form))


def _error(row: Row, value: Interval | None) -> Text:
    """Return an error, or the number of trajectories that failed."""
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
    """Return a value with its acceptance interval: green inside, yellow and marked outside."""
    if value is None or np.isnan(value.value):
        return _number(None, 2)
    text = _number(value.value, 3)
    text.append(OUTSIDE if value.is_outside else "")
    text.append(f" [{value.low:.3f}, {value.high:.3f}]")
    text.stylize("yellow" if value.is_outside else "green")
    return text
