"""Smoothed disturbances in units of their standard deviations: outliers and breaks."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from kfjax import linalg
from kfjax._support.arguments import check_number
from kfjax._support.compiling import jit
from kfjax.base import Filter, Inputs, Mask, Params, whole_state
from kfjax.data.series import as_dataset
from kfjax.filters.checks import check_filter
from kfjax.models.observing import bind
from kfjax.models.state_space import StateSpaceModel, is_linear
from kfjax.runner import run
from kfjax.smoothers.rauch_tung_striebel import smooth

__all__ = ["AuxiliaryResiduals", "Disturbance", "auxiliary_residuals"]

WHO = "auxiliary_residuals"
LARGE = 3.0  # standard deviations
RESOLVED = 1e-9  # of the variance of a disturbance: less is rounding


class Disturbance(NamedTuple):
    """A disturbance that is large for its standard deviation.

    Attributes:
        step: its step, from 0.
        name: the channel or the state, with the name of its component in a structural model.
        residual: its smoothed value in units of its standard deviation.
    """

    step: int
    name: str
    residual: float


class AuxiliaryResiduals(NamedTuple):
    """Smoothed disturbances divided by their standard deviations.

    Attributes:
        observation: those of the observations [T, m]; NaN where nothing was observed, and where
            there is no noise.
        state: those of the transition to each step [T, n]; NaN for states without a disturbance,
            and in the first step of a model with first="update".
        channels: names of the channels.
        states: names of the states.
    """

    observation: Float[np.ndarray, "T m"]
    state: Float[np.ndarray, "T n"]
    channels: tuple[str, ...]
    states: tuple[str, ...]

    def outliers(self, threshold: float = LARGE) -> list[Disturbance]:
        """Return the observations that are off by more than `threshold`, the largest first."""
        return _large(self.observation, self.channels, threshold)

    def breaks(self, threshold: float = LARGE) -> list[Disturbance]:
        """Return the states that jump by more than `threshold`, the largest first."""
        return _large(self.state, self.states, threshold)


def auxiliary_residuals(
    filter: Filter, params: Params, ys: Any, *, us: Inputs = None, observed: Mask = None
) -> AuxiliaryResiduals:
    """Return smoothed disturbances of a linear model, which show outliers and breaks.

    e_t* = E[v_t | y_1..T] / sd,  r_t* = E[x_t - F x_{t-1} | y_1..T] / sd,

    with the standard deviations that these have if the model is right: their variances are
    R - H Cov[x_t | y] H', and Q less the covariance of x_t - F x_{t-1} given the record. A large
    e_t* is an outlier, a large r_t* of a level a break. Unlike innovations they use the whole
    record, and are correlated in time.

    Args:
        filter: a Gaussian filter such as `kfjax.kalman()` or `kfjax.exact_diffuse()`.
        params: a `StateSpaceModel` that is linear.
        ys: observations [T, m], NaN where missing.
        us: inputs [T, ...], or None.
        observed: mask [T] or [T, m]; default where ys is not NaN.

    Returns:
        `AuxiliaryResiduals`.

    Raises:
        ValueError: if the model is not linear, or the filter has no moment rule.

    Example:
        >>> model = kf.structural.level(1.0) + kf.structural.irregular(1.0)
        >>> ys = np.random.default_rng(0).normal(size=(50, 1))
        >>> ys[20] += 8.0
        >>> found = kf.evaluation.auxiliary_residuals(kf.exact_diffuse(), model, ys)
        >>> [(one.step, one.name) for one in found.outliers()]
        [(20, 'channel 1')]

    References:
        A. C. Harvey, S. J. Koopman, Diagnostic checking of unobserved-components time series
        models, J. Bus. Econ. Statist. 10 (1992); J. Durbin, S. J. Koopman, Time Series Analysis by
        State Space Methods, 2nd ed. (2012), sections 2.12.2 and 7.5.
    """
    check_filter(WHO, filter)
    if not isinstance(params, StateSpaceModel) or not is_linear(params):
        raise ValueError(
            f"{WHO}: params is {type(params).__name__}; expected a StateSpaceModel whose f and h"
            " are kf.Linear, such as a sum of kf.structural."
        )
    series = as_dataset(WHO, ys, us, observed)
    one = jax.tree.map(lambda a: jnp.asarray(a[0]), series)
    states = run(filter, params, one.ys, us=one.us, observed=one.observed, emit=whole_state)
    smoothed = smooth(filter, params, states.outputs, us=one.us)
    found = _disturbances(params, smoothed, one.ys, one.us)
    observation, variances, state, of_state = (np.asarray(a, np.float64) for a in found)
    observation = _standardised(observation, *np.moveaxis(variances, 1, 0))
    if one.observed is not None:
        observation = np.where(np.asarray(one.observed), observation, np.nan)
    names = None if series.labels is None else series.labels.ys
    channels = names or tuple(f"channel {j + 1}" for j in range(observation.shape[1]))
    return AuxiliaryResiduals(
        observation,
        _standardised(state, *np.moveaxis(of_state, 1, 0)),
        tuple(channels),
        _names_of_states(params),
    )


@functools.partial(jit)
def _disturbances(
    model: StateSpaceModel, smoothed: Any, ys: Array, us: Inputs
) -> tuple[Array, Array, Array, Array]:
    """Return smoothed disturbances, and [T, 2, ...] their variances before and given the record."""
    first = smoothed.initial
    if first is None:
        # there is no transition to the first step: NaN
        first = jax.tree.map(lambda a: jnp.full_like(a[0], jnp.nan), (smoothed.mean, smoothed.cov))
    before = [
        jnp.concatenate([jnp.asarray(start)[None], later[:-1]])
        for start, later in zip((first[0], first[1]), (smoothed.mean, smoothed.cov), strict=True)
    ]

    def one(mean: Any, cov: Any, cross: Any, earlier: Any, y: Array, u: Inputs) -> tuple:
        f = bind(model.f, u)
        H = bind(model.h, u, name="h")
        moved = f(earlier[0])
        F = f.A
        # Cov[x_t - F x_{t-1} | y], with C = Cov[x_t, x_{t-1} | y]
        half = linalg.matmul(cross, F.T)
        given = cov + linalg.quadratic(F, earlier[1]) - half - half.T
        Q = model.process_noise(earlier[0], u)
        R = model.observation_noise(mean, u)
        of_y = jnp.stack([jnp.diag(R), jnp.diag(linalg.quadratic(H.A, cov))])
        return y - H(mean), of_y, mean - moved, jnp.stack([jnp.diag(Q), jnp.diag(given)])

    series = (smoothed.mean, smoothed.cov, smoothed.cross, tuple(before), ys, us)
    return jax.vmap(one)(*series)


def _standardised(value: np.ndarray, before: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Divide disturbances by their standard deviations; NaN where a deviation is zero."""
    variance = before - given
    moves = variance > RESOLVED * before
    return np.where(moves, value / np.sqrt(np.where(moves, variance, 1.0)), np.nan)


def _names_of_states(model: StateSpaceModel) -> tuple[str, ...]:
    """Return the names of the states, by the components of a structural model."""
    blocks = getattr(model, "blocks", None)
    if blocks is None:
        return tuple(f"state {j + 1}" for j in range(model.n))
    names = []
    for name, block in blocks.items():
        size = block.stop - block.start
        names += [name if size == 1 else f"{name}[{j}]" for j in range(size)]
    return tuple(names)


def _large(residuals: np.ndarray, names: tuple[str, ...], threshold: float) -> list[Disturbance]:
    """Return the disturbances above a threshold, the largest first."""
    check_number(f"{WHO}: threshold", threshold, above=0)
    sizes = np.abs(np.nan_to_num(residuals))
    steps, columns = np.nonzero(sizes > threshold)
    order = np.argsort(-sizes[steps, columns], kind="stable")
    return [
        Disturbance(int(t), names[j], float(residuals[t, j]))
        for t, j in zip(steps[order], columns[order], strict=True)
    ]
