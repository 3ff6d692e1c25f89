"""Errors, normalised errors and coverage of the estimates of one filter.

Everything here works on arrays with any leading batch axes and returns `Sums`: totals and counts of
every step, so that steps, trajectories and batches can be pooled by adding.
`kfjax.evaluation.intervals` turns values per trajectory into numbers with intervals. NaN in the
truth means "not known" and does not count. Steps from `length` on do not count, whatever they hold.
Nothing else is left out: a step at which the filter broke down (an estimate that is not finite, or
an invalid covariance) counts against it, with an infinite error, an infinite NEES, and a state
outside its interval.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import ArrayLike, Float, Int, Real
from scipy import special

from kfjax._support.arguments import check_number
from kfjax._support.types import AnyArray
from kfjax.evaluation.errors import Difference, covariance, estimation_errors, resolution
from kfjax.evaluation.normalised_errors import normalised

__all__ = ["Sums", "coverage", "mse", "nees", "rmse", "squared_error"]


class Sums(NamedTuple):
    """A total, and the number of terms in it.

    Sums of different steps or trajectories are added field by field.

    Attributes:
        total: [...].
        count: [...], an integer count, or degrees of freedom.
    """

    total: Real[AnyArray, " ..."]
    count: Real[AnyArray, " ..."]  # type: ignore[assignment]  # hides a method of tuples

    def over_time(self) -> Sums:
        """Return the sums over the last axis."""
        return Sums(self.total.sum(-1), self.count.sum(-1))

    @property
    def mean(self) -> Float[AnyArray, " ..."]:
        """Total / count; NaN where nothing was counted."""
        with np.errstate(divide="ignore", invalid="ignore"):
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
        `Sums` [..., T]; total is infinite where the estimate is not a number; count is the number
        of known components.

    Raises:
        ValueError: if the shapes differ, numbers are complex, a truth that counts is infinite, or
            length is not a number of steps.

    Example:
        >>> truth = jnp.array([[1.0, 2.0], [jnp.nan, 2.0]])
        >>> kf.evaluation.squared_error(truth, jnp.zeros((2, 2))).total.tolist()
        [5.0, 4.0]
    """
    return _squares("squared_error", truth, mean, length, difference)


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
        ValueError: if the shapes differ, numbers are complex, a truth that counts is infinite, or
            length is not a number of steps.

    Example:
        >>> kf.evaluation.mse(
        ...     jnp.zeros((5, 3, 2)), jnp.full((5, 3, 2), 2.0)
        ... ).tolist()
        [4.0, 4.0, 4.0, 4.0, 4.0]
    """
    return jnp.asarray(_squares("mse", truth, mean, length, difference).over_time().mean)


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
        ValueError: if the shapes differ, numbers are complex, a truth that counts is infinite, or
            length is not a number of steps.

    Example:
        >>> kf.evaluation.rmse(jnp.zeros((3, 2)), jnp.full((3, 2), 2.0)).item()
        2.0
    """
    square = jnp.asarray(_squares("rmse", truth, mean, length, difference).over_time().mean)
    # double where: the root of an error of zero has an infinite derivative
    return jnp.where(square == 0, 0, jnp.sqrt(jnp.where(square == 0, 1, square)))


def _squares(
    who: str,
    truth: Real[ArrayLike, "*batch T n"],
    mean: Real[ArrayLike, "*batch T n"],
    length: Int[ArrayLike, " ..."] | None,
    difference: Difference | None,
) -> Sums:
    """Return the squared error of every step; `who` is the function that errors name."""
    error, known = estimation_errors(who, truth, mean, length, difference)
    square = jnp.sum(error**2, -1)
    # A filter that ended in NaN has failed: an infinite error stays in every mean, where NaN is
    # easily left out.
    return Sums(jnp.where(jnp.isnan(square), jnp.inf, square), jnp.sum(known, -1))


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
    singular: the error is then measured in the range of P. A pivot of P counts towards the rank if
    the variance that remains, given the components before it, exceeds 100 n eps of the whole. If
    components of the truth are not known, P is that of the others.

    It is infinite where the filter broke down: the estimate or P is not finite, P is indefinite, or
    there is an error, beyond rounding, in a direction that P calls known exactly. All known
    components then count.

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
        ValueError: if the shapes differ, numbers are complex, a truth that counts is infinite, or
            length is not a number of steps.

    Example:
        >>> # the second component is known exactly
        >>> cov = jnp.array([[[4.0, 0.0], [0.0, 0.0]]])
        >>> truth, mean = jnp.array([[2.0, 1.0]]), jnp.array([[0.0, 1.0]])
        >>> value, dof = kf.evaluation.nees(truth, mean, cov)
        >>> value.tolist(), dof.tolist()
        ([1.0], [1])

    References:
        Y. Bar-Shalom, X. R. Li, T. Kirubarajan, Estimation with Applications to Tracking (2001),
        eq. (5.4.2-3).
    """
    return nees_and_coverage(
        "nees", truth, mean, cov, probability=0.95, length=length, difference=difference
    )[0]


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
        `Sums` [..., T, n]. A component that is known exactly, with P_jj = 0 and no error beyond
        rounding, does not count; with an error it counts as outside, as do all components of a step
        at which P is indefinite or not finite.

    Raises:
        ValueError: if probability is not between 0 and 1, the shapes differ, numbers are complex, a
            truth that counts is infinite, or length is not a number of steps.

    Example:
        >>> truth, mean = jnp.array([[1.0], [3.0]]), jnp.zeros((2, 1))
        >>> inside, counted = kf.evaluation.coverage(
        ...     truth, mean, jnp.ones((2, 1, 1))
        ... )
        >>> inside.sum().item() / counted.sum().item()
        0.5
    """
    check_number("coverage: probability", probability, above=0, below=1)
    return nees_and_coverage(
        "coverage", truth, mean, cov, probability=probability, length=length, difference=difference
    )[1]


def nees_and_coverage(
    who: str,
    truth: Real[ArrayLike, "*batch T n"],
    mean: Real[ArrayLike, "*batch T n"],
    cov: Real[ArrayLike, "*batch T d d"],
    *,
    probability: float,
    length: Int[ArrayLike, " ..."] | None,
    difference: Difference | None,
) -> tuple[Sums, Sums]:
    """Return `nees` and `coverage`, from one factorisation of the covariances."""
    error, known = estimation_errors(who, truth, mean, length, difference)
    P = covariance(who, cov, error)
    rounding = resolution(truth, mean, error, known)
    total, count, semidefinite = normalised(error, known, rounding, P)
    variance = jnp.diagonal(P, axis1=-2, axis2=-1)
    sound = semidefinite[..., None]
    exact = sound & (variance == 0) & (jnp.abs(error) <= rounding)
    proper = sound & (variance > 0)
    z = float(special.ndtri((1 + probability) / 2))
    bound = z * jnp.sqrt(jnp.where(proper, variance, 0))
    counted = known & ~exact
    inside = counted & proper & (jnp.abs(error) <= bound)
    return Sums(total, count), Sums(inside.astype(jnp.int32), counted.astype(jnp.int32))
