"""Elements of the associative scan of a smoother: stretches of smoothing, joined.

They are in square-root form, as those of `filter_elements.py`, which has the references.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from kfjax import linalg
from kfjax._support.pytrees import at, prepended
from kfjax.filters.square_root_form import SquareRootGaussian, conditional_factors
from kfjax.smoothers.blocks import Stretches, run_in_blocks
from kfjax.smoothers.filter_elements import Step, factor_of_sum, filter_steps, identity_like

__all__: list[str] = []


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


def smooth_steps(
    prior: SquareRootGaussian, steps: Step, *, noise_free: bool
) -> tuple[SquareRootGaussian, Array]:
    """Return the smoothed beliefs at t = 0..T, and the gains of each on the next."""
    filtered = prepended(prior, filter_steps(prior, steps, noise_free=noise_free)[0])
    elements = jax.vmap(_smoother_element)(at(filtered, slice(None, -1)), steps)

    def move(later: SquareRootGaussian, element: SmootherElement) -> Any:
        mean = linalg.matmul(element.E, later.mean) + element.g
        spread = linalg.matmul(element.E, later.cholesky)
        earlier = SquareRootGaussian(mean, factor_of_sum(spread, element.D))
        return earlier, earlier

    def end(stretch: SmootherElement) -> SquareRootGaussian:
        return SquareRootGaussian(stretch.g, stretch.D)

    # the last belief is already smoothed: it does not depend on what follows
    last = at(filtered, -1)
    zero = jnp.zeros_like(last.cholesky)
    start = SmootherElement(zero, *last)
    nothing = SmootherElement(identity_like(zero), zero[0], zero)
    stretches = Stretches(_combine_smoothers, _combine_smoothers, start, nothing, end)
    backwards = at(elements, slice(None, None, -1))
    earlier = run_in_blocks(move, last, backwards, stretches)
    return at(prepended(last, earlier), slice(None, None, -1)), elements.E


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
    D = factor_of_sum(linalg.matmul(early.E, late.D), early.D)
    return SmootherElement(E, g, D)
