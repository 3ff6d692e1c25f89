"""The examples of a widely read tutorial on Kalman filters, corrected; its faults are options.

The constants are those of the tutorial. Simulate its data from `kfjax.systems.noise_free` of the
correct model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from kfjax._support.arguments import choose
from kfjax._support.naming import described
from kfjax._support.types import Numbers, Scalar
from kfjax.base import Inputs
from kfjax.models.functions import Linear
from kfjax.models.state_space import StateSpaceModel, linear_gaussian
from kfjax.systems.parts import diagonal, standard_prior

__all__ = ["tutorial_climb", "tutorial_helix", "tutorial_line"]

_RADIUS = 20.0  # metres
_TURN = 0.1  # radians per step
_CLIMB = 0.5  # metres per step


def tutorial_line(r_std: Scalar = 10.0) -> StateSpaceModel:
    """Return the first example: position and velocity along a line, observed in position.

    F = [[1, 1], [0, 1]], Q = diag(1, 3). The tutorial's truth starts at 0 with a constant velocity
    of 0.5 and takes 50 steps.

    Args:
        r_std: standard deviation of the observations.

    Example:
        >>> truth = kf.systems.noise_free(kf.systems.tutorial_line(), [0.0, 0.5])
        >>> xs, ys = kf.simulate(jax.random.key(0), truth, steps=50)
        >>> kf.run(kf.kalman(), kf.systems.tutorial_line(), ys).outputs.mean.shape
        (50, 2)
    """
    R = diagonal("tutorial_line: r_std", r_std, 1)
    return linear_gaussian(
        [[1.0, 1.0], [0.0, 1.0]], [[1.0, 0.0]], np.diag([1.0, 3.0]), R, standard_prior(np.zeros(2))
    )


def tutorial_helix(faults: Iterable[str] = (), *, r_std: Scalar = 1.0) -> StateSpaceModel:
    """Return the second example: a helix of radius 20, observed in position.

    It turns by 0.1 rad and climbs by 0.5 per step. The correct state is (x, y, z, w, v_z), where
    (x, y) rotates by w and z climbs by v_z. The tutorial takes 100 steps.

    Args:
        faults: any of "frozen_turn" (F linear, x gaining -20 sin(0.1) w and y 20 cos(0.1) w at
            every step, as if the body stood still on its circle), "no_climb" (no state v_z: z is
            constant), "start" (the belief starts at (0, 20, 0), the truth at (20, 0, 0)). The
            tutorial has all three.
        r_std: standard deviation of the observations.

    Raises:
        ValueError: if a fault is unknown.

    Example:
        >>> truth = kf.systems.noise_free(kf.systems.tutorial_helix())
        >>> xs, ys = kf.simulate(jax.random.key(0), truth, steps=100)
        >>> faulty = kf.systems.tutorial_helix(("frozen_turn", "no_climb", "start"))
        >>> def error(model):
        ...     mean = kf.run(kf.extended(), model, ys).outputs.mean
        ...     return jnp.abs(mean[:, :3] - xs[:, :3]).mean()
        >>> bool(error(faulty) > 3 * error(kf.systems.tutorial_helix()))
        True
    """
    faults = _checked("tutorial_helix", faults, ("frozen_turn", "no_climb", "start"))
    n = 4 if "no_climb" in faults else 5
    f: Any = Partial(_helix)
    if "frozen_turn" in faults:
        F = np.eye(n)
        F[:2, 3] = -_RADIUS * np.sin(_TURN), _RADIUS * np.cos(_TURN)
        F[2, 4:] = 1.0  # the climb, if there is a state for it
        f = Linear(F)
    xy = [0.0, _RADIUS] if "start" in faults else [_RADIUS, 0.0]
    return _positioned(f, 0.1 * np.eye(n), r_std, np.array([*xy, 0.0, _TURN, _CLIMB])[:n])


def tutorial_climb(faults: Iterable[str] = (), *, r_std: Scalar = 0.5**0.5) -> StateSpaceModel:
    """Return the third example: a climbing turn with inputs u = (dt, alpha); y = position.

    The correct state is (x, y, z, w, v), where (x, y) rotates by w dt, z climbs by v dt + alpha
    dt^2 / 2, and v grows by alpha dt. Q = diag(.1, .1, .1, .1, .01). The tutorial has dt = 1, alpha
    = 0.01, 100 steps, and its filter takes the Jacobian of f at f(x) instead of x; its truth is its
    own faulty f without noise.

    Args:
        faults: any of "euler" (a first-order rotation, whose radius grows by sqrt(1 + (w dt)^2) a
            step, to 1.4e6 after the tutorial's 100 steps), "shared_rate" (z climbs by w dt, and v
            never acts). The tutorial has both.
        r_std: standard deviation of the observations.

    Raises:
        ValueError: if a fault is unknown.

    Example:
        >>> model = kf.systems.tutorial_climb(("euler", "shared_rate"))
        >>> moved = model.f(model.prior.mean, jnp.array([1.0, 0.01]))
        >>> print(np.asarray(moved).round(3))
        [-10.    20.     0.5    0.5    0.11]
    """
    faults = _checked("tutorial_climb", faults, ("euler", "shared_rate"))
    Q = np.diag([0.1, 0.1, 0.1, 0.1, 0.01])
    return _positioned(
        Partial(_Climb("euler" in faults, "shared_rate" in faults)),
        Q,
        r_std,
        np.array([0.0, 20.0, 0.0, 0.5, 0.1]),
    )


def _positioned(f: Any, Q: np.ndarray, r_std: Numbers, x0: np.ndarray) -> StateSpaceModel:
    """Return the model whose first three states are observed, with P0 = I."""
    R = diagonal("tutorial: r_std", r_std, 3)
    return StateSpaceModel(f, Linear(np.eye(3, x0.shape[0])), Q, R, standard_prior(x0))


def _checked(who: str, faults: Iterable[str], options: tuple[str, ...]) -> frozenset[str]:
    if isinstance(faults, str):
        faults = (faults,)
    if not isinstance(faults, Iterable):
        raise ValueError(
            f"{who}: faults is {described(faults)}; expected some of {', '.join(options)}."
        )
    faults = tuple(faults)
    for fault in faults:
        choose(f"{who}: fault", fault, options)
    return frozenset(faults)


def _rotated(x: Array, angle: Array) -> tuple[Array, Array]:
    """Return the first two components rotated by an angle."""
    c = jnp.cos(angle)
    s = jnp.sin(angle)
    first = c * x[0] - s * x[1]
    second = s * x[0] + c * x[1]
    return first, second


def _helix(x: Array, u: Inputs) -> Array:
    """Take one step; without a state for the climb, z is constant."""
    del u
    climb = x[4] if x.shape[0] > 4 else 0.0
    return jnp.stack([*_rotated(x, x[3]), x[2] + climb, *x[3:]])


@dataclasses.dataclass(frozen=True)
class _Climb:
    """The climbing turn; hashable, so that models built alike share one trace."""

    euler: bool
    shared_rate: bool

    def __call__(self, x: Array, u: Array) -> Array:
        if np.shape(u) != (2,):
            raise ValueError(
                f"tutorial_climb: u has shape {np.shape(u)}; expected [2], (dt, alpha). Pass us [T,"
                " 2]."
            )
        dt, alpha = u
        turn = x[3] * dt
        plane = (x[0] - turn * x[1], x[1] + turn * x[0]) if self.euler else _rotated(x, turn)
        climb = turn if self.shared_rate else x[4] * dt + 0.5 * alpha * dt**2
        return jnp.stack([*plane, x[2] + climb, x[3], x[4] + alpha * dt])
