"""Distances, bearings and rotations whose derivatives are finite everywhere."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import ArrayLike, Float, Real

from kfjax._support.arguments import check_count, choose, numeric
from kfjax._support.types import Numbers, Scalar
from kfjax._support.values import real_array

__all__ = ["bearing", "norm", "roll_pitch_yaw", "rotate", "rotation", "spherical"]


def norm(d: Real[ArrayLike, " n"]) -> Float[Array, ""]:
    """Return |d|, with derivative 0 at d = 0."""
    d = _real("norm: d", d)
    # A double `where`: the root of zero has an infinite derivative, and the derivative of a plain
    # `where` would multiply it by zero, which is NaN.
    squared = jnp.sum(d**2)
    zero = squared == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, squared)))


def bearing(x: Real[ArrayLike, " ..."], y: Real[ArrayLike, " ..."]) -> Float[Array, " ..."]:
    """Return the angle of (x, y) from the x axis in [-pi, pi] radians.

    At the origin it is 0, with derivative 0.
    """
    x = _real("bearing: x", x)
    y = _real("bearing: y", y)
    origin = (x == 0) & (y == 0)
    # Both arguments are replaced, since the derivative divides by x^2 + y^2.
    return jnp.arctan2(jnp.where(origin, 0, y), jnp.where(origin, 1, x))


def spherical(x: Real[ArrayLike, " 3"]) -> Float[Array, " 3"]:
    """Return the spherical coordinates (rho, theta, phi) of x [3].

    They are the distance, the angle from the z axis in [0, pi], and the azimuth in [0, 2 pi).

    Example:
        >>> found = kf.systems.spherical(jnp.array([0.0, -2.0, 0.0]))
        >>> print(np.asarray(found).round(3))
        [2.    1.571 4.712]
    """
    x = _real("spherical: x", x)
    if x.shape != (3,):
        raise ValueError(f"spherical: x has shape {x.shape}; expected [3]. Batch with jax.vmap.")
    azimuth = jnp.mod(bearing(x[0], x[1]), 2 * jnp.pi)
    # The angle from the z axis by atan2, not arccos(z / rho), whose derivative is infinite on the
    # axis and whose digits are lost near it.
    return jnp.stack([norm(x), bearing(x[2], norm(x[:2])), azimuth])


def _real(name: str, values: Numbers) -> Array:
    """Return an array of real numbers; NaN and infinities stay, as in functions of numpy."""
    return jnp.asarray(real_array(name, values, finite=False))


def rotation(degrees: Scalar, n: int = 2) -> Float[Array, "n n"]:
    """Return the matrix [n, n] that rotates the first two axes counter-clockwise by an angle.

    Args:
        degrees: the angle.
        n: number of axes.

    Example:
        >>> print(np.asarray(kf.systems.rotation(30.0)).round(3))
        [[ 0.866 -0.5  ]
         [ 0.5    0.866]]
    """
    return jnp.asarray(_rotation(degrees, n))


def _rotation(degrees: Scalar, n: int) -> Any:
    """Return the matrix of `rotation`, in numpy if the angle is known."""
    degrees = real_array("rotation: degrees", degrees, ndim=0)
    check_count("rotation: n", n, least=2)
    xp = numeric(degrees)
    c = xp.cos(xp.deg2rad(degrees))
    s = xp.sin(xp.deg2rad(degrees))
    plane = xp.array([[c, -s], [s, c]])
    zero = np.zeros((2, n - 2))
    return xp.block([[plane, zero], [zero.T, np.eye(n - 2)]])


def roll_pitch_yaw(roll: Scalar, pitch: Scalar, yaw: Scalar) -> Float[Array, "3 3"]:
    """Return the rotation R_z(yaw) R_y(pitch) R_x(roll), [3, 3], of angles in degrees."""
    R_x, R_y, R_z = (_about(axis, angle) for axis, angle in enumerate((roll, pitch, yaw)))
    return jnp.asarray(R_z @ R_y @ R_x)


def _about(axis: int, degrees: Scalar) -> Any:
    """Return the rotation counter-clockwise about one of three axes."""
    place = np.argsort(
        [(axis + 1) % 3, (axis + 2) % 3, axis]
    )  # position of each axis among (first, second, axis)
    return _rotation(degrees, 3)[place][:, place]


def rotate(
    matrix: Real[ArrayLike, "k n"], degrees: Scalar, order: str = "left"
) -> Float[Array, "k n"]:
    """Rotate the first two axes of the output (R M) or of the input (M R) of a matrix M [k, n].

    The KalmanNet paper's mismatch of the dynamics is printed as R F, but the published data sets
    use F R.

    Args:
        matrix: [k, n].
        degrees: angle, counter-clockwise.
        order: "left" for R M, "right" for M R.

    Raises:
        ValueError: if order is neither.

    Example:
        >>> F = kf.systems.canonical(2).f.A
        >>> print(np.asarray(kf.systems.rotate(F, 10.0, order="right")).round(3))
        [[1.158 0.811]
         [0.174 0.985]]

    References:
        G. Revach et al., KalmanNet: neural network aided Kalman filtering for partially known
        dynamics, IEEE Trans. Signal Process. 70 (2022), section IV-B.
    """
    choose("rotate: order", order, ("left", "right"))
    matrix = real_array("rotate: matrix", matrix)
    shape = np.shape(matrix)
    if len(shape) != 2 or min(shape) < 2:
        raise ValueError(
            f"rotate: matrix has shape {shape}; expected [k, n] with at least two axes to rotate."
        )
    matrix = numeric(matrix).asarray(matrix)
    if order == "left":
        return jnp.asarray(_rotation(degrees, shape[0]) @ matrix)
    return jnp.asarray(matrix @ _rotation(degrees, shape[1]))
