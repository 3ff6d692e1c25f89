"""Scales of features for `Whitened` and `Asinh`, from a classical filter on data."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from kfjax import linalg
from kfjax._support.arguments import check_kind, is_concrete
from kfjax._support.compiling import jit
from kfjax._support.values import as_arrays, real_array
from kfjax.base import Filter, Gaussian, Inputs, Mask, estimate_and_info
from kfjax.filters.beliefs import predicted
from kfjax.filters.checks import check_filter
from kfjax.filters.gaussian import extended
from kfjax.models.runtime_checks import check_first_noise
from kfjax.models.state_space import StateSpaceModel
from kfjax.runner import run

__all__ = ["measure_scales"]


def measure_scales(
    model: StateSpaceModel,
    ys: Any,
    *,
    us: Inputs = None,
    observed: Mask = None,
    filter: Filter | None = None,
) -> dict[str, dict[str, Float[Array, "k k"]]]:
    """Return whitening matrices of the features F1 to F4.

    They come from a nominal filter on training data.

    W = L^-1 with L L' = C and, averaged over all steps and trajectories,

        C_F2 = S_t,  C_F4 = P_{t|t-1},  C_F1 = F1 F1' + S_t,  C_F3 = F3 F3' + P_{t|t-1}:

    innovations and corrections are scaled by the size that the filter expects, differences in time
    also by the motion of the system. S and P keep every direction, however little the data vary in
    it.

    Args:
        model: the design model.
        ys: observations [T, m], or a batch [B, T, m]; simulated ones suffice.
        us: inputs [T, ...] or [B, T, ...], or None.
        observed: what was observed, in the shape of ys or [T] or [B, T]; None for everything.
        filter: a filter with a moment rule, default `kfjax.extended()`.

    Returns:
        `{"scales": {"F1": [m, m], "F2": [m, m], "F3": [n, n], "F4": [n, n]}}`, for
        `Learned.constants`.

    Raises:
        ValueError: if the filter diverges, or a covariance is singular.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> xs, ys = kf.simulate(jax.random.key(0), model, steps=100)
        >>> constants = kf.learned.measure_scales(model, ys)
        >>> network = kf.learned.Architecture2(n=2, m=1)
        >>> filter = kf.learned.kalman_net(
        ...     network, feature_map=kf.learned.Whitened()
        ... )
        >>> params = kf.learned.init_params(
        ...     jax.random.key(1), filter, model, constants
        ... )
    """
    check_kind("measure_scales: model", model, StateSpaceModel)
    if filter is not None:
        check_filter("measure_scales", filter)
    ys = real_array("measure_scales: ys", ys, finite=observed is None)
    us = as_arrays("measure_scales: us", us)
    observed = as_arrays("measure_scales: observed", observed)
    data = (jnp.asarray(ys), us, observed)
    if data[0].ndim == 2:
        data = jax.tree.map(lambda a: jnp.asarray(a)[None], data)
    if data[0].ndim != 3:
        raise ValueError(
            f"measure_scales: ys has shape {jnp.shape(ys)}; expected [T, m] or [B, T, m]."
        )
    first_us = jax.tree.map(lambda a: a[0], data[1])
    check_first_noise("measure_scales", model, first_us)
    scales = _whiteners(extended() if filter is None else filter, model, *data)
    for name, W in scales.items():
        if is_concrete(W) and not (np.isfinite(W).all() and np.diag(W).all()):
            raise ValueError(
                f"measure_scales: the covariance that {name} is scaled by is singular or not"
                " finite; expected a filter that does not diverge, and noise in every direction."
                " Check the scale of ys and the model's Q and R."
            )
    return {"scales": scales}


@functools.partial(jit, static_argnums=0)
def _whiteners(
    filter: Filter, model: StateSpaceModel, ys: Array, us: Inputs, observed: Mask
) -> dict[str, Array]:
    moments = jax.vmap(functools.partial(_mean_squares, filter, model))(ys, us, observed)
    return jax.tree.map(lambda C: _inverse_factor(C.mean(axis=0)), moments)


def _mean_squares(
    filter: Filter, model: StateSpaceModel, ys: Array, us: Inputs, observed: Mask
) -> dict[str, Array]:
    """Return the covariances C of one trajectory."""
    est, info = run(filter, model, ys, us=us, observed=observed, emit=estimate_and_info).outputs
    P = predicted(filter, model, Gaussian(est.mean, est.cov), us=us).cov.mean(axis=0)
    seen = jnp.ones(ys.shape, bool)
    if observed is not None:
        seen &= jnp.asarray(observed, bool).reshape(ys.shape[0], -1)
    S = _average(info.innovation_cov, seen)
    both = seen[1:] & seen[:-1]

    x = jnp.concatenate([model.prior.mean[None], est.mean])
    F3 = jax.vmap(model.state_space.difference)(x[1:], x[:-1])
    changes = jax.vmap(model.observation_space.difference)(ys[1:], ys[:-1])
    F1 = jnp.where(both, changes, 0)
    return {
        "F1": S + _average(_squares(F1), both),
        "F2": S,
        "F3": P + _squares(F3).mean(axis=0),
        "F4": P,
    }


def _squares(v: Array) -> Array:
    """Return v v' of every row."""
    return v[:, :, None] * v[:, None, :]


def _average(matrices: Any, seen: Array) -> Array:
    """Return the mean of matrices over steps, entry by entry.

    Entries are 0 where both channels were never observed together.
    """
    counts = jnp.sum(seen[:, :, None] & seen[:, None, :], axis=0)
    return matrices.sum(axis=0) / jnp.maximum(counts, 1)


def _inverse_factor(C: Array) -> Array:
    """Return L^-1 for C = L L', with zero on the diagonal where C is singular."""
    L = linalg.cholesky(C)
    return linalg.solve_lower(L, jnp.eye(C.shape[-1], dtype=C.dtype))
