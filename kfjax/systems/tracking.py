"""Bodies tracked by distances and directions; differences of bearings are wrapped."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial
from jaxtyping import ArrayLike, Real

from kfjax._support.arguments import check_count, numeric
from kfjax._support.types import Nested, OneOrEach, Scalar
from kfjax._support.values import real_array
from kfjax.base import Gaussian, Inputs
from kfjax.models.spaces import angles
from kfjax.models.state_space import StateSpaceModel
from kfjax.systems.geometry import bearing, norm
from kfjax.systems.kinematics import constant_velocity
from kfjax.systems.parts import diagonal, prior_or, standard_prior

__all__ = ["bearing_range", "bearings_only", "range_only"]


def bearing_range(
    *,
    dt: Scalar | None = 1.0,
    sensor: Any = (0.0, 0.0),
    q_density: Scalar = 0.01,
    range_std: Scalar = 1.0,
    bearing_std: Scalar = 0.02,
    prior: Gaussian | None = None,
) -> StateSpaceModel:
    """Return a body in the plane seen by a radar: y = (|p - s|, atan2(p_y - s_y, p_x - s_x)).

    The state is (p_x, v_x, p_y, v_y), which moves as in `constant_velocity`.

    Args:
        dt: step length in seconds, or None to read it from the inputs.
        sensor: position s [2], metres.
        q_density: spectral density of the white acceleration noise, m^2/s^3.
        range_std: standard deviation of the range, metres.
        bearing_std: standard deviation of the bearing, radians.
        prior: belief about x_0; default at (100, 50) m within 10 m, moving at (-1, 0.5) m/s within
            1 m/s.

    Returns:
        The model, with n = 4 and m = 2.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> model = kf.systems.bearing_range()
        >>> y = model.h(jnp.array([0.0, 1.0, 2.0, 0.0]), None)
        >>> print(np.asarray(y).round(3))
        [2.    1.571]

    References:
        Y. Bar-Shalom, X. R. Li, T. Kirubarajan, Estimation with Applications to Tracking and
        Navigation (2001), chapter 10.
    """
    position = _positions("bearing_range: sensor", sensor, "[2]")
    R = diagonal(
        "bearing_range: range_std, bearing_std",
        numeric(range_std, bearing_std).stack(
            [
                real_array("bearing_range: range_std", range_std, ndim=0),
                real_array("bearing_range: bearing_std", bearing_std, ndim=0),
            ]
        ),
        2,
    )
    return _body(2, dt, q_density, prior).replace(
        h=Partial(_bearing_range, position), R=R, observation_space=angles(1)
    )


def bearings_only(
    *,
    dt: Scalar | None = 1.0,
    sensors: Real[ArrayLike, "m 2"] | Nested = ((0.0, 0.0), (100.0, -50.0)),
    q_density: Scalar = 0.01,
    r_std: OneOrEach = 0.02,
    prior: Gaussian | None = None,
) -> StateSpaceModel:
    """Return a body in the plane seen by m direction finders: y_i = atan2(p_y - s_iy, p_x - s_ix).

    The state is (p_x, v_x, p_y, v_y), which moves as in `constant_velocity`.

    Args:
        dt: step length in seconds, or None to read it from the inputs.
        sensors: positions [m, 2], metres.
        q_density: spectral density of the white acceleration noise, m^2/s^3.
        r_std: standard deviation of the bearings, radians, a number or [m].
        prior: belief about x_0; default as in `bearing_range`.

    Returns:
        The model, with n = 4.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> y = kf.systems.bearings_only().h(
        ...     jnp.array([100.0, 0.0, 100.0, 0.0]), None
        ... )
        >>> print(np.asarray(y).round(3))
        [0.785 1.571]
    """
    positions = _positions("bearings_only: sensors", sensors, "[m, 2]")
    m = positions.shape[0]
    R = diagonal("bearings_only: r_std", r_std, m)
    return _body(2, dt, q_density, prior).replace(
        h=Partial(_bearings, positions), R=R, observation_space=angles(*range(m))
    )


def range_only(
    dimensions: int = 2,
    ranges: int = 1,
    *,
    q_density: Scalar = 1.0,
    r_std: OneOrEach = 0.1,
    prior: Gaussian | None = None,
) -> StateSpaceModel:
    """Return a body that measures ranges to changing anchors at irregular times: y_i = |p - a_i|.

    The state is (p_x, v_x, p_y, v_y, ...), which moves as in `constant_velocity`. An input u_t is a
    dict of "anchors" [m, d], positions in metres, and "dt", seconds since the step before.

    Args:
        dimensions: d, number of axes.
        ranges: m, number of ranges per step; mask missing ones with `observed`.
        q_density: spectral density of the white acceleration noise, m^2/s^3.
        r_std: standard deviation of the ranges, metres, a number or [m].
        prior: belief about x_0; default N(0, I).

    Returns:
        The model, with n = 2 d.

    Raises:
        ValueError: if an argument is out of its range; while tracing, if u is not such a dict.

    Example:
        >>> model = kf.systems.range_only()
        >>> us = kf.systems.example_inputs("range_only", steps=8)
        >>> us["anchors"].shape, us["dt"].shape
        ((8, 1, 2), (8,))
        >>> xs, ys = kf.simulate(jax.random.key(0), model, us=us)
        >>> kf.run(kf.extended(), model, ys, us=us).outputs.mean.shape
        (8, 4)
    """
    check_count("range_only: ranges", ranges)
    body = constant_velocity(dimensions, dt=None, q_density=q_density, prior=prior)
    return body.replace(h=Partial(_ranges), R=diagonal("range_only: r_std", r_std, ranges))


def _body(dimensions: int, dt: Any, q_density: Any, prior: Gaussian | None) -> StateSpaceModel:
    """Return a body that moves with nearly constant velocity, at a distance from the sensors."""
    start = standard_prior([100.0, -1.0, 50.0, 0.5], [10.0, 1.0, 10.0, 1.0])
    return constant_velocity(dimensions, dt=dt, q_density=q_density, prior=prior_or(prior, start))


def _positions(name: str, value: Any, expected: str) -> Any:
    """Return positions as an array of the expected shape."""
    value = real_array(name, value)
    positions = numeric(value).asarray(value, float)
    if positions.ndim != expected.count(",") + 1 or positions.shape[-1] != 2:
        raise ValueError(
            f"{name} has shape {positions.shape}; expected {expected}, metres in the plane."
        )
    return positions


def _offset(x: Array, sensor: Array) -> Array:
    """Return the vector from a sensor [d] to the body, whose state interleaves p and v."""
    return x[::2] - sensor


def _bearing_range(sensor: Array, x: Array, u: Inputs) -> Array:
    del u
    d = _offset(x, sensor)
    return jnp.stack([norm(d), bearing(d[0], d[1])])


def _bearings(sensors: Array, x: Array, u: Inputs) -> Array:
    del u
    return jnp.stack([bearing(*_offset(x, sensor)) for sensor in sensors])


def _ranges(x: Array, u: Inputs) -> Array:
    anchors = u.get("anchors") if isinstance(u, dict) else None
    d = x.shape[0] // 2
    if anchors is None or np.ndim(anchors) != 2 or anchors.shape[1] != d:
        got = type(u).__name__ if anchors is None else f"anchors of shape {np.shape(anchors)}"
        raise ValueError(
            f"range_only: got {got} as input; expected a dict of 'anchors' [m, {d}]"
            " and 'dt'. Pass us={'anchors': [T, m, d], 'dt': [T]}."
        )
    return jax.vmap(lambda anchor: norm(_offset(x, anchor)))(anchors)
