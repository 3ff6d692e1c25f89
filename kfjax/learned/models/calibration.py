"""Scale, rotation and offset of sensors from labelled states, in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial
from jaxtyping import Float

from kfjax import linalg
from kfjax._support.arguments import choose_some
from kfjax.base import Inputs
from kfjax.data import Dataset
from kfjax.learned.models.labels import check_flat, residuals_of, sightings
from kfjax.models.functions import Linear
from kfjax.models.state_space import StateSpaceModel

__all__ = ["Calibration", "calibrate_sensors"]

SENSOR_PARTS = ("scale", "rotation", "offset")


class Calibration(NamedTuple):
    """The result of `calibrate_sensors`.

    Attributes:
        model: the model with h(x) -> scale rotation h(x) + offset.
        scale: a number.
        rotation: [m, m], of determinant 1.
        offset: [m], in units of y.
    """

    model: StateSpaceModel
    scale: Float[Array, ""]
    rotation: Float[Array, "m m"]
    offset: Float[Array, " m"]


def calibrate_sensors(
    model: StateSpaceModel,
    data: Dataset,
    *,
    learn: Sequence[str] = ("scale", "rotation"),
) -> Calibration:
    """Estimate the scale, rotation and offset of sensors from labelled states, in closed form.

    It has few unknowns, and therefore needs few data.

    argmin sum_t |y_t - s U h(x_t) - b|^2  over s > 0, U'U = I with det U = 1, and b

    Rows with a missing channel are left out. For a general matrix, use
    `fit_labelled(learn=("h",))`.

    Args:
        model: the design model, whose h gives the readings of correct sensors.
        data: trajectories with true states.
        learn: names among "scale", "rotation" and "offset"; the others are s = 1, U = I and b = 0.

    Returns:
        `Calibration`.

    Raises:
        ValueError: for an unknown name or none, no rows, angles among the observations, a rotation
            that the data do not determine (one channel, or states along one line in three
            dimensions), or a scale that is not positive.

    Example:
        >>> xs = np.random.default_rng(0).normal(size=(1, 50, 2))
        >>> turned = 2.0 * xs @ np.array([[0.0, 1.0], [-1.0, 0.0]])
        >>> one = jnp.eye(2)
        >>> model = kf.linear_gaussian(one, one, one, one, (jnp.zeros(2), one))
        >>> found = kf.learned.calibrate_sensors(model, kf.Dataset(turned, xs))
        >>> float(found.scale.round(3)), found.rotation.round().astype(int).tolist()
        (2.0, [[0, -1], [1, 0]])

    References:
        S. Umeyama, Least-squares estimation of transformation parameters between two point
        patterns, IEEE Trans. Pattern Anal. Mach. Intell. 13 (1991), eq. (39)-(42).
    """
    choose_some("calibrate_sensors: learn", learn, SENSOR_PARTS)
    pairs = sightings("calibrate_sensors", model, data)
    check_flat("calibrate_sensors", "observations", model.observation_space)
    rows = pairs.seen.all(axis=1)
    if not rows.any():
        raise ValueError(
            "calibrate_sensors: no row has all channels; expected at least one. Fit single"
            " channels with fit_labelled."
        )
    y = np.asarray(pairs.target, np.float64)[rows]
    seen = y - residuals_of("h", model, pairs)[rows]  # h(x)
    y_mean = mean = np.zeros(y.shape[1])
    if "offset" in learn:
        y_mean = y.mean(axis=0)
        mean = seen.mean(axis=0)
    U = np.eye(y.shape[1])
    s = 1.0
    if "rotation" in learn:
        U = _rotation((y - y_mean).T @ (seen - mean))
    if "scale" in learn:
        s = _scale(y - y_mean, (seen - mean) @ U.T)
    b = y_mean - s * U @ mean
    size, turn, shift = (jnp.asarray(a, model.dtype) for a in (s, U, b))
    return Calibration(
        model.replace(h=_turned_function(model.h, size * turn, shift)), size, turn, shift
    )


def _rotation(C: np.ndarray) -> np.ndarray:
    """Return the rotation U that maximises trace(U' C)."""
    m = C.shape[0]
    if m < 2:
        raise ValueError(
            "calibrate_sensors: got one channel; expected at least 2 to find a rotation. Leave"
            " 'rotation' out of learn."
        )
    left, values, right = np.linalg.svd(C)
    determinant = np.linalg.det(left) * np.linalg.det(right)
    sign = np.sign(determinant)
    smallest = values[-2] + sign * values[-1]
    if smallest <= 1e-9 * values[0] or not values[0] > 0:
        raise ValueError(
            "calibrate_sensors: the data do not determine a rotation; expected observations that"
            f" vary in at least {m - 1} of {m} directions and are not mirrored. Leave 'rotation'"
            " out of learn, or use more varied data."
        )
    left[:, -1] *= sign
    return left @ right


def _scale(y: np.ndarray, turned: np.ndarray) -> float:
    """Return the least-squares factor."""
    product = np.sum(y * turned)
    square = max(np.sum(turned**2), np.finfo(float).tiny)
    s = float(product / square)
    if not s > 0:
        raise ValueError(
            f"calibrate_sensors: the best scale is {s:.3g}; expected a positive one. Check the"
            " signs of the observations, or add 'rotation' to learn."
        )
    return s


def _turned_function(h: Any, M: Array, b: Array) -> Any:
    """Return M h + b; a constant `Linear` stays one, so that the Kalman filter accepts it."""
    if not isinstance(h, Linear) or any(callable(part) for part in (h.A, h.B, h.b)):
        return Partial(_turned, M, b, h)
    offset = b if h.b is None else linalg.matmul(M, h.b) + b
    B = None if h.B is None else linalg.matmul(M, h.B)
    return Linear(linalg.matmul(M, h.A), B, offset)


def _turned(M: Array, b: Array, h: Any, x: Array, u: Inputs) -> Array:
    return linalg.matmul(M, h(x, u)) + b
