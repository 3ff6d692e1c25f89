"""The report of a comparison: its rows, its table and its file."""

from __future__ import annotations

import dataclasses
import io
import os
import sys
from collections.abc import Iterator
from typing import Any

from kfjax._support.saving import plain, write_json
from kfjax.base import Estimate, Info
from kfjax.data import Dataset
from kfjax.evaluation.answers import answer_of, question_of
from kfjax.evaluation.results import Evaluation
from kfjax.evaluation.rows import Row

__all__ = ["Comparison"]


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """The result of `compare`: print it, read its `rows`, or save it with `save_json`.

    `kfjax.plotting.plot_comparison` draws it.

    Attributes:
        rows: one `Row` per filter, in the order given.
        best: name of the filter with the least error among those that did not fail and can be
            compared, or None. Filters cannot be compared if their models subtract states in
            different ways, or if one scores fewer of the observations than another.
        evaluations: every filter's `Evaluation`, by name.
        example: the trajectory that is drawn, a `Dataset` of one: the first, unless `compare` was
            asked for another. The names of its states are those of the
            models, if they have any.
        estimates: every filter's `Estimate` of the example, by name; mean [T, n].
        infos: every filter's `Info` of the example, by name; innovation [T, m].
        settings: settings of the comparison: numbers of trajectories and steps, dtype, device,
            versions.
    """

    rows: tuple[Row, ...]
    best: str | None
    evaluations: dict[str, Evaluation] = dataclasses.field(repr=False)
    example: Dataset
    estimates: dict[str, Estimate] = dataclasses.field(repr=False)
    infos: dict[str, Info] = dataclasses.field(repr=False)
    settings: dict[str, Any]

    @property
    def question(self) -> str:
        """The question that the table answers."""
        return question_of(self.rows)

    @property
    def answer(self) -> str:
        """The answer to `question`, computed from the rows.

        There is no verdict between filters whose difference has an interval that contains 0.
        """
        return answer_of(self.rows, self.best)

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        """Yield the table, for `rich`, which is imported only to print it."""
        from kfjax.evaluation.tables import comparison_table

        del console
        how = {"narrow": options.max_width < 120, "ascii_only": options.ascii_only}
        yield comparison_table(self.rows, self.best, self.settings, **how)

    def __str__(self) -> str:
        """Return the table as plain text, in signs that stdout can show."""
        from rich.console import Console

        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        text = io.TextIOWrapper(io.BytesIO(), encoding, errors="replace", newline="\n")
        console = Console(file=text, width=140, color_system=None, force_jupyter=False)
        console.print(self)
        text.seek(0)
        lines = [line.rstrip() for line in text.read().splitlines()]
        return "\n".join(lines).strip("\n")

    def to_dict(self) -> dict[str, Any]:
        """Return what `save_json` writes: settings, rows and curves over time.

        None stands for numbers that are not finite.
        """
        curves = {name: _curves(evaluation) for name, evaluation in self.evaluations.items()}
        content = {
            "settings": self.settings,
            "best": self.best,
            "question": self.question,
            "answer": self.answer,
            "rows": self.rows,
            "curves": curves,
        }
        return plain(content)

    def save_json(self, path: str | os.PathLike) -> None:
        """Write settings, rows and curves over time.

        An earlier file is replaced only when everything is written.

        Args:
            path: path of the file.
        """
        write_json(path, self.to_dict())


def _curves(evaluation: Evaluation) -> dict[str, Any]:
    """Return the curves over time of one filter."""
    return {
        "mse_db": evaluation.error_over_time(),
        "anees": evaluation.nees_over_time(),
        "prediction_db": evaluation.prediction_over_time(),
        "nis": evaluation.nis_over_time(),
    }
