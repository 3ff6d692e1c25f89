"""Scaling of series for networks, fitted on training data only."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import ArrayLike, Float, Real

from kfjax._support.types import Nested

__all__ = ["Standardiser"]


class Standardiser(NamedTuple):
    """Mean and standard deviation of every channel, and the scaling by them.

    A pytree of two arrays, so that it can be saved with parameters.

    Scaling to [0, 1] by minimum and maximum makes a network's corrections tiny, and breaks on the
    first value outside.

    Attributes:
        mean: [d].
        std: [d], positive.

    Example:
        >>> series = np.random.default_rng(0).normal(5.0, 2.0, (100, 3))
        >>> scale = kf.data.Standardiser.fit(series[:80])
        >>> z = scale(series)
        >>> bool(abs(z[:80].mean()) < 1e-5), bool(np.allclose(scale.inverse(z), series, atol=1e-4))
        (True, True)
    """

    mean: Array
    std: Array

    @classmethod
    def fit(cls, values: Real[ArrayLike, "... d"] | Nested) -> Standardiser:
        """Return the scaling that gives each channel mean 0 and standard deviation 1.

        Args:
            values: training data [..., d], NaN where missing. A channel that does not vary is only
                centred.

        Raises:
            ValueError: if there is no axis of channels, an entry is infinite, or a channel has no
                finite number.
        """
        array = np.asarray(values, np.float64)
        rows = array.reshape(-1, array.shape[-1]) if array.ndim > 1 else array
        if array.ndim < 2 or np.isnan(rows).all(0).any() or np.isinf(rows).any():
            raise ValueError(
                f"Standardiser: got values of shape {array.shape}; expected [..., d] with finite"
                " numbers (NaN where missing) in every channel."
            )
        std = np.nanstd(rows, axis=0)
        mean = np.nanmean(rows, axis=0)
        positive = np.where(std > 0, std, 1)
        return cls(jnp.asarray(mean), jnp.asarray(positive))

    def __call__(self, values: Real[ArrayLike, "... d"] | Nested) -> Float[Array, "... d"]:
        """Return (x - mean) / std of values [..., d]."""
        mean, std = self._like(values)
        return (jnp.asarray(values) - mean) / std

    def inverse(self, scaled: Real[ArrayLike, "... d"] | Nested) -> Float[Array, "... d"]:
        """Return mean + std z of scaled values [..., d]."""
        mean, std = self._like(scaled)
        return mean + std * jnp.asarray(scaled)

    def _like(self, values: Real[ArrayLike, "... d"] | Nested) -> tuple[Array, Array]:
        """Return mean and standard deviation with as many axes as the values."""
        if np.shape(values)[-1:] != self.mean.shape:
            raise ValueError(
                f"Standardiser: got values of shape {np.shape(values)}; expected [...,"
                f" {self.mean.size}]."
            )
        shape = (1,) * (np.ndim(values) - 1) + self.mean.shape
        return self.mean.reshape(shape), self.std.reshape(shape)
