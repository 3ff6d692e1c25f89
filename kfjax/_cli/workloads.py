"""The workloads that speed is measured on: one table of problems and their solutions by kfjax.

A workload is data: `workload.problem(size)` draws the model and the observations, and
`workload.solve(size)` returns the function of the problem that is jitted and timed. That function
returns everything that a filter computes (means, full covariances and log-likelihoods), since a
compiler removes the work behind outputs that nobody reads.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from kfjax._cli.problems import (
    Problem,
    Size,
    canonical,
    draw_learned,
    draw_problem,
    lorenz,
    moving,
)
from kfjax._support.types import PyTree
from kfjax.base import Filter, Gaussian
from kfjax.data import Dataset
from kfjax.filters import extended, kalman, particle, unscented
from kfjax.learned.gains.kalman_nets import published
from kfjax.models.lens import with_model
from kfjax.runner import log_likelihood, run
from kfjax.smoothers.parallel import parallel_filter
from kfjax.smoothers.rauch_tung_striebel import smooth
from kfjax.training.losses import state_mse
from kfjax.training.partitioning import merge, partition
from kfjax.training.updates import guarded_update

__all__: list[str] = []

# Adam as in the KalmanNet paper; one step costs the same at any learning rate.
OPTIMIZER = optax.adam(1e-4)


class Outputs(NamedTuple):
    """Outputs of a solution, with a leading batch axis if there is one; None if not computed."""

    mean: Any
    cov: Any = None
    log_likelihood: Any = None
    smoothed_mean: Any = None
    smoothed_cov: Any = None


@dataclasses.dataclass(frozen=True)
class Workload:
    """A row of the table of speed.

    Attributes:
        kind: kind of problem, by which other libraries find their call: "kalman", "parallel" (in
            time), "smoother", "gradient", "extended", "unscented", "particle", "C3", "C4"
            (KalmanNet) or "training".
        text: description for tables.
        size: size that is timed.
        quick: small size, for tests that only run the workload.
        problem: `(Size) -> Problem`, in the current precision.
        solve: `(Size) -> (Problem -> Outputs)`, to be jitted; the same function for the same size.
    """

    kind: str
    text: str
    size: Size
    quick: Size
    problem: Callable[[Size], Problem]
    solve: Callable[[Size], Callable[[Problem], Any]]


def solve(filter: Filter, smoothing: bool, problem: Problem) -> Outputs:
    """Filter every trajectory of a problem by a plain `vmap` of `run`, and smooth it if asked to.

    Args:
        filter: the filter.
        smoothing: whether to smooth too, in the same `vmap`.
        problem: the `Problem`; without a batch axis if ys is [T, m].

    Returns:
        The `Outputs`; log_likelihood is per step.
    """

    def one(ys: Array, prior: Gaussian | None, key: Array | None) -> Outputs:
        params = problem.params if prior is None else with_model(problem.params, prior=prior)
        estimate = run(filter, params, ys, key=key).outputs
        outputs = Outputs(*estimate)
        if not smoothing:
            return outputs
        smoothed = smooth(filter, params, estimate)
        return outputs._replace(smoothed_mean=smoothed.mean, smoothed_cov=smoothed.cov)

    each = one if problem.ys.ndim == 2 else jax.vmap(one)
    return each(problem.ys, problem.priors, problem.keys)


def _value_and_gradient(problem: Problem) -> Outputs:
    """Return the log-likelihood, and in `mean` its gradient with respect to scales of Q and R."""
    model = problem.params

    def value(scales: Array) -> Array:
        scaled = with_model(model, Q=scales[0] * model.Q, R=scales[1] * model.R)
        return log_likelihood(GAUSSIAN["kalman"], scaled, problem.ys)

    total, slopes = jax.value_and_grad(value)(jnp.ones(2, model.dtype))
    return Outputs(slopes, None, total[None])


def _in_parallel(problem: Problem) -> Outputs:
    """Filter the trajectory of a problem by an associative scan; log_likelihood is per step."""
    return Outputs(*parallel_filter(problem.params, problem.ys))


def training_step(loss: Callable[..., Array], problem: Problem) -> Any:
    """Take one step of Adam on the whole batch, and return the new parameters of the network.

    Args:
        loss: a loss, like those of `kfjax.training`.
        problem: the `Problem`, with true states.
    """
    data = Dataset.unchecked(problem.ys, problem.xs, None, None, None, None)
    learned, frozen = partition(problem.params)

    def objective(learned: PyTree) -> tuple[Array, None]:
        return loss(merge(learned, frozen), data, jax.random.key(0)), None

    found = guarded_update(OPTIMIZER, objective, learned, OPTIMIZER.init(learned))
    return found.params.network


# Cached, since `jax.jit` compiles anew for every function object that it has not seen: workloads
# with the same filter share one function, and with it one compilation per size.
@functools.cache
def _solver(filter: Filter, smoothing: bool = False) -> Callable[[Problem], Outputs]:
    return functools.partial(solve, filter, smoothing)


def _gaussian(
    kind: str, text: str, model: Any, size: Size, quick: Size, *, own: bool = True
) -> Workload:
    """Return the workload of a Gaussian filter; with `own`, each trajectory has its own prior."""
    problem = functools.partial(draw_problem, model, own=own and size.batch is not None)
    return Workload(
        kind, text, size, quick, problem, lambda _: _solver(GAUSSIAN[kind], kind == "smoother")
    )


def _particles(text: str, size: Size, quick: Size) -> Workload:
    problem = functools.partial(draw_problem, lorenz, draws=True)
    return Workload(
        "particle", text, size, quick, problem, lambda at: _solver(particle(at.particles))
    )


def _kalman_net(name: str, text: str, size: Size, quick: Size) -> Workload:
    problem = functools.partial(draw_learned, name, lorenz)
    network = published(name, n=3, m=3)
    return Workload(name, text, size, quick, problem, lambda _: _solver(network))


def _training(text: str, size: Size, quick: Size) -> Workload:
    problem = functools.partial(draw_learned, "C4", canonical)
    return Workload("training", text, size, quick, problem, lambda at: _trainer(at.n))


@functools.cache
def _trainer(n: int) -> Callable[[Problem], Any]:
    return functools.partial(training_step, state_mse(published("C4", n=n, m=n)))


GAUSSIAN = {
    "kalman": kalman(),
    "smoother": kalman(),
    "extended": extended(),
    "unscented": unscented(),
}
LONG = Size(None, 10_000)
QUICK_LONG = Size(None, 60)
MANY = Size(1000, 100)
QUICK_MANY = Size(4, 12)
LORENZ = MANY._replace(n=3)
QUICK_LORENZ = QUICK_MANY._replace(n=3)


def _table_iv(suffix: str, batch: int | None) -> dict[str, Workload]:
    """Return the filters of Table IV of the KalmanNet paper, for one trajectory or for a batch."""
    size = Size(batch, 100, 3)
    quick = Size(batch and 3, 12, 3)
    cloud = size._replace(particles=100)
    quick_cloud = quick._replace(particles=20)
    table = "Table IV" if batch is None else f"Table IV, {batch} at once"
    ekf = f"{table}, extended Kalman filter"
    ukf = f"{table}, unscented Kalman filter"
    return {
        f"ekf{suffix}": _gaussian("extended", ekf, lorenz, size, quick, own=False),
        f"ukf{suffix}": _gaussian("unscented", ukf, lorenz, size, quick, own=False),
        f"pf{suffix}": _particles(f"{table}, bootstrap particle filter", cloud, quick_cloud),
        f"c3{suffix}": _kalman_net("C3", f"{table}, KalmanNet C3", size, quick),
        f"c4{suffix}": _kalman_net("C4", f"{table}, KalmanNet C4", size, quick),
    }


OWN = "Kalman filter, a prior covariance for each trajectory"
MOVING = functools.partial(draw_problem, moving)
WORKLOADS: dict[str, Workload] = {
    "W1": _gaussian("kalman", "Kalman filter, one long trajectory", moving, LONG, QUICK_LONG),
    "W1p": Workload(
        "parallel",
        "Kalman filter, one long trajectory, parallel in time",
        LONG,
        QUICK_LONG,
        MOVING,
        lambda _: _in_parallel,
    ),
    "W2": _gaussian("kalman", OWN, moving, MANY, QUICK_MANY),
    "W2s": _gaussian(
        "kalman", "Kalman filter, one prior for all", moving, MANY, QUICK_MANY, own=False
    ),
    "W3": _gaussian(
        "extended", "extended Kalman filter, Lorenz attractor", lorenz, LORENZ, QUICK_LORENZ
    ),
    "W4": _gaussian(
        "unscented", "unscented Kalman filter, Lorenz attractor", lorenz, LORENZ, QUICK_LORENZ
    ),
    "W5": _particles(
        "bootstrap particle filter, Lorenz attractor",
        Size(10, 100, 3, 1000),
        Size(2, 12, 3, 200),
    ),
    "W6": _gaussian("smoother", "filter and smoother, as W2", moving, MANY, QUICK_MANY),
    "W6l": _gaussian("smoother", "filter and smoother, as W1", moving, LONG, QUICK_LONG),
    "W7": _gaussian("kalman", OWN, moving, Size(100, 100, 16), Size(3, 6, 16)),
    "W7l": _gaussian("kalman", OWN, moving, Size(100, 100, 64), Size(2, 3, 64)),
    "W8": Workload(
        "gradient",
        "value and gradient of the log-likelihood, as W1",
        LONG._replace(steps=2000),
        QUICK_LONG,
        MOVING,
        lambda _: _value_and_gradient,
    ),
    "W9": _gaussian("kalman", OWN, moving, Size(8, 1000), Size(2, 12)),
    **_table_iv("", None),
    **_table_iv("_200", 200),
    "train": _training(
        "one training step of KalmanNet #2, linear 2x2", Size(30, 100, 2), Size(2, 8, 2)
    ),
}
