"""Ensemble Kalman filters: beliefs as N members, for states too large for a covariance.

predict:  x_i  <-  f(x_i, u) + e_i,   e_i ~ N(0, Q)
update:   the Kalman update with the sample moments of x_i and h(x_i), in one of the forms of
          `kfjax.filters.ensembles.forms`
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, UInt32

from kfjax._support.arguments import check_count, check_kind, check_number
from kfjax._support.precision import eps_of
from kfjax.base import Filter, Gaussian, Info, Inputs, Mask, constructor
from kfjax.filters import clouds
from kfjax.filters.ensembles.forms import Perturbed, innovation_covariance
from kfjax.filters.ensembles.localisation import GaspariCohn
from kfjax.filters.noise_factors import coloured
from kfjax.models.augmented_state import layout_of
from kfjax.models.calling import call
from kfjax.models.observing import Observation, innovation_info, keep_unobserved, observe
from kfjax.models.spaces import Space
from kfjax.models.state_space import StateSpaceModel

__all__ = ["EnsembleState", "ensemble"]

PERTURBED = Perturbed()


class EnsembleState(NamedTuple):
    """A belief as N members of equal weight.

    Attributes:
        members: [..., N, n].
        key: words of the random key of the next step (uint32).
        space: how states are averaged, on a curved space.
    """

    members: Float[Array, "... N n"]
    key: UInt32[Array, "... words"]
    space: Space | None = None

    @property
    def mean(self) -> Float[Array, "... n"]:
        """The mean [..., n]; on a curved space, of offsets from a reference point."""
        return clouds.lifted(_mean, self, self.members[..., 0])

    @property
    def cov(self) -> Float[Array, "... d d"]:
        """The sample covariance [..., n, n], which no step needs."""
        return clouds.lifted(_cov, self, self.members[..., 0])


def _equal(state: EnsembleState) -> Array:
    N = state.members.shape[0]
    return jnp.full(N, 1 / N, state.members.dtype)


def _mean(state: EnsembleState) -> Array:
    return clouds.weighted_mean(state.space, state.members, _equal(state))


def _cov(state: EnsembleState) -> Array:
    N = state.members.shape[0]
    return clouds.weighted_cov(state.space, state.members, _equal(state), _mean(state)) * (
        N / (N - 1)
    )


@constructor
def ensemble(
    members: int = 100,
    *,
    form: Any = PERTURBED,
    inflation: float = 1.0,
    localisation: GaspariCohn | None = None,
) -> Filter:
    """Filter with an ensemble of N members: no Jacobians, no covariances, thousands of states.

    A step costs N evaluations of f and h, products of sizes N n and N m, and m^3 if m <= N, else
    N^3. No [n, n] matrix is formed, apart from `model.Q` itself; a Q or R that is not diagonal is
    factored in every step. The covariance of the state is a property, computed on demand. The
    default `emit` of `kfjax.run` asks for it; for large n, pass one that keeps only `state.mean`.

    Args:
        members: N, at least 2. With fewer members than directions in which errors grow, the filter
            needs localisation.
        form: `kfjax.filters.Perturbed()` observations, or the deterministic
            `kfjax.filters.Transform()`, better with small ensembles.
        inflation: factor on the anomalies before every update, to counter the overconfidence of
            small ensembles; noise in the state keeps its size.
        localisation: `kfjax.filters.GaspariCohn(...)`, or None.

    Returns:
        A `Filter`; params `StateSpaceModel`, state `EnsembleState`. `init` needs a key.

    Raises:
        ValueError: if members is below 2 or inflation is not above 0; from `init`, if there is no
            key; from `update`, if the positions of the localisation do not fit the model.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> xs, ys = kf.simulate(jax.random.key(0), model, steps=20)
        >>> etkf = kf.ensemble(50, form=kf.filters.Transform())
        >>> kf.run(etkf, model, ys, key=jax.random.key(1)).outputs.mean.shape
        (20, 2)

    References:
        G. Evensen, The ensemble Kalman filter: theoretical formulation and practical
        implementation, Ocean Dyn. 53 (2003); for the forms see there.
    """
    check_count("ensemble: members", members, least=2)
    check_number("ensemble: inflation", inflation, above=0)
    if localisation is not None:
        check_kind("ensemble: localisation", localisation, GaspariCohn)

    def init(params: StateSpaceModel, key: Array | None = None) -> EnsembleState:
        check_kind("ensemble: params", params, StateSpaceModel)
        data, (draw,) = clouds.split(clouds.key_data("ensemble", key), 1)
        drawn = clouds.draw_prior(draw, params, members)
        return EnsembleState(drawn, data, clouds.space_of(params))

    def predict(params: StateSpaceModel, state: EnsembleState, u: Inputs = None) -> EnsembleState:
        data, (draw,) = clouds.split(state.key, 1)
        noise = jax.random.normal(draw, (members, params.n), state.members.dtype)
        noise = coloured(params.process_noise(state.mean, u), noise)

        def move(x: Array, e: Array) -> Array:
            return params.state_space.retract(call("f", params.f, x, u), e)

        moved = jax.vmap(move)(state.members, noise)
        return state._replace(members=moved.astype(noise.dtype), key=data)

    def update(
        params: StateSpaceModel,
        state: EnsembleState,
        y: Array,
        u: Inputs = None,
        observed: Mask = None,
    ) -> tuple[EnsembleState, Info]:
        data, (draw,) = clouds.split(state.key, 1)
        mean = state.mean
        place = jax.vmap(params.state_space.retract, in_axes=(None, 0))
        seen = observe(params, mean, y, u, observed)
        X = clouds.offsets(state.space, state.members, mean)
        X = X * _factors(params, inflation, X)
        y_hat, Y = _observed(seen, place(mean, X), _equal(state))
        _check_positions(localisation, X.shape[1], Y.shape[1])
        scale = jnp.sqrt(members - 1).astype(X.dtype)
        X = X / scale
        Y = Y / scale
        innovation = seen.innovation(y_hat)
        # members cannot resolve differences below the rounding of their values
        hidden = (16 * eps_of(y_hat) * y_hat) ** 2 if seen.noise_free else None
        S = innovation_covariance(Y, seen.R, localisation, hidden)
        shift, X = form(draw, X, Y, innovation, seen.R, S, localisation)
        new = state._replace(members=place(mean, shift[None, :] + scale * X), key=data)
        info = innovation_info(innovation, S, seen.mask, size=jnp.abs(y_hat), R=seen.R)
        return keep_unobserved(observed, new, state), info

    def recentre(
        params: StateSpaceModel, state: EnsembleState, gaussian: Gaussian
    ) -> EnsembleState:
        del params
        data, (draw,) = clouds.split(state.key, 1)
        # the sample covariance divides by N - 1, the moments of a cloud by N
        target = Gaussian(gaussian.mean, gaussian.cov * ((members - 1) / members))
        moved = clouds.affine_move(draw, state.space, state.members, _equal(state), target)
        return state._replace(members=moved, key=data)

    return Filter(init, predict, update, recentre)


def _observed(seen: Observation, members: Array, weights: Array) -> tuple[Array, Array]:
    """Return the mean of the observations that the members predict, and the offset of each."""
    ys = jax.vmap(seen.fn)(members).astype(weights.dtype)
    y_hat = clouds.weighted_mean(seen.space, ys, weights)
    return y_hat, clouds.offsets(seen.space, ys, y_hat)


def _factors(model: StateSpaceModel, inflation: float, X: Array) -> Array:
    """Return the factor of each component [1, n]: 1 for noise in the state."""
    layout = layout_of(model)
    noise = 0 if layout is None else layout.q + layout.r
    is_own = jnp.arange(X.shape[1]) < X.shape[1] - noise
    return jnp.where(is_own, inflation, 1).astype(X.dtype)[None, :]


def _check_positions(localisation: GaspariCohn | None, n: int, m: int) -> None:
    """Raise unless there is one position for every component and every channel."""
    if localisation is None:
        return
    got = (len(localisation.states), len(localisation.observations))
    if got != (n, m):
        raise ValueError(
            f"ensemble: localisation has {got[0]} positions of states and {got[1]} of"
            f" observations; expected {n} and {m}, as in the model."
        )
