"""The pendulum: the standard small nonlinear example."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

from kfjax._support.arguments import check_positive, choose
from kfjax._support.types import OneOrEach, Scalar
from kfjax.base import Gaussian, Inputs
from kfjax.models.functions import Linear
from kfjax.models.spaces import angles
from kfjax.models.state_space import StateSpaceModel
from kfjax.systems.integration import IntegratedNoise, rk4
from kfjax.systems.parts import diagonal, prior_or, standard_prior

__all__ = ["PendulumParameters", "pendulum"]


class PendulumParameters(NamedTuple):
    """d^2 angle / dt^2 = -gravity / length sin(angle) - damping d angle / dt, in steps of dt."""

    gravity: Scalar
    length: Scalar
    damping: Scalar
    dt: Scalar


def pendulum(
    *,
    dt: Scalar = 0.01,
    gravity: Scalar = 9.81,
    length: Scalar = 1.0,
    damping: Scalar = 0.0,
    observation: str = "displacement",
    q_density: Scalar = 0.01,
    r_std: OneOrEach = 0.3,
    prior: Gaussian | None = None,
) -> StateSpaceModel:
    """Return a randomly driven pendulum with state (angle, rate).

    It hangs down at angle 0, and moves by one Runge-Kutta step.
    Q = q_density [[dt^3/3, dt^2/2], [dt^2/2, dt]]: white noise in the angular acceleration.

    Args:
        dt: step length in seconds.
        gravity: m/s^2.
        length: metres.
        damping: 1/s.
        observation: "displacement", y = length sin(angle) in metres, or "angle", y in radians with
            wrapped innovations.
        q_density: spectral density of the white noise in the angular acceleration, rad^2/s^3.
        r_std: standard deviation of the observations, metres or radians.
        prior: belief about x_0; default N((1.5, 0), 0.01 I).

    Returns:
        The model, with n = 2 and m = 1; all parameters are leaves, so that gradients reach them.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> model = kf.systems.pendulum(dt=0.05)
        >>> xs, ys = kf.simulate(jax.random.key(0), model, steps=40)
        >>> kf.run(kf.unscented(), model, ys).outputs.mean.shape
        (40, 2)

    References:
        S. Särkkä, Bayesian Filtering and Smoothing (2013), example 3.7, where the step is Euler's.
    """
    for name, value in (("dt", dt), ("length", length)):
        check_positive(f"pendulum: {name}", value)
    for name, value in (("gravity", gravity), ("damping", damping), ("q_density", q_density)):
        check_positive(f"pendulum: {name}", value, zero=True)
    choose("pendulum: observation", observation, ("displacement", "angle"))
    by_angle = observation == "angle"
    return StateSpaceModel(
        Partial(_swing, PendulumParameters(gravity, length, damping, dt)),
        Linear([[1.0, 0.0]]) if by_angle else Partial(_displacement, length),
        IntegratedNoise(2, 1)(q_density, None, dt),
        diagonal("pendulum: r_std", r_std, 1),
        prior_or(prior, standard_prior([1.5, 0.0], 0.1)),
        observation_space=angles(0) if by_angle else None,
    )


def _swing(theta: PendulumParameters, x: Array, u: Inputs) -> Array:
    del u

    def drift(z: Array) -> Array:
        return jnp.stack(
            [z[1], -theta.gravity / theta.length * jnp.sin(z[0]) - theta.damping * z[1]]
        )

    return rk4(drift, x, theta.dt)


def _displacement(length: Array, x: Array, u: Inputs) -> Array:
    del u
    return length * jnp.sin(x[:1])
