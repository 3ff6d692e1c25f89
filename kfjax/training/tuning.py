"""Tuning of noise covariances: factors on Q and R, found by gradient on one part of the data, chosen on another.

A well tuned classical filter is the baseline that a learned one has to beat.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from kfjax._support.naming import suggest
from kfjax._support.progress import progress_bar
from kfjax.base import Filter, log_likelihood_only, mean_only
from kfjax.data.batches import run_trajectory
from kfjax.data.dataset import Dataset
from kfjax.models.lens import model_of
from kfjax.models.state_space import StateSpaceModel
from kfjax.training.losses import state_errors
from kfjax.training.noise import Scales, scale_noise

__all__ = ["OBJECTIVES", "STRUCTURES", "Tuned", "tune"]

STRUCTURES = ("scalar", "diagonal")
OBJECTIVES = ("likelihood", "mse")
ADAM = optax.scale_by_adam()
LOOK = 10  # steps between looks at the validation part
GRID = np.log(10.0) * np.arange(
    -4, 5
)  # where the coarse search begins: powers of ten on the variances


class Tuned(NamedTuple):
    """What tuning found.

    Attributes:
        params: the params given, with Q and R scaled.
        scales: the factors, numpy arrays.
        train: the objective on the training part before and after; lower is better.
        validation: likewise on the validation part; never higher after than before.
        step: the step whose factors were kept; 0 is the coarse search, -1 the factors of one.
        refused: steps of the optimiser that were not taken, since they were not finite.
    """

    params: Any
    scales: Scales
    train: tuple[float, float]
    validation: tuple[float, float]
    step: int
    refused: int


def tune(
    filter: Filter,
    params: Any,
    train: Dataset,
    validation: Dataset,
    *,
    structure: str = "scalar",
    objective: str = "likelihood",
    steps: int = 150,
    learning_rate: float = 0.1,
    batch: int = 64,
    skip: tuple[int, int] = (0, 0),
    seed: int = 0,
) -> Tuned:
    """Tune the size of Q and R by gradient, so that the filter makes the data likely, or its estimates accurate.

    Q' = D_q^1/2 Q D_q^1/2 and R' = D_r^1/2 R D_r^1/2 with D = diag(exp(theta)). A coarse search
    over powers of ten gives the start, since an untuned filter may diverge and then has no
    gradient; Adam with a falling step size, on random batches of trajectories, does the rest; the
    factors kept are the best on the validation part. A common factor of Q and R hardly changes the
    estimates, so that under "mse" the geometric mean of R's factors is held at one: how large the
    covariances should be, only the likelihood can tell. The prior stays as it is.

    Args:
        filter: the `Filter`.
        params: the `StateSpaceModel`, or params that hold one; its Q and R may be arrays or
            callables.
        train: the trajectories to fit.
        validation: the trajectories to choose on.
        structure: "scalar", one factor on Q and one on R; or "diagonal", one per state and one per
            channel.
        objective: "likelihood", minus the mean log-likelihood per step; or "mse" over the known
            true states.
        steps: steps of Adam.
        learning_rate: its first step size, in logarithms of the variances.
        batch: trajectories per step.
        skip: how many leading steps of the training and of the validation part are filtered but do
            not count.
        seed: of the batches, and of filters that draw.

    Returns:
        `Tuned`: the new params, the factors, and the objective before and after on both parts.

    Raises:
        ValueError: an unknown structure or objective, "mse" without true states, "likelihood" with
            a filter that has none, numbers below one, or no factors with a finite objective.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> xs, ys = jax.vmap(lambda key: kf.simulate(key, model, 50))(jax.random.split(jax.random.key(0), 40))
        >>> train, validation = kf.Dataset(ys, xs).split(20, 20)
        >>> tuned = kf.training.tune(kf.kalman(), model.replace(R=100 * model.R), train, validation, steps=50)
        >>> bool(0.008 < tuned.scales.R < 0.0125)
        True

    References:
        I. Greenberg et al., Optimization or architecture: how to hack Kalman filtering, NeurIPS
        2023.
    """
    if min(steps, batch) < 1 or not learning_rate > 0:
        raise ValueError(
            f"tune: got steps={steps}, batch={batch}, learning_rate={learning_rate}; expected at"
            " least 1, 1, above 0."
        )
    model = _checked(params, train, validation, structure, objective, skip)
    task = _Task(filter, objective, min(batch, train.size))
    sizes = ((model.n,), train.ys.shape[2:]) if structure == "diagonal" else ((), ())
    one = Scales(*(jnp.zeros(size, model.dtype) for size in sizes))  # logarithms of the factors
    key = jax.random.key(seed)
    fitted, chosen_on = (
        _Part.of(*part, task.batch, key) for part in zip((train, validation), skip, strict=True)
    )
    start = _coarse(task, params, one, fitted._replace(chunks=fitted.chunks[:1]))
    found = [
        (chosen_on.objective(task, params, theta), step, theta)
        for step, theta in ((-1, one), (0, start))
    ]
    before, refusals = found[0][0], 0
    rates = learning_rate * (0.5 + 0.5 * np.cos(np.pi * np.arange(steps) / steps))
    with progress_bar("tuning", steps) as advance:
        for step, theta, refused in _descent(task, params, start, train, skip[0], key, rates):
            found.append((chosen_on.objective(task, params, theta), step, theta))
            advance(step - found[-2][1])
            refusals += refused
    after, step, best = min(found, key=lambda item: item[0])
    if math.isinf(after):
        raise ValueError(
            "tune: no factors on Q and R give a finite objective on the validation part; expected a"
            " filter that does"
            " not diverge. Check the model's units, prior and inputs."
        )
    factors = Scales(*(np.exp(np.asarray(log)) for log in task.pinned(best)))
    losses = fitted.objective(task, params, one), fitted.objective(task, params, best)
    return Tuned(scale_noise(params, factors), factors, losses, (before, after), step, refusals)


@dataclasses.dataclass(frozen=True)
class _Task:
    """What stays the same in one tuning; static, since it chooses what is compiled."""

    filter: Filter
    objective: str
    batch: int

    def pinned(self, theta: Scales) -> Scales:
        """Leave out the direction that the objective does not see."""
        return theta._replace(R=theta.R - theta.R.mean()) if self.objective == "mse" else theta


class _Part(NamedTuple):
    """Data in chunks of equal size, so that one compilation serves them all, and which trajectories are no padding."""

    chunks: list[tuple[Dataset, np.ndarray]]
    skip: int
    key: Array

    @classmethod
    def of(cls, data: Dataset, skip: int, size: int, key: Array) -> _Part:
        index = [np.arange(first, first + size) for first in range(0, data.size, size)]
        return cls([(data[np.minimum(i, data.size - 1)], i < data.size) for i in index], skip, key)

    def objective(self, task: _Task, params: Any, theta: Scales) -> float:
        """The mean over everything that counts; infinite where it is not finite."""
        sums = [
            _sums(task, params, theta, chunk, counts, self.skip, self.key)
            for chunk, counts in self.chunks
        ]
        total, count = np.sum(np.asarray(sums, np.float64), axis=0)
        return float(total / count) if count > 0 and np.isfinite(total) else math.inf


@functools.partial(jax.jit, static_argnums=0)
def _sums(
    task: _Task, params: Any, theta: Scales, data: Dataset, counts: Array, skip: Array, key: Array
) -> tuple[Array, Array]:
    """The total of the objective over the trajectories that count, and of how many things it is."""
    scaled = scale_noise(params, jax.tree.map(jnp.exp, task.pinned(theta)))
    keys = jax.random.split(key, data.ys.shape[0])
    terms = _minus_log_likelihood if task.objective == "likelihood" else _squared_error
    totals, numbers = jax.vmap(lambda one, k: terms(task.filter, scaled, one, skip, k))(data, keys)
    return jnp.where(counts, totals, 0).sum(), jnp.where(counts, numbers, 0).sum()


def _minus_log_likelihood(
    filter: Filter, params: Any, one: Dataset, skip: Array, key: Array
) -> tuple[Array, Array]:
    """Sum over the steps that count, and their number."""
    log_likelihood = run_trajectory(filter, params, one, key=key, emit=log_likelihood_only).outputs
    if log_likelihood is None:
        raise ValueError(
            "tune: the filter gives no log-likelihood; expected one. Use objective='mse'."
        )
    counts = _counts(one, skip)
    return -jnp.sum(jnp.where(counts, log_likelihood, 0)), counts.sum()


def _squared_error(
    filter: Filter, params: Any, one: Dataset, skip: Array, key: Array
) -> tuple[Array, Array]:
    """Sum over the known state components of the steps that count, and their number."""
    mean = run_trajectory(filter, params, one, key=key, emit=mean_only).outputs
    error, known = state_errors(params, one, mean)
    known &= _counts(one, skip)[:, None]
    return jnp.sum(jnp.where(known, error, 0) ** 2), known.sum()


def _counts(one: Dataset, skip: Array) -> Array:
    """Which steps count [T]."""
    at = jnp.arange(one.ys.shape[0])
    return (at >= skip) & (at < (one.ys.shape[0] if one.length is None else one.length))


def _coarse(task: _Task, params: Any, one: Scales, part: _Part) -> Scales:
    """The best of a grid of powers of ten."""
    grid = itertools.product(GRID, [0.0] if task.objective == "mse" else GRID[2:-2])
    candidates = [Scales(one.Q + q, one.R + r) for q, r in grid]
    return min(candidates, key=lambda theta: part.objective(task, params, theta))


def _descent(
    task: _Task, params: Any, start: Scales, data: Dataset, skip: int, key: Array, rates: np.ndarray
) -> Iterator[tuple[int, Scales, int]]:
    """Yield (step, theta, steps refused since the last) every few steps of the optimiser."""
    data, state = jax.tree.map(jnp.asarray, data), (start, ADAM.init(start))
    keys = jax.random.split(key, len(rates))
    for first in range(0, len(rates), LOOK):
        some = slice(first, first + LOOK)
        state, refused = _advance(task, params, data, skip, state, keys[some], rates[some])
        yield min(first + LOOK, len(rates)), state[0], int(refused)


@functools.partial(jax.jit, static_argnums=0)
def _advance(
    task: _Task,
    params: Any,
    data: Dataset,
    skip: Array,
    state: tuple[Scales, Any],
    keys: Array,
    rates: Array,
) -> tuple[tuple[Scales, Any], Array]:
    """One step per key, each on a random batch; a step that is not finite is refused, and counted."""

    def step(
        state: tuple[Scales, Any], at: tuple[Array, Array]
    ) -> tuple[tuple[Scales, Any], Array]:
        (theta, moments), (key, rate) = state, at
        batch = jax.tree.map(
            lambda a: a[jax.random.permutation(key, a.shape[0])[: task.batch]], data
        )

        def loss(theta: Scales) -> Array:
            total, count = _sums(task, params, theta, batch, jnp.ones(task.batch, bool), skip, key)
            return total / count

        slope = jax.grad(loss)(theta)
        direction, moved = ADAM.update(slope, moments)
        sound = jnp.all(jnp.array([jnp.isfinite(leaf).all() for leaf in slope]))
        new = (jax.tree.map(lambda a, d: a - (rate * d).astype(a.dtype), theta, direction), moved)
        return jax.tree.map(lambda a, b: jnp.where(sound, a, b), new, state), ~sound

    state, refused = jax.lax.scan(step, state, (keys, rates))
    return state, refused.sum()


def _checked(
    params: Any,
    train: Dataset,
    validation: Dataset,
    structure: str,
    objective: str,
    skip: tuple[int, int],
) -> StateSpaceModel:
    """Raise unless everything fits together; return the model."""
    for what, value, known in (
        ("structure", structure, STRUCTURES),
        ("objective", objective, OBJECTIVES),
    ):
        if value not in known:
            raise ValueError(f"tune: got {what} {value!r}; {suggest(str(value), known)}")
    if (model := model_of(params)) is None:
        raise ValueError(
            f"tune: params is {type(params).__name__}; expected a StateSpaceModel, or one inside."
        )
    for name, part, first in zip(("train", "validation"), (train, validation), skip, strict=True):
        if not 0 <= first < part.lengths.max():
            raise ValueError(
                f"tune: skip of the {name} part is {first}; expected 0 to {part.lengths.max() - 1},"
                " below its steps."
            )
        if objective == "mse" and (part.xs is None or np.isnan(part.xs[:, first:]).all()):
            raise ValueError(
                f"tune: the {name} part has no true states; expected some for objective 'mse'. Use"
                " 'likelihood'."
            )
    return model
