"""Recursive KalmanNet: a learned gain, and a covariance that is valid for any gain."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from kfjax import linalg
from kfjax._support.arguments import check_count, check_number
from kfjax._support.types import Key
from kfjax.base import Filter, Gaussian, constructor
from kfjax.learned.gains.covariances import CovarianceRule, entries, triangle
from kfjax.learned.gains.feature_maps import Asinh, FeatureMap
from kfjax.learned.gains.features import FEATURES
from kfjax.learned.gains.gain_filters import GainState, GainUpdate, gain_filter
from kfjax.learned.gains.kalman_nets import GainNetwork, NetworkGain, gain_network
from kfjax.learned.params import ContextFunction, Learned
from kfjax.learned.recurrent_networks.cells import RecurrentHead
from kfjax.models.observing import Observation
from kfjax.models.state_space import StateSpaceModel
from kfjax.moments import Taylor

__all__ = ["recursive_kalman_net"]

ASINH = Asinh()


@constructor
def recursive_kalman_net(
    network: GainNetwork | Callable[[Key], Any],
    features: tuple[str, ...] = FEATURES,
    feature_map: FeatureMap = ASINH,
    *,
    hidden: int = 32,
    scale: float = 1.0,
    floor: float = 1e-3,
    context: ContextFunction | None = None,
    context_size: int = 0,
) -> Filter:
    """Filter by a learned gain, with a Joseph-form covariance from a second network.

    P_{t|t} = (I - K_t H) P_{t|t-1} (I - K_t H)' + L_t L_t',   P_{t|t-1} = F P_{t-1|t-1} F' + Q

    L_t is lower triangular, with a diagonal of softplus numbers above a floor, so that the
    covariance is definite for any gain. L L' stands for K R K' and for everything that the model
    leaves out. The published form has no Q, so that L L' also stands for (I - K H) Q (I - K H)':
    for that form, give the design model a Q of zero. With Q, the covariance grows over gaps in the
    data as the model says, and the likelihood of y_t, from S = H P_{t|t-1} H' + R, is that of the
    model. These choices are ours: the second network sees the features and the gain; features keep
    their size (`Asinh()`).

    Missing data act as in `kalman_net`; in an empty row both memories are unchanged. Train with
    `kfjax.training.state_mse` first, then with `nll`.

    Args:
        network: the gain network, as in `kalman_net`.
        features: names among F1 to F4, for both networks.
        feature_map: how features are scaled.
        hidden: size of the memory and layers of the second network.
        scale: typical standard deviation of an estimate, in units of the state; L starts at 0.69
            scale I.
        floor: smallest diagonal entry of L, in units of the scale.
        context: what both networks see beside the features, as in `kalman_net`.
        context_size: number of entries in the context.

    Returns:
        A `Filter`; params `Learned(model, network)` with network {"gain": ..., "noise": ...}, drawn
        by `kfjax.learned.init_params`; state `GainState` with a covariance. Info has all fields.

    Raises:
        ValueError: if scale, floor or hidden is not positive, or a feature is unknown; from `init`,
            if the network does not have the dimensions of the model.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> filter = kf.learned.recursive_kalman_net(kf.learned.Architecture2())
        >>> params = kf.learned.init_params(jax.random.key(0), filter, model)
        >>> xs, ys = kf.simulate(jax.random.key(1), model, steps=20)
        >>> kf.run(filter, params, ys).outputs.cov.shape
        (20, 2, 2)

    References:
        H. Mortada et al., Recursive KalmanNet: deep learning-augmented Kalman filtering for state
        estimation with consistent uncertainty quantification, EUSIPCO 2025.
    """
    gain = NetworkGain(gain_network("recursive_kalman_net", network))
    check_count("recursive_kalman_net: hidden", hidden)
    check_number("recursive_kalman_net: scale", scale, above=0)
    check_number("recursive_kalman_net: floor", floor, above=0)
    rule = RecursiveGain(gain, hidden, scale, floor)
    return gain_filter(rule, features, feature_map, context=context, context_size=context_size)


@dataclasses.dataclass(frozen=True)
class RecursiveGain(CovarianceRule):
    """The gain rule of `recursive_kalman_net`."""

    gain: NetworkGain
    hidden: int
    scale: float
    floor: float

    @property
    def n(self) -> int:  # type: ignore[override]  # read-only
        """The dimension of the state."""
        return self.gain.n

    @property
    def m(self) -> int:  # type: ignore[override]
        """The dimension of the observation."""
        return self.gain.m

    def sized(self, model: StateSpaceModel) -> RecursiveGain:
        """Return the rule with the dimensions of the model where its own are None."""
        return dataclasses.replace(self, gain=self.gain.sized(model))

    @property
    def noise(self) -> Any:
        """The second network."""
        return RecurrentHead(self.hidden, entries(self.n))

    def network(self, key: Array, features: dict[str, Array]) -> Any:
        """Draw the variables of both networks."""
        keys = jax.random.split(key)
        inputs = _joined(features, jnp.zeros((self.n, self.m)))
        noise = self.noise.init(keys[1], jnp.zeros(self.hidden, inputs.dtype), inputs)
        return {"gain": self.gain.network(keys[0], features), "noise": noise}

    def carry(self, params: Learned) -> Any:
        """Return the initial memories of both networks."""
        gain = self.gain.carry(params._replace(network=params.network["gain"]))
        return {"gain": gain, "noise": jnp.zeros(self.hidden, params.model.dtype)}

    def __call__(
        self, params: Learned, state: GainState, features: dict[str, Array], seen: Observation
    ) -> GainUpdate:
        """Return the gain by the first network and the covariance by the second."""
        network = params.network
        carry = state.carry
        first = params._replace(network=network["gain"]), state._replace(carry=carry["gain"])
        gained = self.gain(*first, features, seen)
        K = gained.gain if seen.mask is None else jnp.where(seen.mask[None, :], gained.gain, 0)
        noise_carry, values = self.noise.apply(
            network["noise"], carry["noise"], _joined(features, K)
        )
        T = triangle(values, self.n)
        on_diagonal = jnp.eye(self.n, dtype=bool)
        L = self.scale * jnp.where(on_diagonal, nn.softplus(T) + self.floor, T)
        moments = Taylor()(
            seen.fn, Gaussian(state.mean, state.cov), params.model.state_space, seen.space
        )
        cov = moments.residual(K) + linalg.matmul(L, L.T)
        return GainUpdate(
            K,
            {"gain": gained.carry, "noise": noise_carry},
            cov,
            linalg.factorise(moments.cov + seen.R),
        )


def _joined(features: dict[str, Array], gain: Array) -> Array:
    """Return the input of the second network."""
    return jnp.concatenate([*(features[name] for name in sorted(features)), gain.reshape(-1)])
