"""The diagnosis of an imitation: figures, what they say, and how they print."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from kfjax.training.filter_memory import Forgetting
from kfjax.training.gates import Saturation
from kfjax.training.imitation_figures import ImitationFigures
from kfjax.training.verdicts import Verdict, overall, verdicts_of

__all__ = ["Diagnosis"]

MOST = 8  # components that are printed one by one


class Diagnosis(NamedTuple):
    """Diagnosis of an imitation, in units of the teacher's posterior standard deviations.

    `print` shows the errors beside those of simple maps, and the verdicts.

    Attributes:
        scale: these standard deviations, root mean square over the training data [n]; for a teacher
            without covariances, the standard deviations of its estimates.
        error: root mean square error [n] of the student on the validation data. Below 0.1, student
            and teacher are hard to tell apart.
        floors: by window length N, the error [n] of the best affine map from the last N
            observations.
        forgetting: how fast the teacher forgets; a student with a much shorter memory cannot
            imitate it. None for a recorded teacher, or one whose state has no field mean.
        teacher_gradients: the norm of d mean_T / d y_{T-k} at lags k = 0, 1, ...; None for a
            recorded teacher.
        student_gradients: the same for the student; None if only its predictions are known.
        saturation: saturation of the student's gates, or None if it has none or only its
            predictions are known.
        figures: figures of inputs, targets and predictions.
        window: the number of inputs that the student sees at once, as `diagnose` was told, or None.
        names: names of the components, or None.
        feeds_back: whether the student adds to its own last estimate, as far as is known.
        in_deviations: whether errors are in standard deviations of the teacher. Where the student
            is within 0.35 of them, verdicts have no remedies.
    """

    scale: Float[np.ndarray, " n"]
    error: Float[np.ndarray, " n"]
    floors: dict[int, Float[np.ndarray, " n"]]
    forgetting: Forgetting | None
    teacher_gradients: Float[np.ndarray, " _"] | None
    student_gradients: Float[np.ndarray, " _"] | None
    saturation: Saturation | None
    figures: ImitationFigures
    window: int | None = None
    names: tuple[str, ...] | None = None
    feeds_back: bool = False
    in_deviations: bool = False

    @property
    def verdicts(self) -> list[Verdict]:
        """Findings that follow from the figures, and what to change."""
        return verdicts_of(
            self.figures,
            self.window,
            feeds_back=self.feeds_back,
            forgetting=self.forgetting,
            in_deviations=self.in_deviations,
        )

    def __str__(self) -> str:
        rows = self.figures.compared
        lines = _table(rows, self.names or tuple(f"x{j + 1}" for j in range(len(self.error))))
        for about, finding, remedy in self.verdicts:
            lines.append(f"{about}: {finding}")
            if remedy is not None:
                lines.append(f"  -> {remedy}")
        return "\n".join(lines)


def _table(rows: dict[str, np.ndarray], names: tuple[str, ...]) -> list[str]:
    """Return errors as lines of text, all components together in the first column."""
    columns = ["all", *(names if len(names) <= MOST else ())]
    first = max(map(len, rows))
    widths = [max(len(name), 9) for name in columns]
    cells = {name: [overall(error), *error][: len(columns)] for name, error in rows.items()}
    head = [name.rjust(width) for name, width in zip(columns, widths, strict=True)]
    lines = ["  ".join([" " * first, *head])]
    for name, values in cells.items():
        texts = [f"{value:.3g}".rjust(width) for value, width in zip(values, widths, strict=True)]
        lines.append("  ".join([name.ljust(first), *texts]))
    return [*lines, ""]
