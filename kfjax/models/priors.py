"""Priors that know nothing."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from kfjax._support.arguments import check_kind, check_number
from kfjax.base import Gaussian
from kfjax.models.augmented_state import layout_of
from kfjax.models.state_space import StateSpaceModel

__all__ = ["diffuse"]


def diffuse(
    model: StateSpaceModel, components: Sequence[int] | None = None, *, variance: float = 1e6
) -> StateSpaceModel:
    """Return the model with a diffuse prior, of large variance, for some components of x_0.

    Let r be the variance of the first observations of these components, in their unit. Estimates
    differ from those of an exactly diffuse prior by about r / variance times the distance to
    prior.mean. The covariance form takes variance / r up to 1e5 in float32 (its rounding grows with
    it) and 1e12 in float64; `kfjax.square_root` takes 1e12 in float32 too.

    The log-likelihood falls without bound as the variance grows. That of d diffuse components, up
    to a constant, is `log_likelihood.sum() + d / 2 * log(variance)` once they have been observed.

    Args:
        model: whose prior.mean is kept, and prior.cov for the other components.
        components: indices of the diffuse components; default all. Noise in the state is none.
        variance: of each, in the square of its unit.

    Raises:
        ValueError: if an index is out of range or of noise in the state, or the variance is not
            positive.

    Example:
        >>> kf.diffuse(kf.systems.constant_velocity(), [1]).prior.cov[1].tolist()
        [0.0, 1000000.0]

    References:
        J. Durbin, S. J. Koopman, Time Series Analysis by State Space Methods, 2nd ed. (2012),
        sections 5.1 and 5.6.4.
    """
    check_kind("diffuse: model", model, StateSpaceModel)
    layout = layout_of(model)
    n = model.n if layout is None else model.n - layout.q - layout.r
    at = np.arange(n) if components is None else np.asarray(components)
    if at.dtype.kind not in "iu":
        raise ValueError(f"diffuse: components is {components!r}; expected a list of indices.")
    if at.ndim != 1 or at.size == 0 or (at < -n).any() or (at >= n).any():
        raise ValueError(
            f"diffuse: components are {at.tolist()}; expected indices of a state of {n} components."
        )
    check_number("diffuse: variance", variance, above=0)
    known = np.ones(model.n, bool)
    known[:n][at] = False
    cov = jnp.where(known[:, None] & known[None, :], model.prior.cov, 0)
    return model.replace(
        prior=Gaussian(model.prior.mean, cov + jnp.diag(jnp.where(known, 0, variance)))
    )
