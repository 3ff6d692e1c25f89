"""The filters of the stress tests by name, and the results of their runs in float32."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

import kfjax as kf


class Result(NamedTuple):
    """The results of a filter on a case.

    Attributes:
        log_likelihood: the sum over time.
        lowest: the smallest eigenvalue of any covariance, relative to the largest of the prediction
            before it.
        pivot: the smallest diagonal entry of any factor, for the square-root form.
    """

    log_likelihood: float
    lowest: float
    pivot: float | None


def hidden_product(A, x, u):
    """A x, in a form that filters do not recognise as linear."""
    return A @ x


def hidden_step(A, x, u):
    """A x, with the term of the state itself added last: it is the largest, and small ones are lost
    beside it.
    """
    own = jnp.diagonal(A)
    return (A - jnp.diag(own)) @ x + own * x


def visible(case):
    return kf.linear_gaussian(
        case.F, case.H, case.Q, case.R, kf.Gaussian(np.zeros(len(case.F)), case.P0)
    )


def hidden(case, step=hidden_step):
    model = visible(case)
    return model.replace(f=Partial(step, model.f.A), h=Partial(hidden_product, model.h.A))


def careless(case):
    """A model whose f is left to the order of a matrix product."""
    return hidden(case, hidden_product)


def keep_factor(state, info):
    """An `emit` that keeps what the results need."""
    return (
        state.cov,
        info.log_likelihood,
        jnp.diagonal(state.cholesky).min() if hasattr(state, "cholesky") else None,
    )


def likelihood_only(state, info):
    """An `emit` for records so long that covariances would fill the memory."""
    return info.log_likelihood


def sequential(method, build):
    def run(case):
        return kf.run(
            method, build(case), case.ys, observed=case.observed, emit=keep_factor
        ).outputs

    return run


def parallel(case):
    est = kf.parallel_filter(visible(case), case.ys, observed=case.observed)
    return est.cov, est.log_likelihood, None


METHODS = {
    "kalman": sequential(kf.kalman(), visible),
    "extended": sequential(kf.extended(), hidden),
    "unscented": sequential(kf.unscented(), hidden),
    "square_root": sequential(kf.square_root(kf.moments.Taylor()), visible),
    "square_root unscented": sequential(kf.square_root(kf.moments.Unscented()), hidden),
    "parallel": parallel,
}
RUNS = METHODS | {
    name + ", f = F @ x": sequential(method, careless)
    for name, method in (("extended", kf.extended()), ("unscented", kf.unscented()))
}


def put(method, case):
    """Run a method on a case, in the current precision."""
    cov, log_likelihood, pivot = (
        None if a is None else np.asarray(a, np.float64) for a in RUNS[method](case)
    )
    return Result(log_likelihood.sum(), lowest(case, cov), None if pivot is None else pivot.min())


def lowest(case, cov):
    """The smallest eigenvalue relative to the prediction's largest, of which the update's rounding
    is a fraction.
    """
    before = np.concatenate([case.P0[None], cov[:-1]])
    predicted = np.linalg.eigvalsh(symmetric(case.F @ before @ case.F.T + case.Q)).max(axis=1)
    return float((np.linalg.eigvalsh(symmetric(cov)).min(axis=1) / predicted).min())


def symmetric(cov):
    return (cov + cov.swapaxes(1, 2)) / 2
