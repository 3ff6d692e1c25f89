"""Tuning of factors on Q and R: fitted by gradient on training data, chosen on validation data.

A well tuned classical filter is the baseline that a learned one has to beat.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree

from kfjax._support.arguments import check_counts, check_key, check_kind, check_number
from kfjax._support.compiling import jit
from kfjax._support.naming import suggest
from kfjax.base import Filter, Params
from kfjax.data.batches import check_noise_on
from kfjax.data.dataset import Dataset
from kfjax.models.augmented_state import check_added_noise
from kfjax.models.lens import model_of
from kfjax.models.state_space import StateSpaceModel
from kfjax.training.losses import innovation_nll, state_mse
from kfjax.training.minimising import Minimum, leave_plateaus, minimise
from kfjax.training.noise import Scales, scale_noise
from kfjax.training.optimising import Plan, optimise
from kfjax.training.optimizers import Cosine, clipped_adam
from kfjax.training.rollout import Rollout
from kfjax.training.stepping import measure
from kfjax.training.tasks import Keys, Task
from kfjax.training.wrapping import BatchLoss, through

__all__ = ["OBJECTIVES", "STRUCTURES", "Tuned", "tune"]

STRUCTURES = ("scalar", "diagonal")
OBJECTIVES = ("likelihood", "mse")
LOOK = 10  # updates between two evaluations on the validation part
# grid of the coarse search: powers of ten on the variances
GRID = np.log(10.0) * np.arange(-4, 5)
ROUNDS = 4  # of that search, at most
FEW = 2  # trajectories that `kfjax.data.split_parts` splits in time
ENOUGH = 1e-2  # of the gradient per observation, in roots of the rounding
LOOK_AROUND = 4.0  # logarithms of a variance
LEAST = 1e-6  # difference per observation


class Tuned(NamedTuple):
    """The result of tuning.

    Attributes:
        params: the given params, with Q and R scaled.
        scales: the factors, numpy arrays.
        train: the objective on the training part before and after; lower is better.
        validation: likewise on the validation part; never higher after than before.
        update: the number of updates that led to the factors; 0 means the coarse search, -1 factors
            of one.
        refused: number of updates skipped because they were not finite.
    """

    params: Any
    scales: Scales
    train: tuple[float, float]
    validation: tuple[float, float]
    update: int
    refused: int


def tune(
    filter: Filter,
    params: Params,
    data: Dataset,
    *,
    validation: Dataset,
    key: Array,
    structure: str = "scalar",
    objective: str = "likelihood",
    updates: int = 150,
    learning_rate: float = 0.1,
    batch_size: int = 64,
    skip: tuple[int, int] = (0, 0),
    progress: bool | None = None,
) -> Tuned:
    """Tune factors on Q and R by gradient, for the likelihood or for the error of estimates.

    Q' = D_q^1/2 Q D_q^1/2 and R' = D_r^1/2 R D_r^1/2 with D = diag(exp(theta)). A coarse search
    over powers of ten gives the start, since an untuned filter may diverge and then has no
    gradient; Adam with a falling step size, on random batches of trajectories, does the rest; the
    factors that are best on the validation part are kept. For one or two trajectories, L-BFGS
    takes the place of Adam and goes to the end: with the same data for both parts, the result is
    that of `maximum_likelihood`. A common factor of Q and R hardly changes
    the estimates, so under "mse" the geometric mean of R's factors is held at one: only the
    likelihood determines the size of the covariances. The prior is not changed. To fit whole
    covariances, use `fit_noise`.

    A filter that rejects observations is scored on all of them, as it predicted them. By the
    likelihood, real outliers therefore enlarge R for `gated`; tune with `student_t`, whose density
    expects outliers, or by "mse".

    Args:
        filter: the `Filter`.
        params: the `StateSpaceModel`, or params that hold one; its Q and R may be arrays or
            callables.
        data: the trajectories to fit.
        validation: the trajectories to choose on.
        key: random key of the batches, and of filters that draw.
        structure: "scalar", one factor on Q and one on R; or "diagonal", one per state and one per
            channel.
        objective: "likelihood", the loss `innovation_nll`; or "mse", `state_mse` over the known
            true states.
        updates: number of updates by Adam, or the largest number by L-BFGS.
        learning_rate: initial step size of Adam, in logarithms of the variances; it falls to zero
            as a cosine.
        batch_size: trajectories per update, at most all.
        skip: number of leading steps of the training and validation parts that are filtered but do
            not count.
        progress: whether to show progress on stderr: a bar in a terminal, elsewhere a line now and
            then. By default, work of less than half a minute prints no lines.

    Returns:
        `Tuned`: the new params, the factors, and the objective before and after on both parts.

    Raises:
        ValueError: for an unknown structure or objective, "mse" without true states, "likelihood"
            with a filter that has none, numbers below one, or if no factors give a finite
            objective.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> keys = jax.random.split(jax.random.key(0), 40)
        >>> xs, ys = jax.vmap(lambda key: kf.simulate(key, model, 50))(keys)
        >>> train, validation = kf.Dataset(ys, xs).split(20, 20)
        >>> tuned = kf.training.tune(kf.kalman(), model.replace(R=100 * model.R), train,
        ...     validation=validation, key=jax.random.key(1), updates=50)
        >>> bool(0.008 < tuned.scales.R < 0.0125)
        True

    References:
        I. Greenberg et al., Optimization or architecture: how to hack Kalman filtering, NeurIPS
        2023.
    """
    check_kind("tune: data", data, Dataset)
    check_kind("tune: validation", validation, Dataset)
    check_key("tune: key", key)
    check_counts("tune", updates=updates, batch_size=batch_size)
    check_number("tune: learning_rate", learning_rate, above=0)
    model = _checked(params, data, validation, structure, objective, skip)
    check_noise_on("tune", params, data)
    fitting, choosing = (_loss(filter, objective, leading) for leading in skip)
    # no clipping: Adam alone determines the step size
    optimizer = clipped_adam(Cosine(learning_rate, updates, final=0.0), clip=math.inf)
    batch_size = min(batch_size, data.size)
    task = Task(fitting, choosing, optimizer, batch_size, independent=True)

    one = _Factors(params, _logarithms(model, data, structure))
    start = _coarse(fitting, objective, one, data[:batch_size], key)
    if data.size <= FEW:
        found = _to_the_end(fitting, choosing, start, data, validation, key, updates)
    else:
        plan = Plan("tuning", updates, LOOK, progress)
        learn = _Factors(False, True)
        fitted = optimise(task, start, learn, data, validation, Keys(key, key, key), plan)
        found = _Found(fitted.params, float(fitted.validation), fitted.update, fitted.refused)

    before = _on(choosing, one, validation, key)
    best, after, update, refused = found
    if before <= after:
        best = one
        update = -1
        after = before
    if math.isinf(after):
        raise ValueError(
            "tune: no factors on Q and R give a finite objective on the validation part; expected a"
            " filter that does not diverge. Check the model's units, prior and inputs."
        )
    if objective == "mse":
        best = _without_common_factor(best)
    scales = jax.tree.map(lambda logarithm: np.exp(np.asarray(logarithm)), best.logarithms)
    tuned = scale_noise(params, scales)
    train = _on(fitting, one, data, key), _on(fitting, best, data, key)
    return Tuned(tuned, scales, train, (before, after), int(update), int(refused))


class _Factors(NamedTuple):
    """Params with factors on their noise, whose logarithms are trained.

    Attributes:
        params: the given params.
        logarithms: `Scales` of the logarithms of the factors.
    """

    params: Any
    logarithms: Any


def _loss(filter: Filter, objective: str, skip: int) -> BatchLoss:
    """Return the objective of that name as a loss of factors, without the leading steps."""
    rollout = Rollout(burn_in=skip)
    if objective == "likelihood":
        return through(innovation_nll(filter, rollout=rollout), _scaled)
    return through(state_mse(filter, rollout=rollout), _scaled_without_common_factor)


def _scaled(factors: _Factors) -> Any:
    """Return the params with their noise scaled."""
    return scale_noise(factors.params, jax.tree.map(jnp.exp, factors.logarithms))


def _scaled_without_common_factor(factors: _Factors) -> Any:
    return _scaled(_without_common_factor(factors))


# The gain is the same for (a Q, a R) as for (Q, R) once the prior is forgotten, and so is the
# squared error: with both free, the common factor would drift along a valley without slope. Fixing
# the mean logarithm of R removes that direction and no other.
def _without_common_factor(factors: _Factors) -> _Factors:
    """Return factors on R whose geometric mean is one: the squared error does not depend on it."""
    Q, R = factors.logarithms
    return factors._replace(logarithms=Scales(Q, R - R.mean()))


def _on(loss: BatchLoss, factors: _Factors, data: Dataset, key: Array) -> float:
    """Return a loss on a whole part of the data; infinite if it is not finite."""
    value = float(measure(loss, factors, jax.tree.map(jnp.asarray, data), key))
    return value if math.isfinite(value) else math.inf


def _logarithms(model: StateSpaceModel, data: Dataset, structure: str) -> Scales:
    """Return the logarithms of factors of one."""
    diagonal = structure == "diagonal"
    states, channels = ((model.n,), data.ys.shape[2:]) if diagonal else ((), ())
    return Scales(jnp.zeros(states, model.dtype), jnp.zeros(channels, model.dtype))


def _coarse(loss: BatchLoss, objective: str, one: _Factors, data: Dataset, key: Array) -> _Factors:
    """Return the best of a grid of powers of ten, which moves on while the best is at its edge."""
    # A factor of 10^4 in both directions on Q, and of 10^2 on R: R is often known from data sheets,
    # Q is what a person guesses. For the squared error only their ratio matters, and R stays.
    on_R = [0.0] if objective == "mse" else GRID[2:-2]
    best = one
    for _ in range(ROUNDS):
        centre = best.logarithms
        offsets = list(itertools.product(GRID, on_R))
        # The start decides where gradients lead: far from the optimum the likelihood of a wrong Q
        # is flat in its logarithm, and a gradient there says little. A grid of powers of ten costs
        # some tens of passes and no gradient.
        candidates = [
            one._replace(logarithms=Scales(centre.Q + q, centre.R + r)) for q, r in offsets
        ]
        losses = np.array([_on(loss, factors, data, key) for factors in candidates])
        # the nearest of those as good as the best, or it would walk off along a plateau
        distance = np.abs(offsets).sum(axis=1)
        lowest = int(np.where(losses <= losses.min() + LEAST, distance, np.inf).argmin())
        best = candidates[lowest]
        q, r = np.abs(offsets[lowest])
        at_edge = q == GRID[-1] or (len(on_R) > 1 and r == on_R[-1])
        if not at_edge or math.isinf(losses[lowest]):
            return best
    return best


class _Found(NamedTuple):
    """Factors, their objective on the validation part, and the updates made and refused."""

    factors: _Factors
    validation: float
    update: Any
    refused: Any


def _to_the_end(
    fitting: BatchLoss,
    choosing: BatchLoss,
    start: _Factors,
    data: Dataset,
    validation: Dataset,
    key: Array,
    updates: int,
) -> _Found:
    """Return the best factors on the training part, unless the start is better on validation.

    Few trajectories are one batch, so that L-BFGS finds the end, however far it is.
    """
    flat, as_scales = ravel_pytree(start.logarithms)
    arrays = jax.tree.map(jnp.asarray, data)

    def factors(free: Array) -> _Factors:
        return start._replace(logarithms=as_scales(free))

    def lowest(free: Array) -> Minimum:
        return _lowest(fitting, updates, factors(free), arrays, key)

    found = leave_plateaus(
        lambda free: _on(fitting, factors(free), data, key),
        lowest,
        lowest(flat),
        np.full(flat.shape, LOOK_AROUND),
        LEAST,
    )
    end = factors(found.theta)
    before, after = (_on(choosing, some, validation, key) for some in (start, end))
    if before <= after:
        sound = bool(jnp.isfinite(_slope(fitting, start, arrays, key)).all())
        return _Found(start, before, 0, 0 if sound else updates)
    return _Found(end, after, found.updates, 0)


@functools.partial(jit, static_argnums=(0, 1))
def _lowest(loss: BatchLoss, updates: int, start: _Factors, data: Dataset, key: Array) -> Minimum:
    """Return the minimum of the loss, in logarithms of factors."""
    flat, as_scales = ravel_pytree(start.logarithms)

    def of(free: Array) -> Array:
        return loss(start._replace(logarithms=as_scales(free)), data, key)

    tolerance = ENOUGH * float(jnp.finfo(flat.dtype).eps) ** 0.5
    return minimise(of, flat, updates=updates, tolerance=tolerance)


@functools.partial(jit, static_argnums=0)
def _slope(loss: BatchLoss, start: _Factors, data: Dataset, key: Array) -> Array:
    """Return the gradient with respect to the logarithms of factors."""

    def of(logarithms: Scales) -> Array:
        return loss(start._replace(logarithms=logarithms), data, key)

    return ravel_pytree(jax.grad(of)(start.logarithms))[0]


def _checked(
    params: Params,
    data: Dataset,
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
            f"tune: params is {type(params).__name__}; expected a StateSpaceModel, or params that"
            " hold one."
        )
    check_added_noise("tune", model)
    for name, part, first in zip(("training", "validation"), (data, validation), skip, strict=True):
        if not 0 <= first < part.lengths.max():
            raise ValueError(
                f"tune: skip of the {name} part is {first}; expected 0 to"
                f" {part.lengths.max() - 1}, below its number of steps."
            )
        if objective == "mse" and (part.xs is None or np.isnan(part.xs[:, first:]).all()):
            raise ValueError(
                f"tune: the {name} part has no true states; expected xs for objective 'mse'. Use"
                " 'likelihood'."
            )
    return model
