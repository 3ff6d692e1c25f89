"""Parts that the files of the libraries share.

They are the matrices of a problem, beliefs about x_1, and ways to map over a batch.
"""

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
        call: the function that is timed.
        read: converts its result to `Outputs`, with log-likelihoods per step or per trajectory.
        share: share of the batch that it solves; times are divided by it. A library that loops
            over trajectories in Python takes time in proportion.
        note: difference from the other contenders.
    """

    call: Callable[[], Any]
    read: Callable[[Any], Outputs] = lambda outputs: outputs
    share: float = 1.0
    note: str = ""


class Matrices(NamedTuple):
    """The matrices of a linear model, in numpy."""

    F: np.ndarray
    H: np.ndarray
    Q: np.ndarray
    R: np.ndarray


def matrices(problem):
    """Return the matrices of a linear problem."""
    model = problem.params
    return Matrices(*(np.asarray(a) for a in (model.f.A, model.h.A, model.Q, model.R)))


def prior(problem):
    """Return the belief about x_0, with a leading axis if trajectories have different ones."""
    return problem.params.prior if problem.priors is None else problem.priors


def first(problem, method=KALMAN):
    """Return the belief about x_1 before any observation, for libraries that start there."""
    model = problem.params
    predict = jax.jit(lambda belief: method.predict(model, kf.Gaussian(*belief)))
    if problem.priors is not None:
        predict = jax.vmap(predict)
    belief = predict(prior(problem))
    return kf.Gaussian(belief.mean, belief.cov)


def each(problem, belief, one):
    """Return a jitted contender that maps `one(ys, mean, cov) -> Outputs` over the batch."""
    shared = None if problem.priors is None else 0
    mapped = one if problem.ys.ndim == 2 else jax.vmap(one, in_axes=(0, shared, shared))
    solve = jax.jit(mapped)
    return Contender(lambda: solve(problem.ys, *belief))


def slopes(problem, log_likelihood):
    """Return a jitted contender for the value and gradient of a log-likelihood.

    Args:
        problem: the `Problem`, of one trajectory.
        log_likelihood: `(matrices, belief about x_0, ys) -> value`; the gradient is by the scales
            of Q and R.
    """
    given = matrices(problem)

    def value(scales, ys):
        scaled = given._replace(Q=scales[0] * given.Q, R=scales[1] * given.R)
        return log_likelihood(scaled, prior(problem), ys)

    @jax.jit
    def solve(ys):
        total, gradient = jax.value_and_grad(value)(np.ones(2, ys.dtype), ys)
        return Outputs(gradient, None, total[None])

    return Contender(lambda: solve(problem.ys))


def predicted(model, belief):
    """Return the belief about x_1 before any observation, as functions of the matrices."""
    F, _, Q, _ = model
    return F @ belief.mean, F @ belief.cov @ F.T + Q


def drawn(problem, one):
    """Return a jitted contender that maps `one(ys, key) -> Outputs` over the batch."""
    solve = jax.jit(one if problem.ys.ndim == 2 else jax.vmap(one))
    return Contender(lambda: solve(problem.ys, problem.keys))


def singly(problem, belief, one, most=None):
    """Return a contender that loops over trajectories in Python.

    Args:
        problem: the `Problem`.
        belief: the belief that the library starts from.
        one: `(ys, mean, cov) -> Outputs`, of numpy arrays.
        most: largest number of trajectories that are timed, or None.
    """
    if problem.ys.ndim == 2:
        ys, mean, cov = (np.asarray(a) for a in (problem.ys, *belief))
        return Contender(lambda: one(ys, mean, cov))
    batch = problem.ys.shape[0]
    count = batch if most is None else min(batch, most)
    if problem.priors is None:
        mean, cov = (np.stack([a] * count) for a in belief)
    else:
        mean, cov = (np.asarray(a) for a in belief)
    rows = list(zip(np.asarray(problem.ys)[:count], mean[:count], cov[:count], strict=True))
    return Contender(lambda: [one(*row) for row in rows], stacked, count / batch)


def stacked(outputs):
    """Return a list of outputs as one `Outputs` with a batch axis."""

    def joined(field):
        return None if field[0] is None else np.stack([np.asarray(a) for a in field])

    return Outputs(*(joined(field) for field in zip(*outputs, strict=True)))
