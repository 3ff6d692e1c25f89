"""The common structure of filters with a learned gain.

predict:  x_{t|t-1} = f(x_{t-1|t-1}, u_t)
update:   carry_t, K_t = rule(features_t, carry_{t-1})
          x_{t|t} = x_{t|t-1} + K_t (y_t - h(x_{t|t-1}, u_t))

where features_t may contain a context, any function of (x_{t|t-1}, u_t).

The bookkeeping of features, gaps and curved spaces is written here, once; a `GainRule` gives the
gain, and the covariance that belongs to it, if any.
"""

from __future__ import annotations

import abc
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kfjax import linalg
from kfjax._support.arguments import check_counts, check_function
from kfjax._support.types import Key
from kfjax.base import Filter, Gaussian, Info, Inputs, Mask, constructor
from kfjax.learned.gains.feature_maps import NORMALISED, FeatureMap
from kfjax.learned.gains.features import (
    FEATURES,
    Past,
    check_features,
    differences,
    first_past,
    next_past,
    sizes,
)
from kfjax.learned.gains.sizes import sized
from kfjax.learned.params import ContextFunction, Initialiser, Learned, check_learned
from kfjax.models.calling import call
from kfjax.models.observing import Observation, innovation_info, keep_unobserved, observe
from kfjax.models.state_space import StateSpaceModel

__all__ = ["GainRule", "GainState", "GainUpdate", "gain_filter"]


class GainState(NamedTuple):
    """The state of a filter with a learned gain.

    Attributes:
        mean: x_{t|t}, or x_{t|t-1} after a prediction, [N].
        cov: its covariance [n, n], or None.
        carry: the hidden state of the network.
        past: past values for the features.
    """

    mean: Float[Array, "... n"]
    cov: Any
    carry: Any
    past: Past


class GainUpdate(NamedTuple):
    """The result of a gain rule.

    Attributes:
        gain: K [n, m].
        carry: the hidden state after this observation.
        cov: the covariance of x_{t|t} [n, n], or None.
        S: the factored covariance of the innovation, or None.
        extra: what to report in `Info.extra` beside the gain; zero where nothing was observed.
    """

    gain: Float[Array, "d m"]
    carry: Any
    cov: Float[Array, "d d"] | None = None
    S: linalg.Factored | None = None
    extra: dict[str, Any] | None = None


class GainRule(abc.ABC):
    """The rule by which a learned filter computes its gain.

    It is a hashable value, such as a frozen dataclass of Flax modules.
    """

    n: int
    m: int

    def sized(self, model: StateSpaceModel) -> GainRule:
        """Return the rule with the dimensions of the model where its own are None."""
        return sized(self, model)

    @abc.abstractmethod
    def network(self, key: Key, features: dict[str, Float[Array, " _"]]) -> Any:
        """Draw the variables of the network or networks, given features of the right shapes."""

    @abc.abstractmethod
    def carry(self, params: Learned) -> Any:
        """Return the hidden state before the first step, in new arrays."""

    @abc.abstractmethod
    def __call__(
        self,
        params: Learned,
        state: GainState,
        features: dict[str, Float[Array, " _"]],
        seen: Observation,
    ) -> GainUpdate:
        """Return the gain and all that goes with it; the mask is applied to h and R of `seen`."""

    def cov(self, params: Learned) -> Float[Array, "d d"] | None:
        """Return the covariance of x_0, or None for a filter without one."""
        del params
        return None

    def predicted_cov(
        self, params: Learned, state: GainState, u: Inputs
    ) -> Float[Array, "d d"] | None:
        """Return the covariance of x_{t|t-1} from the state at t-1."""
        del params, state, u
        return None


@constructor
def gain_filter(
    rule: GainRule,
    features: tuple[str, ...] = FEATURES,
    feature_map: FeatureMap = NORMALISED,
    *,
    context: ContextFunction | None = None,
    context_size: int = 0,
) -> Filter:
    """Return the filter of a gain rule, also of one that you write.

    Args:
        rule: a `GainRule`.
        features: names among F1 to F4, see `kfjax.learned.gains.features`; their order does not
            matter.
        feature_map: how features are scaled: `Normalised()`, `Raw()`, `Whitened()`, `Asinh()`, or
            any hashable `(feature, whitener or None) -> feature`.
        context: what the network sees beside the features, as the feature "context":
            `(x_{t|t-1}, u_t) -> [context_size]`, not scaled; or None.
        context_size: number of entries in the context.

    Returns:
        A `Filter`; params `Learned`, state `GainState`. Its Info has innovation, dof and
        extra["gain"] [n, m] (zero in columns of unobserved channels), and the other fields if the
        rule gives a covariance of the innovation.

    Raises:
        ValueError: if a feature is unknown, or only one of context and context_size is given; from
            `init`, if the network does not have the dimensions of the model.
    """
    features = check_features("gain_filter", features)
    check_function("gain_filter: feature_map", feature_map, "a function (feature, whitener)")
    _check_context(context, context_size)

    def rule_for(model: StateSpaceModel) -> Any:
        own = rule.sized(model)
        _check_sizes(own, model)
        return own

    def network(key: Array, model: StateSpaceModel) -> Any:
        own = rule_for(model)
        shapes = sizes(features, own.n, own.m)
        if context is not None:
            shapes["context"] = context_size
        zero = {name: jnp.zeros(size, model.dtype) for name, size in shapes.items()}
        return own.network(key, zero)

    def first(params: Learned) -> GainState:
        check_learned(params)
        own = rule_for(params.model)
        past = first_past(params.model, own.m)
        mean = jnp.copy(params.model.prior.mean)
        return GainState(mean, own.cov(params), own.carry(params), past)

    def predict(params: Learned, state: GainState, u: Inputs = None) -> GainState:
        check_learned(params)
        model = params.model
        mean = call("f", model.f, state.mean, u).astype(model.dtype)
        past = next_past(model, state.past, state.mean, mean, u)
        cov = rule_for(model).predicted_cov(params, state, u)
        return GainState(mean, cov, state.carry, past)

    def update(
        params: Learned, state: GainState, y: Array, u: Inputs = None, observed: Mask = None
    ) -> tuple[GainState, Info]:
        model = params.model
        seen = observe(model, state.mean, y, u, observed)
        y_hat = call("h", model.h, state.mean, u).astype(
            model.dtype
        )  # the same expression as in `predict`, so that the compiler shares it
        innovation = seen.innovation(y_hat)
        past = state.past._replace(y=_filled(y, y_hat, seen.mask))
        scales = (params.constants or {}).get("scales", {})
        inputs = {
            name: feature_map(value, scales.get(name))
            for name, value in differences(features, model, past, innovation).items()
        }
        if context is not None:
            inputs["context"] = _context(context, context_size, model, state.mean, u)
        gained = rule_for(model)(params, state, inputs, seen)
        mean = model.state_space.retract(state.mean, linalg.matmul(gained.gain, innovation))
        new = GainState(mean, gained.cov, gained.carry, past)
        return keep_unobserved(observed, new, state), _info(innovation, gained, seen.mask)

    def recentre(params: Learned, state: GainState, gaussian: Gaussian) -> GainState:
        del params  # the features see a written belief like any correction
        return state._replace(mean=gaussian.mean, cov=None if state.cov is None else gaussian.cov)

    return Filter(Initialiser(first, network), predict, update, recentre)


def _check_context(context: object, size: int) -> None:
    """Raise unless a context and its size are both given, or neither."""
    if context is None and size == 0:
        return
    check_function("gain_filter: context", context, "a function of (x, u), or None")
    check_counts("gain_filter", context_size=size)


def _context(
    context: ContextFunction, size: int, model: StateSpaceModel, x: Array, u: Inputs
) -> Array:
    """Return the context of a step."""
    value = jnp.asarray(call("context", context, x, u), model.dtype)
    if value.shape != (size,):
        raise ValueError(
            f"gain_filter: context returns shape {value.shape}; expected {(size,)}, context_size."
        )
    return value


def _filled(y: Array, y_hat: Array, mask: Array | None) -> Array:
    """Return y, with predictions in place of unobserved entries."""
    y = jnp.asarray(y, y_hat.dtype)
    return y if mask is None else jnp.where(mask, y, y_hat)


def _info(innovation: Array, gained: GainUpdate, mask: Array | None) -> Info:
    """Return the Info of an update."""
    if gained.S is None:
        dof = jnp.asarray(innovation.shape[0] if mask is None else jnp.sum(mask), jnp.int32)
        info = Info(innovation=innovation, dof=dof)
    else:
        info = innovation_info(innovation, gained.S, mask)
    gain = gained.gain if mask is None else jnp.where(mask[None, :], gained.gain, 0)
    return info._replace(extra={"gain": gain} | (gained.extra or {}))


def _check_sizes(rule: GainRule, model: StateSpaceModel) -> None:
    """Raise unless the model has the dimensions of the network."""
    m = rule.m if callable(model.R) else model.R.shape[-1]
    if (model.n, m) != (rule.n, rule.m):
        raise ValueError(
            f"the model has n = {model.n} and m = {m}, the network n = {rule.n} and m = {rule.m};"
            " expected the same. Make the network for the model, as in Architecture2(n=model.n,"
            " m=...)."
        )
