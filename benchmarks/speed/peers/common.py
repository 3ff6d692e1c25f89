"""What the files of the libraries share: matrices of a problem, beliefs about x_1, and mapping over a batch."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

import kfjax as kf
from kfjax._cli.workloads import Outputs

BOTH = ("float64", "float32")
KALMAN = kf.kalman()


class Contender(NamedTuple):
    """One way to solve a problem.

    Attributes:
        call: is timed.
        read: what it gave as `Outputs`; log-likelihoods per step, or of the whole trajectory.
        share: the part of the batch that it solves; times are divided by it. A library that loops
            over trajectories in Python takes time in proportion.
        note: what is different from the others.
    """

    call: Callable[[], Any]
    read: Callable[[Any], Outputs] = lambda outputs: outputs
    share: float = 1.0
    note: str = ""


class Matrices(NamedTuple):
    """Of a linear model, in numpy."""

    F: np.ndarray
    H: np.ndarray
    Q: np.ndarray
    R: np.ndarray


def matrices(problem):
    """Return the matrices of a linear problem."""
    model = problem.params
    return Matrices(*(np.asarray(a) for a in (model.f.A, model.h.A, model.Q, model.R)))


def prior(problem):
    """Return the belief about x_0: of each trajectory if they differ, else one."""
    return problem.params.prior if problem.priors is None else problem.priors


def first(problem, method=KALMAN):
    """Return the belief about x_1 before any observation, where a library starts there."""
    model = problem.params
    predict = jax.jit(lambda belief: method.predict(model, kf.Gaussian(*belief)))
    belief = (
        predict(prior(problem)) if problem.priors is None else jax.vmap(predict)(problem.priors)
    )
    return kf.Gaussian(belief.mean, belief.cov)


def each(problem, belief, one):
    """Return a contender that maps `one(ys, mean, cov) -> Outputs` over the batch, jitted."""
    shared = None if problem.priors is None else 0
    mapped = one if problem.ys.ndim == 2 else jax.vmap(one, in_axes=(0, shared, shared))
    solve = jax.jit(mapped)
    return Contender(lambda: solve(problem.ys, *belief))


def drawn(problem, one):
    """Return a contender that maps `one(ys, key) -> Outputs` over the batch, jitted."""
    solve = jax.jit(one if problem.ys.ndim == 2 else jax.vmap(one))
    return Contender(lambda: solve(problem.ys, problem.keys))


def singly(problem, belief, one, most=None):
    """Return a contender that loops over trajectories in Python: `one(ys, mean, cov) -> Outputs`, of numpy arrays.

    `most` is how many of them are timed.
    """
    if problem.ys.ndim == 2:
        ys, mean, cov = (np.asarray(a) for a in (problem.ys, *belief))
        return Contender(lambda: one(ys, mean, cov))
    batch = problem.ys.shape[0]
    count = batch if most is None else min(batch, most)
    mean, cov = (
        np.asarray(a) if problem.priors is not None else np.stack([a] * count) for a in belief
    )
    rows = list(zip(np.asarray(problem.ys)[:count], mean[:count], cov[:count], strict=True))
    return Contender(lambda: [one(*row) for row in rows], stacked, count / batch)


def stacked(outputs):
    """Return a list of outputs as one with a batch axis."""
    fields = zip(*outputs, strict=True)
    return Outputs(
        *(
            None if field[0] is None else np.stack([np.asarray(a) for a in field])
            for field in fields
        )
    )
