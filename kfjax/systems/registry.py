"""Systems by name, for the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from kfjax._support.arguments import check_count, choose
from kfjax.models.state_space import StateSpaceModel
from kfjax.systems.kinematics import (
    constant_acceleration,
    constant_velocity,
    coordinated_turn,
    wiener_velocity,
)
from kfjax.systems.linear import canonical
from kfjax.systems.lorenz63 import decimated_lorenz, lorenz
from kfjax.systems.pendulums import pendulum
from kfjax.systems.toys import toy
from kfjax.systems.tracking import bearing_range, bearings_only, range_only
from kfjax.systems.tutorial import tutorial_climb, tutorial_helix, tutorial_line

__all__ = ["example_inputs", "get", "names"]

_SYSTEMS: dict[str, Callable[..., StateSpaceModel]] = {
    system.__name__: system
    for system in (
        bearing_range,
        bearings_only,
        canonical,
        constant_acceleration,
        constant_velocity,
        coordinated_turn,
        decimated_lorenz,
        lorenz,
        pendulum,
        range_only,
        toy,
        tutorial_climb,
        tutorial_helix,
        tutorial_line,
        wiener_velocity,
    )
}


def names() -> tuple[str, ...]:
    """Return the names of all systems, sorted."""
    return tuple(sorted(_SYSTEMS))


def get(name: str) -> Callable[..., StateSpaceModel]:
    """Return the constructor of a system by its name.

    Raises:
        ValueError: if there is no such system; the text suggests the nearest name.

    Example:
        >>> kf.systems.get("lorenz")(observation="spherical").n
        3
    """
    choose("systems.get: name", name, names())
    return _SYSTEMS[name]


def example_inputs(name: str, steps: int) -> Any:
    """Return example inputs [steps, ...] for a system of defaults, or None if it takes none.

    Args:
        name: one of `names()`.
        steps: T.

    Raises:
        ValueError: if there is no such system, or steps is below one.

    Example:
        >>> kf.systems.example_inputs("tutorial_climb", steps=3).shape
        (3, 2)
    """
    get(name)
    check_count("example_inputs: steps", steps)
    if name == "tutorial_climb":
        return jnp.asarray(np.tile([[1.0, 0.01]], (steps, 1)))
    if name == "range_only":
        corners = np.array([[5.0, 5.0], [-5.0, 5.0], [-5.0, -5.0], [5.0, -5.0]])
        anchors = np.resize(corners, (steps, 1, 2))
        dt = np.resize([0.2, 0.1, 0.1], steps)
        return {"anchors": jnp.asarray(anchors), "dt": jnp.asarray(dt)}
    return None
