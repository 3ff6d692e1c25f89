"""Moving bodies: integrators driven by white noise, discretised exactly, and the coordinated turn.

States are ordered by axis: (p_x, v_x, p_y, v_y, ...). With dt=None the inputs give the step
lengths, as u_t itself or as u_t["dt"]; `kfjax.time_steps` computes them from timestamps.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial
from jax.typing import ArrayLike

from kfjax._support.arguments import check_count, check_positive, choose, numeric
from kfjax._support.types import AnyArray, Numbers, OneOrEach, Scalar
from kfjax.base import Gaussian, Inputs
from kfjax.models.functions import Linear
from kfjax.models.state_space import StateSpaceModel
from kfjax.systems.integration import IntegratedNoise, IntegratorTransition, step_length
from kfjax.systems.parts import diagonal, prior_or, standard_prior

__all__ = ["constant_acceleration", "constant_velocity", "coordinated_turn", "wiener_velocity"]

_NAMES = {2: "constant_velocity", 3: "constant_acceleration"}
_DERIVATIVES = ("position", "velocity", "acceleration")


def _integrators(
    order: int,
    dimensions: int,
    *,
    dt: Any,
    q_density: Numbers,
    r_std: Numbers,
    measure: str,
    prior: Gaussian | None,
) -> StateSpaceModel:
    """Return `order` integrators per axis, driven by white noise."""
    who = _NAMES[order]
    check_count(f"{who}: dimensions", dimensions)
    choose(f"{who}: measure", measure, _DERIVATIVES[:order])
    check_positive(f"{who}: q_density", q_density, zero=True)
    F: Any = IntegratorTransition(order, dimensions)
    Q: Any = Partial(IntegratedNoise(order, dimensions), q_density)
    if dt is not None:
        check_positive(f"{who}: dt", dt)
        F = F(dt)
        Q = Q(None, dt)
    measured = np.eye(order)[_DERIVATIVES.index(measure)]
    H = np.kron(np.eye(dimensions), measured)
    R = diagonal(f"{who}: r_std", r_std, dimensions)
    return StateSpaceModel(
        Linear(F),
        Linear(H),
        Q,
        R,
        prior_or(prior, standard_prior(np.zeros(order * dimensions))),
    )


def constant_velocity(
    dimensions: int = 1,
    *,
    dt: Scalar | None = 1.0,
    q_density: Scalar = 0.01,
    r_std: OneOrEach = 1.0,
    measure: str = "position",
    prior: Gaussian | None = None,
) -> StateSpaceModel:
    """Return a body whose velocity is a Wiener process, discretised exactly.

    Per axis F = [[1, dt], [0, 1]] and Q = q_density [[dt^3/3, dt^2/2], [dt^2/2, dt]].

    Args:
        dimensions: d, number of axes; n = 2 d, ordered (p_x, v_x, p_y, v_y, ...).
        dt: step length in seconds, or None to read it from the inputs (u_t = dt_t, or u_t["dt"]).
        q_density: spectral density of the white acceleration noise, m^2/s^3.
        r_std: standard deviation of the observations, a number or [d].
        measure: "position" or "velocity".
        prior: belief about x_0; default N(0, I).

    Returns:
        The model, with m = d.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> model = kf.systems.constant_velocity(2, dt=None)
        >>> us = kf.time_steps(np.array([0.3, 0.5, 1.2]), start=0.0)
        >>> xs, ys = kf.simulate(jax.random.key(0), model, us=us)
        >>> kf.run(kf.kalman(), model, ys, us=us).outputs.mean.shape
        (3, 4)

    References:
        Y. Bar-Shalom, X. R. Li, T. Kirubarajan, Estimation with Applications to Tracking and
        Navigation (2001), section 6.2.2.
    """
    return _integrators(
        2, dimensions, dt=dt, q_density=q_density, r_std=r_std, measure=measure, prior=prior
    )


def constant_acceleration(
    dimensions: int = 1,
    *,
    dt: Scalar | None = 1.0,
    q_density: Scalar = 0.01,
    r_std: OneOrEach = 1.0,
    measure: str = "position",
    prior: Gaussian | None = None,
) -> StateSpaceModel:
    """Return a body whose acceleration is a Wiener process, discretised exactly.

    Per axis F = [[1, dt, dt^2/2], [0, 1, dt], [0, 0, 1]] and
    Q = q_density [[dt^5/20, dt^4/8, dt^3/6], [dt^4/8, dt^3/3, dt^2/2], [dt^3/6, dt^2/2, dt]].

    Args:
        dimensions: d, number of axes; n = 3 d, ordered (p_x, v_x, a_x, p_y, ...).
        dt: step length in seconds, or None to read it from the inputs (u_t = dt_t, or u_t["dt"]).
        q_density: spectral density of the white jerk noise, m^2/s^5.
        r_std: standard deviation of the observations, a number or [d].
        measure: "position", "velocity" or "acceleration".
        prior: belief about x_0; default N(0, I).

    Returns:
        The model, with m = d.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> kf.systems.constant_acceleration(dt=2.0).f.A.tolist()
        [[1.0, 2.0, 2.0], [0.0, 1.0, 2.0], [0.0, 0.0, 1.0]]

    References:
        Y. Bar-Shalom, X. R. Li, T. Kirubarajan, Estimation with Applications to Tracking and
        Navigation (2001), section 6.2.3.
    """
    return _integrators(
        3, dimensions, dt=dt, q_density=q_density, r_std=r_std, measure=measure, prior=prior
    )


def wiener_velocity(
    *,
    dt: Scalar | None = 1.0,
    q_density: Scalar = 1.0,
    r_std: OneOrEach = 1.0,
    prior: Gaussian | None = None,
) -> StateSpaceModel:
    """Return the planar model of the Segway in the KalmanNet paper: Wiener velocity and odometry.

    The state is (p_x, v_x, p_y, v_y) and the observation (v_x, v_y): odometry measures the
    velocities, and nothing corrects the integrated positions.

    Args:
        dt: step length in seconds, or None to read it from the inputs.
        q_density: spectral density of the white acceleration noise, m^2/s^3.
        r_std: standard deviation of the velocities, m/s, a number or [2].
        prior: belief about x_0; default N(0, I).

    Returns:
        The model, with n = 4 and m = 2.

    Example:
        >>> kf.systems.wiener_velocity().h.A.tolist()
        [[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]

    References:
        G. Revach et al., KalmanNet: neural network aided Kalman filtering for partially known
        dynamics, IEEE Trans. Signal Process. 70 (2022), equations (20)-(23).
    """
    return constant_velocity(
        2, dt=dt, q_density=q_density, r_std=r_std, measure="velocity", prior=prior
    )


def coordinated_turn(
    *,
    dt: Scalar | None = 1.0,
    q_density: Scalar = 0.01,
    turn_rate_density: Scalar = 1e-4,
    r_std: OneOrEach = 1.0,
    prior: Gaussian | None = None,
) -> StateSpaceModel:
    """Return a body in the plane that turns at a slowly varying rate w.

    The state is (p_x, v_x, p_y, v_y, w), and positions are observed. The velocity rotates by w dt
    in a step; the motion is exact for a constant w, zero included.

    Args:
        dt: step length in seconds, or None to read it from the inputs (u_t = dt_t, or u_t["dt"]).
        q_density: spectral density of the white acceleration noise, m^2/s^3.
        turn_rate_density: spectral density of the white noise dw/dt, rad^2/s^3.
        r_std: standard deviation of the positions in metres, a number or [2].
        prior: belief about x_0; default 10 m/s along x, turning at 0.1 rad/s.

    Returns:
        The model, with n = 5 and m = 2.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> model = kf.systems.coordinated_turn(dt=np.pi / 0.2)
        >>> # a quarter of its circle
        >>> quarter = model.f(jnp.array([0.0, 10.0, 0.0, 0.0, 0.1]), None)
        >>> print(np.asarray(quarter).round(2))
        [100.   -0.  100.   10.    0.1]

    References:
        Y. Bar-Shalom, X. R. Li, T. Kirubarajan, Estimation with Applications to Tracking and
        Navigation (2001), section 11.7.
    """
    for name, value in (("q_density", q_density), ("turn_rate_density", turn_rate_density)):
        check_positive(f"coordinated_turn: {name}", value, zero=True)
    f = Partial(_turn_irregular)
    Q = Partial(_turn_noise, (q_density, turn_rate_density))
    if dt is not None:
        check_positive("coordinated_turn: dt", dt)
        f = Partial(_turn, dt)
        Q = Q(None, dt)
    H = np.eye(5)[[0, 2]]
    start = standard_prior([0.0, 10.0, 0.0, 0.0, 0.1], [1.0, 1.0, 1.0, 1.0, 0.03])
    return StateSpaceModel(
        f,
        Linear(H),
        Q,
        diagonal("coordinated_turn: r_std", r_std, 2),
        prior_or(prior, start),
    )


def _turn(dt: ArrayLike, x: AnyArray, u: Inputs) -> Array:
    """Rotate the velocity by w dt and integrate it; as jnp.sinc, sin(a)/a is smooth at a = 0."""
    del u
    p_x, v_x, p_y, v_y, w = x
    c = jnp.cos(w * dt)
    s = jnp.sin(w * dt)
    along = dt * jnp.sinc(w * dt / jnp.pi)  # sin(w dt) / w
    across = 0.5 * w * dt**2 * jnp.sinc(0.5 * w * dt / jnp.pi) ** 2  # (1 - cos(w dt)) / w
    return jnp.stack(
        [
            p_x + along * v_x - across * v_y,
            c * v_x - s * v_y,
            p_y + across * v_x + along * v_y,
            s * v_x + c * v_y,
            w,
        ]
    )


def _turn_irregular(x: AnyArray, u: Inputs) -> Array:
    return _turn(step_length(u), x, None)


def _turn_noise(densities: tuple[Array, Array], x: AnyArray, u: Inputs) -> Array:
    """Return Q for Wiener velocities on both axes and a Wiener turn rate."""
    q_density, turn_rate_density = densities
    planar = IntegratedNoise(2, 2)(q_density, x, u)
    turn = turn_rate_density * step_length(u)
    xp = numeric(planar, turn)
    zeros = np.zeros((4, 1))
    return xp.block([[planar, zeros], [zeros.T, xp.reshape(turn, (1, 1))]])
