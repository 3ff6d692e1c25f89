"""Scaling of series for networks, fitted on training data only."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import ArrayLike, Float, Real

from kfjax._support.types import Nested
from kfjax.models.averages import centre_and_spread
from kfjax.models.spaces import EUCLIDEAN, Space, as_space

__all__ = ["Standardiser"]


class Standardiser(NamedTuple):
    """Mean and standard deviation of every channel, and the scaling by them.

    z = (x - mean) / std, with the difference of the space

    It is a pytree of two arrays, so that it can be saved with parameters.

    Scaling to [0, 1] by minimum and maximum, in contrast, makes a network's corrections tiny, and
    fails for the first value outside that range.

    Attributes:
        mean: [d].
        std: [d], positive; on a curved space, one for each component of a difference.
        space: how values are subtracted and moved.

    Example:
        >>> series = np.random.default_rng(0).normal(5.0, 2.0, (100, 3))
        >>> scale = kf.data.Standardiser.fit(series[:80])
        >>> z = scale(series)
        >>> bool(abs(z[:80].mean()) < 1e-5)
        True
        >>> bool(np.allclose(scale.inverse(z), series, atol=1e-4))
        True
        >>> # on both sides of pi
        >>> headings = np.array([[3.1], [-3.1], [3.0], [-3.0]])
        >>> bool(kf.data.Standardiser.fit(headings, kf.angles(0)).std[0] < 0.11)
        True
    """

    mean: Float[Array, " n"]
    std: Float[Array, " d"]
    space: Space = EUCLIDEAN

    @classmethod
    def fit(
        cls, values: Real[ArrayLike, "... d"] | Nested, space: Space | None = None
    ) -> Standardiser:
        """Return the scaling that gives each channel mean 0 and standard deviation 1.

        Args:
            values: training data [..., d], NaN where missing. A channel that does not vary is only
                centred.
            space: the space of the values, such as `model.state_space` or `kf.angles(2)`; None is
                Euclidean.

        Raises:
            ValueError: if there is no axis of channels, an entry is infinite, or a channel has no
                finite number.
        """
        space = as_space("Standardiser: space", space)
        array = np.asarray(values, np.float64)
        rows = array.reshape(-1, array.shape[-1]) if array.ndim > 1 else array
        if array.ndim < 2 or np.isnan(rows).all(0).any() or np.isinf(rows).any():
            raise ValueError(
                f"Standardiser: got values of shape {array.shape}; expected [..., d] with finite"
                " numbers (NaN where missing) in every channel."
            )
        mean, std = centre_and_spread(space, rows)
        positive = np.where(std > 0, std, 1)
        return cls(jnp.asarray(mean), jnp.asarray(positive), space)

    def __call__(self, values: Real[ArrayLike, "... d"] | Nested) -> Float[Array, "... d"]:
        """Return (x - mean) / std of values [..., d]."""
        _check_channels(values, self.mean)
        difference = jnp.vectorize(self.space.difference, signature="(k),(k)->(n)")
        offsets = difference(jnp.asarray(values), _like(self.mean, values))
        return offsets / _like(self.std, offsets)

    def inverse(self, scaled: Real[ArrayLike, "... d"] | Nested) -> Float[Array, "... d"]:
        """Return mean + std z of scaled values [..., d]."""
        _check_channels(scaled, self.std)
        offsets = jnp.asarray(scaled) * _like(self.std, scaled)
        retract = jnp.vectorize(self.space.retract, signature="(k),(n)->(k)")
        return retract(_like(self.mean, scaled), offsets)


def _check_channels(values: ArrayLike | Nested, of_channels: Array) -> None:
    """Raise unless values have the channels of the mean or of the standard deviations."""
    if np.shape(values)[-1:] != of_channels.shape:
        raise ValueError(
            f"Standardiser: got values of shape {np.shape(values)}; expected [...,"
            f" {of_channels.size}]."
        )


def _like(row: Array, values: ArrayLike | Nested) -> Array:
    """Return a row of per-channel numbers with as many axes as values."""
    return row.reshape((1,) * (np.ndim(values) - 1) + row.shape)
