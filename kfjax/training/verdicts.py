"""Verdicts on an imitation: sentences that are computed from its figures."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kfjax._support.types import Numbers
from kfjax.training.filter_memory import Forgetting
from kfjax.training.imitation_figures import ImitationFigures
from kfjax.training.linear_recursion import LONGEST

__all__ = ["Verdict"]

CLEARLY = 1.5  # times as large
NEARLY = 1.1  # times as large is as good as equal
BETTER = 0.8  # times as large is better by more than chance
GAIN = 0.02  # of the loss in the last tenth of a training
OUTSIDE = 0.01  # fraction of the entries
SLOW = 0.05  # change in one step in units of the spread
SMALL = 0.01  # an error that nobody has to explain
CLOSE = 0.35  # standard deviations of the teacher, which add at most half a decibel
DEPENDS = 0.1  # of the mean square of what the student misses
UNLIKE = 100.0  # largest spread of an input in units of the smallest

SHOWN = "kf.learned.recurrent(..., sees=('F2', 'F4', 'prediction'), inputs=...)"
RECURRENT = "kf.learned.sequence_regressor(feedback=True, output='increment')"


class Verdict(NamedTuple):
    """One finding about an imitation.

    Attributes:
        about: its subject, in a word.
        finding: a sentence with the figures it follows from.
        remedy: what to change, or None if nothing.
    """

    about: str
    finding: str
    remedy: str | None = None


def verdicts_of(
    figures: ImitationFigures,
    window: int | None = None,
    *,
    feeds_back: bool = False,
    forgetting: Forgetting | None = None,
    in_deviations: bool = False,
) -> list[Verdict]:
    """Return the verdicts that follow from figures.

    Args:
        figures: of an imitation.
        window: the number of inputs that the student sees at once; None if it carries its state.
        feeds_back: whether the student adds to its own last estimate, as far as is known.
        forgetting: how fast the teacher forgets, or None if it is not known.
        in_deviations: whether errors are in standard deviations of the teacher. If they are small
            then, there is nothing to change.
    """
    advice = (
        "" if feeds_back else f" Feed the last estimate back and learn increments: {RECURRENT}."
    )
    found = [_baselines(figures), _alignment(figures), _training(figures), _overfitting(figures)]
    found += [_range(figures, advice), _gain(figures), _memory(figures, window)]
    found += [_forgetting(figures, window, forgetting), _horizon(figures, advice)]
    found += [_inputs(figures)]
    if not feeds_back:
        found += [_feedback(figures, advice), _increments(figures, advice)]
    said = [verdict for verdict in found if verdict is not None]
    if not in_deviations:
        return said
    error = overall(figures.compared["predictions"])
    if error < CLOSE:
        said = [verdict._replace(remedy=None) for verdict in said]
    return [_loss(error), *said]


def _loss(error: float) -> Verdict:
    loss = 10 * np.log10(1 + error**2)
    text = f"The error is {error:.3g} standard deviations of the teacher: {loss:.2g} dB more error"
    return Verdict("loss", f"{text} to the truth than the teacher's, if the two are independent.")


def overall(error: Numbers) -> float:
    """Return the root mean square over the known components, or NaN if none is known."""
    squares = np.square(np.asarray(error, np.float64))
    known = squares[~np.isnan(squares)]
    return float(np.sqrt(known.mean())) if known.size else float("nan")


def _baselines(figures: ImitationFigures) -> Verdict:
    errors = {name: overall(error) for name, error in figures.compared.items()}
    mine = errors["predictions"]
    constant = errors["constant"]
    linear = _linear(figures)
    if not mine < constant / NEARLY:
        return Verdict(
            "baselines",
            f"The predictions have an error of {mine:.3g}, a constant has {constant:.3g}: they"
            " do not follow the changes of the targets.",
            "Check that inputs and targets belong to the same rows, the scaling and the learning"
            " rate.",
        )
    best = min(linear, key=linear.__getitem__, default=None)
    if best is None:
        return Verdict("baselines", f"The predictions have {mine:.3g}, a constant {constant:.3g}.")
    named = f"The predictions have an error of {mine:.3g}, the best linear map ({best})"
    if mine > max(NEARLY * linear[best], SMALL):
        return Verdict(
            "baselines",
            f"{named} has {linear[best]:.3g}: the inputs tell more than the student has learned.",
            "Train longer or with other settings, or take a linear map: kf.training.fit_recursion.",
        )
    return Verdict("baselines", f"{named} {linear[best]:.3g}.")


def _linear(figures: ImitationFigures) -> dict[str, float]:
    """Return the errors of the linear estimators, which see the inputs alone."""
    other = ("predictions", "constant", "last target")
    return {
        name: overall(error)
        for name, error in figures.compared.items()
        if name not in other and np.isfinite(error).all()
    }


def _alignment(figures: ImitationFigures) -> Verdict | None:
    earlier, same, later = (overall(error) for error in figures.shifted)
    best = min(earlier, later)
    if same < SMALL or not best < BETTER * same:
        return None
    which = "before" if earlier < later else "after"
    return Verdict(
        "rows",
        f"The predictions fit the targets one row {which} better than their own: {best:.3g} instead"
        f" of {same:.3g}.",
        "Check that row t of the targets is what the filter gave after row t of the inputs.",
    )


def _training(figures: ImitationFigures) -> Verdict | None:
    gain = figures.last_tenth
    if gain is None:
        return None
    if gain < 0:
        text = f"The last tenth of the training had {-100 * gain:.2g} % more loss than the lowest"
        return Verdict("training", f"{text} before: it no longer fell.")
    text = f"The last tenth of the training lowered the loss by {100 * gain:.2g} %"
    if gain > GAIN:
        return Verdict("training", f"{text}: it had not ended.", "Train longer.")
    return Verdict("training", f"{text}: there was little left to gain at that learning rate.")


def _overfitting(figures: ImitationFigures) -> Verdict | None:
    inside = figures.error_inside
    if figures.training is None or inside is None:
        return None
    training = overall(figures.training)
    text = f"The error is {training:.3g} on training data and {inside:.3g} on test"
    text += " data within the range of the training"
    if inside > CLEARLY * training:
        remedy = "Train on more data, or with fewer units, dropout or patience."
        return Verdict(
            "overfitting", f"{text}: the student knows its training data too well.", remedy
        )
    return Verdict("overfitting", f"{text}.")


def _range(figures: ImitationFigures, advice: str) -> Verdict:
    kinds = {"targets": figures.targets_outside, "inputs": figures.inputs_outside}
    kind = max(kinds, key=lambda name: kinds[name].max())
    worst = int(kinds[kind].argmax())
    share = kinds[kind][worst]
    if share == 0:
        return Verdict("range", "No target and no input leaves the range that the training showed.")
    text = f"{100 * share:.2g} % of the {kind} in component {worst + 1} lie outside of the range"
    text += " that the training showed"
    if share <= OUTSIDE or figures.error_outside is None:
        return Verdict("range", f"{text}, the most of all components.")
    text += f"; the error is {figures.error_outside:.3g} where anything is outside"
    inside = figures.error_inside
    if inside is not None:
        text += f" and {inside:.3g} elsewhere"
    if inside is None or figures.error_outside > CLEARLY * inside:
        return Verdict(
            "range",
            f"{text}.",
            f"Train on data that cover the range of use.{advice}",
        )
    return Verdict("range", f"{text}: no reason for errors.")


def _gain(figures: ImitationFigures) -> Verdict | None:
    if figures.gain is None:
        return None
    kind, index, part = figures.gain.largest
    what = "state" if kind == "state" else "input"
    percent = 100 * max(part, 0.0)
    if overall(figures.compared["predictions"]) < SMALL or part < DEPENDS:
        text = f"A gain that changes with the state or the inputs would explain {percent:.2g} % of"
        return Verdict("gain", f"{text} what the student misses after an observation.")
    return Verdict(
        "gain",
        f"{percent:.2g} % of what the student misses after an observation follows from a gain that"
        f" changes with component {index + 1} of the {what}.",
        f"Show the student the prediction and the inputs: {SHOWN}. If it sees them, train longer,"
        " or compute the gain from the derivatives of f and h: kf.learned.corrected_gain.",
    )


def _forgetting(
    figures: ImitationFigures, window: int | None, forgetting: Forgetting | None
) -> Verdict | None:
    if forgetting is None:
        return _memory_of_recursion(figures, window)
    need = forgetting.to_1_percent
    text = f"The teacher forgets 99 % of an error in {need} steps"
    if need is None:
        need = len(forgetting.norms)
        left = forgetting.norms[-1]
        text = f"After {need} steps the teacher still holds {100 * left:.2g} % of an error"
    return _long_enough(figures, window, text, need)


def _memory_of_recursion(figures: ImitationFigures, window: int | None) -> Verdict | None:
    """Return the verdict on a recorded teacher, of whom a linear recursion tells the memory."""
    recursion = figures.compared.get("linear recursion")
    constant = overall(figures.compared["constant"])
    if recursion is None or not overall(recursion) < constant / CLEARLY:
        return None
    need = figures.memory
    text = f"A linear recursion forgets 99 % of an error in {need} steps"
    if need is None:
        need = LONGEST
        text = f"A linear recursion does not forget an error within {need} steps"
    return _long_enough(figures, window, text, need)


def _long_enough(figures: ImitationFigures, window: int | None, text: str, need: int) -> Verdict:
    """Return the verdict on records and windows where a memory needs a number of steps."""
    steps, what = figures.steps, "training records"
    if window is not None and window < steps:
        steps, what = window, "windows"
    text += f"; {what} have {steps}"
    if steps >= need:
        return Verdict("forgetting", f"{text}.")
    return Verdict(
        "forgetting",
        f"{text}: they do not show all that the student has to remember.",
        f"Train on records of more than {need} steps, or carry the state from one to the next.",
    )


def _floors(figures: ImitationFigures) -> dict[int, float]:
    """Return the errors of affine maps by number of inputs."""
    named = {}
    for name, error in figures.compared.items():
        words = name.split()
        if words[-1] in ("input", "inputs"):
            named[int(words[1])] = overall(error)
    return named


def _memory(figures: ImitationFigures, window: int | None) -> Verdict | None:
    floors = _floors(figures)
    if len(floors) < 2:
        return None
    lowest = min(floors.values())
    enough = min(N for N, floor in floors.items() if floor <= NEARLY * lowest)
    longest = max(floors)
    more = " or more" if enough == longest else ""
    inputs = "input" if enough == 1 else f"{enough} inputs"
    text = f"A linear map needs the last {inputs}{more} for its error of {floors[enough]:.3g}"
    if window is None:
        return Verdict("window", f"{text}.")
    seen = [N for N in floors if window >= N]
    if window >= enough or not seen:
        return Verdict("window", f"{text}; windows have {window}.")
    return Verdict(
        "window",
        f"{text}; from the last {max(seen)} it has {floors[max(seen)]:.3g}, and windows have"
        f" {window}.",
        f"Use windows of at least {enough}, or carry the state from one to the next.",
    )


def _feedback(figures: ImitationFigures, advice: str) -> Verdict | None:
    floors = _floors(figures)
    recursion = figures.compared.get("linear recursion")
    if not floors or recursion is None or not overall(recursion) < min(floors.values()) / CLEARLY:
        return None
    steps = "more than 1000" if figures.memory is None else figures.memory
    return Verdict(
        "feedback",
        f"A linear recursion on its own estimates has an error of {overall(recursion):.3g}, a"
        f" linear map from the last {max(floors)} inputs {floors[max(floors)]:.3g}: the targets"
        f" remember {steps} steps.",
        f"Carry the state over whole records.{advice}",
    )


def _horizon(figures: ImitationFigures, advice: str) -> Verdict | None:
    first, _, last = (overall(error) for error in figures.thirds)
    text = f"The error is {first:.3g} in the first third of the records and {last:.3g} in the last"
    if last > max(CLEARLY * first, SMALL):
        remedy = f"Train on longer records.{advice}"
        return Verdict("horizon", f"{text}: the student drifts off.", remedy)
    if first > max(CLEARLY * last, SMALL):
        remedy = "Leave the first steps out of the loss (burn_in), or let it learn its start."
        return Verdict("horizon", f"{text}: the student needs time to settle.", remedy)
    return Verdict("horizon", f"{text}.")


def _increments(figures: ImitationFigures, advice: str) -> Verdict | None:
    slowest = int(np.nanargmin(figures.increments))
    change = figures.increments[slowest]
    if not change < SLOW:
        return None
    return Verdict(
        "scaling",
        f"Component {slowest + 1} of the targets changes by {100 * change:.2g} % of its spread in a"
        " step: a network for its level has to be that precise.",
        advice.strip(),
    )


def _inputs(figures: ImitationFigures) -> Verdict | None:
    spreads = figures.input_spreads
    varying = spreads[spreads > 0]
    if len(varying) < len(spreads):
        still = [k + 1 for k, spread in enumerate(spreads) if not spread > 0]
        return Verdict(
            "inputs", f"Inputs {still} do not vary in the training data.", "Leave them out."
        )
    ratio = varying.max() / varying.min()
    if ratio < UNLIKE:
        return None
    return Verdict(
        "inputs",
        f"The spreads of the inputs reach from {varying.min():.3g} to {varying.max():.3g}.",
        "Standardise them if the network sees them as they are here: kf.data.Standardiser.",
    )
