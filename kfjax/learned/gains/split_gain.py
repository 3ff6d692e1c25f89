"""Split-KalmanNet: the gain P H' S^-1 with P and S from two networks, and H from the model."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from kfjax import linalg
from kfjax._support.arguments import check_count
from kfjax.base import Filter, Gaussian, constructor
from kfjax.learned.gains.covariances import (
    CovarianceRule,
    bounded,
    entries,
    stretched,
    unit_triangle,
)
from kfjax.learned.gains.feature_maps import Asinh, FeatureMap
from kfjax.learned.gains.features import FEATURES
from kfjax.learned.gains.gain_filters import GainState, GainUpdate, gain_filter
from kfjax.learned.gains.sizes import check_sizes
from kfjax.learned.params import ContextFunction, Learned
from kfjax.learned.recurrent_networks.cells import RecurrentHead
from kfjax.models.observing import Observation
from kfjax.models.state_space import StateSpaceModel
from kfjax.moments import Taylor

__all__ = ["split_kalman_net"]

ASINH = Asinh()


@constructor
def split_kalman_net(
    n: int | None = None,
    m: int | None = None,
    feature_map: FeatureMap = ASINH,
    *,
    hidden: int = 64,
    nominal: bool = True,
    context: ContextFunction | None = None,
    context_size: int = 0,
) -> Filter:
    """Filter by a gain P H' S^-1 whose factors P and S come from two networks (Split-KalmanNet).

    G1: (F3, F4, h(x) - H x, H) -> P_{t|t-1},   G2: (F1, F2, h(x) - H x, H) -> S_t,   H =
    h'(x_{t|t-1})

    Both are built from triangular factors with a positive diagonal. P does not see y_t, so that
    N(h(x), H P H' + R) is a likelihood of y_t; S sees it, and is used only in the gain. The
    covariance after the update is the Joseph form with P and the model's R; before it, and over
    gaps, F P F' + Q. On curved spaces h(x) - H x has no meaning and counts as zero. Missing
    channels have rows of zeros in H, and are left out of S; in an empty row both memories are
    unchanged. The sizes of the networks, and features that keep their size, are our choice.

    Args:
        n: dimension of the state; None takes that of the design model.
        m: dimension of the observation, or None.
        feature_map: how F1 to F4 are scaled.
        hidden: size of the memory and layers of each network.
        nominal: whether P and S are in units of the model's own, F P F' + Q and H P H' + R, and H
            in these units: the untrained filter is then the extended Kalman filter. False, as
            published, means units of the data: P and S start at I, so that the data should have a
            spread of about 1, and Q and R matter only for the covariance.
        context: what both networks see beside the features, as in `kalman_net`.
        context_size: number of entries in the context.

    Returns:
        A `Filter`; params `Learned(model, network)` with network {"P": ..., "S": ...}, drawn by
        `kfjax.learned.init_params`; state `GainState` with a covariance. Info has all fields.

    Raises:
        ValueError: if a size is below 1; from `init`, if n and m are not those of the model.

    Example:
        >>> model = kf.systems.lorenz(observation="spherical")
        >>> filter = kf.learned.split_kalman_net()
        >>> params = kf.learned.init_params(jax.random.key(0), filter, model)
        >>> xs, ys = kf.simulate(jax.random.key(1), model, steps=20)
        >>> kf.run(filter, params, ys).outputs.cov.shape
        (20, 3, 3)

    References:
        G. Choi, J. Park, N. Shlezinger, Y. C. Eldar, N. Lee, Split-KalmanNet: a robust model-based
        deep learning approach for state estimation, IEEE Trans. Veh. Technol. 72 (2023), section
        III.
    """
    check_sizes("split_kalman_net", n=n, m=m)
    check_count("split_kalman_net: hidden", hidden)
    rule = SplitGain(n, m, hidden, nominal)
    return gain_filter(rule, FEATURES, feature_map, context=context, context_size=context_size)


@dataclasses.dataclass(frozen=True)
class SplitGain(CovarianceRule):
    """The gain rule of `split_kalman_net`."""

    n: Any
    m: Any
    hidden: int
    nominal: bool

    @property
    def modules(self) -> dict[str, Any]:
        """The two networks."""
        return {
            name: RecurrentHead(self.hidden, entries(size))
            for name, size in (("P", self.n), ("S", self.m))
        }

    def network(self, key: Array, features: dict[str, Array]) -> Any:
        """Draw the variables of both networks."""
        keys = jax.random.split(key)
        m = self.m
        dtype = features["F2"].dtype
        inputs = _inputs(features, jnp.zeros(m, dtype), jnp.zeros((m, self.n), dtype))
        memory = jnp.zeros(self.hidden, dtype)
        return {
            name: module.init(k, memory, inputs[name])
            for (name, module), k in zip(self.modules.items(), keys, strict=True)
        }

    def carry(self, params: Learned) -> Any:
        """Return empty memories."""
        return {name: jnp.zeros(self.hidden, params.model.dtype) for name in self.modules}

    def __call__(
        self, params: Learned, state: GainState, features: dict[str, Array], seen: Observation
    ) -> GainUpdate:
        """Return P H' S^-1 with the P and S of the networks."""
        x = state.mean
        space = params.model.state_space
        L = linalg.cholesky(state.cov)
        y_hat, H, _ = Taylor().affine(seen.fn, x, L, space, seen.space)
        error = _linearisation_error(params.model, x, y_hat, H)
        if self.nominal:
            S = linalg.cholesky(linalg.quadratic(H, state.cov) + seen.R)
            inputs = _inputs(
                features, linalg.solve_lower(S, error), linalg.solve_lower(S, linalg.matmul(H, L))
            )
        else:
            inputs = _inputs(features, error, H)
        (P_carry, P_values), (S_carry, S_values) = (
            module.apply(params.network[name], state.carry[name], inputs[name])
            for name, module in self.modules.items()
        )
        # With `nominal` the networks correct the covariances of the extended Kalman filter, and
        # start at it: their outputs are zero at first. Without it, P and S come from the
        # networks alone, as published, and start at the identity.
        P = stretched(state.cov, P_values) if self.nominal else _square(P_values, self.n)
        moments = Taylor()(seen.fn, Gaussian(x, P), space, seen.space)
        predicted = moments.cov + seen.R
        S = (
            stretched(predicted, S_values, seen.mask)
            if self.nominal
            else _only(_square(S_values, self.m), seen.mask)
        )
        K = linalg.factorise(S).solve(moments.cross.T).T
        # The Joseph form with the P of the network and the R of the model: the gain is not optimal
        # for either, and the covariance stays that of its error.
        cov = moments.residual(K) + linalg.quadratic(K, seen.R)
        return GainUpdate(K, {"P": P_carry, "S": S_carry}, cov, linalg.factorise(predicted))


def _inputs(features: dict[str, Array], error: Array, H: Array) -> dict[str, Array]:
    """Return the inputs of each network."""
    shared = [jnp.arcsinh(error), jnp.arcsinh(H).reshape(-1)]
    shared += [features[name] for name in ("context",) if name in features]
    return {
        name: jnp.concatenate([features[first], features[second], *shared])
        for name, first, second in (("P", "F3", "F4"), ("S", "F1", "F2"))
    }


def _linearisation_error(model: StateSpaceModel, x: Array, y_hat: Array, H: Array) -> Array:
    """Return h(x) - H x, or zero on curved spaces."""
    if not (model.state_space.is_euclidean and model.observation_space.is_euclidean):
        return jnp.zeros_like(y_hat)
    return y_hat - linalg.matmul(H, x)


def _square(values: Array, n: int) -> Array:
    """Return T T' for a bounded triangle with a positive diagonal; I if the numbers are zero."""
    T = unit_triangle(bounded(values, 8.0), n)
    return linalg.matmul(T, T.T)


def _only(S: Array, mask: Array | None) -> Array:
    """Return the covariance of the channels in the mask.

    The other channels have unit variance and are uncorrelated.
    """
    if mask is None:
        return S
    both = mask[:, None] & mask[None, :]
    unit = jnp.diag((~mask).astype(S.dtype))
    return jnp.where(both, S, 0) + unit
