"""Diffuse priors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax._support.arguments import check_kind, check_number, numeric
from kfjax._support.precision import eps_of
from kfjax.base import Gaussian
from kfjax.models.augmented_state import layout_of
from kfjax.models.observing import bind
from kfjax.models.state_space import StateSpaceModel

__all__ = ["diffuse"]


def diffuse(
    model: StateSpaceModel,
    components: Sequence[int] | None = None,
    *,
    variance: float | None = None,
) -> StateSpaceModel:
    """Return the model with a diffuse prior, of large variance, for some components of x_0.

    Let r be the variance of the first observations of a component, in its unit: estimates differ
    from those of an exactly diffuse prior by about r / variance times the distance to prior.mean,
    and their rounding grows with d variance / r for d diffuse components. The default for each
    component is 10 r eps^-0.7 / d, which is 7e5 r / d in float32 and 9e11 r / d in float64, where r
    is the variance of a least-squares estimate from the first n observations, of the model
    linearised at prior.mean. `kfjax.square_root` takes 1e12 r in float32 too.

    The log-likelihood falls without bound as the variance grows. That of d diffuse components, up
    to a constant, is `log_likelihood.sum() + d / 2 * log(variance)` once they have been observed,
    with the mean of the logarithms where variances differ.

    Args:
        model: a model; its prior.mean is kept, and its prior.cov for the other components.
        components: indices of the diffuse components; default all, except noise in the state.
        variance: the variance of each, in the square of its unit; default as above.

    Raises:
        ValueError: if an index is out of range or refers to noise in the state, the variance is not
            positive, or there is no default: the model needs inputs, or its first n observations do
            not determine these components.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> kf.diffuse(model, [1], variance=1e6).prior.cov[1].tolist()
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
    at = at % n
    if variance is None:
        eps = eps_of(model)
        ratio = 10 * eps**-0.7 / at.size
        variances = ratio * _of_least_squares(model, at, n)
    else:
        check_number("diffuse: variance", variance, above=0)
        variances = jnp.full(at.shape, variance, model.dtype)
    known = np.ones(model.n, bool)
    known[:n][at] = False
    cov = jnp.where(known[:, None] & known[None, :], model.proper_prior.cov, 0)
    zero = jnp.zeros(model.n, model.dtype)
    diagonal = zero.at[at].set(variances.astype(model.dtype))
    return model.replace(prior=Gaussian(model.proper_prior.mean, cov + jnp.diag(diagonal)))


def _of_least_squares(model: StateSpaceModel, at: np.ndarray, n: int) -> Array | np.ndarray:
    """Return the variances of components of x_0 given n observations and the other components."""
    try:
        F, H, Q, R = _linearised(model)
    except Exception as error:
        raise ValueError(
            "diffuse: the default variance needs f, h, Q and R at the mean of the prior, without"
            f" inputs, and got {type(error).__name__}: {error}; expected variance= to be given."
        ) from error
    xp = numeric(F, H, Q, R)
    # later observations also contain the process noise of earlier steps, and noise in the state
    moved = xp.eye(model.n, dtype=Q.dtype)
    is_noise = np.arange(model.n) >= n
    driven = xp.asarray(model.proper_prior.cov, Q.dtype) * is_noise[:, None]
    information = xp.zeros((at.size, at.size), Q.dtype)
    for k in range(n):
        if k or model.first == "predict":
            moved = F @ moved
            driven = F @ driven @ F.T + Q
        rows = (H @ moved)[:, at]
        noise = xp.diag(H @ driven @ H.T + R)[:, None]
        information = information + rows.T @ (rows / xp.where(noise > 0, noise, xp.inf))
    size = xp.sqrt(xp.diag(information))
    scale = xp.where(size > 0, size, 1.0)
    # The information of components in different units spans many powers of ten, so its condition
    # number is meaningful only after each is scaled to one.
    correlations = information / xp.outer(scale, scale)
    if xp is np and not np.linalg.cond(correlations) < 1e-3 / eps_of(model):
        raise ValueError(
            f"diffuse: the first {n} observations do not determine components {at.tolist()}"
            f" to the precision of {model.dtype}, or have no noise; expected variance= to be given."
            " See kf.observability."
        )
    return xp.diag(xp.linalg.inv(correlations)) / scale**2


def _linearised(model: StateSpaceModel) -> tuple[Any, Any, Any, Any]:
    """Return F, H, Q and R at the mean of the prior, in double precision unless traced."""
    mean = model.proper_prior.mean
    F, H = (jax.jacfwd(bind(fn, None))(mean) for fn in (model.f, model.h))
    matrices = F, H, model.process_noise(mean), model.observation_noise(mean)
    if numeric(*matrices) is np:
        F, H, Q, R = (np.asarray(M, np.float64) for M in matrices)
        return F, H, Q, R
    return matrices
