"""Factors on the noise covariances of a model."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

from kfjax._support.arguments import check_kind
from kfjax._support.naming import described
from kfjax._support.types import AnyArray
from kfjax._support.values import real_array
from kfjax.base import Inputs, Params
from kfjax.models.augmented_state import check_added_noise
from kfjax.models.lens import model_of, with_model

__all__ = ["Scales", "scale_noise"]


class Scales(NamedTuple):
    """Factors on the noise variances, as D^1/2 Q D^1/2 with D = diag(Q factors); R likewise.

    Attributes:
        Q: one factor [], or one per state [n].
        R: one factor [], or one per channel [m].
    """

    Q: Any
    R: Any


def scale_noise(params: Params, factors: Scales) -> Any:
    """Return params with Q and R of the model scaled by factors on the variances.

    Q' = D^1/2 Q D^1/2 with D = diag(factors.Q), and R likewise; a callable Q or R stays callable.

    Args:
        params: a `StateSpaceModel`, or params that hold one.
        factors: `Scales` of positive numbers, each [] or one per row.

    Raises:
        ValueError: if the model has its noise in the state.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> scaled = kf.training.scale_noise(model, kf.training.Scales(1.0, 4.0))
        >>> scaled.R.tolist() == (4 * model.R).tolist()
        True
    """
    model = model_of(params)
    if model is None:
        raise ValueError(
            f"scale_noise: params is {described(params)}; expected a kf.StateSpaceModel, or params"
            " that hold one."
        )
    check_kind("scale_noise: factors", factors, Scales)
    check_added_noise("scale_noise", model)
    return with_model(params, Q=_scaled(model.Q, factors.Q), R=_scaled(model.R, factors.R))


def _scaled(noise: Any, factors: Any) -> Any:
    roots = jnp.sqrt(jnp.asarray(real_array("scale_noise: factors", factors)))
    return Partial(_scaled_noise, roots, noise) if callable(noise) else noise * _outer(roots)


def _scaled_noise(roots: Array, noise: Any, x: AnyArray, u: Inputs) -> Array:
    return noise(x, u) * _outer(roots)


def _outer(roots: Array) -> Array:
    return roots * roots if roots.ndim == 0 else roots[:, None] * roots[None, :]
