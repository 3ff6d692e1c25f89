"""Tuning of factors on Q and R: fitted by gradient on training data, chosen on validation data.

A well tuned classical filter is the baseline that a learned one has to beat.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import numpy as np

from kfjax._support.arguments import check_count, check_counts, check_key, check_kind, check_number
from kfjax._support.naming import described, suggest
from kfjax._support.types import Key
from kfjax.base import Filter, Params
from kfjax.data.batches import check_noise_on
from kfjax.data.dataset import Dataset
from kfjax.models.augmented_state import check_added_noise
from kfjax.models.lens import model_of
from kfjax.models.state_space import StateSpaceModel
from kfjax.training.noise import Scales, scale_noise
from kfjax.training.noise_factors import (
    Factors,
    Found,
    coarse,
    logarithms_of_one,
    loss_of,
    to_the_end,
    value_on,
    without_common_factor,
)
from kfjax.training.optimising import Plan, optimise
from kfjax.training.optimizers import Cosine, clipped_adam
from kfjax.training.tasks import Keys, Task

__all__ = ["OBJECTIVES", "STRUCTURES", "Tuned", "tune"]

STRUCTURES = ("scalar", "diagonal")
OBJECTIVES = ("likelihood", "mse")
LOOK = 10  # updates between two evaluations on the validation part
FEW = 2  # trajectories that `kfjax.data.split_parts` splits in time


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
    key: Key,
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
    factors that are best on the validation part are kept. For one or two trajectories, L-BFGS takes
    the place of Adam and runs to convergence; with the same data for both parts, the result is that
    of `maximum_likelihood`. A common factor of Q and R hardly changes the estimates, so under "mse"
    the geometric mean of R's factors is held at one: only the likelihood determines the size of the
    covariances. The prior is not changed. To fit whole covariances, use `fit_noise`.

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
        >>> tuned = kf.training.tune(
        ...     kf.kalman(),
        ...     model.replace(R=100 * model.R),
        ...     train,
        ...     validation=validation,
        ...     key=jax.random.key(1),
        ...     updates=50,
        ... )
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
    fitting, choosing = (loss_of(filter, objective, leading) for leading in skip)
    # no clipping: Adam alone determines the step size
    optimizer = clipped_adam(Cosine(learning_rate, updates, final=0.0), clip=math.inf)
    batch_size = min(batch_size, data.size)
    task = Task(fitting, choosing, optimizer, batch_size, independent=True)

    one = Factors(params, logarithms_of_one(model, data, structure))
    start = coarse(fitting, objective, one, data[:batch_size], key)
    if data.size <= FEW:
        found = to_the_end(fitting, choosing, start, data, validation, key, updates)
    else:
        plan = Plan("tuning", updates, LOOK, progress)
        learn = Factors(False, True)
        fitted = optimise(task, start, learn, data, validation, Keys(key, key, key), plan)
        found = Found(fitted.params, float(fitted.validation), fitted.update, fitted.refused)

    before = value_on(choosing, one, validation, key)
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
        best = without_common_factor(best)
    scales = jax.tree.map(lambda logarithm: np.exp(np.asarray(logarithm)), best.logarithms)
    tuned = scale_noise(params, scales)
    train = value_on(fitting, one, data, key), value_on(fitting, best, data, key)
    return Tuned(tuned, scales, train, (before, after), int(update), int(refused))


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
    if not isinstance(skip, (tuple, list)) or len(skip) != 2:
        raise ValueError(
            f"tune: skip is {described(skip)}; expected two whole numbers, for the training and the"
            " validation part."
        )
    for name, part, first in zip(("training", "validation"), (data, validation), skip, strict=True):
        check_count(f"tune: skip of the {name} part", first, least=0)
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
