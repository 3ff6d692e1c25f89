"""Linear systems in canonical form: the synthetic benchmark of the KalmanNet paper."""

from __future__ import annotations

import numpy as np

from kfjax._support.arguments import check_count, choose
from kfjax._support.types import OneOrEach
from kfjax.base import Gaussian
from kfjax.models.state_space import StateSpaceModel, linear_gaussian
from kfjax.systems.parts import diagonal, prior_or, standard_prior

__all__ = ["canonical"]


def canonical(
    n: int = 2,
    m: int | None = None,
    form: str = "identity",
    *,
    q_std: OneOrEach = 0.1,
    r_std: OneOrEach = 1.0,
    prior: Gaussian | None = None,
) -> StateSpaceModel:
    """Return the linear system whose F is the identity with a first row of ones.

    x_t = F x_{t-1} + e_t, y_t = H x_t + v_t, with H the first m rows of the identity, of F
    ("canonical"), or of the reversed identity with a first row of ones ("inverse_canonical"). For
    rotated designs see `kfjax.systems.rotate`.

    Args:
        n: dimension of the state.
        m: dimension of the observation, at most n; default n.
        form: "identity", "canonical" or "inverse_canonical", the form of H.
        q_std: standard deviation of the process noise, a number or [n].
        r_std: standard deviation of the observation noise, a number or [m].
        prior: belief about x_0; default N(0, I).

    Returns:
        The model.

    Raises:
        ValueError: if m exceeds n, or the form is unknown.

    Example:
        >>> kf.systems.canonical(3, 2, form="inverse_canonical").h.A.tolist()
        [[1.0, 1.0, 1.0], [0.0, 1.0, 0.0]]

    References:
        G. Revach et al., KalmanNet: neural network aided Kalman filtering for partially known
        dynamics, IEEE Trans. Signal Process. 70 (2022), section IV-B.
    """
    m = n if m is None else m
    check_count("canonical: n", n)
    check_count("canonical: m", m)
    if m > n:
        raise ValueError(
            f"canonical: m is {m} and n is {n}; expected m <= n, since H consists of rows of a"
            " matrix [n, n]."
        )
    choose("canonical: form", form, ("identity", "canonical", "inverse_canonical"))
    identity = np.eye(n)
    H = {
        "identity": identity,
        "canonical": _ones_first(identity),
        "inverse_canonical": _ones_first(identity[::-1]),
    }
    Q = diagonal("canonical: q_std", q_std, n)
    R = diagonal("canonical: r_std", r_std, m)
    return linear_gaussian(
        _ones_first(identity),
        H[form][:m],
        Q,
        R,
        prior_or(prior, standard_prior(np.zeros(n))),
    )


def _ones_first(matrix: np.ndarray) -> np.ndarray:
    """Set the first row to ones."""
    return np.concatenate([np.ones_like(matrix[:1]), matrix[1:]])
