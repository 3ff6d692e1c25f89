"""Moment rules: how the mean and covariance of a Gaussian pass through a function.

A moment rule is a hashable value, called as `rule(fn, belief, source, target) -> Moments`, where
`fn` is a function of x alone, and `source` and `target` are the `Space`s in which its inputs and
its outputs are subtracted and moved. The Kalman, extended, unscented, cubature and Gauss-Hermite
filters and their smoothers are one prediction, one update and one smoothing recursion over this
table of rules. A rule of your own is any hashable callable with this signature.
"""

from kfjax.moments.linearisation import Taylor
from kfjax.moments.results import Affine, Deviations, MomentRule, Moments
from kfjax.moments.sigma_points import Cubature, GaussHermite, SigmaPoints, Unscented

__all__ = [
    "Affine",
    "Cubature",
    "Deviations",
    "GaussHermite",
    "MomentRule",
    "Moments",
    "SigmaPoints",
    "Taylor",
    "Unscented",
]
