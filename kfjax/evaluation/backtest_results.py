"""The result of a backtest: scores per horizon, their table, and the answer that they give."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from kfjax._support.saving import json_text, write_json
from kfjax.evaluation.answers import listed
from kfjax.evaluation.intervals import Interval

__all__ = ["Backtest", "ForecastScore"]

SHOWN = 5  # horizons that are printed of each method
COLUMNS = ("forecasts", "MASE", "RMSE", "CRPS", "in 80 %", "in 95 %")
COLUMN = 10  # width of a column of numbers
AHEAD = 7


@dataclasses.dataclass(frozen=True)
class ForecastScore:
    """The scores of one method at one horizon; lower is better, except for the coverages.

    Attributes:
        method: name of the model, "naive" or "seasonal naive".
        horizon: number of steps ahead; None for all of them.
        forecasts: number of forecasts that are scored, the same for all methods.
        mase: mean absolute error in units of the mean absolute change over a season before the
            origin, with its confidence interval over origins.
        rmse: root of the mean squared error, in the unit of y.
        crps: mean continuous ranked probability score, in the unit of y.
        coverage_80: share of the observations within their central 80 % interval.
        coverage_95: share of the observations within their central 95 % interval.
        difference: how much larger the MASE is than that of the best method on the same forecasts,
            with its confidence interval over origins; None for the best one, and at one horizon.
    """

    method: str
    horizon: int | None
    forecasts: int
    mase: Interval
    rmse: float
    crps: float
    coverage_80: float
    coverage_95: float
    difference: Interval | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Backtest:
    """The result of `backtest`: print it, read its `rows`, or save it as JSON.

    Attributes:
        rows: a `ForecastScore` for each method: first all horizons, then each.
        best: name of the method with the least MASE, or None if no MASE is a number.
        origins: number of steps that were known at each origin [O].
        refits: the origins at which the params were fitted.
        mean: forecasts of the model [O, H].
        std: their standard deviations [O, H].
        truth: what was observed [O, H], NaN where missing.
        season: number of steps of a season, in the MASE and the seasonal-naive forecast.
    """

    rows: tuple[ForecastScore, ...]
    best: str | None
    origins: Int[np.ndarray, " _"]
    refits: Int[np.ndarray, " _"]
    mean: Float[np.ndarray, "O H"] = dataclasses.field(repr=False)
    std: Float[np.ndarray, "O H"] = dataclasses.field(repr=False)
    truth: Float[np.ndarray, "O H"] = dataclasses.field(repr=False)
    season: int

    def __getitem__(self, method: str) -> ForecastScore:
        """Return the scores of a method over all horizons."""
        for row in self.overall:
            if row.method == method:
                return row
        names = [row.method for row in self.overall]
        raise ValueError(f"Backtest: got {method!r}; expected one of {', '.join(names)}.")

    @property
    def overall(self) -> tuple[ForecastScore, ...]:
        """The rows over all horizons."""
        return tuple(row for row in self.rows if row.horizon is None)

    @property
    def question(self) -> str:
        """The question that the table answers."""
        return "Which method has the least MASE over all horizons?"

    @property
    def answer(self) -> str:
        """The answer to `question`, computed from the rows.

        There is no verdict between methods whose difference has an interval that contains 0.
        """
        if self.best is None:
            return "No verdict: there is a forecast that is not a number in every method."
        others = [row for row in self.overall if row.method != self.best]
        tied = [row for row in others if not _is_worse(row) and np.isfinite(row.mase.value)]
        worse = [row for row in others if _is_worse(row)]
        failed = [row.method for row in others if not np.isfinite(row.mase.value)]
        clauses = [f"{self.best} (MASE {self[self.best].mase.value:.3g})"]
        if tied:
            names = listed([self.best, *(row.method for row in tied)])
            clauses = [f"No verdict between {names} ({_why(tied)})"]
        clauses += [f"{row.method} is worse by at least {_least(row):.2g}" for row in worse]
        if failed:
            clauses.append(f"{listed(failed)} failed")
        return "; ".join(clauses) + "."

    def to_dict(self) -> dict[str, Any]:
        """Return everything as values that JSON can hold."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return fields | {"question": self.question, "answer": self.answer}

    def to_json(self) -> str:
        """Return `to_dict` as JSON; null stands for numbers that are not finite."""
        return json_text(self.to_dict())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `to_dict` as a JSON file."""
        write_json(path, self.to_dict())

    def __str__(self) -> str:
        """Return the table as text, with a few of the horizons, the question and the answer."""
        horizons = self.mean.shape[1]
        shown = {None, *np.unique(np.linspace(1, horizons, SHOWN).astype(int)).tolist()}
        wide = 2 + max(len(row.method) for row in self.rows)
        head = f"{'':<{wide}}{'ahead':<{AHEAD}}" + "".join(f"{name:>{COLUMN}}" for name in COLUMNS)
        rule = "=" * len(head)
        lines = [self._title().center(len(head)).rstrip(), rule, head, "-" * len(head)]
        for row in self.rows:
            if row.horizon in shown:
                first = row.method if row.horizon is None else ""
                lines.append(f"{first:<{wide}}" + _cells(row))
        return "\n".join([*lines, rule, self.question, self.answer])

    def _title(self) -> str:
        origins, horizons = self.mean.shape
        fits = "the params as given"
        if self.refits.size:
            fits = f"fitted {self.refits.size} times" if self.refits.size > 1 else "fitted once"
        return f"Backtest: {origins} origins, 1 to {horizons} steps ahead, {fits}"


def _cells(row: ForecastScore) -> str:
    """Return the numbers of a row."""
    numbers = [
        f"{row.forecasts}",
        f"{row.mase.value:.3f}",
        f"{row.rmse:.4g}",
        f"{row.crps:.4g}",
        f"{100 * row.coverage_80:.0f} %",
        f"{100 * row.coverage_95:.0f} %",
    ]
    ahead = "all" if row.horizon is None else str(row.horizon)
    return f"{ahead:<{AHEAD}}" + "".join(f"{number:>{COLUMN}}" for number in numbers)


def _least(row: ForecastScore) -> float:
    """Return a lower bound on how much worse than the best one a method is."""
    return float("nan") if row.difference is None else float(row.difference.low)


def _is_worse(row: ForecastScore) -> bool:
    return _least(row) > 0


def _why(tied: list[ForecastScore]) -> str:
    """Return why there is no verdict."""
    if all(np.isfinite(_least(row)) for row in tied):
        return "intervals of their differences contain 0"
    return "there are too few origins for intervals"
