"""Systems to try filters on: each function returns a `kfjax.StateSpaceModel` with working defaults.

A mismatched design model is an ordinary model: call the same function with another `taylor_order`,
`rotation_degrees`, `parameters`, ... than for the truth.
"""

from kfjax.systems.geometry import bearing, norm, roll_pitch_yaw, rotate, rotation, spherical
from kfjax.systems.integration import rk4
from kfjax.systems.kinematics import (
    constant_acceleration,
    constant_velocity,
    coordinated_turn,
    wiener_velocity,
)
from kfjax.systems.linear import canonical
from kfjax.systems.lorenz63 import LorenzParameters, decimated_lorenz, lorenz
from kfjax.systems.parts import known, noise_free
from kfjax.systems.pendulums import PendulumParameters, pendulum
from kfjax.systems.registry import example_inputs, get, names
from kfjax.systems.toys import TOY_TABLE_II, ToyParameters, toy
from kfjax.systems.tracking import bearing_range, bearings_only, range_only
from kfjax.systems.tutorial import tutorial_climb, tutorial_helix, tutorial_line

__all__ = [
    "TOY_TABLE_II",
    "LorenzParameters",
    "PendulumParameters",
    "ToyParameters",
    "bearing",
    "bearing_range",
    "bearings_only",
    "canonical",
    "constant_acceleration",
    "constant_velocity",
    "coordinated_turn",
    "decimated_lorenz",
    "example_inputs",
    "get",
    "known",
    "lorenz",
    "names",
    "noise_free",
    "norm",
    "pendulum",
    "range_only",
    "rk4",
    "roll_pitch_yaw",
    "rotate",
    "rotation",
    "spherical",
    "toy",
    "tutorial_climb",
    "tutorial_helix",
    "tutorial_line",
    "wiener_velocity",
]
