"""Classical models fitted to labelled trajectories by least squares, in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from kfjax import linalg
from kfjax._support.arguments import choose_some
from kfjax._support.types import PyTree
from kfjax.base import Inputs
from kfjax.data import Dataset
from kfjax.learned.models.labels import Pairs, sightings, transitions
from kfjax.learned.models.regressors import ridge_regression
from kfjax.models.functions import Linear
from kfjax.models.spaces import Space
from kfjax.models.state_space import StateSpaceModel

__all__ = ["Calibration", "calibrate_sensors", "fit_labelled"]

PARTS = ("f", "h", "Q", "R")
SENSOR_PARTS = ("scale", "rotation", "offset")


def fit_labelled(
    model: StateSpaceModel,
    data: Dataset,
    learn: Sequence[str] = PARTS,
    *,
    inputs: bool = False,
    offsets: bool = False,
) -> StateSpaceModel:
    """Fit linear functions and noise covariances to labelled states.

    The fit is in closed form.

    F, B, b = argmin sum_t |x_t - F x_{t-1} - B u_t - b|^2,
    Q = 1/(K - p) sum_t e_t e_t',   e_t = x_t - f(x_{t-1}, u_t)

    and likewise H from x_t to y_t, and R. K is the number of pairs and p the number of coefficients
    fitted per row, so that Q and R are unbiased (p = 0 if f or h is kept). Pairs with an unknown
    state are left out. Every channel of y is fitted on the rows where it was observed, and a
    covariance of two channels on the rows where both were (0 if there are none). Everything is
    computed in double precision.

    Args:
        model: the model that gives everything that is not fitted; for fitted noise, its f and h may
            be any functions.
        data: trajectories with true states.
        learn: names among "f", "h", "Q" and "R".
        inputs: whether to fit B (of f) for the inputs of the data, an array [N, T, p].
        offsets: whether to fit constants b in f and h.

    Returns:
        A `StateSpaceModel` with the prior of `model`.

    Raises:
        ValueError: for an unknown part, no labelled pairs or fewer than are needed, states that do
            not vary in all directions, or a linear f or h of angles.

    Example:
        >>> truth = kf.systems.constant_velocity()
        >>> keys = jax.random.split(jax.random.key(0), 100)
        >>> xs, ys = jax.vmap(lambda key: kf.simulate(key, truth, 50))(keys)
        >>> start = truth.replace(f=kf.Linear(jnp.eye(2)), Q=jnp.eye(2), R=jnp.eye(1))
        >>> model = kf.learned.fit_labelled(start, kf.Dataset(ys, xs))
        >>> ratio = model.R / truth.R
        >>> bool(jnp.abs(model.f.A - truth.f.A).max() < 0.01), bool(jnp.abs(ratio - 1).max() < 0.1)
        (True, True)
    """
    choose_some("fit_labelled: learn", learn, PARTS)
    changes: dict[str, Any] = {}
    for fn, noise, pairs_of in (("f", "Q", transitions), ("h", "R", sightings)):
        if not {fn, noise} & set(learn):
            continue
        pairs = pairs_of("fit_labelled", model, data)
        if fn in learn:
            _check_flat("fit_labelled", "states", model.state_space)
            if fn == "h":
                _check_flat("fit_labelled", "observations", model.observation_space)
            changes[fn], residuals, fitted = _linear(fn, pairs, inputs and fn == "f", offsets)
        else:
            residuals = _residuals(fn, model, pairs)
            fitted = 0
        if noise in learn:
            changes[noise] = _covariance(noise, residuals, pairs.seen, fitted)
    return model.replace(
        **{
            name: jax.tree.map(lambda a: jnp.asarray(a, model.dtype), v)
            for name, v in changes.items()
        }
    )


class Calibration(NamedTuple):
    """The result of `calibrate_sensors`.

    Attributes:
        model: the model with h(x) -> scale rotation h(x) + offset.
        scale: a number.
        rotation: [m, m], of determinant 1.
        offset: [m], in units of y.
    """

    model: StateSpaceModel
    scale: Array
    rotation: Array
    offset: Array


def calibrate_sensors(
    model: StateSpaceModel,
    data: Dataset,
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
    _check_flat("calibrate_sensors", "observations", model.observation_space)
    rows = pairs.seen.all(axis=1)
    if not rows.any():
        raise ValueError(
            "calibrate_sensors: no row has all channels; expected at least one. Fit single"
            " channels with fit_labelled."
        )
    y = np.asarray(pairs.target, np.float64)[rows]
    seen = y - _residuals("h", model, pairs)[rows]  # h(x)
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


def _check_flat(who: str, what: str, space: Space) -> None:
    """Raise unless values of that name lie on a Euclidean space."""
    if not space.is_euclidean:
        raise ValueError(
            f"{who}: got a model whose {what} lie on a curved space, such as angles; expected"
            " Euclidean ones, since a function that wraps is not linear. Keep this part, or use"
            " kf.learned.residual_model."
        )


def _linear(fn: str, pairs: Pairs, inputs: bool, offsets: bool) -> tuple[Linear, np.ndarray, int]:
    """Return the least-squares fit, its residuals, and the number of coefficients per row."""
    x = np.asarray(pairs.x, np.float64)
    if inputs and getattr(pairs.u, "ndim", 0) != 2:
        raise ValueError(
            "fit_labelled: got inputs=True and data whose us is not an array; expected [N, T, p]."
            " Concatenate the inputs to one array."
        )
    columns = [
        x,
        *([np.asarray(pairs.u, np.float64)] if inputs else []),
        *([np.ones((len(x), 1))] if offsets else []),
    ]
    X = np.concatenate(columns, axis=1)
    for channel, seen in enumerate(pairs.seen.T):
        _check_rank(f"{fn}, row {channel}", X[seen])
    W = ridge_regression(X, pairs.target, pairs.seen)
    A, B, b = np.split(W, [x.shape[1], X.shape[1] - offsets], axis=1)
    residuals = np.asarray(pairs.target, np.float64) - X @ W.T
    return Linear(A, B if inputs else None, b[:, 0] if offsets else None), residuals, X.shape[1]


def _check_rank(what: str, X: np.ndarray) -> None:
    """Raise unless the data determine the least-squares fit."""
    scale = np.abs(X).max(axis=0, initial=0)
    rank = np.linalg.matrix_rank(X / np.where(scale > 0, scale, 1)) if len(X) else 0
    if rank < X.shape[1]:
        raise ValueError(
            f"fit_labelled: the {len(X)} pairs for {what} have rank {rank}; expected {X.shape[1]},"
            " which needs states (and inputs) that vary in all directions. Leave this part out of"
            " learn, or use more varied data."
        )


def _residuals(fn: str, model: StateSpaceModel, pairs: Pairs) -> np.ndarray:
    """Return target - fn(x, u), 0 where the target was not seen."""
    space = model.state_space if fn == "f" else model.observation_space

    def cast(a: PyTree) -> PyTree:
        if np.asarray(a).dtype.kind != "f":
            return a
        return jnp.asarray(a, model.dtype)

    x, u, target = jax.tree.map(cast, pairs[:3])
    difference = jax.vmap(lambda x, u, y: space.difference(y, getattr(model, fn)(x, u)))(
        x, u, target
    )
    return np.where(pairs.seen, np.asarray(difference, np.float64), 0)


def _covariance(name: str, residuals: np.ndarray, seen: np.ndarray, fitted: int) -> np.ndarray:
    """Return the unbiased covariance of residuals with gaps.

    It is made positive semidefinite if gaps make it indefinite.
    """
    e = np.where(seen, residuals, 0)
    seen = seen.astype(float)
    counts = seen.T @ seen
    if np.diag(counts).min() <= fitted:
        raise ValueError(
            f"fit_labelled: {name} has {int(np.diag(counts).min())} residuals in some row;"
            f" expected more than the {fitted} numbers fitted to them."
        )
    degrees = np.maximum(counts - fitted, 1)
    C = np.where(counts > fitted, e.T @ e / degrees, 0)
    values, vectors = np.linalg.eigh(C)
    return C if values[0] >= 0 else (vectors * np.maximum(values, 0)) @ vectors.T


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
    if values[-2] + sign * values[-1] <= 1e-9 * values[0] or not values[0] > 0:
        raise ValueError(
            "calibrate_sensors: the data do not determine a rotation; expected observations that"
            ' vary in at least {m - 1} directions and are not mirrored. Leave "rotation" out of'
            " learn, or use more varied data."
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
    return Linear(linalg.matmul(M, h.A), None if h.B is None else linalg.matmul(M, h.B), offset)


def _turned(M: Array, b: Array, h: Any, x: Array, u: Inputs) -> Array:
    return linalg.matmul(M, h(x, u)) + b
