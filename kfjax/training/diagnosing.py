"""Diagnosis of how well a network imitates a filter, in one table of figures."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from jaxtyping import ArrayLike, Float, Real

from kfjax._support.arguments import check_count
from kfjax._support.naming import described
from kfjax._support.types import Nested
from kfjax._support.values import real_array
from kfjax.base import Filter, Params
from kfjax.data import Dataset
from kfjax.data.batches import check_noise_on
from kfjax.data.counting import counted_steps
from kfjax.models.averages import differences
from kfjax.models.spaces import Space
from kfjax.training.checks import check_pair, units_of
from kfjax.training.diagnosis import Diagnosis
from kfjax.training.filter_memory import Forgetting, forgetting, gradient_per_lag
from kfjax.training.finite_memory import finite_memory_floor
from kfjax.training.gates import gate_saturation
from kfjax.training.history import History
from kfjax.training.imitation import (
    Targets,
    common_space,
    estimates_of,
    typical_scale,
)
from kfjax.training.imitation_data import ImitationData, given_estimates, given_parts, in_halves
from kfjax.training.imitation_figures import imitation_figures
from kfjax.training.missing_gain import innovations_of

__all__ = ["diagnose", "relative_error"]

MEMORIES = (1, 2, 4, 8, 16, 32)
FEW = 16  # this many trajectories suffice for figures that are the same in all of them


def diagnose(
    teacher: tuple[Filter, Any] | None = None,
    student: tuple[Filter, Any] | None = None,
    train: Targets | Dataset | None = None,
    validation: Targets | Dataset | None = None,
    *,
    inputs: Any = None,
    targets: Any = None,
    predictions: Any = None,
    length: Any = None,
    history: Any = None,
    window: int | None = None,
    scale: Any = None,
    burn_in: int = 0,
    memories: tuple[int, ...] = MEMORIES,
) -> Diagnosis:
    """Measure how well a student imitates a teacher, what limits it, and what to change.

    Teacher and student are filters, or known by records alone: a teacher by its recorded
    estimates, a student (a network of any framework) by its predictions. Estimates are subtracted
    in the state space of the models.

    Args:
        teacher: (filter, params), or None for a recorded teacher.
        student: (filter, params) after training, or None if `predictions` are given.
        train: targets from `imitation_targets`, or for a recorded teacher a `Dataset` with its
            estimates as xs (NaN where not known); simple maps are fitted to it, and its range is
            that of the training. With predictions alone it may be left out: the first half of the
            validation data (of one or two records in time) then takes its place.
        validation: other targets, to measure on.
        inputs: observations [N, T, m] (NaN where missing), with `targets` in place of validation.
        targets: the teacher's estimates [N, T, n], NaN where not known.
        predictions: the student's estimates [N, T, n] for the inputs.
        length: numbers of steps [N] of the inputs.
        history: `Fitted.history`, or the losses of the training in order, such as those of a
            Keras history, to tell whether it had ended.
        window: the number of inputs that the student sees at once; None for one that carries its
            state over whole records.
        scale: units [n] of errors; default the teacher's posterior standard deviations in `train`,
            or without covariances the standard deviations of its estimates.
        burn_in: number of leading steps that do not count.
        memories: window lengths of the finite-memory floors.

    Returns:
        `Diagnosis`, whose `verdicts` say what limits the student.

    Raises:
        ValueError: if the models of teacher and student have different state spaces, or shapes do
            not fit.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> sensor = rng.normal(size=(20, 50, 1)).cumsum(axis=1)
        >>> recorded = 0.5 * sensor
        >>> found = kf.training.diagnose(
        ...     inputs=sensor,
        ...     targets=recorded,
        ...     predictions=0.9 * recorded,
        ...     memories=(1, 2),
        ... )
        >>> bool(found.floors[1] < 0.01 * found.error), found.verdicts[0].about
        (True, 'baselines')
    """
    pairs = {"teacher": teacher, "student": student}
    for name, pair in pairs.items():
        if pair is not None:
            check_pair(f"diagnose: {name}", pair)
    train, validation = given_parts(train, validation, inputs, targets, length)
    for name, pair in pairs.items():
        if pair is not None:
            check_noise_on(f"diagnose: {name}", pair[1], validation.data)
    lengths = windows_of("diagnose: memories", memories)
    if window is not None:
        check_count("diagnose: window", window)
    if history is not None and not isinstance(history, History):
        history = real_array("diagnose: history", history)
        if not history.ndim:
            raise ValueError("diagnose: history is one number; expected losses in order.")
    check_count("diagnose: burn_in", burn_in, least=0, most=validation.data.steps - 1)
    estimates = given_estimates(student, predictions, validation.data)
    if train is None:
        measured = in_halves(validation, estimates, burn_in)
    else:
        measured = ImitationData(train, validation, estimates, burn_in)
    params, student_params = (None if pair is None else pair[1] for pair in pairs.values())
    space = common_space("diagnose", params, student_params)
    typical = typical_scale(measured.train, space)
    scale = typical if scale is None else units_of("diagnose: scale", scale, typical.size)
    start, floors = _floors(measured, lengths, params, scale)
    data = measured.validation.data
    figures = imitation_figures(
        measured.train.data,
        data,
        measured.estimates,
        floors,
        innovations_of(teacher, measured.train.data, data),
        space=space,
        scale=scale,
        start=start,
        burn_in=measured.burn_in,
        trained=_on_training_data(student, measured.train, data.size),
        history=history,
    )
    few = data[:FEW]
    names = None if data.labels is None else data.labels.xs
    return Diagnosis(
        scale=scale,
        error=_error(space, measured, scale),
        floors=floors,
        forgetting=None if teacher is None else _forgetting(*teacher, few, scale),
        teacher_gradients=None if teacher is None else gradient_per_lag(*teacher, few, scale=scale),
        student_gradients=None if student is None else gradient_per_lag(*student, few, scale=scale),
        saturation=None if student is None else gate_saturation(*student, few),
        figures=figures,
        window=window,
        names=None if names is None else tuple(names),
        feeds_back=_feeds_back(student),
        in_deviations=measured.train.cov is not None and np.allclose(scale, typical),
    )


def _floors(
    measured: ImitationData, lengths: list[int], params: Params, scale: np.ndarray
) -> tuple[int, dict[int, Any]]:
    """Return the first step that counts in the floors of finite memories, and these floors."""
    train = measured.train.data
    data = measured.validation.data
    shortest = min(int(part.lengths.min()) for part in (train, data))
    windows = [N for N in lengths if shortest >= 2 * N]
    start = max([measured.burn_in, *(N - 1 for N in windows)])
    options: dict[str, Any] = {"params": params, "scale": scale, "start": start}
    if start >= train.lengths.max():  # the training data end before the others begin
        options["train_start"] = max(N - 1 for N in windows)
    return start, {N: finite_memory_floor(train, data, N, **options) for N in windows}


def _feeds_back(student: Any) -> bool:
    """Return whether a student adds to its own last estimate: every filter but a learned level."""
    if student is None:
        return False
    rule = getattr(student[0].init, "rule", None)
    return getattr(rule, "output", "update") != "level"


def _error(space: Space, measured: ImitationData, scale: np.ndarray) -> np.ndarray:
    """Return the error [n] of estimates in units of the teacher's standard deviations."""
    targets = measured.validation
    xs = targets.data.xs
    counts = counted_steps(targets.data, measured.burn_in)
    error = np.asarray(differences(space, measured.estimates, xs))[counts]
    known = ~np.isnan(np.asarray(differences(space, xs, xs))[counts])
    variances = np.broadcast_to(scale**2, error.shape)
    if targets.cov is not None:
        variances = np.diagonal(np.asarray(targets.cov)[counts], axis1=-2, axis2=-1)
    variances = np.where(known, variances, 0)  # these do not count
    return relative_error(np.where(known, error, 0), variances[..., None] * np.eye(error.shape[-1]))


def _on_training_data(student: Any, train: Targets, size: int) -> tuple[Dataset, np.ndarray] | None:
    """Return some of the training data, as many as are validated on, and the estimates for them."""
    if student is None:
        return None
    data = train.data[:size]
    return data, np.asarray(estimates_of(student, data, jax.random.key(1), False)[0])


def windows_of(name: str, memories: Iterable[int]) -> list[int]:
    """Return the lengths of windows, which may be none."""
    if not isinstance(memories, (tuple, list)):
        raise ValueError(f"{name} is {described(memories)}; expected a tuple of whole numbers.")
    for memory in memories:
        check_count(name, memory)
    return list(memories)


def _forgetting(
    filter: Filter, params: Params, data: Dataset, scale: np.ndarray
) -> Forgetting | None:
    state = jax.eval_shape(filter.init, params, jax.random.key(0))
    if "mean" not in getattr(state, "_fields", ()):
        return None
    return forgetting(filter, params, data, scale=scale)


def relative_error(
    error: Real[ArrayLike, "... n"] | Nested, cov: Real[ArrayLike, "... n n"] | Nested
) -> Float[np.ndarray, " n"]:
    """Return the root mean square of errors in units of their standard deviations.

    Args:
        error: [..., n], such as a student's means minus the teacher's; NaN counts as infinite.
        cov: covariances [..., n, n] of the teacher.

    Returns:
        [n]. Entries with a variance of zero do not count; NaN where there are no others.

    Example:
        >>> covs = np.tile(np.diag([9.0, 1.0]), (10, 1, 1))
        >>> error = kf.training.relative_error(np.full((10, 2), 0.3), covs)
        >>> error.round(3).tolist()
        [0.1, 0.3]
    """
    error = np.asarray(real_array("relative_error: error", error, finite=False), np.float64)
    cov = np.asarray(real_array("relative_error: cov", cov, finite=False), np.float64)
    if error.ndim == 0 or cov.shape != (*error.shape, error.shape[-1]) or error.size == 0:
        raise ValueError(
            f"relative_error: error has shape {error.shape} and cov {cov.shape}; expected [..., n]"
            " and [..., n, n]."
        )
    n = error.shape[-1]
    variance = np.diagonal(cov, axis1=-2, axis2=-1).reshape(-1, n)
    error = error.reshape(-1, n)
    error = np.where(np.isnan(error), np.inf, error)
    squares = error**2 / np.where(variance > 0, variance, 1)
    # a variance of zero gives no unit; a negative variance or NaN means that the teacher broke down
    counted = variance != 0
    squares = np.where(counted, np.where(variance > 0, squares, np.inf), 0)
    with np.errstate(invalid="ignore"):
        return np.sqrt(squares.sum(0) / counted.sum(0))
