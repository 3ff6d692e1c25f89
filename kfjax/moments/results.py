"""What a moment rule returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from jax import Array

__all__ = ["Affine", "Deviations", "MomentRule", "Moments"]

Function: TypeAlias = Callable[[Array], Array]
"""A function of x alone, such as f or h of a model with the input put in."""


class Moments(NamedTuple):
    """Moments of y = fn(x) for Gaussian x.

    Attributes:
        mean: E[y], [k].
        cov: Cov[y], [k, k].
        cross: Cov[x, y], [n, k].
        residual: `K [n, k] -> [n, n]`, the covariance of x - K y *computed as a sum of squares*. An
            update with gain K has the covariance residual(K) + K R K', which stays definite to
            rounding in any precision, whereas P - K C' and P - K S K' do not.
    """

    mean: Array
    cov: Array
    cross: Array
    residual: Callable[[Array], Array]


MomentRule: TypeAlias = Callable[..., Moments]
"""`rule(fn, belief, source, target) -> Moments`: a hashable callable, such as `Taylor()`."""


class Deviations(NamedTuple):
    """Moments of y = fn(x) as factors, for the square-root form.

    Cov[y] = dy dy', Cov[x, y] = dx dy', Cov[x] = dx dx'.

    Attributes:
        mean: E[y], [k].
        dx: [n, p].
        dy: [k, p].
    """

    mean: Array
    dx: Array
    dy: Array


class Affine(NamedTuple):
    """The best affine approximation of y = fn(x) under a belief: y = mean + matrix (x - E[x]) + e.

    Attributes:
        mean: E[y], [k].
        matrix: Cov[y, x] Cov[x]^-1, [k, n].
        residual: a factor [k, p] of the covariance of the residual e.
    """

    mean: Array
    matrix: Array
    residual: Array
