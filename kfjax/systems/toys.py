"""The two-dimensional nonlinear toy model of the KalmanNet paper."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from kfjax._support.arguments import check_count, choose
from kfjax._support.types import OneOrEach, Scalar
from kfjax.base import Gaussian, Inputs
from kfjax.models.state_space import StateSpaceModel
from kfjax.systems.parts import diagonal, prior_or, standard_prior

__all__ = ["TOY_TABLE_II", "ToyParameters", "toy"]


class ToyParameters(NamedTuple):
    """f(x) = alpha sin(beta x + phi) + delta and h(x) = a (b x + c)^2, by component."""

    alpha: Scalar
    beta: Scalar
    phi: Scalar
    delta: Scalar
    a: Scalar
    b: Scalar
    c: Scalar


TOY_TABLE_II = {
    "full": ToyParameters(0.9, 1.1, 0.1 * np.pi, 0.01, 1.0, 1.0, 0.0),
    "partial": ToyParameters(1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0),
}


def toy(
    parameters: str | ToyParameters = "full",
    *,
    dimensions: int = 2,
    q_std: OneOrEach = 0.1,
    r_std: OneOrEach = 0.1,
    prior: Gaussian | None = None,
) -> StateSpaceModel:
    """Return the sinusoidal model with quadratic observation.

    x_t = alpha sin(beta x_{t-1} + phi) + delta + e_t,  y_t = a (b x_t + c)^2 + v_t, by component.

    Args:
        parameters: "full" (the truth in Table II), "partial" (its mismatched design), or
            `ToyParameters`.
        dimensions: n = m.
        q_std: standard deviation of the process noise, a number or [n].
        r_std: standard deviation of the observation noise, a number or [m].
        prior: belief about x_0; default N(1, 0.01 I), since a broad prior does not
            determine the sign of x.

    Returns:
        The model; all parameters are leaves, so that gradients reach them.

    Raises:
        ValueError: if the name is unknown.

    Example:
        >>> kf.systems.toy("partial").f(jnp.array([0.0, jnp.pi / 2]), None).tolist()
        [0.0, 1.0]

    References:
        G. Revach et al., KalmanNet: neural network aided Kalman filtering for partially known
        dynamics, IEEE Trans. Signal Process. 70 (2022), equation (16) and Table II.
    """
    check_count("toy: dimensions", dimensions)
    if not isinstance(parameters, ToyParameters):
        choose("toy: parameters", parameters, TOY_TABLE_II)
        parameters = TOY_TABLE_II[parameters]
    Q = diagonal("toy: q_std", q_std, dimensions)
    R = diagonal("toy: r_std", r_std, dimensions)
    start = prior_or(prior, standard_prior(np.ones(dimensions), 0.1))
    return StateSpaceModel(
        Partial(_evolve, parameters[:4]), Partial(_observe, parameters[4:]), Q, R, start
    )


def _evolve(theta: tuple[Array, ...], x: Array, u: Inputs) -> Array:
    del u
    alpha, beta, phi, delta = theta
    return alpha * jnp.sin(beta * x + phi) + delta


def _observe(theta: tuple[Array, ...], x: Array, u: Inputs) -> Array:
    del u
    a, b, c = theta
    return a * (b * x + c) ** 2
