"""Training a network to imitate a filter or a smoother, and saying why it does or does not succeed."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax import linalg
from kfjax.base import Filter, estimate
from kfjax.data import Dataset, run_trajectory, start_at
from kfjax.smoothers.rauch_tung_striebel import smooth
from kfjax.training.diagnostics import (
    Forgetting,
    Saturation,
    finite_memory_floor,
    forgetting,
    gate_saturation,
    gradient_per_lag,
    relative_error,
)
from kfjax.training.fitting import Fitted
from kfjax.training.losses import mse, state_errors
from kfjax.training.rollout import FULL, Rollout, roll
from kfjax.training.staging import fit_stages

__all__ = [
    "Diagnosis",
    "Distilled",
    "Divergence",
    "Targets",
    "diagnose",
    "distil",
    "imitation_targets",
]

MEMORIES = (1, 2, 4, 8, 16, 32)
FEW = 16  # trajectories are enough for what is the same in all of them


class Targets(NamedTuple):
    """What a student imitates.

    Attributes:
        data: the observations, with the teacher's means as `xs`.
        cov: the teacher's covariances [N, T, n, n], or None for a teacher without.
    """

    data: Dataset
    cov: Any


class Diagnosis(NamedTuple):
    """Why imitation works, or does not; errors in units of the teacher's posterior standard deviations.

    Attributes:
        scale: these standard deviations, root mean square over the training data [n]; of a teacher
            without covariances the standard deviations of its estimates.
        error: of the student on the validation data, root mean square [n]. Below 0.1 the two are
            hard to tell apart.
        floors: by window length N, the error [n] of the best affine map from the last N
            observations.
        forgetting: how fast the teacher forgets; a memory much shorter cannot imitate it. None of a
            teacher whose state has no field mean.
        teacher_gradients: the norm of d mean_T / d y_{T-k} at lags k = 0, 1, ...
        student_gradients: likewise.
        saturation: of the student's gates, or None if it has none.
    """

    scale: np.ndarray
    error: np.ndarray
    floors: dict[int, np.ndarray]
    forgetting: Forgetting | None
    teacher_gradients: np.ndarray
    student_gradients: np.ndarray
    saturation: Saturation | None


class Distilled(NamedTuple):
    """What distillation found.

    Attributes:
        params: of the student.
        fitted: `Fitted`; of its best run, if there were several.
        diagnosis: `Diagnosis`.
    """

    params: Any
    fitted: Fitted
    diagnosis: Diagnosis


@dataclasses.dataclass(frozen=True)
class Divergence:
    """The loss of a student with covariances: KL(teacher, student) of the Gaussian beliefs, averaged as in `mse`.

    1/2 (e' S^-1 e + tr(S^-1 P) - n - log det P + log det S), e the difference of the means, P the
    teacher's covariance

    Attributes:
        filter: the student.
        rollout: how it is run.
    """

    filter: Filter
    rollout: Rollout = FULL

    def __call__(self, params: Any, batch: Targets, key: Array) -> Array:
        """Return the loss of a batch."""
        keys = jax.random.split(key, batch.cov.shape[0])

        def one(trajectory: Dataset, P: Array, key: Array) -> Array:
            est = roll(self.filter, params, trajectory, self.rollout, key=key, emit=estimate).outputs
            error, _ = state_errors(params, trajectory, est.mean)
            counts = self.rollout.counts(trajectory)
            values = jax.vmap(_divergence)(error, P, est.cov)
            return jnp.sum(jnp.where(counts, values, 0)) / jnp.maximum(counts.sum(), 1)

        return jax.vmap(one)(batch.data, batch.cov, keys).mean()


def _divergence(error: Array, P: Array, S: Array) -> Array:
    factored = linalg.factorise(S)
    distance = (
        jnp.sum(error * factored.solve(error)) + jnp.trace(factored.solve(P)) - error.shape[-1]
    )
    return 0.5 * (distance + factored.logdet() - linalg.factorise(P).logdet())


def distil(
    teacher: tuple[Filter, Any],
    student: tuple[Filter, Any],
    data: Dataset,
    *,
    validation: Dataset,
    key: Array,
    steps: int,
    smoothing: bool = False,
    training: Filter | None = None,
    rollout: Rollout = FULL,
    memories: tuple[int, ...] = MEMORIES,
    **options: Any,
) -> Distilled:
    """Train a student to give the estimates of a teacher, on observations alone: no true states are needed.

    The loss is the mean squared difference of the means, in units of the teacher's posterior
    standard deviations. A student with covariances then goes on with the divergence of its beliefs
    from the teacher's (`Divergence`), for the second half of the steps.

    Args:
        teacher: (filter, params).
        student: (filter, params), its params before training; of several runs with a leading axis,
            see `fit`.
        data: trajectories to imitate the teacher on; their true states, if any, are not used.
        validation: others, on which the student is chosen and diagnosed.
        key: random key, or keys for several runs.
        steps: of the optimiser.
        smoothing: imitate the teacher's smoother (Rauch-Tung-Striebel): x_t given all of the
            record.
        training: the student in training, if that is another filter: one with dropout.
        rollout: how the student is run; burn_in leaves out the first steps, in the diagnosis too.
        memories: window lengths of the finite-memory floors; those longer than half of the
            trajectories are left out.
        **options: of `kfjax.training.fit`: batch_size, optimizer, trainable, ema, patience,
            checkpoints, ... and, for a student without covariances, window, which carries its state
            from one to the next.

    Returns:
        `Distilled(params, fitted, diagnosis)`.

    Raises:
        ValueError: if an estimate of the teacher is not finite, or as `fit`.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> _, ys = jax.vmap(lambda key: kf.simulate(key, model, 20))(jax.random.split(jax.random.key(0), 24))
        >>> data, validation = kf.Dataset(ys).split(16, 8)
        >>> gain = kf.ConstantGainParams(model, jnp.zeros((2, 1)))
        >>> found = kf.training.distil(
        ...     (kf.kalman(), model), (kf.constant_gain(), gain), data, validation=validation, key=jax.random.key(1),
        ...     steps=300, optimizer=kf.training.clipped_adam(0.02), trainable=kf.ConstantGainParams(False, True))
        >>> found.params.gain.shape, found.diagnosis.error.shape, sorted(found.diagnosis.floors)
        ((2, 1), (2,), [1, 2, 4, 8])
    """
    chosen, params = student
    many = jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key) and key.ndim == 1
    keys = jax.random.split(
        jax.random.key(0)
    )  # of the teacher's draws: the student's runs have one teacher
    targets, held_out = (
        imitation_targets(teacher, part, key=k, smoothing=smoothing)
        for part, k in zip((data, validation), keys, strict=True)
    )
    scale = _scale(targets)
    losses = [
        mse(student, scale=scale, rollout=rollout) for student in (training or chosen, chosen)
    ]
    stages: list[dict[str, Any]] = [
        {"data": targets.data, "validation": held_out.data, "steps": steps}
    ]
    one = jax.tree.map(lambda a: a[0], params) if many else params
    if targets.cov is not None and jax.eval_shape(chosen.init, one).cov is not None:
        stages[0]["steps"] = -(-steps // 2)
        second = {
            "loss": Divergence(training or chosen, rollout),
            "validation_loss": Divergence(chosen, rollout),
        }
        stages += [second | {"data": targets, "validation": held_out, "steps": max(steps // 2, 1)}]
    shared = {"validation_loss": losses[1]} | options
    fitted = fit_stages(losses[0], params, stages, key=key, **shared)
    if many:
        fitted = fitted.run(fitted.best_run)
    diagnosis = diagnose(
        teacher,
        (chosen, fitted.params),
        targets,
        held_out,
        scale=scale,
        burn_in=rollout.burn_in,
        memories=memories,
    )
    return Distilled(fitted.params, fitted, diagnosis)


def imitation_targets(
    teacher: tuple[Filter, Any], data: Dataset, *, key: Array | None = None, smoothing: bool = False
) -> Targets:
    """Run the teacher over data.

    Args:
        teacher: (filter, params).
        data: trajectories; true states are not used.
        key: random key, for a teacher that draws.
        smoothing: whether to smooth.

    Returns:
        `Targets`.

    Raises:
        ValueError: if an estimate is not finite.
    """
    mean, cov = _estimates(teacher, data, key, smoothing)
    if not np.isfinite(mean[_counts(data)]).all():
        raise ValueError(
            "distil: an estimate of the teacher is not finite; expected a teacher that does not"
            " diverge."
        )
    return Targets(dataclasses.replace(data, xs=mean, dtype=data.dtype), cov)


def _estimates(
    pair: tuple[Filter, Any], data: Dataset, key: Array | None, smoothing: bool
) -> tuple[Any, Any]:
    """Means and covariances of all trajectories, as numpy arrays."""
    keys = jax.random.split(jax.random.key(0) if key is None else key, data.size)
    unlabelled = dataclasses.replace(data, xs=None, dtype=data.dtype)
    return jax.tree.map(np.asarray, _run_all(pair[0], smoothing, pair[1], unlabelled, keys))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _run_all(
    filter: Filter, smoothing: bool, params: Any, data: Dataset, keys: Array
) -> tuple[Array, Array | None]:
    def one(trajectory: Dataset, key: Array) -> tuple[Array, Array | None]:
        est = run_trajectory(filter, params, trajectory, key=key).outputs
        if not smoothing:
            return est.mean, est.cov
        start = start_at(params, trajectory.prior_mean)
        smoothed = smooth(filter, start, est, us=trajectory.us, length=trajectory.length)
        return smoothed.mean, smoothed.cov

    return jax.vmap(one)(data, keys)


def _counts(data: Dataset, burn_in: int = 0) -> np.ndarray:
    """Which steps count [N, T]."""
    at = np.arange(data.steps)
    return (at >= burn_in) & (at < data.lengths[:, None])


def _scale(targets: Targets) -> np.ndarray:
    """The typical standard deviation of every component; 1 where it is zero."""
    counts = _counts(targets.data)
    if targets.cov is None:
        spread = np.asarray(targets.data.xs, np.float64)[counts].std(axis=0)
    else:
        variances = np.diagonal(np.asarray(targets.cov, np.float64), axis1=-2, axis2=-1)
        spread = np.sqrt(variances[counts].mean(axis=0))
    return np.where(spread > 0, spread, 1)


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
    """Say how well a student imitates a teacher, and what stands in its way; each figure has its own function.

    Args:
        teacher: (filter, params).
        student: (filter, params), trained.
        train: of `imitation_targets`, to fit the finite-memory floors to.
        validation: others, to measure on.
        scale: [n], what errors are measured in; default the teacher's posterior standard deviations
            in `train`.
        burn_in: how many leading steps do not count.
        memories: window lengths of the floors.

    Returns:
        `Diagnosis`.
    """
    scale = _scale(train) if scale is None else np.asarray(scale)
    data = validation.data
    learned, _ = _estimates(student, data, jax.random.key(1), False)
    counts = _counts(data, burn_in)
    error = (learned - data.xs)[counts]
    units = np.broadcast_to(np.diag(scale**2), (*error.shape, error.shape[-1]))
    units = units if validation.cov is None else np.asarray(validation.cov)[counts]
    shortest = min(int(part.data.lengths.min()) for part in (train, validation))
    windows = [N for N in memories if shortest >= 2 * N]
    start = max([burn_in, *(N - 1 for N in windows)])
    few = data[:FEW]
    return Diagnosis(
        scale=scale,
        error=relative_error(error, units),
        floors={
            N: finite_memory_floor(train.data, data, N, scale=scale, start=start) for N in windows
        },
        forgetting=_forgetting(*teacher, few, scale),
        teacher_gradients=gradient_per_lag(*teacher, few, scale=scale),
        student_gradients=gradient_per_lag(*student, few, scale=scale),
        saturation=gate_saturation(*student, few),
    )


def _forgetting(filter: Filter, params: Any, data: Dataset, scale: np.ndarray) -> Forgetting | None:
    state = jax.eval_shape(filter.init, params)
    return (
        forgetting(filter, params, data, scale=scale)
        if "mean" in getattr(state, "_fields", ())
        else None
    )
