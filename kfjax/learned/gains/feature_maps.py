"""Feature maps: how the features of a gain network are scaled before it sees them.

A feature map is a hashable value, called as `feature_map(feature, whitener) -> feature` with one
feature vector and its whitening matrix, or None where `constants["scales"]` of the params has none.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kfjax import linalg
from kfjax._support.arguments import check_number

__all__ = ["Asinh", "Normalised", "Raw", "Whitened"]

FeatureMap = Callable[[Float[Array, " k"], Float[Array, "k k"] | None], Float[Array, " k"]]


@dataclasses.dataclass(frozen=True)
class Raw:
    """Features as they are, in the units of the model."""

    def __call__(
        self, feature: Float[Array, " k"], whitener: Float[Array, "k k"] | None = None
    ) -> Float[Array, " k"]:
        """Return the feature."""
        del whitener
        return feature


@dataclasses.dataclass(frozen=True)
class Normalised:
    """Every feature divided by its length, v / max(|v|, eps), as in the authors' KalmanNet.

    The network sees only directions: the size of an innovation is lost. The derivative is 0 where
    |v| <= eps, so that features which are 0 (the first step, steps without data) pass no infinite
    gradient.

    Attributes:
        eps: the smallest length to divide by, positive.
    """

    eps: float = 1e-12

    def __post_init__(self) -> None:
        check_number("Normalised: eps", self.eps, above=0)

    def __call__(
        self, feature: Float[Array, " k"], whitener: Float[Array, "k k"] | None = None
    ) -> Float[Array, " k"]:
        """Return v / max(|v|, eps)."""
        del whitener
        return _direction(self.eps, feature)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _direction(eps: float, v: Array) -> Array:
    """v / max(|v|, eps)."""
    return _direction_and_scale(eps, v)[0]


@_direction.defjvp
def _direction_jvp(
    eps: float, primals: tuple[Array], tangents: tuple[Array]
) -> tuple[Array, Array]:
    # a training step then stores two numbers per feature instead of the steps of the computation
    unit, scale = _direction_and_scale(eps, *primals)
    return unit, scale * (tangents[0] - unit * jnp.sum(unit * tangents[0]))


def _direction_and_scale(eps: float, v: Array) -> tuple[Array, Array]:
    """Return v / max(|v|, eps), and 1 / |v|.

    The second is 0 where |v| is below eps, and the derivative is taken to be 0 there.
    """
    largest = jnp.max(jnp.abs(v))  # squares of tiny numbers underflow in float32
    regular = largest > eps
    safe = jnp.where(regular, largest, eps)
    squares = jnp.sum((v / safe) ** 2)
    inverse = jnp.where(regular, jax.lax.rsqrt(squares), 1) / safe
    return v * inverse, jnp.where(regular, inverse, 0)


@dataclasses.dataclass(frozen=True)
class Whitened:
    """Features in units of their usual spread.

    They are W v with W' W = E[v v']^-1, where W is in `constants["scales"]` of the params.

    For the innovation, this is Cholesky whitening by a nominal S. See
    `kfjax.learned.measure_scales`.
    """

    def __call__(
        self, feature: Float[Array, " k"], whitener: Float[Array, "k k"] | None = None
    ) -> Float[Array, " k"]:
        """Return W v."""
        if whitener is None:
            raise ValueError(
                "Whitened: the params have no scale for a feature; expected one by name in"
                " Learned.constants['scales']. Make them with kf.learned.measure_scales."
            )
        # Unlike a division by the length, a constant matrix keeps the size of a feature: a gain has
        # to know whether an innovation is of one or of five standard deviations.
        return linalg.matmul(whitener, feature)


@dataclasses.dataclass(frozen=True)
class Asinh:
    """Features asinh(v / scale), component by component.

    The map is linear for small features and logarithmic for large ones, and keeps their size.

    With `constants["scales"]` in the params, v is first whitened as by `Whitened`.

    Attributes:
        scale: where the curve bends, positive: in units of the feature, or of its spread if it is
            whitened.
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        check_number("Asinh: scale", self.scale, above=0)

    def __call__(
        self, feature: Float[Array, " k"], whitener: Float[Array, "k k"] | None = None
    ) -> Float[Array, " k"]:
        """Return asinh(v / scale)."""
        v = feature if whitener is None else linalg.matmul(whitener, feature)
        # Linear near zero and logarithmic far away: an outlier stays visible, but does not saturate
        # the gates.
        return jnp.arcsinh(v / self.scale)


NORMALISED = Normalised()
