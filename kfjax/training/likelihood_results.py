"""The result of a maximum-likelihood fit: its table, its criteria, and its summary as text."""

from __future__ import annotations

import dataclasses
import os
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from kfjax._support.naming import suggest
from kfjax._support.saving import json_text, write_json

__all__ = ["MaximumLikelihood", "Parameter"]

WIDTH = 78
SAME = 0.1  # difference of log-likelihoods that lead to the same maximum
COLUMN = 11  # width of a column of numbers


class Parameter(NamedTuple):
    """One fitted number.

    Attributes:
        name: name, such as "Q_std[0]".
        estimate: its value.
        std_error: its standard error, from the second derivatives of the log-likelihood; None where
            there is none, see note.
        z: estimate / std_error, or None.
        p_value: probability of a larger |z| if the true value were zero, or None.
        low: lower end of its confidence interval, or None.
        high: upper end of its confidence interval, or None.
        note: why there is no standard error, or an empty text.
    """

    name: str
    estimate: float
    std_error: float | None
    z: float | None
    p_value: float | None
    low: float | None
    high: float | None
    note: str = ""


@dataclasses.dataclass(frozen=True)
class MaximumLikelihood:
    """The result of `maximum_likelihood`; `print` shows its summary.

    Attributes:
        params: params of the filter, fitted.
        values: what was given as params, with the fitted numbers in it: the same as `params`,
            except where there is a transform.
        parameters: a `Parameter` for each fitted number.
        cov: covariance of their estimates [p, p], NaN where there is no standard error.
        log_likelihood: log-likelihood of the observations that count.
        observations: number of observed entries that count.
        converged: whether the maximum was found: no direction is left in which the log-likelihood
            rises.
        gain: by how much it could still rise, according to its first and second derivatives.
        updates: number of updates of the start that led to it.
        starts: log-likelihood reached from each start, the largest first [K].
        level: probability of the confidence intervals.
        notes: remarks printed below the table.
        filter: name of the filter.
    """

    params: Any
    values: Any
    parameters: tuple[Parameter, ...]
    cov: Float[np.ndarray, "p p"]
    log_likelihood: float
    observations: int
    converged: bool
    gain: float
    updates: int
    starts: tuple[float, ...]
    level: float
    notes: tuple[str, ...]
    filter: str

    def __getitem__(self, name: str) -> Parameter:
        """Return the parameter of this name."""
        by_name = {parameter.name: parameter for parameter in self.parameters}
        if name not in by_name:
            raise ValueError(f"MaximumLikelihood: got {name!r}; {suggest(name, by_name)}")
        return by_name[name]

    @property
    def aic(self) -> float:
        """Akaike's criterion, -2 log L + 2 p."""
        return -2 * self.log_likelihood + 2 * len(self.parameters)

    @property
    def bic(self) -> float:
        """Schwarz's criterion, -2 log L + p log N, with N observations."""
        penalty = len(self.parameters) * float(np.log(self.observations))
        return -2 * self.log_likelihood + penalty

    @property
    def hqic(self) -> float:
        """The criterion of Hannan and Quinn, -2 log L + 2 p log log N."""
        log_log_N = float(np.log(np.log(self.observations)))
        penalty = 2 * len(self.parameters) * log_log_N
        return -2 * self.log_likelihood + penalty

    def summary(self, checks: Any = None) -> str:
        """Return the table as text, 78 columns wide, or more for long names.

        Args:
            checks: what `kfjax.evaluation.residual_checks` returns, to be shown below it; or None.
        """
        table = _table(self.parameters, self.level)
        rule = "=" * len(table[0])
        lines = [
            f"Maximum likelihood, {self.filter}".center(WIDTH).rstrip(),
            rule,
            *_two_columns(self._head()),
            rule,
            *table,
            rule,
        ]
        if checks is not None:
            lines += [*checks.lines(), rule]
        notes = [*self.notes, *_notes_by_name(self.parameters)]
        lines += [line for number, note in enumerate(notes, 1) for line in _note(number, note)]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the params as values that JSON can hold."""
        left_out = ("params", "values")
        fields = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in left_out
        }
        return fields | {"aic": self.aic, "bic": self.bic, "hqic": self.hqic}

    def to_json(self) -> str:
        """Return `to_dict` as JSON."""
        return json_text(self.to_dict())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `to_dict` as a JSON file; `kfjax.training.save_params` saves the params."""
        write_json(path, self.to_dict())

    def _head(self) -> list[tuple[str, str]]:
        """Return the lines above the table."""
        converged = "yes" if self.converged else "NO"
        same = sum(value > self.log_likelihood - SAME for value in self.starts)
        return [
            ("Observations:", f"{self.observations}"),
            ("Parameters:", f"{len(self.parameters)}"),
            ("Converged:", f"{converged}, {self.updates} updates"),
            ("Found from:", f"{same} of {len(self.starts)} starts"),
            ("Log-likelihood:", f"{self.log_likelihood:.3f}"),
            ("AIC:", f"{self.aic:.3f}"),
            ("BIC:", f"{self.bic:.3f}"),
            ("HQIC:", f"{self.hqic:.3f}"),
        ]

    def __str__(self) -> str:
        return self.summary()


def _two_columns(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Return names and values, the second half beside the first."""
    half = len(pairs) // 2
    wide = WIDTH // 2 - 1
    lines = []
    for left, right in zip(pairs[:half], pairs[half:], strict=True):
        cells = [f"{name:<16}{value[: wide - 16]:>{wide - 16}}" for name, value in (left, right)]
        lines.append("  ".join(cells))
    return lines


def _table(parameters: Sequence[Parameter], level: float) -> list[str]:
    """Return the table of parameters."""
    tail = 50 * (1 - level)
    ends = (f"[{tail / 100:.3f}", f"{1 - tail / 100:.3f}]")
    heads = ("", "estimate", "std err", "z", "P>|z|", *ends)
    rows = [
        (
            parameter.name,
            f"{parameter.estimate:.5g}",
            _number(parameter.std_error, ".4g"),
            _number(parameter.z, ".3f"),
            _number(parameter.p_value, ".3f"),
            _number(parameter.low, ".4g"),
            _number(parameter.high, ".4g"),
        )
        for parameter in parameters
    ]
    wide = max(WIDTH - 6 * COLUMN, 1 + max(len(name) for name, *_ in rows))
    lines = [
        f"{name:<{wide}}" + "".join(f"{cell:>{COLUMN}}" for cell in cells)
        for name, *cells in (heads, *rows)
    ]
    return [lines[0], "-" * len(lines[0]), *lines[1:]]


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _notes_by_name(parameters: Sequence[Parameter]) -> list[str]:
    """Return the notes of parameters, grouped by their text."""
    names: dict[str, list[str]] = {}
    for parameter in parameters:
        if parameter.note:
            names.setdefault(parameter.note, []).append(parameter.name)
    return [f"{', '.join(some)}: {note}." for note, some in names.items()]


def _note(number: int, text: str) -> list[str]:
    """Return a numbered note, wrapped."""
    return textwrap.wrap(f"[{number}] {text}", WIDTH, subsequent_indent="    ")
