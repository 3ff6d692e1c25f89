"""Elements of the associative scans over time: stretches of filtering or smoothing, joined.

Elements are in square-root form: they carry factors, and every covariance is a sum of squares,
which is safe in float32. The likelihood is computed from per-step innovations after the scan;
accumulated inside the scan, it would lose all accuracy in float32.

References:
    S. Sarkka, A. F. Garcia-Fernandez, Temporal parallelization of Bayesian smoothers, IEEE TAC 66
    (2021); F. Yaghoobi, A. Corenflos, S. Hassan, S. Sarkka, Parallel square-root statistical linear
    regression for inference in nonlinear state space models (2022), section 3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import Array

from kfjax import linalg
from kfjax._support.precision import eps_of
from kfjax._support.types import PyTree
from kfjax.base import Gaussian
from kfjax.filters.gaussian import kalman
from kfjax.filters.square_root_form import SquareRootGaussian, conditional_factors
from kfjax.models.functions import Linear
from kfjax.models.observing import innovation_info
from kfjax.models.state_space import StateSpaceModel

__all__: list[str] = []

Element = TypeVar("Element")

BLOCK = 16  # steps that are scanned one after the other
ROUNDING = 10  # the rest of a variance counts as rounding below this multiple of n eps of the whole


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


class SmootherElement(NamedTuple):
    """A stretch of smoothing from s back to t: p(x_t | x_s, y_1..s-1) = N(E x_s + g, D D').

    Attributes:
        E: [n, n].
        g: [n].
        D: a factor [n, n] of the covariance.
    """

    E: Array
    g: Array
    D: Array


def filter_steps(prior: SquareRootGaussian, steps: Step) -> tuple[SquareRootGaussian, Array]:
    """Return the filtered beliefs and the log-likelihoods at t = 1..T."""
    # An element holds the information of its data about the state before it. A channel without
    # noise, neither its own nor that of the step, determines a combination of that state exactly:
    # the information is infinite, and no element can hold it. The steps are then taken one after
    # the other. The first step is an exception, since its element knows the prior.
    exact = jax.vmap(_is_exact)(steps)[1:].any()
    return jax.lax.cond(exact, _in_sequence, _in_parallel, prior, steps)


def _is_exact(step: Step) -> Array:
    """Tell whether an observation determines part of the earlier state exactly, up to rounding."""
    F = step.F
    H = step.H
    Q = step.Q
    R = step.R
    HQ = linalg.matmul(H, Q)
    HF = linalg.matmul(H, F)
    S = _factor_of_sum(HQ, R)
    pivots = linalg.diagonal(S)
    # factors of Q and R carry the rounding of covariances, and the terms of H Q may cancel
    summed = linalg.matmul(jnp.abs(H), jnp.abs(Q))
    variances = jnp.sum(summed**2, axis=1) + jnp.sum(R**2, axis=1)
    rounding = ROUNDING * F.shape[0] * eps_of(S)
    exact = pivots**2 <= rounding * variances
    # the part of an exact channel that regular channels leave open; a dead channel has none
    regular = jnp.where(exact[None, :], 0, S)
    left = HF - linalg.matmul(regular, linalg.solve_lower(regular, HF))
    return (exact & (left != 0).any(axis=1)).any()


def _in_sequence(prior: SquareRootGaussian, steps: Step) -> tuple[SquareRootGaussian, Array]:
    """Filter by a scan over time."""
    forward = kalman()

    def one(belief: Gaussian, step: Step) -> tuple[Gaussian, tuple[SquareRootGaussian, Any]]:
        model = StateSpaceModel(
            Linear(step.F, None, step.c),
            Linear(step.H),
            linalg.matmul(step.Q, step.Q.T),
            linalg.matmul(step.R, step.R.T),
            belief,
        )
        predicted = forward.predict(model, belief)
        belief, info = forward.update(model, predicted, step.y_d, observed=step.mask)
        factors = SquareRootGaussian(belief.mean, linalg.cholesky(belief.cov))
        return belief, (factors, info.log_likelihood)

    return jax.lax.scan(one, Gaussian(prior.mean, prior.cov), steps)[1]


def _in_parallel(prior: SquareRootGaussian, steps: Step) -> tuple[SquareRootGaussian, Array]:
    """Filter by an associative scan."""
    first = _first_element(prior, _at(steps, 0))
    elements = jax.vmap(_filter_element)(steps)
    elements = jax.tree.map(lambda a, b: a.at[0].set(b), elements, first)
    done = _prefixes(combine_filters, elements)
    filtered = SquareRootGaussian(done.b, done.U)
    return filtered, _log_likelihoods(prior, filtered, steps)


def smooth_steps(prior: SquareRootGaussian, steps: Step) -> tuple[SquareRootGaussian, Array]:
    """Return the smoothed beliefs at t = 0..T, and the gains of each on the next."""
    filtered = _prepend(prior, filter_steps(prior, steps)[0])
    elements = jax.vmap(_smoother_element)(_at(filtered, slice(None, -1)), steps)
    # the last belief is already smoothed: it does not depend on what follows
    last = SmootherElement(jnp.zeros_like(steps.F[0]), filtered.mean[-1], filtered.cholesky[-1])
    backwards = jax.tree.map(lambda a, b: jnp.concatenate([a, b[None]])[::-1], elements, last)
    done = _at(_prefixes(_combine_smoothers, backwards), slice(None, None, -1))
    return SquareRootGaussian(done.g, done.D), elements.E


def _log_likelihoods(prior: SquareRootGaussian, filtered: SquareRootGaussian, steps: Step) -> Array:
    """Return the log-likelihood of every step, from the filtered belief before it."""
    before = _prepend(prior, _at(filtered, slice(None, -1)))

    def one(belief: SquareRootGaussian, step: Step) -> Array | Any:
        mean = linalg.matmul(step.F, belief.mean) + step.c
        dx = jnp.concatenate([linalg.matmul(step.F, belief.cholesky), step.Q], axis=1)
        S = _factor_of_sum(linalg.matmul(step.H, dx), step.R)
        y_hat = linalg.matmul(step.H, mean)
        innovation = step.y_d - y_hat
        S_factored = linalg.Factored(linalg.matmul(S, S.T), S, jnp.zeros_like(innovation))
        R = linalg.matmul(step.R, step.R.T)
        info = innovation_info(innovation, S_factored, step.mask, size=jnp.abs(y_hat), R=R)
        return info.log_likelihood

    return jax.vmap(one)(before, steps)


def _filter_element(step: Step) -> FilterElement:
    """Return the element of one step, given the state before it."""
    # Given x_s-1, the prior of x_s is N(F x_s-1 + c, Q), and the update is that of a Kalman filter
    # with S = H Q H' + R and the gain K = Q H' S^-1 = G S^-1/2:
    #
    #     A = (I - K H) F         b = c + K (y - d - H c)           U U' = (I - K H) Q
    #     Z Z' = F' H' S^-1 H F   eta = F' H' S^-1 (y - d - H c)
    #
    # With Z = (S^-1/2 H F)' they share the solves: K H F = G Z', and eta = Z S^-1/2 (y - d - H c).
    S, G, U = conditional_factors(step.Q, linalg.matmul(step.H, step.Q), step.R)
    innovation = step.y_d - linalg.matmul(step.H, step.c)
    whitened = linalg.solve_lower(S, innovation)
    HF = linalg.matmul(step.H, step.F)
    Z = linalg.solve_lower(S, HF).T
    A = step.F - linalg.matmul(G, Z.T)
    b = step.c + linalg.matmul(G, whitened)
    eta = linalg.matmul(Z, whitened)
    return FilterElement(A, b, U, eta, linalg.triangularise(Z))


def steady_element(F: Array, H: Array, Q: Array, R: Array) -> FilterElement:
    """Return the element of one step without data, from the factors Q and R."""
    c = jnp.zeros(F.shape[0], F.dtype)
    y_d = jnp.zeros(H.shape[0], F.dtype)
    return _filter_element(Step(F, c, Q, H, y_d, R, None))


def known(factor: Array) -> FilterElement:
    """Return the element that ends in a given covariance, whatever came before, from its factor."""
    zero = jnp.zeros_like(factor)
    nothing = jnp.zeros_like(factor[0])
    return FilterElement(zero, nothing, factor, nothing, zero)


def _first_element(prior: SquareRootGaussian, step: Step) -> FilterElement:
    """Return the element of the first step, which knows the prior and so has A = 0."""
    mean = linalg.matmul(step.F, prior.mean) + step.c
    L = _factor_of_sum(linalg.matmul(step.F, prior.cholesky), step.Q)
    S, G, U = conditional_factors(L, linalg.matmul(step.H, L), step.R)
    whitened = linalg.solve_lower(S, step.y_d - linalg.matmul(step.H, mean))
    zero = jnp.zeros_like(step.F)
    b = mean + linalg.matmul(G, whitened)
    return FilterElement(zero, b, U, jnp.zeros_like(mean), zero)


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
    identity = jnp.eye(early.U.shape[-1], dtype=early.U.dtype)
    X, Y, V = conditional_factors(late.Z, linalg.matmul(early.U.T, late.Z), identity)
    W = linalg.solve_lower(X, early.U.T).T
    expected = linalg.matmul(late.Z, linalg.matmul(late.Z.T, early.b))
    innovation = late.eta - expected
    NA = early.A - linalg.matmul(W, linalg.matmul(Y.T, early.A))
    between = early.b + linalg.matmul(W, linalg.matmul(W.T, innovation))
    information = innovation - linalg.matmul(Y, linalg.matmul(W.T, innovation))
    A = linalg.matmul(late.A, NA)
    b = linalg.matmul(late.A, between) + late.b
    U = _factor_of_sum(linalg.matmul(late.A, W), late.U)
    eta = linalg.matmul(early.A.T, information) + early.eta
    Z = _factor_of_sum(linalg.matmul(early.A.T, V), early.Z)
    return FilterElement(A, b, U, eta, Z)


def _smoother_element(belief: SquareRootGaussian, step: Step) -> SmootherElement:
    """Return the element of one step back, from the filtered belief before it."""
    # x_tm1 given x_t: with the factor N of the filtered covariance and the factor P of the
    # predicted one, P P' = F N N' F' + Q, the smoothing gain is E = N N' F' (P P')^-1 = G P^-1, and
    # D D' = N N' - G G' is the covariance of x_tm1 given x_t
    N = belief.cholesky
    P, G, D = conditional_factors(N, linalg.matmul(step.F, N), step.Q)
    E = linalg.solve_lower(P, G.T, transpose=True).T
    predicted = linalg.matmul(step.F, belief.mean) + step.c
    g = belief.mean - linalg.matmul(E, predicted)
    return SmootherElement(E, g, D)


def _combine_smoothers(late: SmootherElement, early: SmootherElement) -> SmootherElement:
    """Join two stretches of time; the scan meets the late one first."""
    # x = E_1 x' + g_1 + e_1 with x' = E_2 x'' + g_2 + e_2, and independent e_1 and e_2
    E = linalg.matmul(early.E, late.E)
    g = linalg.matmul(early.E, late.g) + early.g
    D = _factor_of_sum(linalg.matmul(early.E, late.D), early.D)
    return SmootherElement(E, g, D)


def _factor_of_sum(A: Array, B: Array) -> Array:
    """Return the lower factor of A A' + B B'."""
    return linalg.triangularise(jnp.concatenate([A, B], axis=1))


def _prefixes(combine: Callable[[Element, Element], Element], elements: Element) -> Element:
    """Return all prefixes of an associative operation over the leading axis of `elements`."""
    # Blocks of steps are scanned side by side, and then the totals of the blocks in the same way.
    # The depth is BLOCK log_BLOCK(T) and the work 2 T. `jax.lax.associative_scan` does the same
    # work but writes the operation out 2 log2(T) times; this, 2 log_BLOCK(T) times, and compiles in
    # seconds instead of minutes.
    steps = jax.tree.leaves(elements)[0].shape[0]

    def scan(first: Element, later: Element) -> Element:
        def add(total: Element, element: Element) -> tuple[Element, Element]:
            total = combine(total, element)
            return total, total

        return _prepend(first, jax.lax.scan(add, first, later)[1])

    if steps <= BLOCK:
        return scan(_at(elements, 0), _at(elements, slice(1, None)))
    blocks = -(-steps // BLOCK)
    # the last step is repeated to fill the last block; the repetitions are cut off below
    index = jnp.minimum(jnp.arange(blocks * BLOCK), steps - 1).reshape(blocks, BLOCK)
    first = _at(elements, index[:, 0])
    later = _at(elements, index[:, 1:])
    within = jax.vmap(scan)(first, later)
    totals = _prefixes(combine, _at(within, (slice(None, -1), -1)))
    shifted = jax.vmap(jax.vmap(combine, (None, 0)))(totals, _at(within, slice(1, None)))

    def joined(own: Array, moved: Array) -> Array:
        return jnp.concatenate([own[0], moved.reshape(-1, *moved.shape[2:])])[:steps]

    return jax.tree.map(joined, within, shifted)


def _at(tree: PyTree, index: int | slice | Array | tuple[slice | int, ...]) -> PyTree:
    """Return every leaf at an index of its leading axes."""
    return jax.tree.map(lambda a: a[index], tree)


def _prepend(first: PyTree, later: PyTree) -> PyTree:
    """Return leaves with one element before the others on the leading axis."""
    return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, later)
