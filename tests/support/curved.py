"""States and observations on curved spaces: headings, the unit circle, unit quaternions."""

import jax.numpy as jnp
import numpy as np

import kfjax as kf


def circle_difference(a, b):
    """The angle [1] from b to a, unit vectors of the plane."""
    return jnp.arctan2(b[0] * a[1] - b[1] * a[0], b[0] * a[0] + b[1] * a[1])[None]


def circle_retract(x, d):
    cosine, sine = jnp.cos(d[0]), jnp.sin(d[0])
    return jnp.stack([cosine * x[0] - sine * x[1], sine * x[0] + cosine * x[1]])


CIRCLE = kf.Space(circle_difference, circle_retract)


def quaternion_product(p, q):
    """The product of quaternions (w, x, y, z)."""
    w = p[0] * q[0] - jnp.dot(p[1:], q[1:])
    return jnp.concatenate([w[None], p[0] * q[1:] + q[0] * p[1:] + jnp.cross(p[1:], q[1:])])


def rotation_difference(a, b):
    """The rotation vector [3] from b to a, in the frame of b."""
    conjugate = b * jnp.array([1.0, -1.0, -1.0, -1.0], b.dtype)
    d = quaternion_product(conjugate, a)
    d = jnp.where(d[0] < 0, -d, d)
    return 2 * d[1:] * _ratio(jnp.sum(d[1:] ** 2), d[0])


def _ratio(squared_sine, cosine):
    """arctan2(s, c) / s for s = sin(angle / 2), and its limit at 0."""
    safe = jnp.where(squared_sine > 1e-12, squared_sine, 1.0)
    sine = jnp.sqrt(safe)
    return jnp.where(squared_sine > 1e-12, jnp.arctan2(sine, cosine) / sine, 1 / cosine)


def rotation_retract(q, d):
    squared = jnp.sum(d**2) / 4
    safe = jnp.where(squared > 1e-12, squared, 1.0)
    half = jnp.sqrt(safe)
    scale = jnp.where(squared > 1e-12, jnp.sin(half) / half, 1.0)
    cosine = jnp.where(squared > 1e-12, jnp.cos(half), 1 - squared / 2)
    moved = quaternion_product(q, jnp.concatenate([cosine[None], 0.5 * scale * d]))
    return moved / jnp.sqrt(jnp.sum(moved**2))


ROTATIONS = kf.Space(rotation_difference, rotation_retract)


def turn_heading(x, u):
    return kf.wrap_angle(x + 0.3)


def turn_circle(x, u):
    return circle_retract(x, jnp.full(1, 0.3, x.dtype))


def turn_quaternion(x, u):
    return rotation_retract(x, jnp.array([0.3, 0.0, 0.1], x.dtype))


def seen(x, u):
    return x


def compass(x, u):
    return jnp.arctan2(x[1], x[0])[None]


def third_axis(q, u):
    """Gravity and north in the frame of the body, six numbers."""
    w, x, y, z = q
    down = jnp.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)])
    north = jnp.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)])
    return jnp.concatenate([down, north])


def heading(q=0.01, r=0.04):
    """A heading that turns all the way round, N = n = 1, seen by a compass."""
    return kf.StateSpaceModel(
        turn_heading, seen, [[q]], [[r]], kf.Gaussian(np.array([3.0]), np.array([[0.1]])),
        state_space=kf.angles(0), observation_space=kf.angles(0),
    )  # fmt: skip


def circle(q=0.01, r=0.04):
    """The same heading as a unit vector, N = 2 and n = 1."""
    start = np.array([np.cos(3.0), np.sin(3.0)])
    return kf.StateSpaceModel(
        turn_circle, compass, [[q]], [[r]], kf.Gaussian(start, np.array([[0.1]])),
        state_space=CIRCLE, observation_space=kf.angles(0),
    )  # fmt: skip


def attitude(q=0.01, r=0.04):
    """An attitude as a unit quaternion, N = 4 and n = 3, seen by gravity and north."""
    start = np.array([1.0, 0.0, 0.0, 0.0])
    return kf.StateSpaceModel(
        turn_quaternion, third_axis, q * np.eye(3), r * np.eye(6),
        kf.Gaussian(start, 0.1 * np.eye(3)), state_space=ROTATIONS,
    )  # fmt: skip
