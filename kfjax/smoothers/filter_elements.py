"""Elements of the associative scan of a filter: stretches of filtering, joined.

Elements are in square-root form: they carry factors, and every covariance is a sum of squares,
which is safe in float32. The likelihood is computed from per-step innovations after the scan;
accumulated inside the scan, it would lose all accuracy in float32.

References:
    S. Sarkka, A. F. Garcia-Fernandez, Temporal parallelization of Bayesian smoothers, IEEE TAC 66
    (2021); F. Yaghoobi, A. Corenflos, S. Hassan, S. Sarkka, Parallel square-root statistical linear
    regression for inference in nonlinear state space models (2022), section 3.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from kfjax import linalg
from kfjax._support import one_kernel
from kfjax._support.precision import eps_of
from kfjax.filters.square_root_form import (
    SquareRootGaussian,
    conditional_factors,
    hidden_variances_of,
)
from kfjax.models.observing import innovation_info
from kfjax.smoothers.blocks import Stretches, run_in_blocks

__all__: list[str] = []

ROUNDING = 10  # a part of a variance below this multiple of n eps of the whole is rounding


class Step(NamedTuple):
    """An affine model of one step: x = F x_tm1 + c + e, y = H x + d + v.

    Attributes:
        F: [n, n].
        c: [n].
        Q: a factor [n, p] of the covariance of e.
        H: [m, n].
        y_d: y - d [m], zero in unobserved channels.
        R: a factor [m, p] of the covariance of v.
        mask: what was observed [m], or None for everything.
    """

    F: Array
    c: Array
    Q: Array
    H: Array
    y_d: Array
    R: Array
    mask: Array | None


class FilterElement(NamedTuple):
    """A stretch of filtering from s to t, as two functions of the state x_s-1 before it.

    p(x_t | y_s..t, x_s-1) = N(A x_s-1 + b, U U'), and p(y_s..t | x_s-1) is proportional to
    exp(eta' x_s-1 - x_s-1' Z Z' x_s-1 / 2).

    Attributes:
        A: [n, n].
        b: [n].
        U: a factor [n, n] of the covariance.
        eta: the information vector [n].
        Z: a factor [n, n] of the information matrix.
    """

    A: Array
    b: Array
    U: Array
    eta: Array
    Z: Array


def filter_steps(
    prior: SquareRootGaussian, steps: Step, *, noise_free: bool
) -> tuple[SquareRootGaussian, Array]:
    """Return the filtered beliefs and the log-likelihoods at t = 1..T.

    Args:
        prior: the belief at t = 0.
        steps: the model of every step.
        noise_free: whether the noise of an observation may be singular.
    """
    if not noise_free:
        return _in_parallel(prior, steps, noise_free=False)
    # An element holds the information of its data about the state before it. A channel without
    # noise, neither its own nor that of the step, determines a combination of that state exactly:
    # the information is infinite, and no element can hold it. The steps are then taken one after
    # the other. The first step is an exception, since its block knows the prior.
    exact = jax.vmap(_is_exact)(steps)[1:].any()
    in_parallel = functools.partial(_in_parallel, noise_free=True)
    return jax.lax.cond(exact, _in_sequence, in_parallel, prior, steps)


def _is_exact(step: Step) -> Array:
    """Return whether an observation determines part of the earlier state, up to rounding."""
    F = step.F
    H = step.H
    Q = step.Q
    R = step.R
    HQ = linalg.matmul(H, Q)
    HF = linalg.matmul(H, F)
    S = factor_of_sum(HQ, R)
    pivots = linalg.diagonal(S)
    # factors of Q and R carry the rounding of covariances, and the terms of H Q may cancel
    summed = linalg.matmul(jnp.abs(H), jnp.abs(Q))
    variances = jnp.sum(summed**2, axis=1) + jnp.sum(R**2, axis=1)
    rounding = ROUNDING * F.shape[0] * eps_of(S)
    exact = pivots**2 <= rounding * variances
    # the part of an exact channel that regular channels leave open; a dead channel has none
    regular = jnp.where(exact[None, :], 0, S)
    seen = linalg.solve_lower(regular, HF)
    left = HF - linalg.matmul(regular, seen)
    is_open = (left != 0).any(axis=1)
    return (exact & is_open).any()


def _in_sequence(prior: SquareRootGaussian, steps: Step) -> tuple[SquareRootGaussian, Array]:
    """Filter by a scan over time."""
    return one_kernel.scan(functools.partial(_move, noise_free=True), prior, steps)[1]


def _in_parallel(
    prior: SquareRootGaussian, steps: Step, *, noise_free: bool
) -> tuple[SquareRootGaussian, Array]:
    """Filter in blocks of steps."""

    def end(stretch: FilterElement) -> SquareRootGaussian:
        return SquareRootGaussian(stretch.b, stretch.U)

    nothing = _no_filtering(steps.F[0])
    stretches = Stretches(_add_step, combine_filters, known(prior), nothing, end)
    move = functools.partial(_move, noise_free=noise_free)
    return run_in_blocks(move, prior, steps, stretches)


def _move(
    belief: SquareRootGaussian, step: Step, *, noise_free: bool
) -> tuple[SquareRootGaussian, tuple[SquareRootGaussian, Array]]:
    """Return the belief after a step, and again with the log-likelihood of its observation."""
    update = _filter_step(belief, step, noise_free=noise_free)
    log_likelihood = _log_likelihood(step, update, noise_free=noise_free)
    return update.filtered, (update.filtered, log_likelihood)


class _Update(NamedTuple):
    """The effect of a filter step on a belief.

    Attributes:
        filtered: the belief given the observation.
        y_hat: what was expected of y - d [m].
        S: a factor [m, m] of its covariance.
        G: [n, m], with the gain G S^-1.
        whitened: S^-1 (y - d - y_hat) [m].
    """

    filtered: SquareRootGaussian
    y_hat: Array
    S: Array
    G: Array
    whitened: Array


def _filter_step(belief: SquareRootGaussian, step: Step, *, noise_free: bool = False) -> _Update:
    """Filter by one step, in square-root form."""
    mean = linalg.matmul(step.F, belief.mean) + step.c
    moved = linalg.matmul(step.F, belief.cholesky)
    spread = jnp.concatenate([moved, step.Q], axis=1)
    seen = linalg.matmul(step.H, spread)
    S, G, L = conditional_factors(spread, seen, step.R, noise_free=noise_free)
    y_hat = linalg.matmul(step.H, mean)
    whitened = linalg.solve_lower(S, step.y_d - y_hat)
    filtered = SquareRootGaussian(mean + linalg.matmul(G, whitened), L)
    return _Update(filtered, y_hat, S, G, whitened)


def _log_likelihood(step: Step, update: _Update, *, noise_free: bool) -> Array:
    """Return the log-likelihood of the observation of a step."""
    innovation = step.y_d - update.y_hat
    cov = linalg.matmul(update.S, update.S.T)
    hidden = jnp.zeros_like(innovation)
    if noise_free:
        hidden = hidden_variances_of(cov, step.F.shape[0])
    S = linalg.Factored(cov, update.S, hidden)
    R = linalg.matmul(step.R, step.R.T)
    info = innovation_info(innovation, S, step.mask, size=jnp.abs(update.y_hat), R=R)
    return jnp.asarray(info.log_likelihood)


def _add_step(stretch: FilterElement, step: Step) -> FilterElement:
    """Return a stretch of time longer by one step."""
    # Given x_0, the state before the step is A x_0 + b up to U U'. So y - d is expected to be
    # y_hat + H F A x_0, and the Kalman filter, with its gain K = G S^-1/2, moves A, b and U to
    #
    #     (I - K H) F A = F A - G Z_1'   with Z_1' = S^-1/2 H F A,
    #
    # and b and U as those of a belief. The whitened innovation w - Z_1' x_0 tells about x_0 that
    #
    #     Z Z' <- Z Z' + Z_1 Z_1',   eta <- eta + Z_1 w.
    update = _filter_step(SquareRootGaussian(stretch.b, stretch.U), step)
    A = linalg.matmul(step.F, stretch.A)
    Z = linalg.solve_lower(update.S, linalg.matmul(step.H, A)).T
    return FilterElement(
        A - linalg.matmul(update.G, Z.T),
        *update.filtered,
        stretch.eta + linalg.matmul(Z, update.whitened),
        factor_of_sum(stretch.Z, Z),
    )


def _no_filtering(F: Array) -> FilterElement:
    """Return the element of no step, which leaves the state as it was."""
    zero = jnp.zeros_like(F)
    return FilterElement(identity_like(F), zero[0], zero, zero[0], zero)


def identity_like(F: Array) -> Array:
    return jnp.eye(F.shape[0], dtype=F.dtype)


def steady_element(F: Array, H: Array, Q: Array, R: Array) -> FilterElement:
    """Return the element of one step without data, from the factors Q and R."""
    c = jnp.zeros(F.shape[0], F.dtype)
    y_d = jnp.zeros(H.shape[0], F.dtype)
    return _add_step(_no_filtering(F), Step(F, c, Q, H, y_d, R, None))


def known(belief: SquareRootGaussian) -> FilterElement:
    """Return the element that ends in a given belief, whatever came before."""
    zero = jnp.zeros_like(belief.cholesky)
    return FilterElement(zero, belief.mean, belief.cholesky, zero[0], zero)


def combine_filters(early: FilterElement, late: FilterElement) -> FilterElement:
    """Join two stretches of time, one trajectory at a time."""
    # The state x between the two is N(A_1 x_0 + b_1, C) after the early stretch, with C = U_1 U_1',
    # and the late stretch has the information eta_2 and J = Z_2 Z_2' about it. Conditioning x on
    # this information, moving it through the late stretch, and collecting the information about x_0
    # gives, with N = (I + C J)^-1,
    #
    #     A = A_2 N A_1
    #     b = A_2 (b_1 + N C (eta_2 - J b_1)) + b_2
    #     U U' = A_2 N C A_2' + U_2 U_2'
    #     eta = A_1' N' (eta_2 - J b_1) + eta_1
    #     Z Z' = A_1' J N A_1 + Z_1 Z_1'
    #
    # In factors, with U = U_1 and Z = Z_2: the lower triangularisation of [[U' Z, I], [Z, 0]] is
    # [[X, 0], [Y, V]] with
    #
    #     X X' = I + U' J U,   Y = J U X^-T,   V V' = J - Y Y'.
    #
    # By the matrix inversion lemma, N = I - U (I + U' J U)^-1 U' J. With W = U X^-T this is
    #
    #     N = I - W Y',   N' = I - Y W',   N C = W W',   J N = J - Y Y' = V V',
    #
    # so that no covariance and no information matrix is computed as a difference.
    A_1 = early.A
    A_2 = late.A
    U_1 = early.U
    Z_2 = late.Z
    identity = jnp.eye(U_1.shape[-1], dtype=U_1.dtype)
    X, Y, V = conditional_factors(Z_2, linalg.matmul(U_1.T, Z_2), identity)
    W = linalg.solve_lower(X, U_1.T).T
    expected = linalg.matmul(Z_2, linalg.matmul(Z_2.T, early.b))
    innovation = late.eta - expected
    whitened = linalg.matmul(W.T, innovation)
    NA = A_1 - linalg.matmul(W, linalg.matmul(Y.T, A_1))
    between = early.b + linalg.matmul(W, whitened)
    information = innovation - linalg.matmul(Y, whitened)
    A = linalg.matmul(A_2, NA)
    b = linalg.matmul(A_2, between) + late.b
    U = factor_of_sum(linalg.matmul(A_2, W), late.U)
    eta = linalg.matmul(A_1.T, information) + early.eta
    Z = factor_of_sum(linalg.matmul(A_1.T, V), early.Z)
    return FilterElement(A, b, U, eta, Z)


def factor_of_sum(A: Array, B: Array) -> Array:
    """Return the lower factor of A A' + B B'."""
    return linalg.triangularise(jnp.concatenate([A, B], axis=1))
