"""Training a network to imitate a filter or a smoother."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kfjax import linalg
from kfjax._support.arguments import check_count, check_flag, check_key, check_kind
from kfjax._support.persistence import is_key
from kfjax._support.types import Key, RunKeys
from kfjax.base import Filter, Params, estimate
from kfjax.data import Dataset
from kfjax.training.checks import check_pair
from kfjax.training.diagnosing import MEMORIES, diagnose, windows_of
from kfjax.training.diagnosis import Diagnosis
from kfjax.training.history import Fitted
from kfjax.training.imitation import Targets, common_space, imitation_targets, typical_scale
from kfjax.training.imitation_data import recorded_targets
from kfjax.training.losses import state_mse
from kfjax.training.rollout import FULL, Rollout, roll
from kfjax.training.staging import fit_stages
from kfjax.training.terms import state_errors

__all__ = ["Distilled", "Divergence", "distil"]


class Distilled(NamedTuple):
    """The result of a distillation.

    Attributes:
        params: params of the student.
        fitted: `Fitted`, of the best run if there were several.
        diagnosis: `Diagnosis`.
    """

    params: Any
    fitted: Fitted
    diagnosis: Diagnosis


@dataclasses.dataclass(frozen=True)
class Divergence:
    """The loss KL(teacher, student) of Gaussian beliefs, averaged as in `state_mse`.

    1/2 (e' S^-1 e + tr(S^-1 P) - n - log det P + log det S), where e is the difference of the
    means, and P and S are the covariances of teacher and student

    Attributes:
        filter: the student.
        rollout: how the student is run.
    """

    filter: Filter
    rollout: Rollout = FULL

    def __call__(self, params: Params, batch: Targets, key: Key) -> Float[Array, ""]:
        """Return the loss of a batch."""
        keys = jax.random.split(key, batch.cov.shape[0])

        def one(trajectory: Dataset, P: Array, key: Array) -> Array:
            est = roll(
                self.filter, params, trajectory, self.rollout, key=key, emit=estimate
            ).outputs
            error, _ = state_errors(params, trajectory, est.mean)
            counts = self.rollout.counts(trajectory)
            values = jax.vmap(_divergence)(error, P, est.cov)
            total = jnp.sum(jnp.where(counts, values, 0))
            return total / jnp.maximum(counts.sum(), 1)

        return jax.vmap(one)(batch.data, batch.cov, keys).mean()


def _divergence(error: Array, P: Array, S: Array) -> Array:
    factored = linalg.factorise(S)
    squared = jnp.sum(error * factored.solve(error))
    ratio = jnp.trace(factored.solve(P))
    distance = squared + ratio - error.shape[-1]
    logdet_P = linalg.factorise(P).logdet()
    return 0.5 * (distance + factored.logdet() - logdet_P)


def distil(
    teacher: tuple[Filter, Any] | None,
    student: tuple[Filter, Any],
    data: Dataset | Targets,
    *,
    validation: Dataset | Targets,
    key: RunKeys,
    updates: int,
    smoothing: bool = False,
    training_filter: Filter | None = None,
    rollout: Rollout = FULL,
    memories: tuple[int, ...] = MEMORIES,
    **options: Any,
) -> Distilled:
    """Train a student to imitate the estimates of a teacher, without true states.

    The loss is the mean squared difference of the means, in units of the teacher's posterior
    standard deviations. For the second half of the updates, a student with covariances continues
    with the divergence of its beliefs from the teacher's (`Divergence`).

    Args:
        teacher: (filter, params), or None for a recorded teacher, of whom only estimates are known.
        student: (filter, params) before training; for several runs, params have a leading axis, see
            `fit`.
        data: trajectories to imitate the teacher on; their true states, if any, are not used. For a
            recorded teacher, xs are its estimates (NaN where not known); with its covariances,
            `Targets(data, cov)`.
        validation: other trajectories, to choose and diagnose the student on.
        key: random key, or keys for several runs.
        updates: number of updates by the optimiser.
        smoothing: whether to imitate the teacher's smoother (Rauch-Tung-Striebel): x_t given the
            whole record.
        training_filter: the filter of the student during training, if it differs, for example by
            dropout (`kfjax.learned.with_dropout`).
        rollout: how the student is run; burn_in also leaves out the first steps in the diagnosis.
        memories: window lengths of the finite-memory floors; those longer than half of the
            trajectories are left out.
        **options: other arguments of `kfjax.training.fit`: batch_size, optimizer, learn, ema,
            patience, checkpoints, ... and, for a student without covariances, window, which carries
            its state from one window to the next.

    Returns:
        `Distilled(params, fitted, diagnosis)`.

    Raises:
        ValueError: if an estimate of the teacher is not finite, if the models of teacher and
            student have different state spaces, and as in `fit`.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> keys = jax.random.split(jax.random.key(0), 24)
        >>> _, ys = jax.vmap(lambda key: kf.simulate(key, model, 20))(keys)
        >>> data, validation = kf.Dataset(ys).split(16, 8)
        >>> gain = kf.ConstantGainParams(model, jnp.zeros((2, 1)))
        >>> found = kf.training.distil(
        ...     (kf.kalman(), model),
        ...     (kf.constant_gain(), gain),
        ...     data,
        ...     validation=validation,
        ...     key=jax.random.key(1),
        ...     updates=300,
        ...     optimizer=kf.training.clipped_adam(0.02),
        ...     learn=kf.ConstantGainParams(False, True),
        ... )
        >>> found.params.gain.shape
        (2, 1)
        >>> found.diagnosis.error.shape, sorted(found.diagnosis.floors)
        ((2,), [1, 2, 4, 8])
    """
    if teacher is not None:
        check_pair("distil: teacher", teacher)
        check_kind("distil: data", data, Dataset)
        check_kind("distil: validation", validation, Dataset)
    check_pair("distil: student", student)
    check_key("distil: key", key, many=True)
    check_count("distil: updates", updates)
    check_kind("distil: rollout", rollout, Rollout)
    check_flag("distil: smoothing", smoothing)
    windows_of("distil: memories", memories)
    chosen, params = student
    many = is_key(key) and key.ndim == 1
    # the key of the teacher's draws: all runs of the student share one teacher
    one = jax.tree.map(lambda a: a[0], params) if many else params
    space = common_space("distil", None if teacher is None else teacher[1], one)
    targets, held_out = _targets(teacher, {"data": data, "validation": validation}, smoothing)
    scale = typical_scale(targets, space)
    training_filter = training_filter or chosen
    by_error, by_error_on_validation = (
        state_mse(student, scale=scale, rollout=rollout) for student in (training_filter, chosen)
    )
    stages: list[dict[str, Any]] = [
        {"data": targets.data, "validation": held_out.data, "updates": updates}
    ]
    if (
        targets.cov is not None
        and jax.eval_shape(chosen.init, one, jax.random.key(0)).cov is not None
    ):
        stages[0]["updates"] = -(-updates // 2)
        by_divergence = {
            "loss": Divergence(training_filter, rollout),
            "validation_loss": Divergence(chosen, rollout),
        }
        second = {"data": targets, "validation": held_out, "updates": max(updates // 2, 1)}
        stages.append(second | by_divergence)
    options = {"validation_loss": by_error_on_validation} | options
    fitted = fit_stages(by_error, params, stages, key=key, **options)
    if many:
        fitted = fitted.run(fitted.best_run)
    diagnosis = diagnose(
        teacher,
        (chosen, fitted.params),
        targets,
        held_out,
        history=fitted.history,
        scale=scale,
        burn_in=rollout.burn_in,
        memories=memories,
    )
    return Distilled(fitted.params, fitted, diagnosis)


def _targets(
    teacher: tuple[Filter, Any] | None, parts: dict[str, Any], smoothing: bool
) -> list[Targets]:
    """Return the targets of training and validation."""
    if teacher is None and smoothing:
        raise ValueError(
            "distil: got smoothing without a teacher; expected recorded estimates as they are."
            " Record smoothed ones to imitate a smoother."
        )
    if teacher is None:
        return [recorded_targets(f"distil: {name}", part) for name, part in parts.items()]
    keys = jax.random.split(jax.random.key(0))
    return [
        imitation_targets(teacher, part, key=key, smoothing=smoothing)
        for part, key in zip(parts.values(), keys, strict=True)
    ]
