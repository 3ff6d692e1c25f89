"""Tests of a fitted model against a larger one that contains it."""

from __future__ import annotations

import math
from typing import NamedTuple

from kfjax._support.arguments import check_count, check_kind
from kfjax.training.likelihood_results import MaximumLikelihood

__all__ = ["LikelihoodRatio", "likelihood_ratio_test"]

WHO = "likelihood_ratio_test"
ROUNDING = 1e-3  # of a log-likelihood


class LikelihoodRatio(NamedTuple):
    """A likelihood-ratio test.

    Attributes:
        statistic: twice the difference of the log-likelihoods.
        dof: number of additional parameters in the larger model.
        p_value: probability of a larger statistic if the smaller model is true.
    """

    statistic: float
    dof: int
    p_value: float


def likelihood_ratio_test(
    smaller: MaximumLikelihood, larger: MaximumLikelihood, *, at_ends: int = 0
) -> LikelihoodRatio:
    """Test a model against a larger one that contains it, both fitted to the same observations.

    2 (log L_1 - log L_0) ~ sum_k binomial(b, k) 2^-b chi^2_{d - b + k},  k = 0..b,

    with d more parameters in the larger model, b of which lie at an end of their range if the
    smaller one is true: a variance of zero. With b = 0 it is chi^2_d. For b > 1 the weights are
    those of parameters whose estimates are independent.

    Args:
        smaller: the fit of the smaller model, by `kfjax.training.maximum_likelihood`.
        larger: the fit of the larger one.
        at_ends: b, the number of parameters at an end of their range in the smaller model.

    Returns:
        `LikelihoodRatio`.

    Raises:
        ValueError: if the fits are of different observations, the larger one has no more
            parameters, or its likelihood is lower, so that it has not reached its maximum.

    Example:
        >>> ys = np.random.default_rng(0).normal(size=(60, 1)).cumsum(0)
        >>> noise = kf.structural.irregular(1.0)
        >>> still, moves = (
        ...     kf.training.maximum_likelihood(
        ...         kf.exact_diffuse(), kf.structural.level(std) + noise, ys
        ...     )
        ...     for std in (None, 1.0)
        ... )
        >>> test = kf.training.likelihood_ratio_test(still, moves, at_ends=1)
        >>> test.dof, test.p_value < 0.001
        (1, True)

    References:
        S. G. Self, K.-Y. Liang, Asymptotic properties of maximum likelihood estimators and
        likelihood ratio tests under nonstandard conditions, J. Amer. Statist. Assoc. 82 (1987);
        A. C. Harvey, Forecasting, Structural Time Series Models and the Kalman Filter (1989),
        section 5.1.2.
    """
    for name, fit in (("smaller", smaller), ("larger", larger)):
        check_kind(f"{WHO}: {name}", fit, MaximumLikelihood)
    dof = len(larger.parameters) - len(smaller.parameters)
    if dof < 1:
        raise ValueError(
            f"{WHO}: the larger model has {len(larger.parameters)} parameters and the smaller one"
            f" {len(smaller.parameters)}; expected more. Pass the smaller model first."
        )
    check_count(f"{WHO}: at_ends", at_ends, least=0, most=dof)
    if smaller.observations != larger.observations:
        raise ValueError(
            f"{WHO}: the fits are of {smaller.observations} and {larger.observations} observations;"
            " expected the same. Fit both to the same data, with the same skip."
        )
    difference = larger.log_likelihood - smaller.log_likelihood
    if not difference > -ROUNDING:
        raise ValueError(
            f"{WHO}: the log-likelihood of the larger model is lower, {larger.log_likelihood:.3f}"
            f" against {smaller.log_likelihood:.3f}; expected at least as much. Raise starts or"
            " updates of its fit, or start it at the parameters of the smaller one."
        )
    statistic = 2 * max(difference, 0.0)
    terms = (
        math.comb(at_ends, k) / 2**at_ends * _above(statistic, dof - at_ends + k)
        for k in range(at_ends + 1)
    )
    return LikelihoodRatio(statistic, dof, sum(terms))


def _above(statistic: float, dof: int) -> float:
    """Return the probability of at least this value of chi-square; without dof it is zero."""
    from scipy import special

    if dof == 0:
        return float(statistic == 0)
    return float(special.chdtrc(dof, statistic))
