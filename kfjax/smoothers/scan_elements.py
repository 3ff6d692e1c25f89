"""Elements of the associative scans over time: a stretch of filtering or smoothing, and how two of them join.

The square-root form throughout: elements carry factors, and every covariance is a sum of squares,
so that float32 is safe. The likelihood is taken from per-step innovations after the scan;
accumulated inside, it breaks in float32.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from kfjax import linalg
from kfjax.filters.square_root_form import SquareRootGaussian, conditional_factors
from kfjax.models.observing import innovation_info

__all__: list[str] = []

BLOCK = 16  # steps that are scanned one after the other


class Step(NamedTuple):
    """An affine model of one step: x = F x_tm1 + c + e, innovation = y - (H x + d) ~ N(0, R), with factors of Q and R.

    `y_d` is y - d, zero in unobserved channels.
    """

    F: Array
    c: Array
    Q: Array
    H: Array
    y_d: Array
    R: Array
    mask: Array | None


class FilterElement(NamedTuple):
    """p(x_t | y_s..t, x_s-1) = N(A x + b, U U'), and p(y_s..t | x_s-1) with information eta, Z Z'."""

    A: Array
    b: Array
    U: Array
    eta: Array
    Z: Array


class SmootherElement(NamedTuple):
    """p(x_t | x_s, y_1..t) = N(E x_s + g, D D')."""

    E: Array
    g: Array
    D: Array


def filter_steps(prior: SquareRootGaussian, steps: Step) -> SquareRootGaussian:
    """Filtered beliefs at t = 1..T."""
    first = _first_element(prior, jax.tree.map(lambda a: a[0], steps))
    elements = jax.vmap(_filter_element)(steps)
    elements = jax.tree.map(lambda a, b: a.at[0].set(b), elements, first)
    done = _prefixes(combine_filters, elements)
    return SquareRootGaussian(done.b, done.U)


def smooth_steps(prior: SquareRootGaussian, steps: Step) -> tuple[SquareRootGaussian, Array]:
    """Smoothed beliefs at t = 0..T, and the gains of each on the next."""
    filtered = jax.tree.map(
        lambda a, b: jnp.concatenate([a[None], b]), prior, filter_steps(prior, steps)
    )

    def element(belief: SquareRootGaussian, step: Step) -> SmootherElement:
        N = belief.cholesky
        P, G, D = conditional_factors(N, linalg.matmul(step.F, N), step.Q)
        E = linalg.solve_lower(P, G.T, transpose=True).T
        g = belief.mean - linalg.matmul(E, linalg.matmul(step.F, belief.mean) + step.c)
        return SmootherElement(E, g, D)

    elements = jax.vmap(element)(jax.tree.map(lambda a: a[:-1], filtered), steps)
    last = SmootherElement(jnp.zeros_like(steps.F[0]), filtered.mean[-1], filtered.cholesky[-1])
    backwards = jax.tree.map(lambda a, b: jnp.concatenate([a, b[None]])[::-1], elements, last)
    done = jax.tree.map(lambda a: a[::-1], _prefixes(_combine_smoothers, backwards))
    return SquareRootGaussian(done.g, done.D), elements.E


def log_likelihoods(prior: SquareRootGaussian, filtered: SquareRootGaussian, steps: Step) -> Array:
    """The likelihood of every step from its innovation, with the predictions of the filtered beliefs before it."""
    before = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b[:-1]]), prior, filtered)

    def one(belief: SquareRootGaussian, step: Step) -> Any:
        mean = linalg.matmul(step.F, belief.mean) + step.c
        dx = jnp.concatenate([linalg.matmul(step.F, belief.cholesky), step.Q], axis=1)
        S = linalg.triangularise(jnp.concatenate([linalg.matmul(step.H, dx), step.R], axis=1))
        innovation = step.y_d - linalg.matmul(step.H, mean)
        return innovation_info(
            innovation, linalg.Factored(linalg.matmul(S, S.T), S), step.mask
        ).log_likelihood

    return jax.vmap(one)(before, steps)


def _filter_element(step: Step) -> FilterElement:
    """The element of one step, not knowing the state before it."""
    S, G, U = conditional_factors(step.Q, linalg.matmul(step.H, step.Q), step.R)
    whitened = linalg.solve_lower(S, step.y_d - linalg.matmul(step.H, step.c))
    Z = linalg.solve_lower(S, linalg.matmul(step.H, step.F)).T
    A = step.F - linalg.matmul(G, Z.T)
    return FilterElement(
        A,
        step.c + linalg.matmul(G, whitened),
        U,
        linalg.matmul(Z, whitened),
        linalg.triangularise(Z),
    )


def steady_element(F: Array, H: Array, Q: Array, R: Array) -> FilterElement:
    """The element of one step of a time-invariant model without data; Q and R are factors."""
    zero = jnp.zeros(F.shape[0], F.dtype)
    return _filter_element(Step(F, zero, Q, H, jnp.zeros(H.shape[0], F.dtype), R, None))


def _first_element(prior: SquareRootGaussian, step: Step) -> FilterElement:
    """The element of the first step, which knows the prior."""
    mean = linalg.matmul(step.F, prior.mean) + step.c
    L = linalg.triangularise(
        jnp.concatenate([linalg.matmul(step.F, prior.cholesky), step.Q], axis=1)
    )
    S, G, U = conditional_factors(L, linalg.matmul(step.H, L), step.R)
    whitened = linalg.solve_lower(S, step.y_d - linalg.matmul(step.H, mean))
    zero = jnp.zeros_like(step.F)
    return FilterElement(zero, mean + linalg.matmul(G, whitened), U, jnp.zeros_like(mean), zero)


def combine_filters(early: FilterElement, late: FilterElement) -> FilterElement:
    """Join two stretches of time, one trajectory at a time."""
    identity = jnp.eye(early.U.shape[-1], dtype=early.U.dtype)
    # T([[U' Z, I], [Z, 0]]): factors of I + U' J U, of their product, and of J (I + C J)^-1
    X, Y, V = conditional_factors(late.Z, linalg.matmul(early.U.T, late.Z), identity)
    W = linalg.solve_lower(X, early.U.T).T  # U X^-T
    innovation = late.eta - linalg.matmul(late.Z, linalg.matmul(late.Z.T, early.b))
    A1 = early.A - linalg.matmul(W, linalg.matmul(Y.T, early.A))
    b = early.b + linalg.matmul(W, linalg.matmul(W.T, innovation))
    eta = innovation - linalg.matmul(Y, linalg.matmul(W.T, innovation))
    return FilterElement(
        linalg.matmul(late.A, A1),
        linalg.matmul(late.A, b) + late.b,
        linalg.triangularise(jnp.concatenate([linalg.matmul(late.A, W), late.U], axis=1)),
        linalg.matmul(early.A.T, eta) + early.eta,
        linalg.triangularise(jnp.concatenate([linalg.matmul(early.A.T, V), early.Z], axis=1)),
    )


def _combine_smoothers(late: SmootherElement, early: SmootherElement) -> SmootherElement:
    """Join two stretches of time."""
    return SmootherElement(
        linalg.matmul(early.E, late.E),
        linalg.matmul(early.E, late.g) + early.g,
        linalg.triangularise(jnp.concatenate([linalg.matmul(early.E, late.D), early.D], axis=1)),
    )


def _prefixes(combine: Any, elements: Any) -> Any:
    """All prefixes of an associative operation: blocks side by side, then the blocks' totals likewise.

    The depth is BLOCK log_BLOCK(T) and the work 2 T. `jax.lax.associative_scan` does the same work
    but writes the operation out 2 log2(T) times; this, 2 log_BLOCK(T) times, and compiles in
    seconds instead of minutes.
    """
    steps = jax.tree.leaves(elements)[0].shape[0]

    def block(first: Any, rest: Any) -> Any:
        later = jax.lax.scan(lambda total, e: (combine(total, e),) * 2, first, rest)[1]
        return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, later)

    if steps <= BLOCK:
        return block(
            jax.tree.map(lambda a: a[0], elements), jax.tree.map(lambda a: a[1:], elements)
        )
    blocks = -(-steps // BLOCK)
    index = jnp.minimum(jnp.arange(blocks * BLOCK), steps - 1).reshape(
        blocks, BLOCK
    )  # what is padded comes last
    within = jax.vmap(block)(
        *(jax.tree.map(lambda a, i=i: a[index[:, i]], elements) for i in (0, slice(1, None)))
    )
    before = _prefixes(combine, jax.tree.map(lambda a: a[:-1, -1], within))
    rest = jax.vmap(jax.vmap(combine, (None, 0)))(before, jax.tree.map(lambda a: a[1:], within))
    return jax.tree.map(
        lambda a, b: jnp.concatenate([a[0], b.reshape(-1, *b.shape[2:])])[:steps], within, rest
    )
