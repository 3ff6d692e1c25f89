"""Diagnosis of how well a network imitates a filter, in one table of figures."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import numpy as np

from kfjax._support.arguments import check_count, check_kind
from kfjax._support.naming import described
from kfjax._support.types import Numbers
from kfjax._support.values import real_array
from kfjax.base import Filter, Params
from kfjax.data import Dataset
from kfjax.models.averages import differences
from kfjax.training.checks import check_pair, units_of
from kfjax.training.filter_memory import Forgetting, forgetting, gradient_per_lag
from kfjax.training.finite_memory import finite_memory_floor
from kfjax.training.gates import Saturation, gate_saturation
from kfjax.training.imitation import (
    Targets,
    common_space,
    counted_steps,
    estimates_of,
    typical_scale,
)

__all__ = ["Diagnosis", "diagnose", "relative_error"]

MEMORIES = (1, 2, 4, 8, 16, 32)


FEW = 16  # this many trajectories suffice for figures that are the same in all of them


class Diagnosis(NamedTuple):
    """Diagnosis of an imitation, in units of the teacher's posterior standard deviations.

    Attributes:
        scale: these standard deviations, root mean square over the training data [n]; for a teacher
            without covariances, the standard deviations of its estimates.
        error: root mean square error [n] of the student on the validation data. Below 0.1, student
            and teacher are hard to tell apart.
        floors: by window length N, the error [n] of the best affine map from the last N
            observations.
        forgetting: how fast the teacher forgets; a student with a much shorter memory cannot
            imitate it. None for a teacher whose state has no field mean.
        teacher_gradients: the norm of d mean_T / d y_{T-k} at lags k = 0, 1, ...
        student_gradients: the same for the student.
        saturation: saturation of the student's gates, or None if it has none.
    """

    scale: np.ndarray
    error: np.ndarray
    floors: dict[int, np.ndarray]
    forgetting: Forgetting | None
    teacher_gradients: np.ndarray
    student_gradients: np.ndarray
    saturation: Saturation | None


def diagnose(
    teacher: tuple[Filter, Any],
    student: tuple[Filter, Any],
    train: Targets,
    validation: Targets,
    *,
    scale: Any = None,
    burn_in: int = 0,
    memories: tuple[int, ...] = MEMORIES,
) -> Diagnosis:
    """Measure how well a student imitates a teacher, and what limits it.

    Estimates are subtracted in the state space of the models.

    Args:
        teacher: (filter, params).
        student: (filter, params) after training.
        train: targets from `imitation_targets`, to fit the finite-memory floors to.
        validation: other targets, to measure on.
        scale: units [n] of errors; default the teacher's posterior standard deviations in `train`.
        burn_in: number of leading steps that do not count.
        memories: window lengths of the floors.

    Returns:
        `Diagnosis`.

    Raises:
        ValueError: if the models of teacher and student have different state spaces.
    """
    check_pair("diagnose: teacher", teacher)
    check_pair("diagnose: student", student)
    check_kind("diagnose: train", train, Targets)
    check_kind("diagnose: validation", validation, Targets)
    check_count("diagnose: burn_in", burn_in, least=0, most=validation.data.steps - 1)
    lengths = windows_of("diagnose: memories", memories)
    space = common_space("diagnose", teacher[1], student[1])
    typical = typical_scale(train, space)
    scale = typical if scale is None else units_of("diagnose: scale", scale, typical.size)
    data = validation.data
    learned, _ = estimates_of(student, data, jax.random.key(1), False)
    counts = counted_steps(data, burn_in)
    error = differences(space, learned, data.xs)[counts]
    units = np.broadcast_to(np.diag(scale**2), (*error.shape, error.shape[-1]))
    units = units if validation.cov is None else np.asarray(validation.cov)[counts]
    shortest = min(int(part.data.lengths.min()) for part in (train, validation))
    windows = [N for N in lengths if shortest >= 2 * N]
    start = max([burn_in, *(N - 1 for N in windows)])
    few = data[:FEW]
    return Diagnosis(
        scale=scale,
        error=relative_error(error, units),
        floors={
            N: finite_memory_floor(train.data, data, N, params=teacher[1], scale=scale, start=start)
            for N in windows
        },
        forgetting=_forgetting(*teacher, few, scale),
        teacher_gradients=gradient_per_lag(*teacher, few, scale=scale),
        student_gradients=gradient_per_lag(*student, few, scale=scale),
        saturation=gate_saturation(*student, few),
    )


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


def relative_error(error: Numbers, cov: Numbers) -> np.ndarray:
    """Return the root mean square of errors in units of their standard deviations.

    Args:
        error: [..., n], such as a student's means minus the teacher's; NaN counts as infinite.
        cov: covariances [..., n, n] of the teacher.

    Returns:
        [n]. Entries with a variance of zero do not count; NaN where there are no others.

    Example:
        >>> covs = np.tile(np.diag([9.0, 1.0]), (10, 1, 1))
        >>> kf.training.relative_error(np.full((10, 2), 0.3), covs).round(3).tolist()
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
