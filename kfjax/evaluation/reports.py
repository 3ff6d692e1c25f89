"""What a comparison found: rows, and the table, the file and the picture of them."""

from __future__ import annotations

import dataclasses
import io
import json
import os
from collections.abc import Iterator
from typing import Any

from kfjax._support.saving import plain, write_whole
from kfjax.base import Estimate
from kfjax.data import Dataset
from kfjax.evaluation.intervals import Interval
from kfjax.evaluation.results import Evaluation

__all__ = ["Comparison", "Row"]


@dataclasses.dataclass(frozen=True)
class Row:
    """One filter of a comparison; None for what the filter or the data do not have.

    Attributes:
        name: as given to `compare`.
        trajectories: how many there were.
        failed: how many of them gave something not finite, or a negative variance.
        mse_db: MSE over trajectories, steps and state dimensions with its confidence interval, dB.
        median_db: the median over trajectories, dB.
        difference_db: how much worse than the best filter on the same trajectories, with confidence
            interval, dB; by state error where the truth is known, else by prediction error.
        anees: average normalised error per dimension with its acceptance interval; 1 if consistent.
        coverage: fraction of states within their central 95 % interval, with confidence interval.
        anis: mean normalised innovation per observed channel with its acceptance interval; 1 if
            consistent.
        log_likelihood: per step, with confidence interval.
        prediction_db: mean squared one-step prediction error of y with confidence interval, dB.
        autocorrelation: of the whitened innovations at lag 1, with its acceptance interval around
            0.
        whiteness: p-value of the test that lags 1 to 20 show none.
        microseconds: compiled time of one filter step of one trajectory, all estimates and
            innovations kept: median of several calls on a whole chunk of trajectories.
        compile_seconds: to trace and compile that; 0 if an earlier row or call has compiled the
            same.
    """

    name: str
    trajectories: int
    failed: int
    mse_db: Interval | None
    median_db: float | None
    difference_db: Interval | None
    anees: Interval | None
    coverage: Interval | None
    anis: Interval | None
    log_likelihood: Interval | None
    prediction_db: Interval | None
    autocorrelation: Interval | None
    whiteness: float | None
    microseconds: float
    compile_seconds: float


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """The result of `compare`: print it, read its `rows`, or save it with `save_json`.

    `kfjax.plotting.plot_comparison` draws it.

    Attributes:
        rows: one `Row` per filter, in the order given.
        best: the name of the filter with the least error among those that did not fail, or None.
        evaluations: every filter's `Evaluation`, by name.
        example: the first trajectory, a `Dataset` of one.
        estimates: every filter's `Estimate` of it, by name; mean [T, n].
        settings: what the comparison was of: numbers of trajectories and steps, dtype, device,
            versions.
    """

    rows: tuple[Row, ...]
    best: str | None
    evaluations: dict[str, Evaluation] = dataclasses.field(repr=False)
    example: Dataset
    estimates: dict[str, Estimate] = dataclasses.field(repr=False)
    settings: dict[str, Any]

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        """The table, for `rich`."""
        from kfjax.evaluation.tables import comparison_table

        del console
        yield comparison_table(self, narrow=options.max_width < 120)

    def __str__(self) -> str:
        """The table as plain text."""
        from rich.console import Console

        text = io.StringIO()
        Console(file=text, width=140, color_system=None, force_jupyter=False).print(self)
        return "\n".join(line.rstrip() for line in text.getvalue().splitlines()).strip("\n")

    def to_dict(self) -> dict[str, Any]:
        """Everything that `save_json` writes: settings, rows and curves over time; None for what is not finite."""
        curves = {name: _curves(evaluation) for name, evaluation in self.evaluations.items()}
        return plain(
            {"settings": self.settings, "best": self.best, "rows": self.rows, "curves": curves}
        )

    def save_json(self, path: str | os.PathLike) -> None:
        """Write settings, rows and curves over time; an earlier file is replaced only when all is written.

        Args:
            path: of the file.
        """
        write_whole(path, json.dumps(self.to_dict(), indent=1, allow_nan=False).encode())


def _curves(evaluation: Evaluation) -> dict[str, Any]:
    """The curves over time of one filter."""
    return {
        "mse_db": evaluation.error_over_time(),
        "anees": evaluation.nees_over_time(),
        "prediction_db": evaluation.prediction_over_time(),
        "nis": evaluation.nis_over_time(),
    }
