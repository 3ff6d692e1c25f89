"""The M-step of expectation maximisation: a linear model from sufficient statistics.

The coefficients change by the regression of the noise on their regressors, and the residual is the
new noise covariance.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import Array

from kfjax import linalg
from kfjax.base import Gaussian
from kfjax.models.functions import Linear
from kfjax.models.state_space import StateSpaceModel
from kfjax.training.accumulation import DYNAMICS, OBSERVATION, Sums

__all__: list[str] = []


def maximised(names: frozenset[str], model: StateSpaceModel, sums: Sums) -> StateSpaceModel:
    """Return the model after an M-step."""
    changes: dict[str, Any] = {}
    if names & {"Q", *DYNAMICS}:
        # With A = sum_t E[s_t s_t'] of s = (epsilon, z), epsilon in R^n the noise and z the
        # regressors whose coefficients are learned, the M-step for x_t = F x_t-1 + ... + e_t
        # maximises
        #
        #     -T/2 log det Q - 1/2 tr(Q^-1 sum_t E[(e_t - D z_t) (e_t - D z_t)'])
        #
        # over the change D of the coefficients, and Q. The maximum is a regression, D = A_ez
        # A_zz^-1, and Q = (A_ee - D A_ze) / T (Shumway and Stoffer, 1982, in terms of changes: sums
        # of noise do not cancel as sums of x_t x_t' do).
        # the regression is of epsilon, and e = U epsilon
        U = linalg.cholesky(model.Q)
        change, left = _regressed(sums.dynamics, model.n)
        changes["f"] = _moved(names, DYNAMICS, model.f, linalg.matmul(U, change))
        changes["Q"] = (
            linalg.symmetric(linalg.quadratic(U, left)) / sums.steps if "Q" in names else model.Q
        )
    if names & {"R", *OBSERVATION}:
        change, left = _regressed(sums.observation, model.R.shape[0])
        changes["h"] = _moved(names, OBSERVATION, model.h, change)
        changes["R"] = linalg.symmetric(left) / sums.seen if "R" in names else model.R
    mean, cov = model.prior
    deviation = sums.start.mean
    if "prior_mean" in names:
        mean = mean + deviation.mean(0)
        deviation = deviation - deviation.mean(0)[None]
    if "prior_cov" in names:
        # trajectories share one prior: its covariance is that within them plus that between them
        within = sums.start.cov.mean(0)
        between = linalg.matmul(deviation.T, deviation) / deviation.shape[0]
        # E[(x_0 - m) (x_0 - m)'] over trajectories with their own posterior means and covariances.
        # Where the mean is learned, deviations are from the new mean.
        cov = within + between
    # the structure of the model must not change in the loop
    kept = {"noise_free": model.noise_free}
    return model.replace(prior=Gaussian(mean, cov), **changes, **kept)


def _regressed(moment: Array, n: int) -> tuple[Array, Array]:
    """Return regression coefficients [n, p] and the residual sum of squares [n, n]."""
    if moment.shape[0] == n:
        return jnp.zeros((n, 0), moment.dtype), moment
    change = linalg.factorise(moment[n:, n:]).solve(moment[n:, :n]).T
    # [I, -D] A [I, -D]' instead of A_ee - D A_ze: both are equal at the optimal D, but a quadratic
    # form of a positive semidefinite A stays so to rounding, and a covariance comes of it.
    residual = jnp.concatenate([jnp.eye(n, dtype=moment.dtype), -change], axis=1)
    return change, linalg.quadratic(residual, moment)


def _moved(names: frozenset[str], group: dict[str, str], fn: Linear, change: Array) -> Linear:
    """Return the linear function with its learned coefficients changed."""
    parts = {field: getattr(fn, field) for field in ("A", "B", "b")}
    for name, field in group.items():
        if name in names:
            # Columns of the change stand in the order in which the regressors were stacked: the
            # state, then inputs, then the constant; groups name them in this order.
            size = 1 if field == "b" else parts[field].shape[1]
            step = change[:, :size]
            change = change[:, size:]
            parts[field] = parts[field] + (step[:, 0] if field == "b" else step)
    return Linear(**parts)
