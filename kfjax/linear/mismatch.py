"""Exact errors of linear filters, also of mismatched ones, without Monte Carlo."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kfjax import linalg
from kfjax._support import one_kernel
from kfjax._support.arguments import check_count
from kfjax._support.compiling import jit
from kfjax.filters.gaussian import kalman
from kfjax.linear.riccati import time_invariant
from kfjax.models.lens import starts_with_update
from kfjax.models.state_space import StateSpaceModel

__all__ = ["expected_error"]


def expected_error(
    truth: StateSpaceModel,
    design: StateSpaceModel | None = None,
    *,
    steps: int,
    gain: Float[Array, "n m"] | None = None,
) -> Float[Array, "T n n"]:
    """Return the error covariance of a linear filter on data from another linear model.

    E[(x_t - xhat_t)(x_t - xhat_t)'] for t = 1..T.

    The pair z = (x, x - xhat) follows a linear recursion, z_t = A_t z_{t-1} + B_t (e_t, v_t), so
    that its second moment follows M_t = A_t M_{t-1} A_t' + B_t diag(Q, R) B_t' exactly. With design
    = truth, the mean of the diagonal is the least mean squared error: the floor of a linear study.

    With first="update" in both models, x_1 is from the prior, and y_1 comes before any prediction.

    Args:
        truth: the linear, time-invariant model that the data come from.
        design: the model of the filter, of the same dimensions; default the truth.
        steps: T.
        gain: a constant gain [n, m]; default the Kalman gains of the design, from its prior.

    Returns:
        [T, n, n]; 10 log10 of `jnp.trace(...) / n`, averaged over steps, is the MSE in dB.

    Raises:
        ValueError: if a model is not linear and time-invariant, the dimensions or `first` differ,
            or steps is below 1.

    Example:
        >>> truth = kf.systems.canonical(2)
        >>> floor = kf.evaluation.expected_error(truth, steps=50)
        >>> wrong = truth.replace(Q=100 * truth.Q)
        >>> mismatched = kf.evaluation.expected_error(truth, wrong, steps=50)
        >>> bool(jnp.trace(mismatched[-1]) > jnp.trace(floor[-1]))
        True

    References:
        A. H. Jazwinski, Stochastic Processes and Filtering Theory (1970), section 7.8.
    """
    design = truth if design is None else design
    for model in (truth, design):
        time_invariant("expected_error", model)
    if truth.n != design.n or truth.R.shape != design.R.shape:
        raise ValueError(
            f"expected_error: truth has n = {truth.n}, m = {truth.R.shape[0]} and design n ="
            f" {design.n}, m = {design.R.shape[0]}; expected the same n and m."
            " Both are models of one state."
        )
    starts_with_update((truth, design))
    check_count("expected_error: steps", steps)
    return _expected_error(truth, design, steps, gain)


@functools.partial(jit, static_argnums=2)
def _expected_error(
    truth: StateSpaceModel, design: StateSpaceModel, steps: int, gain: Any
) -> Array:
    H = truth.h.A
    Hd = design.h.A
    identity = jnp.eye(truth.n, dtype=H.dtype)
    zero = jnp.zeros_like(truth.Q)
    forward = kalman()

    def step(carry: tuple, moves: bool) -> tuple:
        M, belief = carry
        F, Fd, Q = (truth.f.A, design.f.A, truth.Q) if moves else (identity, identity, zero)
        K = gain
        if gain is None:
            belief = forward.predict(design, belief) if moves else belief
            K = _gain(design, belief.cov)
            belief, _ = forward.update(design, belief, jnp.zeros(Hd.shape[0], H.dtype))
        # For x_t = F x + w, y = H x_t + v and the estimate x^ of the design with its F_d and H_d,
        # the error e = x - x^ follows
        #
        #     e_t = ((I - K H) (F - F_d) - K (H - H_d) F_d) x + (I - K H_d) F_d e
        #           + (I - K H) w - K v.
        #
        # It depends on x unless the design is the truth, so that the second moments of (x, e) are
        # moved together: z_t = A z + B (w, v), M = A M A' + B diag(Q, R) B'.
        rest = identity - linalg.matmul(K, H)
        of_dynamics = linalg.matmul(rest, F - Fd)
        of_observation = linalg.matmul(K, linalg.matmul(H - Hd, Fd))
        mismatch = of_dynamics - of_observation
        own = linalg.matmul(identity - linalg.matmul(K, Hd), Fd)
        A = jnp.block([[F, zero], [mismatch, own]])
        B = jnp.block([[identity, jnp.zeros_like(K)], [rest, -K]])
        noise = jax.scipy.linalg.block_diag(Q, truth.R)
        M = linalg.symmetric(linalg.quadratic(A, M) + linalg.quadratic(B, noise))
        return (M, belief), M[truth.n :, truth.n :]

    difference = truth.prior.mean - design.prior.mean
    mean = jnp.concatenate([truth.prior.mean, difference])
    square = jnp.outer(mean, mean)
    M = square + jnp.kron(jnp.ones((2, 2), H.dtype), truth.prior.cov)
    start: Any = (M, design.prior)
    errors: list[Array] = []
    if truth.first == "update":
        start, error = step(start, False)
        errors = [error[None]]
        steps = steps - 1
    later: Any = one_kernel.scan(lambda carry, _: step(carry, True), start, length=steps)[1]
    return jnp.concatenate([*errors, later])


def _gain(design: StateSpaceModel, P: Array) -> Array:
    """Return the Kalman gain at a predicted covariance."""
    HP = linalg.matmul(design.h.A, P)
    S = linalg.matmul(HP, design.h.A.T) + design.R
    return linalg.factorise(S).solve(HP).T
