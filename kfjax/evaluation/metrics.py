"""Errors, normalised errors and coverage of the estimates of one filter.

Everything here works on arrays with any leading batch axes and returns `Sums`: totals and counts of
every step, so that steps, trajectories and batches can be pooled by adding.
`kfjax.evaluation.intervals` turns values per trajectory into numbers with intervals. NaN in the
truth means "not known" and does not count. Steps from `length` on do not count, whatever they hold.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import ArrayLike, Bool, Int, Real
from scipy import special

from kfjax._support.types import AnyArray

__all__ = ["Sums", "coverage", "mse", "nees", "rmse", "squared_error"]

Difference: TypeAlias = Callable[[Array, Array], Array]
"""`(x, m) -> [d]`: a state minus another one, in the tangent space of a curved space."""

# The covariance carries the rounding of the filter that computed it. A pivot of its factorisation
# counts as zero if it is within so many times n eps of the variance that it is what remains of.
ROUNDING = 100


class Sums(NamedTuple):
    """A total, and the number of things that it is a total of.

    Sums of different steps or trajectories are added field by field.

    Attributes:
        total: [...].
        count: [...], an integer count, or degrees of freedom.
    """

    total: AnyArray
    count: AnyArray  # type: ignore[assignment]  # it hides the method of tuples

    def over_time(self) -> Sums:
        """Return the sums over the last axis."""
        return Sums(self.total.sum(-1), self.count.sum(-1))

    @property
    def mean(self) -> AnyArray:
        """Total / count; NaN where nothing was counted."""
        return self.total / self.count


def squared_error(
    truth: Real[ArrayLike, "*batch T n"],
    mean: Real[ArrayLike, "*batch T n"],
    *,
    length: Int[ArrayLike, " ..."] | None = None,
    difference: Difference | None = None,
) -> Sums:
    """Return the squared error of every step, |x_t - m_t|^2 over the known components.

    Args:
        truth: x_1..x_T [..., T, n], NaN where not known.
        mean: estimates [..., T, n].
        length: number of steps that count [...], or None for all.
        difference: `(x, m) -> [d]` for states on curved spaces, as
            `model.state_space.difference`; None for x - m.

    Returns:
        `Sums` [..., T]; count is the number of known components.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> truth = jnp.array([[1.0, 2.0], [jnp.nan, 2.0]])
        >>> kf.evaluation.squared_error(truth, jnp.zeros((2, 2))).total.tolist()
        [5.0, 4.0]
    """
    error, known = _errors(truth, mean, length, difference)
    return Sums(jnp.sum(error**2, -1), jnp.sum(known, -1))


def mse(
    truth: Real[ArrayLike, "*batch T n"],
    mean: Real[ArrayLike, "*batch T n"],
    *,
    length: Int[ArrayLike, " ..."] | None = None,
    difference: Difference | None = None,
) -> Real[Array, "*batch"]:
    """Return the mean squared error of every trajectory, over its steps *and* state dimensions.

    MSE_i = 1 / (T_i n) sum_t |x_t - m_t|^2

    Args:
        truth: x_1..x_T [..., T, n], NaN where not known.
        mean: estimates [..., T, n].
        length: number of steps that count [...], or None for all.
        difference: `(x, m) -> [d]` for states on curved spaces, or None.

    Returns:
        [...], in squared units of the state.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> kf.evaluation.mse(jnp.zeros((5, 3, 2)), jnp.full((5, 3, 2), 2.0)).tolist()
        [4.0, 4.0, 4.0, 4.0, 4.0]
    """
    sums = squared_error(truth, mean, length=length, difference=difference)
    return jnp.asarray(sums.over_time().mean)


def rmse(
    truth: Real[ArrayLike, "*batch T n"],
    mean: Real[ArrayLike, "*batch T n"],
    *,
    length: Int[ArrayLike, " ..."] | None = None,
    difference: Difference | None = None,
) -> Real[Array, "*batch"]:
    """Return the root of the mean squared error of every trajectory.

    Args:
        truth: x_1..x_T [..., T, n], NaN where not known.
        mean: estimates [..., T, n].
        length: number of steps that count [...], or None for all.
        difference: `(x, m) -> [d]` for states on curved spaces, or None.

    Returns:
        [...], in units of the state.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> kf.evaluation.rmse(jnp.zeros((3, 2)), jnp.full((3, 2), 2.0)).item()
        2.0
    """
    return jnp.sqrt(mse(truth, mean, length=length, difference=difference))


def nees(
    truth: Real[ArrayLike, "*batch T n"],
    mean: Real[ArrayLike, "*batch T n"],
    cov: Real[ArrayLike, "*batch T d d"],
    *,
    length: Int[ArrayLike, " ..."] | None = None,
    difference: Difference | None = None,
) -> Sums:
    """Return the normalised estimation error squared of every step, e' P^-1 e with e = x - m.

    For a consistent filter it is chi-square with as many degrees of freedom as P has rank. P may be
    singular: the error is then measured in the range of P, and the dimension is counted by rank: a
    pivot counts if what remains of the variance, given the components before it, exceeds 100 n eps
    of it. Where components of the truth are not known, P is that of the others.

    Args:
        truth: x_1..x_T [..., T, n], NaN where not known.
        mean: estimates [..., T, n].
        cov: their covariances [..., T, n, n]; on a curved space, of its tangent space.
        length: number of steps that count [...], or None for all.
        difference: `(x, m) -> [d]` for states on curved spaces, or None.

    Returns:
        `Sums` [..., T]; count is the degrees of freedom. ANEES is total / count: 1 for a consistent
        filter, above 1 for an overconfident one.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> cov = jnp.array([[[4.0, 0.0], [0.0, 0.0]]])  # the second component is known exactly
        >>> value, dof = kf.evaluation.nees(jnp.array([[2.0, 1.0]]), jnp.array([[0.0, 1.0]]), cov)
        >>> value.tolist(), dof.tolist()
        ([1.0], [1])

    References:
        Y. Bar-Shalom, X. R. Li, T. Kirubarajan, Estimation with Applications to Tracking (2001),
        eq. (5.4.2-3).
    """
    error, known = _errors(truth, mean, length, difference)
    return Sums(*_normalised(error, known, jnp.asarray(cov)))


def coverage(
    truth: Real[ArrayLike, "*batch T n"],
    mean: Real[ArrayLike, "*batch T n"],
    cov: Real[ArrayLike, "*batch T d d"],
    *,
    probability: float = 0.95,
    length: Int[ArrayLike, " ..."] | None = None,
    difference: Difference | None = None,
) -> Sums:
    """Count the states within the central interval of their marginal, |x_j - m_j| <= z sqrt(P_jj).

    Args:
        truth: x_1..x_T [..., T, n], NaN where not known.
        mean: estimates [..., T, n].
        cov: their covariances [..., T, n, n]; on a curved space, of its tangent space.
        probability: probability of the interval, between 0 and 1; z = 1.96 for 0.95.
        length: number of steps that count [...], or None for all.
        difference: `(x, m) -> [d]` for states on curved spaces, or None.

    Returns:
        `Sums` [..., T, n]; components with P_jj = 0 have no interval and do not count.

    Raises:
        ValueError: if the shapes differ, or probability is not between 0 and 1.

    Example:
        >>> truth, mean = jnp.array([[1.0], [3.0]]), jnp.zeros((2, 1))
        >>> inside, counted = kf.evaluation.coverage(truth, mean, jnp.ones((2, 1, 1)))
        >>> inside.sum().item() / counted.sum().item()
        0.5
    """
    if not 0 < probability < 1:
        raise ValueError(
            f"coverage: probability is {probability}; expected a number between 0 and 1, such as"
            " 0.95."
        )
    error, known = _errors(truth, mean, length, difference)
    variance = jnp.diagonal(jnp.asarray(cov), axis1=-2, axis2=-1)
    counted = known & (variance > 0)
    z = float(special.ndtri((1 + probability) / 2))
    bound = z * jnp.sqrt(jnp.where(counted, variance, 0))
    inside = counted & (jnp.abs(error) <= bound)
    return Sums(inside.astype(jnp.int32), counted.astype(jnp.int32))


def _errors(
    truth: Real[ArrayLike, " ..."],
    mean: Real[ArrayLike, " ..."],
    length: Int[ArrayLike, " ..."] | None,
    difference: Difference | None,
) -> tuple[Real[Array, "*batch T d"], Bool[Array, "*batch T d"]]:
    """Return the errors, zero where they do not count, and the mask of those that do."""
    truth = jnp.asarray(truth)
    mean = jnp.asarray(mean)
    if truth.shape != mean.shape or truth.ndim < 2:
        raise ValueError(
            f"metrics: truth has shape {truth.shape} and the estimates {mean.shape}; expected [...,"
            " T, n] both. Give components of the estimate that the truth lacks as NaN in the truth."
        )
    subtract: Difference = jnp.subtract
    if difference is not None:
        subtract = jnp.vectorize(difference, signature="(k),(k)->(n)")
    # NaN is looked for in the tangent space, whose dimension may differ from that of x
    known = ~jnp.isnan(subtract(truth, truth))
    if length is not None:
        step = jax.lax.broadcasted_iota(jnp.int32, known.shape, known.ndim - 2)
        known &= step < jnp.expand_dims(jnp.asarray(length), (-1, -2))
    return jnp.where(known, subtract(truth, mean), 0), known


@jax.jit
@functools.partial(jnp.vectorize, signature="(n),(n),(n,n)->(),()")
def _normalised(error: Array, known: Array, P: Array) -> tuple[Array, Array]:
    """Return e' P^-1 e on the range of the known part of P, and the rank of that part.

    A Cholesky factorisation with diagonal pivoting of P, scaled to unit variances, is applied to
    the error as it goes along: z = L^-1 e, and e' P^-1 e = z' z. Taking the largest remaining
    variance first leaves what P says nothing about to the end, where pivots of zero are left out.
    """
    variance = jnp.diag(P)
    counted = known & (variance > 0)
    # double where: the root of what is left out has no NaN in its gradient
    scale = jnp.where(counted, jax.lax.rsqrt(jnp.where(counted, variance, 1)), 0)
    tiny = ROUNDING * error.shape[0] * jnp.finfo(P.dtype).eps

    def eliminate(
        carry: tuple[Array, Array], _: None
    ) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        S, r = carry
        j = jnp.argmax(jnp.diag(S))
        regular = S[j, j] > tiny
        column = jnp.where(regular, S[:, j] / jnp.sqrt(jnp.where(regular, S[j, j], 1)), 0)
        z = jnp.where(regular, r[j] / jnp.where(regular, column[j], 1), 0)
        return (S - column[:, None] * column[None, :], r - column * z), (z, regular)

    start = P * scale[:, None] * scale[None, :], error * scale
    _, (z, regular) = jax.lax.scan(eliminate, start, length=error.shape[0])
    return jnp.sum(z**2), jnp.sum(regular)
