"""The choice of `kfjax forecast --model auto` among fitted sums, and what is printed about it."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from kfjax.evaluation import Backtest
from kfjax.structural.sums import Structural
from kfjax.training import MaximumLikelihood

__all__: list[str] = []


class Candidate(NamedTuple):
    """A sum that was fitted.

    Attributes:
        name: what it is called in the table.
        model: the sum before the fit.
        fit: its fit to the observations that the criterion counts.
        test: its backtest, or None.
    """

    name: str
    model: Structural
    fit: MaximumLikelihood
    test: Backtest | None


def chosen_of(found: list[Candidate], choose: str) -> Candidate:
    """Return the best candidate."""
    return min(found, key=lambda one: criterion(one, choose))


def criterion(one: Candidate, choose: str) -> float:
    """Return what is least for the best candidate."""
    value = one.fit.aic if one.test is None or choose == "aic" else one.test["model"].mase.value
    return float(value) if np.isfinite(value) else math.inf


def table(found: list[Candidate], best: Candidate, skip: int, season: int) -> str:
    """Return the table of candidates, and what its columns count."""
    wide = 4 + max(len(one.name) for one in found)
    heads = ["fitted", "log L", "AIC"] + ([] if best.test is None else ["MASE", "in 95 %"])
    lines = [f"{'candidate':<{wide}}" + "".join(f"{head:>11}" for head in heads)]
    lines.append("-" * len(lines[0]))
    for one in found:
        cells = [f"{len(one.fit.parameters)}", f"{one.fit.log_likelihood:.3f}"]
        cells.append(f"{one.fit.aic:.3f}")
        if one.test is not None:
            score = one.test["model"]
            cells += [f"{score.mase.value:.3f}", f"{100 * score.coverage_95:.0f} %"]
        mark = "> " if one is best else "  "
        lines.append(f"{mark + one.name:<{wide}}" + "".join(f"{cell:>11}" for cell in cells))
    words = "a season and a step" if season > 1 else "a level and a slope"
    count = best.fit.observations
    lines += [
        f"All start exactly diffuse. log L is that of {count} observations after the first {skip}",
        f"steps ({words}, which determine the diffuse states of every candidate);",
        "AIC = -2 log L + 2 times the numbers fitted.",
    ]
    return "\n".join(lines)


def remarks(found: list[Candidate], best: Candidate, choose: str) -> list[str]:
    """Return what a reader of the choice has to know."""
    said = []
    missed = [one.name for one in found if not one.fit.converged]
    if missed:
        said.append(f"the fit did not converge for: {', '.join(missed)}. Try --x64.")
    sure = [one for one in found if one.fit.converged]
    if sure and not best.fit.converged:
        second = chosen_of(sure, choose)
        said.append(
            f"{best.name} was chosen although its fit did not converge, so its estimates and"
            f" intervals may be wrong. The best sum that converged is {second.name}, AIC"
            f" {second.fit.aic:.3f}."
        )
    if best.test is not None:
        said.append(f"backtest of {best.name}: {best.test.answer}")
    if choose == "aic":
        near = [one.name for one in found if one is not best and one.fit.aic < best.fit.aic + 2]
        if near:
            said.append(f"within 2 of the least AIC: {', '.join(near)}.")
    return said
