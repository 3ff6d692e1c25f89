"""KalmanNet: a Kalman filter whose gain comes from a recurrent network."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax.errors import ScopeParamShapeError
from jax import Array
from jaxtyping import Float

from kfjax._support.naming import described, suggest
from kfjax._support.types import Key, PyTree
from kfjax.base import Filter, constructor
from kfjax.learned.gains.feature_maps import NORMALISED, FeatureMap
from kfjax.learned.gains.features import FEATURES
from kfjax.learned.gains.gain_filters import GainRule, GainState, GainUpdate, gain_filter
from kfjax.learned.gains.module_networks import ModuleNetwork
from kfjax.learned.gains.networks import Architecture1, Architecture2
from kfjax.learned.gains.sizes import dimensions, sized
from kfjax.learned.params import ContextFunction, Learned, in_precision
from kfjax.models.observing import Observation
from kfjax.models.state_space import StateSpaceModel

__all__ = ["GainNetwork", "kalman_net", "published"]


class GainNetwork(Protocol):
    """The network of `kalman_net`: any hashable value with these attributes.

    A Flax Linen module has `init` and `apply` by itself, a module of Equinox or nnx gets all of
    them from `ModuleNetwork`, and a NamedTuple of functions may have them as fields. There is no
    batch axis, and no loop over time.

    Example:
        >>> import typing
        >>> class Shrinking(typing.NamedTuple):
        ...     n: int
        ...     m: int
        ...
        ...     def initial_carry(self, constants, dtype):
        ...         return jnp.ones((), dtype)
        ...
        ...     def init(self, key, carry, features):
        ...         return jnp.zeros((self.n, self.m))
        ...
        ...     def apply(self, variables, carry, features):
        ...         return 0.9 * carry, carry * variables
        >>> model = kf.systems.constant_velocity()
        >>> filter = kf.learned.kalman_net(Shrinking(2, 1))
        >>> params = kf.learned.init_params(jax.random.key(0), filter, model)
        >>> params.network.shape
        (2, 1)
    """

    @property
    def n(self) -> int | None:
        """The dimension of the state; None takes that of the design model."""

    @property
    def m(self) -> int | None:
        """The dimension of the observation, or None."""

    def initial_carry(self, constants: PyTree, dtype: Any, /) -> PyTree:
        """Return the memory before the first step, arrays of `dtype`; see `Learned.constants`."""

    def init(self, key: Key, carry: PyTree, features: dict[str, Float[Array, " _"]], /) -> PyTree:
        """Draw the variables, a pytree of floats."""

    def apply(
        self, variables: PyTree, carry: PyTree, features: dict[str, Float[Array, " _"]], /
    ) -> PyTree:
        """Return the new memory and the gain [n, m]; features are vectors by name."""


@dataclasses.dataclass(frozen=True)
class NetworkGain(GainRule):
    """The gain is the output of a network; there is no covariance."""

    module: GainNetwork

    @property
    def n(self) -> int:  # type: ignore[override]  # read-only
        """The dimension of the state."""
        return dimensions(self.module)[0]

    @property
    def m(self) -> int:  # type: ignore[override]
        """The dimension of the observation."""
        return dimensions(self.module)[1]

    def sized(self, model: StateSpaceModel) -> NetworkGain:
        """Return the rule with the dimensions of the model where its own are None."""
        return dataclasses.replace(self, module=sized(self.module, model))

    def network(self, key: Array, features: dict[str, Array]) -> Any:
        """Draw the variables."""
        dtype = next(iter(features.values())).dtype
        carry = self.module.initial_carry(None, dtype)
        variables = self.module.init(key, carry, features)
        self._check_output(carry, jax.eval_shape(self.module.apply, variables, carry, features))
        return variables

    def carry(self, params: Learned) -> Any:
        """Return the initial hidden state of the network."""
        return self.module.initial_carry(params.constants, params.model.dtype)

    def _check_output(self, carry: PyTree, output: PyTree) -> None:
        """Raise unless the output of the network has the right structure and shapes."""
        here = jax.tree.map(jnp.shape, carry)
        if not isinstance(output, tuple) or len(output) != 2:
            raise ValueError(
                f"kalman_net: the network returns {described(output)}; expected (carry, gain)."
            )
        there, gain = jax.tree.map(jnp.shape, output)
        if gain != (self.n, self.m):
            raise ValueError(
                f"kalman_net: the network returns a gain of shape {gain}; expected"
                f" {(self.n, self.m)}, [n, m]."
            )
        if here != there:
            raise ValueError(
                f"kalman_net: the network returns a carry of shapes {there}; expected those of"
                f" its initial_carry, {here}."
            )

    def __call__(
        self, params: Learned, state: GainState, features: dict[str, Array], seen: Observation
    ) -> GainUpdate:
        """Apply the network."""
        del seen
        variables = in_precision(params.model.dtype, params.network)
        try:
            carry, gain = self.module.apply(variables, state.carry, features)
        except ScopeParamShapeError as error:
            raise ValueError(
                "kalman_net: the weights do not fit the network with features"
                f" {', '.join(features)}; expected the features that it was trained with. Choose"
                f" them, or draw new weights with init_params. {error}"
            ) from error
        return GainUpdate(gain, carry)


@constructor
def kalman_net(
    network: GainNetwork | Callable[[Key], Any],
    features: tuple[str, ...] = FEATURES,
    feature_map: FeatureMap = NORMALISED,
    *,
    context: ContextFunction | None = None,
    context_size: int = 0,
) -> Filter:
    """Filter by a model-based prediction and a learned gain (KalmanNet).

    A recurrent network computes the gain from differences.

    x_{t|t} = x_{t|t-1} + K_t (y_t - h(x_{t|t-1})),   x_{t|t-1} = f(x_{t-1|t-1}),   K_t =
    network(features, memory)

    It needs no Q, R or P: the gain is learned from labelled trajectories without them. The estimate
    has no covariance; see `kfjax.learned.covariance_from_gain`. Where nothing is observed, the
    memory is unchanged, and the prediction is the estimate. For gaps in y, see
    `kfjax.learned.gains.features`. Irregular time steps act through f, which takes u. The network
    sees neither u nor the prediction unless a context shows them: a gain that depends on the place
    or on the input, such as one that turns with the heading, cannot be learned without.

    There is no gate: an outlier moves the estimate in proportion to the gain. One of 1e19 leaves
    an estimate whose square overflows in float32, and NaN from then on: mask such readings, or find
    them with `kfjax.run(..., checked=True)`, which raises.

    Args:
        network: a `GainNetwork`: `Architecture1()`, `Architecture2()`, or another Flax Linen module
            `(carry, features) -> (carry, gain [n, m])` with attributes n and m and a method
            `initial_carry(constants, dtype)`; where n or m is None, it is that of the design model.
            Also the class of a module of Equinox or nnx, or another function of a key that makes
            one, see `ModuleNetwork`.
        features: names among F1 to F4; their order does not matter.
        feature_map: how features are scaled: `Normalised()` as published; `Asinh()` and
            `Whitened()` keep the size of a feature.
        context: what the network sees beside the features, `(x_{t|t-1}, u_t) -> [context_size]`:
            `input_context`, `state_context` or a function of yours, with values of about 1, which
            are not scaled. None, as published: nothing.
        context_size: number of entries in the context.

    Returns:
        A `Filter`; params `Learned(model, network)`, to be drawn by `kfjax.learned.init_params`;
        state `GainState`. Its Info has innovation, dof, and extra["gain"] [n, m].

    Raises:
        ValueError: if a feature is unknown, or only one of context and context_size is given; from
            `init`, if the network does not have the dimensions of the model.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> network = kf.learned.Architecture2()
        >>> filter = kf.learned.kalman_net(network, feature_map=kf.learned.Asinh())
        >>> params = kf.learned.init_params(jax.random.key(0), filter, model)
        >>> xs, ys = kf.simulate(jax.random.key(1), model, steps=20)
        >>> kf.run(filter, params, ys).outputs.mean.shape
        (20, 2)

    References:
        G. Revach et al., KalmanNet: neural network aided Kalman filtering for partially known
        dynamics, IEEE Trans. Signal Process. 70 (2022), section III.
    """
    rule = NetworkGain(gain_network("kalman_net", network))
    return gain_filter(rule, features, feature_map, context=context, context_size=context_size)


def gain_network(who: str, network: Any) -> GainNetwork:
    """Return a gain network, also for a class of modules; raise unless it has what it must have."""
    if inspect.isclass(network) and hasattr(network, "apply"):
        raise ValueError(
            f"{who}: network is the class {network.__name__}; expected a value of it, such as"
            " kf.learned.Architecture2()."
        )
    if inspect.isclass(network) or inspect.isfunction(network):
        return ModuleNetwork(network)
    for name in ("n", "m", "initial_carry", "apply"):
        if not hasattr(network, name):
            raise ValueError(
                f"{who}: network is {described(network)}, without {name}; expected a gain"
                " network, such as kf.learned.Architecture2(n=3, m=3). For a module of Equinox or"
                " nnx, pass its class, or a function of a key that makes it."
            )
    return network


_PUBLISHED = {
    "C1": (Architecture1, ("F2", "F4")),
    "C2": (Architecture1, ("F2", "F4")),
    "C3": (Architecture1, ("F1", "F3", "F4")),
    "C4": (Architecture2, FEATURES),
}


@constructor
def published(
    name: str, *, n: int | None = None, m: int | None = None, feature_map: FeatureMap = NORMALISED
) -> Filter:
    """Return KalmanNet in a configuration of the paper.

    | name | network         | features   | trained by                                    |
    |------|-----------------|------------|-----------------------------------------------|
    | C1   | architecture #1 | F2, F4     | V3: truncated trajectories                    |
    | C2   | architecture #1 | F2, F4     | V1: back-propagation through all of time      |
    | C3   | architecture #1 | F1, F3, F4 | V2: trajectories split into short ones        |
    | C4   | architecture #2 | all        | V1                                            |

    C1 and C2 are the same filter; they differ only in training.

    Args:
        name: "C1", "C2", "C3" or "C4".
        n: dimension of the state; None takes that of the design model.
        m: dimension of the observation, or None.
        feature_map: as in `kalman_net`.

    Returns:
        The `Filter`.

    Raises:
        ValueError: if the name is unknown.

    Example:
        >>> filter = kf.learned.published("C1", n=2, m=2)
        >>> params = kf.learned.init_params(
        ...     jax.random.key(0), filter, kf.systems.canonical()
        ... )
        >>> sum(leaf.size for leaf in jax.tree.leaves(params.network))
        99284

    References:
        G. Revach et al., KalmanNet: neural network aided Kalman filtering for partially known
        dynamics, IEEE Trans. Signal Process. 70 (2022), section IV-A.
    """
    if name not in _PUBLISHED:
        raise ValueError(f"published: got {name!r}; {suggest(str(name), _PUBLISHED)}")
    architecture, features = _PUBLISHED[name]
    return kalman_net(architecture(n, m), features, feature_map)
