"""Figures of an imitation that need no filter: inputs, recorded targets and predictions alone."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from kfjax._support.values import real_array
from kfjax.data import Dataset
from kfjax.data.counting import counted_steps
from kfjax.models.averages import centre_and_spread, differences
from kfjax.models.spaces import Space
from kfjax.training.history import History
from kfjax.training.linear_recursion import fit_recursion
from kfjax.training.missing_gain import ResidualGain, residual_gain

__all__ = ["ImitationFigures", "last_tenth"]

LAST = 0.9  # where the last tenth of a training begins
REPORTS = 10  # a training with fewer has no last tenth


class ImitationFigures(NamedTuple):
    """Figures of predictions beside recorded targets. Errors are root mean squares.

    Attributes:
        compared: errors [n] on the same steps by name: "predictions", "constant" (the mean of the
            training targets), "last target" (the target of the previous row, which no student
            knows), "last N inputs" (the best affine map), "linear recursion" (x_t = A x_{t-1} + B
            y_t + b, fitted by least squares, which runs on its own estimates).
        training: the error [n] on training data, or None if it is not known.
        thirds: errors [3, n] in the first, second and last third of the trajectories.
        shifted: errors [3, n] against the targets one row before, in the same row, and one row
            later.
        targets_outside: the fraction [n] of the targets that lie outside of the range of the
            training targets.
        inputs_outside: the same for the observations [m].
        error_outside: error over steps with anything outside, all components together; None if
            there are none.
        error_inside: error over the other steps; None if there are none.
        memory: steps after which the linear recursion has forgotten 99 % of an error, or None if
            they are more than 1000.
        increments: the root mean square change [n] of the targets in one step, in units of their
            standard deviations.
        input_spreads: standard deviations [m] of the observations in the training data.
        last_tenth: by how much the last tenth of the training lowered the loss, as a fraction of
            it; negative if the loss rose, None without a history.
        gain: what the gain that the student lacks depends on, within the range of the training;
            None where there are too few rows.
        steps: length of the longest training record.
    """

    compared: dict[str, Float[np.ndarray, " n"]]
    training: Float[np.ndarray, " n"] | None
    thirds: Float[np.ndarray, "3 n"]
    shifted: Float[np.ndarray, "3 n"]
    targets_outside: Float[np.ndarray, " n"]
    inputs_outside: Float[np.ndarray, " m"]
    error_outside: float | None
    error_inside: float | None
    memory: int | None
    increments: Float[np.ndarray, " n"]
    input_spreads: Float[np.ndarray, " m"]
    last_tenth: float | None
    gain: ResidualGain | None
    steps: int


def imitation_figures(
    train: Dataset,
    test: Dataset,
    predictions: np.ndarray,
    floors: dict[int, np.ndarray],
    innovations: np.ndarray,
    *,
    space: Space,
    scale: np.ndarray,
    start: int,
    burn_in: int = 0,
    trained: tuple[Dataset, np.ndarray] | None = None,
    history: Any = None,
) -> ImitationFigures:
    """Return the figures of predictions [N, T, N] for test data.

    On curved spaces there is no linear recursion.

    Args:
        train: training data, whose xs are the targets.
        test: other data.
        predictions: of the student, for the test data.
        floors: errors of affine maps by number of inputs, over the steps from `start` on.
        innovations: of the teacher [N, T, m], NaN where missing.
        space: the space of the states.
        scale: units [n] of errors.
        start: first step of the comparison, from 0.
        burn_in: number of leading steps that count nowhere.
        trained: some of the training data, and the student's predictions for them.
        history: `History` or losses of the training.
    """
    xs = np.asarray(test.xs, np.float64)
    recursion = fit_recursion(train) if space.is_euclidean else None
    late = counted_steps(test, max(start, 1))
    middle, spread = _centre(space, train)

    def error(values: np.ndarray, targets: np.ndarray, counts: np.ndarray) -> np.ndarray:
        known = ~np.isnan(differences(space, targets, targets))
        away = differences(space, values, targets)
        return root_mean_square(away / scale, known, counts)

    before = _shifted(xs, -1)
    follows = np.where(np.isnan(before), np.nan, xs)
    constant = np.broadcast_to(middle, xs.shape)
    compared = {
        "predictions": error(predictions, xs, late),
        "constant": error(constant, xs, late),
        "last target": error(before, follows, late),
    }
    for count, floor in floors.items():
        inputs = "inputs" if count > 1 else "input"
        compared[f"last {count} {inputs}"] = floor
    if recursion is not None:
        compared["linear recursion"] = error(recursion.run(test), xs, late)
    training = None
    if trained is not None:
        data, found = trained
        targets = np.asarray(data.xs, np.float64)
        training = error(found, targets, counted_steps(data, burn_in))
    counted = counted_steps(test, burn_in)
    inner = counted & _shifted(counted, -1) & _shifted(counted, 1)
    beside = [error(predictions, _shifted(xs, s), inner) for s in (-1, 0, 1)]
    target_is_outside, input_is_outside, known, seen = _outside(train, test)
    strange = target_is_outside.any(-1) | input_is_outside.any(-1)
    error_outside = error(predictions, xs, counted & strange)
    error_inside = error(predictions, xs, counted & ~strange)
    thirds = [error(predictions, xs, third) for third in _thirds(counted)]
    entries = counted[..., None]
    changes = differences(space, xs, before)
    inputs_of_training = _seen(train)[counted_steps(train)]
    return ImitationFigures(
        compared=compared,
        training=training,
        thirds=np.stack(thirds),
        shifted=np.stack(beside),
        targets_outside=_fraction(target_is_outside, known & entries),
        inputs_outside=_fraction(input_is_outside, seen & entries),
        error_outside=_overall(error_outside),
        error_inside=_overall(error_inside),
        memory=None if recursion is None else recursion.memory(spread),
        increments=root_mean_square(changes / spread, ~np.isnan(changes), counted),
        input_spreads=np.nanstd(inputs_of_training, axis=0),
        last_tenth=None if history is None else last_tenth(history),
        gain=residual_gain(
            space, test, predictions, innovations, scale=scale, counts=counted & ~strange
        ),
        steps=int(train.lengths.max()),
    )


def root_mean_square(error: np.ndarray, known: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the root mean square [n] of errors [N, T, n] over known entries of counted steps.

    An unknown error where the target is known counts as infinite; NaN where nothing counts.
    """
    error = np.where(np.isnan(error), np.inf, error)[counts]
    known = known[counts]
    with np.errstate(invalid="ignore", over="ignore"):
        squares = np.where(known, error**2, 0)
        mean_square = squares.sum(axis=0) / known.sum(axis=0)
        return np.sqrt(mean_square)


def last_tenth(history: Any) -> float | None:
    """Return by how much the last tenth of a training run lowered the loss, as a fraction of it.

    The lowest loss of the last tenth is compared with the lowest before it. Of several stages only
    the last counts; the losses of several runs are averaged.

    Args:
        history: `History`, or losses [reports] or [runs, reports] in order.

    Returns:
        A number; negative if the last tenth was worse. None if there are too few reports to tell.

    Raises:
        ValueError: if history is neither a `History` nor such losses.

    Example:
        >>> falling = np.exp(-np.arange(100) / 100)
        >>> round(kf.training.last_tenth(falling), 3)
        0.105
    """
    reported = _last_stage(history) if isinstance(history, History) else history
    runs = np.asarray(real_array("last_tenth: history", reported, finite=False), float)
    if runs.ndim not in (1, 2):
        raise ValueError(
            f"last_tenth: history has shape {runs.shape}; expected [reports] or [runs, reports]."
        )
    runs = runs.reshape(-1, runs.shape[-1])
    losses = runs.mean(axis=0)
    losses = losses[np.isfinite(losses)]
    if len(losses) < REPORTS:
        return None
    begins = round(LAST * len(losses))
    before = losses[:begins].min()
    end = losses[begins:].min()
    return float((before - end) / abs(end)) if end else 0.0


def _last_stage(history: History) -> np.ndarray:
    """Return the losses of the last stage, on validation data if there were any."""
    updates = np.atleast_2d(history.update)[0]
    begins = np.flatnonzero(np.diff(updates) <= 0) + 1
    start = begins[-1] if len(begins) else 0
    losses = np.asarray(history.validation)
    if np.isnan(losses).all():
        losses = np.asarray(history.loss)
    return losses[..., start:]


def _overall(error: np.ndarray) -> float | None:
    """Return the root mean square of all components together, None where no step counts."""
    mean_square = np.mean(error**2)
    return None if np.isnan(mean_square) else float(np.sqrt(mean_square))


def _centre(space: Space, data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean [N] and the spread [n] of targets; the spread is 1 where they do not vary."""
    xs = np.asarray(data.xs, np.float64)
    mean, spread = centre_and_spread(space, xs[counted_steps(data)])
    return mean, np.where(spread > 0, spread, 1)


def _shifted(values: np.ndarray, steps: int) -> np.ndarray:
    """Return the values `steps` rows later; NaN or False beyond the ends."""
    moved = np.full_like(values, np.nan if values.dtype.kind == "f" else False)
    if steps < 0:
        moved[:, -steps:] = values[:, :steps]
    elif steps:
        moved[:, :-steps] = values[:, steps:]
    else:
        moved[:] = values
    return moved


def _thirds(counted: np.ndarray) -> list[np.ndarray]:
    """Return which steps [N, T] belong to the first, second and last third of what counts."""
    number = np.cumsum(counted, axis=1) - 1
    total = counted.sum(axis=1, keepdims=True)
    third = 3 * number // np.maximum(total, 1)
    return [counted & (third == k) for k in range(3)]


def _seen(data: Dataset) -> np.ndarray:
    """Return the observations, NaN where missing."""
    ys = np.asarray(data.ys, np.float64)
    return ys if data.observed is None else np.where(data.observed, ys, np.nan)


def _outside(train: Dataset, test: Dataset) -> tuple[np.ndarray, ...]:
    """Return which targets and observations lie outside of the training range, and are known."""
    counted = counted_steps(train)
    targets = np.asarray(test.xs, np.float64)
    inputs = _seen(test)
    known_targets = np.asarray(train.xs, np.float64)[counted]
    known_inputs = _seen(train)[counted]
    return (
        _beyond(targets, known_targets),
        _beyond(inputs, known_inputs),
        ~np.isnan(targets),
        ~np.isnan(inputs),
    )


def _beyond(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return which values [N, T, k] lie outside of the range of rows [steps, k]."""
    low = np.nanmin(rows, axis=0)
    high = np.nanmax(rows, axis=0)
    return (values < low) | (values > high)


def _fraction(flags: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the fraction [k] of the entries that count and are flagged."""
    flagged = (flags & counts).sum(axis=(0, 1))
    total = counts.sum(axis=(0, 1))
    return flagged / np.maximum(total, 1)
