"""RTSNet: a smoother whose forward and backward gains come from recurrent networks.

forward:   x_{t|t} by KalmanNet
backward:  x_{t|T} = x_{t|t} + G_t (x_{t+1|T} - x_{t+1|t}),   x_{t+1|t} = f(x_{t|t}, u_{t+1})
           carry_t, G_t = network(features_t, carry_{t+1}),   t = T-1, ..., 0

The features of the backward network are differences in the state space. They have the names of
those features of KalmanNet that they correspond to:

    F2  backward innovation            x_{t+1|T} - x_{t+1|t}
    F3  backward evolution difference  x_{t+2|T} - x_{t+1|T}
    F4  backward update difference     x_{t+1|T} - x_{t+1|t+1}

At t = T-1, where the recursion starts, F3 and F4 are 0.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kfjax import linalg
from kfjax._support import one_kernel
from kfjax._support.compiling import jit
from kfjax._support.naming import described
from kfjax._support.pytrees import at, prepended, select
from kfjax._support.types import PyTree
from kfjax.base import Filter, Inputs, Mask, Observations, mean_only
from kfjax.learned.gains.feature_maps import NORMALISED, FeatureMap
from kfjax.learned.gains.features import FEATURES
from kfjax.learned.gains.gain_filters import GainState, GainUpdate, gain_filter
from kfjax.learned.gains.kalman_nets import GainNetwork, NetworkGain, gain_network, kalman_net
from kfjax.learned.params import Initialiser, Learned, check_learned, in_precision
from kfjax.models.calling import call
from kfjax.models.observing import Observation
from kfjax.models.records import Record, checked_record, until
from kfjax.models.state_space import StateSpaceModel
from kfjax.runner import run

__all__ = ["RTSNet", "SmoothedMeans", "rts_net"]

BACKWARD_FEATURES = ("F2", "F3", "F4")


class SmoothedMeans(NamedTuple):
    """The result of an `RTSNet`.

    Attributes:
        mean: the smoothed states [T, N].
        initial: the smoothed x_0 [N], or None if there is no x_0, with first="update" in the model.
        filtered: the states of the last forward pass [T, N].
    """

    mean: Float[Array, "... T n"]
    initial: Float[Array, "... n"] | None
    filtered: Float[Array, "... T n"]


def rts_net(
    forward: GainNetwork,
    backward: GainNetwork,
    *,
    refining: tuple[GainNetwork, ...] = (),
    features: tuple[str, ...] = FEATURES,
    feature_map: FeatureMap = NORMALISED,
) -> RTSNet:
    """Return the learned smoother RTSNet: KalmanNet, and a backward pass with a learned gain.

    x_{t|T} = x_{t|t} + G_t (x_{t+1|T} - f(x_{t|t}, u_{t+1}))

    Like KalmanNet it needs no Q, R or P, learns from true states, and gives no covariance. The
    untrained smoother with the networks' default gains of zero returns the prediction of its
    model. Each network in `refining` adds a pass over the record, in which the smoothed states of
    the pass before take the place of the observations; its gains start at those which return them
    unchanged.

    The backward pass needs no treatment of missing data: the filtered states account for them.

    Args:
        forward: the `GainNetwork` of the filter, such as `Architecture2()`.
        backward: a `GainNetwork` whose n and m are both the dimension of the state, such as
            `BackwardArchitecture()`. Each pass has weights of its own.
        refining: the `GainNetwork`s, with n = m, of the forward parts of further passes.
        features: the features of the filters, names among F1 to F4. The backward networks see F2,
            F3 and F4 as in `kfjax.learned.gains.learned_smoother`.
        feature_map: how features are scaled, see `kalman_net`.

    Returns:
        An `RTSNet`, called as `smoother(params, ys, us=, observed=, length=)`, with params
        `Learned(model, networks)` drawn by `kfjax.learned.init_params`. Train it with
        `kfjax.training.smoothed_mse`.

    Raises:
        ValueError: if a feature is unknown, or the dimensions of the networks do not agree.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> smoother = kf.learned.rts_net(
        ...     kf.learned.Architecture2(), kf.learned.BackwardArchitecture()
        ... )
        >>> params = kf.learned.init_params(jax.random.key(0), smoother, model)
        >>> xs, ys = kf.simulate(jax.random.key(1), model, steps=20)
        >>> smoother(params, ys).mean.shape
        (20, 2)

    References:
        G. Revach, X. Ni et al., RTSNet: learning to smooth in partially known state-space models,
        IEEE Trans. Signal Process. 71 (2023). There the backward innovation is not a feature: the
        code of the authors has the update difference in its place.
    """
    if not isinstance(refining, (tuple, list)):
        raise ValueError(f"rts_net: refining is {described(refining)}; expected a tuple.")
    forward = gain_network("rts_net: forward", forward)
    backward = gain_network("rts_net: backward", backward)
    refining = tuple(gain_network("rts_net: refining", one) for one in refining)
    n = forward.n
    for name, network in [("backward", backward), *(("refining", one) for one in refining)]:
        if len({network.n, network.m, n} - {None}) > 1:
            raise ValueError(
                f"rts_net: {name} has n = {network.n} and m = {network.m}; expected n = m = {n},"
                f" the n of forward: its gain multiplies differences of states."
            )
    first = kalman_net(forward, features, feature_map)
    refined = (gain_filter(RefiningGain(one), features, feature_map) for one in refining)
    return RTSNet((first, *refined), NetworkGain(backward), feature_map)


@dataclasses.dataclass(frozen=True)
class RefiningGain(NetworkGain):
    """The gain of a pass over states that are estimates already: I + the output of a network."""

    def __call__(
        self, params: Learned, state: GainState, features: dict[str, Array], seen: Observation
    ) -> GainUpdate:
        """Apply the network; while its output is 0, the estimates pass unchanged."""
        update = super().__call__(params, state, features, seen)
        gain = update.gain
        return update._replace(gain=gain + jnp.eye(gain.shape[0], dtype=gain.dtype))


@dataclasses.dataclass(frozen=True)
class RTSNet:
    """A learned smoother, as built by `rts_net`; hashable.

    Attributes:
        filters: the forward filter of each pass.
        backward: the rule of the backward gains.
        feature_map: how the features of the backward network are scaled.
    """

    filters: tuple[Filter, ...]
    backward: NetworkGain
    feature_map: FeatureMap

    @property
    def init(self) -> Initialiser:
        """What draws the params; there is no state."""
        return Initialiser(self._check, self._draw)

    def __call__(
        self,
        params: Learned,
        ys: Observations,
        *,
        us: Inputs = None,
        observed: Mask = None,
        length: Any = None,
    ) -> SmoothedMeans:
        """Smooth one record; batch it with `jax.vmap`.

        Args:
            params: `Learned`, drawn by `init_params`.
            ys: observations [T, m].
            us: inputs, as in `kfjax.run`.
            observed: what was seen, as in `kfjax.run`.
            length: the number of leading steps that count, as in `kfjax.run`.

        Raises:
            ValueError: as in `kfjax.run`.
        """
        self._check(params)
        return _smoothed(self, params, checked_record("RTSNet", ys, us, observed, length))

    def whole(self, params: Learned, record: Record) -> SmoothedMeans:
        """Return the result of all passes."""
        first, *further = zip(self.filters, params.network, strict=True)
        smoothed = self._pass(*first, params, record)
        for method, networks in further:
            refined = Learned(_of_estimates(params.model), None, _backward_only(params.constants))
            record = record._replace(ys=smoothed.mean, observed=None)
            smoothed = self._pass(method, networks, refined, record)
        return smoothed

    def _pass(
        self, filter: Filter, networks: dict[str, Any], params: Learned, record: Record
    ) -> SmoothedMeans:
        """Return the result of one pass, forwards and backwards."""
        forward = params._replace(network=networks["forward"])
        ys, us, observed, length = record
        filtered = run(
            filter, forward, ys, us=us, observed=observed, length=length, emit=mean_only
        ).outputs
        backward = Learned(
            params.model, networks["backward"], (params.constants or {}).get("backward")
        )
        return self._backward(backward, filtered, us, length)

    def _backward(self, params: Learned, filtered: Array, us: Inputs, length: Any) -> SmoothedMeans:
        """Return the smoothed states for filtered ones."""
        model = params.model
        space = model.state_space
        us, active = until(length, us, filtered.shape[0])
        has_initial = model.first == "predict"
        if has_initial:
            filtered = prepended(model.prior.mean, filtered)
        else:  # the recursion ends at x_1
            us, active = at((us, active), slice(1, None))
        last = filtered[-1]

        def back(later: _Later, row: Any) -> tuple[_Later, Array]:
            x, x_next, u, active_t = row
            predicted = call("f", model.f, x, u).astype(model.dtype)
            innovation = space.difference(later.smoothed, predicted)
            differences = {
                "F2": innovation,
                "F3": space.difference(later.after, later.smoothed),
                "F4": space.difference(later.smoothed, x_next),
            }
            carry, G = self._gain(params, later.carry, differences)
            smoothed = space.retract(x, linalg.matmul(G, innovation))
            new = _Later(carry, smoothed, later.smoothed)
            if active_t is not None:  # after the end, the filtered state repeats
                new = select(active_t, new, _Later(later.carry, x, x))
            return new, new.smoothed

        start = _Later(self._backward_rule(model).carry(params), last, last)
        rows = (filtered[:-1], filtered[1:], us, active)
        smoothed = one_kernel.scan(back, start, rows, reverse=True)[1]
        smoothed = jnp.concatenate([smoothed, last[None]])
        if has_initial:
            return SmoothedMeans(smoothed[1:], smoothed[0], filtered[1:])
        return SmoothedMeans(smoothed, None, filtered)

    def _gain(
        self, params: Learned, carry: PyTree, differences: dict[str, Array]
    ) -> tuple[PyTree, Array]:
        """Return the new memory of the backward network, and the gain."""
        scales = (params.constants or {}).get("scales", {})
        features = {
            name: self.feature_map(value, scales.get(name)) for name, value in differences.items()
        }
        variables = in_precision(params.model.dtype, params.network)
        rule = self._backward_rule(params.model)
        return rule.module.apply(variables, carry, features)

    def _backward_rule(self, model: StateSpaceModel) -> NetworkGain:
        """Return the rule of the backward gains with the dimensions of the model."""
        return self.backward.sized(_of_estimates(model))

    def _draw(self, key: Array, model: StateSpaceModel) -> Any:
        """Draw the variables of all networks."""
        backwards = self._backward_rule(model)
        feature = jnp.zeros(model.n, model.dtype)
        features = dict.fromkeys(BACKWARD_FEATURES, feature)
        drawn = []
        for number, method in enumerate(self.filters):
            forward_key, backward_key = jax.random.split(jax.random.fold_in(key, number))
            seen = _of_estimates(model) if number else model
            initialiser: Any = method.init
            forward = initialiser.network(forward_key, seen)
            backward = backwards.network(backward_key, features)
            drawn.append({"forward": forward, "backward": backward})
        return tuple(drawn)

    def _check(self, params: Learned) -> None:
        """Raise unless params are those of this smoother."""
        check_learned(params)
        networks = params.network
        if not isinstance(networks, tuple) or len(networks) != len(self.filters):
            raise ValueError(
                f"RTSNet: the params hold {described(networks)}; expected a tuple of networks, one"
                f" for each of the {len(self.filters)} passes. Draw them with"
                " kf.learned.init_params(key, smoother, model)."
            )


class _Later(NamedTuple):
    """The quantities of later steps that a step backwards needs.

    Attributes:
        carry: the memory of the network.
        smoothed: x_{t+1|T}.
        after: x_{t+2|T}.
    """

    carry: Any
    smoothed: Array
    after: Array


@functools.partial(jit, static_argnums=0)
def _smoothed(smoother: RTSNet, params: Learned, record: Record) -> SmoothedMeans:
    return smoother.whole(params, record)


def _of_estimates(model: StateSpaceModel) -> StateSpaceModel:
    """Return the model in which the state itself is observed."""
    identity = jnp.eye(model.n, dtype=model.dtype)
    return model.replace(h=_itself, R=identity, observation_space=model.state_space)


def _itself(x: Array, u: Inputs) -> Array:
    del u
    return x


def _backward_only(constants: Any) -> Any:
    """Return the constants of the backward networks, which all passes share."""
    if not constants or "backward" not in constants:
        return None
    return {"backward": constants["backward"]}
