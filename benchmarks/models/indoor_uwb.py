"""Range-only localisation of a small robot on the Labyrinth data set.

`kfjax.data.read_indoor_uwb` reads it.

    kfjax compare --data ../shared/data/indoor_uwb --model benchmarks/models/indoor_uwb.py:model
    --components 0,1

The state is x and y in metres, and the heading in radians (wrapped). Odometry moves the pose like a
differential drive; every step observes one range to one anchor. The robot starts anywhere among the
anchors, with an unknown heading.
"""

import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

import kfjax as kf

# All seven constants are maximum likelihood estimates of the unscented filter on the first 10 s of
# the record (78 of 233 ranges), rounded; the ground truth was not used.
TURN_SCALE = 0.7  # the wheels slip sideways, so that the robot turns less than they report
FORWARD_STD = 0.11  # m / sqrt(s)
SIDEWAYS_STD = 0.02  # m / sqrt(s)
TURN_STD = 1.0  # relative to the turn reported
HEADING_STD = 0.2  # rad / sqrt(s)
RANGE_STD = 0.08  # m; the record also has outliers of up to 0.6 m
RANGE_BIAS = 0.11  # m; walls and antennas make the ranges too long


def velocity(u: dict[str, Array]) -> tuple[Array, Array, Array]:
    """Return forward and sideways speed (m/s) and turn rate (rad/s), as the wheels report them."""
    return (u["right"] + u["left"]) / 2, u["lateral"], (u["right"] - u["left"]) / u["wheel_base"]


def move(turn_scale: Array, x: Array, u: dict[str, Array]) -> Array:
    """Move the pose by the odometry of one step, along the heading at its middle."""
    forward, sideways, turn = velocity(u)
    turned = turn_scale * turn * u["dt"]
    middle = x[2] + turned / 2
    c, s = jnp.cos(middle), jnp.sin(middle)
    shift = u["dt"] * jnp.stack([forward * c - sideways * s, forward * s + sideways * c])
    return kf.angles(2).retract(x, jnp.append(shift, turned))


def slip(stds: Array, x: Array, u: dict[str, Array]) -> Array:
    """Return the process noise covariance.

    It has random walks along, across and about the robot, and a part proportional to the turn.
    """
    c, s = jnp.cos(x[2]), jnp.sin(x[2])
    zero, one = jnp.zeros_like(c), jnp.ones_like(c)
    along, across, about = [c, s, zero], [-s, c, zero], [zero, zero, one]
    axes = jnp.stack([jnp.stack(along), jnp.stack(across), jnp.stack(about)])
    forward, sideways, turn, heading = stds**2
    turned = velocity(u)[2] * u["dt"]
    of_heading = turn * turned**2 + heading * u["dt"]
    variances = jnp.stack([forward * u["dt"], sideways * u["dt"], of_heading])
    return (variances[:, None, None] * axes[:, :, None] * axes[:, None, :]).sum(0)


def distance(bias: Array, x: Array, u: dict[str, Array]) -> Array:
    """Return the range to the anchor of this step, [1]."""
    return (jnp.hypot(x[0] - u["anchor"][0], x[1] - u["anchor"][1]) + bias)[None]


model = kf.StateSpaceModel(
    f=Partial(move, TURN_SCALE),
    h=Partial(distance, RANGE_BIAS),
    Q=Partial(slip, jnp.array([FORWARD_STD, SIDEWAYS_STD, TURN_STD, HEADING_STD])),
    R=[[RANGE_STD**2]],
    prior=kf.Gaussian(jnp.array([1.2, 1.2, 0.0]), jnp.diag(jnp.array([0.7, 0.7, 2.0]) ** 2)),
    state_space=kf.angles(2),
)
