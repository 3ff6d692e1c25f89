"""The interacting multiple model (IMM) estimator over any filters."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kfjax._support.naming import described
from kfjax._support.pytrees import Pytree, as_array, promote, select
from kfjax._support.values import real_array
from kfjax.base import (
    Filter,
    Gaussian,
    Info,
    Inputs,
    Mask,
    Observations,
    Params,
    State,
    constructor,
)
from kfjax.filters.checks import check_filters
from kfjax.filters.combinators.composing import (
    joint_acceptance,
    reported,
    rewritten,
    state_space_of,
)
from kfjax.filters.combinators.mixtures import (
    mixing_weights,
    mixture_info,
    moment_match,
    reweighted,
)
from kfjax.models.chains import check_probabilities
from kfjax.models.lens import model_of, starts_with_update
from kfjax.models.observing import any_observed
from kfjax.models.state_space import StateSpaceModel

__all__ = ["IMMParams", "IMMState", "imm"]

Map: TypeAlias = tuple[Callable[[Gaussian], Gaussian], Callable[[Gaussian, Gaussian], Gaussian]]


@dataclasses.dataclass(frozen=True, eq=False)
class IMMParams(Pytree):
    """Params of `imm`: a Markov chain over K members.

    Attributes:
        members: params of the members, a tuple of K.
        transition: transition probabilities [K, K], with p(member j at t | member i at t - 1) at
            [i, j]; rows sum to one.
        weights: probabilities of the members at t = 0, [K]; at t = 1, before y_1, where the models
            have first="update".

    Raises:
        ValueError: if the shapes do not fit, a row or the weights are not probabilities that sum
            to one, or `first` of the models differs.
    """

    members: tuple[Params, ...]
    transition: Any
    weights: Any

    def __post_init__(self) -> None:
        values = {
            "members": self.members,
            "transition": as_array(real_array("IMMParams: transition", self.transition)),
            "weights": as_array(real_array("IMMParams: weights", self.weights)),
        }
        if not isinstance(self.members, tuple) or not self.members:
            raise ValueError(
                f"IMMParams: members is {type(self.members).__name__}; expected a tuple with the"
                " params of each member."
            )
        starts_with_update(self.members)
        for name, value in promote(values, "IMMParams").items():
            object.__setattr__(self, name, value)
        K = len(self.members)
        for name, shape in (("transition", (K, K)), ("weights", (K,))):
            check_probabilities(f"IMMParams: {name}", getattr(self, name), shape)

    @property
    def model(self) -> StateSpaceModel | None:
        """Model of the first member, in whose state space the mixture lives."""
        return model_of(self.members[0])


class IMMState(NamedTuple):
    """The state of an `imm`.

    Attributes:
        mean: mean of the mixture, in the common space [..., n].
        cov: covariance of the mixture [..., n, n].
        weights: probabilities of the members [..., K].
        members: states of the members, a tuple.
    """

    mean: Float[Array, "... n"]
    cov: Float[Array, "... d d"]
    weights: Float[Array, "... K"]
    members: tuple[State, ...]


@constructor
def imm(filters: tuple[Filter, ...], maps: tuple[Map | None, ...] | None = None) -> Filter:
    """Switch between K filters as a Markov chain (interacting multiple model estimator).

    With c_j = sum_i p_ij mu_i, the beliefs of the members are mixed with the weights
    p_ij mu_i / c_j into one moment-matched Gaussian for each j, which `recentre` writes into member
    j before it predicts. After an update

        mu_j  proportional to  c_j p_j(y_t | y_1..t-1),
        log-likelihood  =  log sum_j c_j p_j(y_t | y_1..t-1).

    A member that does not use an observation (because of a gate or a reset) is weighed like any
    other, by the likelihood that it had predicted. Without observations the weights follow the
    chain. The estimator is differentiable in all its params, `transition` included. Weights and
    transitions may be zero: a member that cannot be active follows the mixture until it can.

    An update costs K updates of the members and K^2 n^2 operations for the mixing, and covariances
    depend on the data. `rule` is None.

    Args:
        filters: K filters with `recentre`, a covariance and a log-likelihood. Mixing replaces every
            belief by a moment-matched Gaussian.
        maps: maps for members of different dimension or meaning: K pairs
            `(to_common, from_common)` of module-level functions, or None for a member that lives in
            the common space. `to_common(gaussian) -> gaussian`; `from_common(gaussian, own) ->
            gaussian` may take from the member's own belief what the common one lacks. The common
            space is that of the first member.

    Returns:
        A `Filter` with params `IMMParams(members, transition, weights)` and an `IMMState`. Info is
        that of the mixture, with the moments of its innovation; `extra` has `weights` [K] after the
        update, `members` (the Info of each), and, if any member may reject, `accepted`: the weight
        of the members that used the observation.

    Raises:
        ValueError: if there are no filters, or not as many maps; while tracing, if params do not
            fit, or a member has no covariance or likelihood.

    Example:
        >>> calm = kf.systems.constant_velocity()
        >>> agile = calm.replace(Q=100 * calm.Q)
        >>> params = kf.IMMParams(
        ...     (calm, agile), [[0.95, 0.05], [0.1, 0.9]], [0.5, 0.5]
        ... )
        >>> xs, ys = kf.simulate(jax.random.key(0), calm, steps=50)
        >>> final, est = kf.run(kf.imm((kf.kalman(), kf.kalman())), params, ys)
        >>> bool(final.weights[0] > 0.5)
        True

    References:
        H. A. P. Blom, Y. Bar-Shalom, The interacting multiple model algorithm for systems with
        Markovian switching coefficients, IEEE Trans. Automat. Contr. 33 (1988); Y. Bar-Shalom, X.
        R. Li, T. Kirubarajan, Estimation with Applications to Tracking and Navigation (2001),
        section 11.6.6.
    """
    check_filters("imm", filters, recentre=True)
    maps = (None,) * len(filters) if maps is None else maps
    _check_maps(maps, filters)

    def init(params: IMMParams, key: Array | None = None) -> IMMState:
        _check_params(params, filters)
        keys = [None] * len(filters) if key is None else jax.random.split(key, len(filters))
        members = tuple(f.init(p, k) for f, p, k in zip(filters, params.members, keys, strict=True))
        return _mixture(maps, params, members, jnp.copy(params.weights))

    def predict(params: IMMParams, state: IMMState, u: Inputs = None) -> IMMState:
        _check_params(params, filters)
        # The mixing step (Blom and Bar-Shalom, 1988): each member starts from the moments of all,
        # weighted by where the chain was if it is at this member now. K filters stand for the K^t
        # histories of modes.
        weights, mixing = mixing_weights(params.transition, state.weights)
        common = _common(maps, state.members)
        space = state_space_of(params)
        mixed = [moment_match(column, common, space) for column in mixing.T]
        started = _written(filters, maps, params, state, mixed)
        members = zip(filters, params.members, started, strict=True)
        predicted = tuple(f.predict(p, s, u) for f, p, s in members)
        return _mixture(maps, params, predicted, weights)

    def update(
        params: IMMParams,
        state: IMMState,
        y: Observations,
        u: Inputs = None,
        observed: Mask = None,
    ) -> tuple[IMMState, Info]:
        each = zip(filters, params.members, state.members, strict=True)
        updates = [f.update(p, s, y, u, observed) for f, p, s in each]
        members, infos = zip(*updates, strict=True)
        weights, log_likelihood = reweighted(state.weights, infos)
        new = _mixture(maps, params, members, weights)
        accepted = joint_acceptance(infos, weights)
        info = mixture_info(state.weights, infos, log_likelihood)
        info = reported(info, weights=weights, **accepted)
        if observed is not None:
            seen = any_observed(observed)
            new = select(seen, new, state)
            info = select(seen, info, jax.tree.map(jnp.zeros_like, info))
        return new, reported(info, members=infos)

    def recentre(params: IMMParams, state: IMMState, gaussian: Gaussian) -> IMMState:
        everywhere = [gaussian] * len(filters)
        members = _written(filters, maps, params, state, everywhere)
        return IMMState(gaussian.mean, gaussian.cov, state.weights, members)

    return Filter(init, predict, update, recentre)


def _check_maps(maps: tuple[Map | None, ...], filters: tuple[Filter, ...]) -> None:
    """Raise unless there is one map, or None, for every filter."""
    if not isinstance(maps, tuple):
        raise ValueError(f"imm: maps is {described(maps)}; expected a tuple, or None.")
    if len(maps) != len(filters):
        raise ValueError(
            f"imm: got {len(maps)} maps for {len(filters)} filters; expected one each (or None)."
        )


def _written(
    filters: tuple[Filter, ...],
    maps: tuple[Map | None, ...],
    params: IMMParams,
    state: IMMState,
    beliefs: Sequence[Gaussian],
) -> tuple[State, ...]:
    """Return the states of the members, with the given beliefs written into them."""
    # A member keeps its own kind of state (particles, factors); only its moments are exchanged.
    each = zip(filters, params.members, state.members, maps, beliefs, strict=True)
    return tuple(rewritten(f, p, own, _from_common(way, b, own)) for f, p, own, way, b in each)


def _mixture(
    maps: tuple[Map | None, ...], params: IMMParams, members: tuple[State, ...], weights: Array
) -> IMMState:
    """Return the state of a mixture, with its moments in the common space."""
    belief = moment_match(weights, _common(maps, members), state_space_of(params))
    return IMMState(belief.mean, belief.cov, weights, members)


def _from_common(way: Map | None, belief: Gaussian, own: State) -> Gaussian:
    """Return a belief of the common space in the space of a member with state `own`."""
    if way is None:
        return belief
    return Gaussian(*way[1](belief, Gaussian(own.mean, own.cov)))


def _common(maps: tuple[Map | None, ...], members: tuple[State, ...]) -> list[Gaussian]:
    """Return the beliefs of the members in the common space."""
    beliefs = [Gaussian(s.mean, s.cov) for s in members]
    common = [
        b if way is None else Gaussian(*way[0](b)) for b, way in zip(beliefs, maps, strict=True)
    ]
    for k, belief in enumerate(common):
        expected = members[0].mean.shape
        if belief.cov is None or belief.mean.shape != expected:
            raise ValueError(
                f"imm: member {k} has a mean of shape {belief.mean.shape} in the common space and"
                f" {'no' if belief.cov is None else 'a'} covariance; expected both, as {expected}"
                " of the first member. Members of different dimension need maps=."
            )
    return common


def _check_params(params: Params, filters: tuple[Filter, ...]) -> None:
    """Raise unless params are `IMMParams` with one member per filter."""
    if not isinstance(params, IMMParams):
        raise ValueError(
            f"imm: params is {type(params).__name__}; expected kf.IMMParams(members, transition,"
            " weights)."
        )
    if len(params.members) != len(filters):
        raise ValueError(
            f"imm: params have {len(params.members)} members; expected {len(filters)}, one per"
            " filter."
        )
