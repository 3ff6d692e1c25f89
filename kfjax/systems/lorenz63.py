"""The Lorenz attractor, discretised as in the KalmanNet paper and its data, or more exactly."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from kfjax._support.arguments import check_count, check_flag, check_number, check_positive, choose
from kfjax._support.types import OneOrEach, Scalar
from kfjax.base import Gaussian, Inputs
from kfjax.models.functions import Linear
from kfjax.models.spaces import angles
from kfjax.models.state_space import StateSpaceModel
from kfjax.systems.geometry import roll_pitch_yaw, spherical
from kfjax.systems.integration import rk4
from kfjax.systems.parts import diagonal, prior_or, standard_prior

__all__ = ["LorenzParameters", "decimated_lorenz", "lorenz"]


class LorenzParameters(NamedTuple):
    """dx/dt = sigma (y - x), dy/dt = x (rho - z) - y, dz/dt = x y - beta z, in steps of dt."""

    sigma: Scalar
    rho: Scalar
    beta: Scalar
    dt: Scalar


def lorenz(
    *,
    dt: Scalar = 0.02,
    integrator: str = "taylor",
    taylor_order: int | None = None,
    factorisation: str | None = None,
    substeps: int = 1,
    observation: str = "identity",
    rotation_degrees: Scalar | None = None,
    wrap: bool = True,
    q_std: OneOrEach = 0.1,
    r_std: OneOrEach = 0.1,
    prior: Gaussian | None = None,
) -> StateSpaceModel:
    """Return the Lorenz attractor with sigma = 10, rho = 28, beta = 8/3.

    "taylor": x_t = sum_{j=0}^J (A(x) dt)^j / j! x with dx/dt = A(x) x, which freezes A over the
    step: it tends to exp(A(x) dt) x as J grows, and to the true flow only as dt/substeps shrinks. A
    is not unique; the two choices below differ by O(dt^2) in a step. "rk4": the classical
    Runge-Kutta step, of local error O(dt^5).

    Args:
        dt: step length in seconds.
        integrator: "taylor" or "rk4".
        taylor_order: J, default 5; for "taylor" only.
        factorisation: "authors", A = [[-10, 10, 0], [28 - z, -1, 0], [y, 0, -8/3]] (the default,
            and that of the published data), or "paper", A = [[-10, 10, 0], [28, -1, -x], [0, x,
            -8/3]]; for "taylor" only.
        substeps: number of equal steps that make up dt; 2 are the half-steps of the paper's
            decimation study.
        observation: "identity", "rotated" (the identity rotated about each axis), or "spherical"
            (rho, theta, phi).
        rotation_degrees: angle about each of the x, y and z axes, default 1; for "rotated" only.
        wrap: whether innovations of phi are wrapped to [-pi, pi]; for "spherical" only.
        q_std: standard deviation of the process noise per step, a number or [3].
        r_std: standard deviation of the observation noise, a number or [3].
        prior: belief about x_0; default N((1, 1, 1), 0.01 I).

    Returns:
        The model, with n = m = 3.

    Raises:
        ValueError: if a choice is unknown, or an argument does not belong to the chosen option.

    Example:
        >>> truth = kf.systems.lorenz(integrator="rk4", q_std=0.0)
        >>> design = kf.systems.lorenz(taylor_order=1, q_std=0.5)
        >>> xs, ys = kf.simulate(jax.random.key(0), truth, steps=20)
        >>> kf.run(kf.extended(), design, ys).outputs.mean.shape
        (20, 3)

    References:
        G. Revach et al., KalmanNet: neural network aided Kalman filtering for partially known
        dynamics, IEEE Trans. Signal Process. 70 (2022), equation (17).
    """
    check_positive("lorenz: dt", dt)
    check_count("lorenz: substeps", substeps)
    choose("lorenz: observation", observation, ("identity", "rotated", "spherical"))
    check_flag("lorenz: wrap", wrap)
    h: Any = Linear(np.eye(3)) if observation == "identity" else Partial(_spherical)
    if observation == "rotated":
        angle = 1.0 if rotation_degrees is None else rotation_degrees
        h = Linear(roll_pitch_yaw(angle, angle, angle))
    elif rotation_degrees is not None:
        raise ValueError(
            f"lorenz: got rotation_degrees for observation={observation!r}; expected it for"
            " 'rotated' only."
        )
    return StateSpaceModel(
        Partial(
            _Flow(_stepper(integrator, taylor_order, factorisation), substeps),
            LorenzParameters(10.0, 28.0, 8 / 3, dt),
        ),
        h,
        diagonal("lorenz: q_std", q_std, 3),
        diagonal("lorenz: r_std", r_std, 3),
        prior_or(prior, standard_prior(np.ones(3), 0.1)),
        observation_space=angles(2) if observation == "spherical" and wrap else None,
    )


def decimated_lorenz(
    *, dt: float = 0.02, dense_dt: float = 1e-5, q_std: OneOrEach = 0.0, **options: Any
) -> StateSpaceModel:
    """Return the attractor sampled densely and decimated, without process noise.

    x_t is x after dt / dense_dt small steps. It is the truth of the sampling-mismatch study;
    simulate from it and filter with `lorenz`.

    Args:
        dt: time between the samples kept, seconds.
        dense_dt: length of a small step, seconds, of which dt must be a multiple.
        q_std: standard deviation of noise added once per sample kept.
        **options: the other arguments of `kfjax.systems.lorenz`, except substeps.

    Returns:
        The model.

    Raises:
        ValueError: if dt is not a multiple of dense_dt, and as in `lorenz`.

    Example:
        >>> truth = kf.systems.decimated_lorenz(r_std=1.0)
        >>> xs, ys = kf.simulate(jax.random.key(0), truth, steps=10)
        >>> xs.shape
        (10, 3)

    References:
        G. Revach et al., KalmanNet: neural network aided Kalman filtering for partially known
        dynamics, IEEE Trans. Signal Process. 70 (2022), section IV-D, Table III.
    """
    check_number("decimated_lorenz: dt", dt, above=0)
    check_number("decimated_lorenz: dense_dt", dense_dt, above=0)
    substeps = round(dt / dense_dt)
    if abs(substeps * dense_dt - dt) > 1e-6 * dt:
        raise ValueError(
            f"decimated_lorenz: dt is {dt} and dense_dt {dense_dt}; expected dt to be a multiple"
            " of dense_dt."
        )
    return lorenz(dt=dt, substeps=substeps, q_std=q_std, **options)


@dataclasses.dataclass(frozen=True)
class _Flow:
    """(theta, x, u) -> x after substeps of theta.dt / substeps.

    It is hashable, so that models built alike share one trace.
    """

    step: Callable[[LorenzParameters, Array], Array]
    substeps: int

    def __call__(self, theta: LorenzParameters, x: Array, u: Inputs) -> Array:
        del u
        small = theta._replace(dt=theta.dt / self.substeps)
        if self.substeps == 1:
            return self.step(small, x)
        x = x.astype(jnp.result_type(x, *theta))  # the carry of a loop must keep its type
        return jax.lax.fori_loop(
            0, self.substeps, lambda _, z: self.step(small, z), x, unroll=min(self.substeps, 4)
        )


@dataclasses.dataclass(frozen=True)
class _TaylorStep:
    """(theta, x) -> sum_{j=0}^J (A(x) dt)^j / j! x."""

    order: int
    factorisation: str

    def __call__(self, theta: LorenzParameters, x: Array) -> Array:
        apply = _FACTORISATIONS[self.factorisation]
        term = total = x
        for j in range(1, self.order + 1):
            term = theta.dt / j * apply(theta, x, term)
            total = total + term
        return total


def _rk4_step(theta: LorenzParameters, x: Array) -> Array:
    return rk4(lambda z: _authors_product(theta, z, z), x, theta.dt)


def _authors_product(theta: LorenzParameters, x: Array, v: Array) -> Array:
    """Return A(x) v with the A(x) of the published data sets; A(x) x is the drift."""
    sigma, rho, beta, _ = theta
    first = sigma * (v[1] - v[0])
    second = (rho - x[2]) * v[0] - v[1]
    third = x[1] * v[0] - beta * v[2]
    return jnp.stack([first, second, third])


def _paper_product(theta: LorenzParameters, x: Array, v: Array) -> Array:
    """Return A(x) v with the A(x) of equation (17); A(x) x is the drift."""
    sigma, rho, beta, _ = theta
    return jnp.stack(
        [sigma * (v[1] - v[0]), rho * v[0] - v[1] - x[0] * v[2], x[0] * v[1] - beta * v[2]]
    )


_FACTORISATIONS = {"authors": _authors_product, "paper": _paper_product}


def _stepper(
    integrator: str, taylor_order: int | None, factorisation: str | None
) -> Callable[..., Array]:
    """Return the step `(theta, x) -> x`; raise for arguments of the other integrator."""
    choose("lorenz: integrator", integrator, ("taylor", "rk4"))
    if integrator == "rk4":
        if taylor_order is not None or factorisation is not None:
            raise ValueError(
                "lorenz: got taylor_order or factorisation for integrator='rk4'; expected them for"
                " 'taylor' only."
            )
        return _rk4_step
    order = 5 if taylor_order is None else taylor_order
    factorisation = factorisation or "authors"
    check_count("lorenz: taylor_order", order)
    choose("lorenz: factorisation", factorisation, _FACTORISATIONS)
    return _TaylorStep(int(order), factorisation)


def _spherical(x: Array, u: Inputs) -> Array:
    del u
    return spherical(x)
