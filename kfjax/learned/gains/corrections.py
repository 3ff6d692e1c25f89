"""The extended Kalman filter with learned corrections of its gain and covariances.

P_{t|t-1} = F P F' + Q*,   S = H P_{t|t-1} H' + R*,   P_{t|t-1} = L L',   S = M M'
K = L (W + D) M^-1,        W = L' H' M^-T  (so that L W M^-1 is the Kalman gain)
P_{t|t} = stretched((I - K H) P_{t|t-1} (I - K H)' + K R* K')

A recurrent network computes D, the factors by which the standard deviations in Q* and R* differ
from those in Q and R, and the triangle that stretches the covariance after the update. Its last
layers start at zero: the untrained filter is the extended Kalman filter, in mean, covariance and
likelihood. All corrections are in the filter's own units of uncertainty, and bounded; every
covariance is valid whatever the network returns. Q* and R* are computed before y_t is seen, so that
the likelihood of y_t is valid too; D and the stretch of the result see y_t.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from kfjax import linalg
from kfjax._support.arguments import check_count, check_kind, real_numbers
from kfjax.base import Filter, Gaussian, Inputs, constructor
from kfjax.learned.gains.covariances import CovarianceRule, bounded, entries, rescaled, stretched
from kfjax.learned.gains.feature_maps import Raw
from kfjax.learned.gains.features import FEATURES
from kfjax.learned.gains.gain_filters import GainState, GainUpdate, gain_filter
from kfjax.learned.gains.sizes import check_sizes
from kfjax.learned.params import ContextFunction, Learned
from kfjax.learned.recurrent_networks.cells import RecurrentHead, dense
from kfjax.models.averages import centre_and_spread
from kfjax.models.functions import Linear
from kfjax.models.observing import Observation
from kfjax.models.state_space import StateSpaceModel
from kfjax.moments import Taylor

__all__ = ["corrected_gain", "state_scales"]


@constructor
def corrected_gain(
    n: int | None = None,
    m: int | None = None,
    *,
    hidden: int = 32,
    context: bool | ContextFunction = False,
    context_size: int = 0,
) -> Filter:
    """Return the extended Kalman filter with a learned correction of its gain and covariances.

    The correction starts at zero.

    K = K_EKF + L D M^-1 with P_{t|t-1} = L L', S = M M'; see `kfjax.learned.gains.corrections` for
    the covariances.

    The network sees, all dimensionless: the innovation and F1 in units of M, F3 and F4 in units of
    L (all four as asinh, which keeps their size), the gain W in these units, and the bend of h over
    one standard deviation along each column of L. With `context` it also sees the state and its
    standard deviations, for models whose linearisation fails in places. Without it, the network
    does not depend on units, and on the state only through f and h. Filters that lock on to a wrong
    branch (large noise, ambiguous h) learn to recover only if training shows it: give half of the
    trajectories a wrong start, as `Dataset(prior_mean=...)` or by `kfjax.training.random_start`.

    Missing channels are zero in every feature and in the gain, whatever their values; in a row
    without data the memory is unchanged and the covariance is the predicted one. Inputs and
    irregular time steps act through the model. The design model's Q should not be zero: a direction
    without noise cannot be corrected.

    Args:
        n: dimension of the state; None takes that of the design model.
        m: dimension of the observation, or None.
        hidden: size of the network's memory and layers.
        context: whether the network sees x_{t|t-1} and the size of its covariance, in units of
            `state_scales`; or what it sees, `(x_{t|t-1}, u_t) -> [context_size]`, as in
            `kalman_net`.
        context_size: number of entries in the context, if that is a function.

    Returns:
        A `Filter`; params `Learned(model, network)`, drawn by `kfjax.learned.init_params`; state
        `GainState` with a covariance. Info is that of `kfjax.extended`, with extra["gain"] [n, m].

    Raises:
        ValueError: if a size is below 1; from `init`, if n and m are not those of the model.

    Example:
        >>> model = kf.systems.lorenz(observation="spherical")
        >>> xs, ys = kf.simulate(jax.random.key(0), model, steps=30)
        >>> filter = kf.learned.corrected_gain()
        >>> params = kf.learned.init_params(jax.random.key(1), filter, model)
        >>> learned = kf.run(filter, params, ys).outputs.log_likelihood
        >>> ekf = kf.run(kf.extended(), model, ys).outputs.log_likelihood
        >>> bool(jnp.allclose(learned, ekf, rtol=1e-3, atol=1e-3))
        True
    """
    check_sizes("corrected_gain", n=n, m=m)
    check_count("corrected_gain: hidden", hidden)
    if isinstance(context, bool):
        rule = CorrectedGain(n, m, hidden, context)
        return gain_filter(rule, FEATURES, Raw(), context_size=context_size)
    rule = CorrectedGain(n, m, hidden, False)
    return gain_filter(rule, FEATURES, Raw(), context=context, context_size=context_size)


def state_scales(
    model: StateSpaceModel, states: Float[Array | np.ndarray, "... N"]
) -> dict[str, Float[Array, " _"]]:
    """Return the centre and spread by which `corrected_gain(context=True)` standardises states.

    On a curved space the centre is the point from which the mean difference is zero, and the spread
    is that of the differences from it.

    Args:
        model: the design model.
        states: true states [..., N] of training data, NaN where unknown.

    Returns:
        {"centre": [N], "spread": [n]}, for `kfjax.learned.init_params(..., constants=...)`. The
        defaults are 0 and 1.

    Raises:
        ValueError: if the states do not fit the model, or a component does not vary.

    Example:
        >>> model = kf.systems.lorenz()
        >>> xs, _ = kf.simulate(jax.random.key(0), model, steps=500)
        >>> kf.learned.state_scales(model, xs)["spread"].shape
        (3,)
    """
    check_kind("state_scales: model", model, StateSpaceModel)
    start = model.prior.mean
    states = real_numbers("state_scales: states", states).astype(model.dtype)
    if states.size == 0 or states.ndim < 1 or states.shape[-1:] != start.shape:
        raise ValueError(
            f"state_scales: states has shape {states.shape}; expected [..., {start.shape[0]}],"
            " states of the model, at least one."
        )
    centre, spread = centre_and_spread(model.state_space, states, start)
    if not (spread > 0).all():
        raise ValueError(
            f"state_scales: the spread is {spread.tolist()}; expected every component to vary."
        )
    return {
        "centre": jnp.asarray(centre, model.dtype),
        "spread": jnp.asarray(spread, model.dtype),
    }


class CorrectionNetwork(nn.Module):
    """The learned part of `corrected_gain`.

    `noise(carry)` is called before an observation, `(carry, features) -> (carry, D, stretch)` after
    it.

    Attributes:
        n: dimension of the state.
        m: dimension of the observation.
        hidden: size of the memory and of the layers.
    """

    n: int
    m: int
    hidden: int

    def setup(self) -> None:
        """Name the layers."""
        outputs = self.n * self.m + entries(self.n)
        self.correction = RecurrentHead(self.hidden, outputs)
        # Heads that start at zero correct nothing: the filter is at first the extended Kalman
        # filter to rounding, and training starts from its error.
        self.process = dense(self.n, zero=True)
        self.observation = dense(self.m, zero=True)

    def noise(self, carry: Array) -> tuple[Array, Array]:
        """Return the numbers that rescale Q and R, from the past alone."""
        return self.process(carry), self.observation(carry)

    def __call__(self, carry: Array, features: Array) -> tuple[Array, Array, Array]:
        """Return the new memory, D [n, m], and the numbers that stretch the covariance."""
        carry, output = self.correction(carry, features)
        gain, stretch = jnp.split(output, [self.n * self.m])
        D = bounded(gain).reshape(self.n, self.m)
        return carry, D, stretch

    def everything(self, carry: Array, features: Array) -> Any:
        """Use every layer, to draw their variables."""
        return self.noise(carry), self(carry, features)


@dataclasses.dataclass(frozen=True)
class CorrectedGain(CovarianceRule):
    """The gain rule of `corrected_gain`."""

    n: Any
    m: Any
    hidden: int
    context: bool

    @property
    def module(self) -> Any:
        """The network."""
        return CorrectionNetwork(self.n, self.m, self.hidden)

    def network(self, key: Array, features: dict[str, Array]) -> Any:
        """Draw the variables."""
        n = self.n
        m = self.m
        dtype = features["F2"].dtype
        size = 2 * (m + n + n * m) + (2 * n if self.context else 0)
        size += features["context"].size if "context" in features else 0
        carry = jnp.zeros(self.hidden, dtype)
        inputs = jnp.zeros(size, dtype)
        return self.module.init(key, carry, inputs, method="everything")

    def carry(self, params: Learned) -> Array:
        """Return an empty memory."""
        return jnp.zeros(self.hidden, params.model.dtype)

    def process_noise(self, params: Learned, state: GainState, u: Inputs) -> Array:
        """Return Q*."""
        process, _ = self.module.apply(params.network, state.carry, method="noise")
        Q = super().process_noise(params, state, u)
        return rescaled(Q, process)

    def __call__(
        self, params: Learned, state: GainState, features: dict[str, Array], seen: Observation
    ) -> GainUpdate:
        """Return K = L (W + D) M^-1 and the stretched covariance of the update with it."""
        model = params.model
        belief = Gaussian(state.mean, state.cov)
        moments = Taylor()(seen.fn, belief, model.state_space, seen.space)
        _, observation = self.module.apply(params.network, state.carry, method="noise")
        R = rescaled(seen.R, observation, seen.mask)
        S = linalg.factorise(moments.cov + R)
        L = linalg.cholesky(state.cov)
        F1, F2, F3, F4 = (features[name] for name in FEATURES)
        F1 = F1 if seen.mask is None else jnp.where(seen.mask, F1, 0)
        # In the coordinates of the belief and of the innovation, x = L z and y = M w, the gain is W
        # = L^-1 P H' M^-T with K = L W M^-1. W has no units and no singular value above 1, whatever
        # the scale of the model: that is what the network sees and what it corrects.
        of_states = jnp.column_stack([moments.cross, F3, F4])
        in_L = linalg.solve_lower(L, of_states)
        cross = in_L[:, : self.m]
        bend = _bend(model, state.mean, L, seen)
        of_channels = jnp.column_stack([cross.T, bend, F1, F2])
        in_M = linalg.solve_lower(S.lower, of_channels)
        W = in_M[:, : self.n].T
        state_inputs = jnp.arcsinh(in_L[:, self.m :])
        channel_inputs = jnp.arcsinh(in_M[:, self.n :])
        inputs = [W, state_inputs, channel_inputs]
        inputs += _context(params, state) if self.context else []
        inputs += [features[name] for name in ("context",) if name in features]
        joined = jnp.concatenate([part.reshape(-1) for part in inputs])
        carry, D, stretch = self.module.apply(params.network, state.carry, joined)
        D = D if seen.mask is None else jnp.where(seen.mask[None, :], D, 0)
        corrected = W + D
        scaled = linalg.solve_lower(S.lower, corrected.T, transpose=True).T
        K = linalg.matmul(L, scaled)
        cov = moments.residual(K) + linalg.quadratic(K, R)
        cov = stretched(cov, stretch)
        return GainUpdate(K, carry, cov, S)


def _bend(model: StateSpaceModel, x: Array, L: Array, seen: Observation) -> Array:
    """Return the deviation of h from linearity within the belief, [m, n].

    (h(x + l) + h(x - l)) / 2 - h(x) for every column l of L.
    """
    space = model.state_space
    is_flat = space.is_euclidean and model.observation_space.is_euclidean
    if isinstance(seen.fn, Linear) and is_flat:
        return jnp.zeros((seen.R.shape[0], L.shape[0]), L.dtype)
    y_hat = seen.fn(x)

    def along(step: Array) -> Array:
        return seen.space.difference(seen.fn(space.retract(x, step)), y_hat)

    # Half of the curvature of h within one standard deviation, by differences: no second
    # derivative, and the same for a function that has kinks within the belief.
    forwards = jax.vmap(along)(L.T)
    backwards = jax.vmap(along)(-L.T)
    return 0.5 * (forwards + backwards).T


def _context(params: Learned, state: GainState) -> list[Array]:
    """Return the state and the logarithms of its standard deviations.

    Both are in units of `state_scales`.
    """
    constants = params.constants or {}
    x = state.mean
    centre = constants.get("centre", jnp.zeros_like(x))
    spread = constants.get("spread", jnp.ones_like(state.cov[0]))
    if jnp.shape(centre) != x.shape or jnp.shape(spread) != state.cov.shape[:1]:
        raise ValueError(
            f"corrected_gain: constants have centre {jnp.shape(centre)} and spread"
            f" {jnp.shape(spread)}; expected {x.shape} and {state.cov.shape[:1]}. Make them with"
            " kf.learned.state_scales."
        )
    space = params.model.state_space
    place = space.difference(x, centre) / spread
    position = jnp.arcsinh(place)
    variance = jnp.diag(state.cov) / spread**2
    # The floor keeps the logarithm, and its derivative, finite for a component that is known.
    log_std = 0.5 * jnp.log(variance + 1e-6)
    return [position, log_std]
