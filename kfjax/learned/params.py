"""The params of a learned filter: the model it was designed with, and its network."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kfjax._support.arguments import check_key, check_kind
from kfjax._support.compiling import jit
from kfjax._support.naming import described
from kfjax._support.types import Key, PyTree
from kfjax._support.values import real_array
from kfjax.base import Filter
from kfjax.models.state_space import StateSpaceModel

__all__ = ["Learned", "init_params"]

ContextFunction: TypeAlias = Callable[[Float[Array, " n"], Any], Float[Array, " size"]]
"""Features of (x, u) beside the observations."""


class Learned(NamedTuple):
    """The params of a learned filter.

    Attributes:
        model: the design model; a learned filter predicts with its f and h, whatever the truth is.
        network: the variables of the network, `{"params": ...}`, which training changes by default.
        constants: inputs of the network that training leaves unchanged, by name, or None: "scales"
            (whitening matrices of features, see `kfjax.learned.measure_scales`), "prior" (initial
            hidden states, see `Architecture2`).
    """

    model: StateSpaceModel
    network: Any
    constants: Any = None

    def learned_by_default(self) -> Learned:
        """Return which fields training changes by default.

        `kfjax.training.partition` uses it.
        """
        return Learned(False, True, False)  # type: ignore[arg-type]  # booleans, a prefix


@dataclasses.dataclass(frozen=True)
class Initialiser:
    """The `init` of a learned filter, which can also draw its parameters.

    Attributes:
        state: `(params) -> State`.
        network: `(key, model) -> variables`.
    """

    state: Callable[[Learned], Any]
    network: Callable[[Array, StateSpaceModel], Any]

    def __call__(self, params: Learned, key: Array | None = None) -> Any:
        """Return the state before the first step."""
        del key
        return self.state(params)


def init_params(
    key: Key, filter: Filter | Any, model: StateSpaceModel, constants: PyTree = None
) -> Learned:
    """Draw the parameters of a learned filter, in the precision of the model.

    Args:
        key: a random key.
        filter: a learned filter, such as `kfjax.learned.kalman_net(...)`, or a learned smoother.
        model: the `StateSpaceModel` that it is designed with.
        constants: see `Learned`.

    Returns:
        `Learned`, the params of `filter` in `kfjax.run`.

    Raises:
        ValueError: if the filter has no network, or model is not a model with the dimensions of the
            network.

    Example:
        >>> model = kf.systems.lorenz()
        >>> filter = kf.learned.published("C4", n=3, m=3)
        >>> params = kf.learned.init_params(jax.random.key(0), filter, model)
        >>> sum(leaf.size for leaf in jax.tree.leaves(params.network))
        23874
    """
    init = getattr(filter, "init", None)
    if not isinstance(init, Initialiser):
        raise ValueError(
            f"init_params: filter is {described(filter)}, without a network; expected a learned"
            " filter, such as kf.learned.kalman_net(...). A filter made of it takes the same"
            " params."
        )
    check_kind("init_params: model", model, StateSpaceModel)
    check_key("init_params: key", key)
    for leaf in jax.tree.leaves(constants):
        real_array("init_params: constants", leaf)
    with jax.numpy_dtype_promotion("standard"):  # weights are drawn in float32 for every model
        # compiled as a whole, not weight by weight
        network = _draw(init.network, key, model)
    params = Learned(model, *in_precision(model.dtype, (network, constants)))
    jax.eval_shape(init, params)  # raises if something does not fit
    return params


def check_learned(params: object) -> None:
    """Raise unless params are `Learned`, as a filter with a network needs them."""
    if not isinstance(params, Learned):
        raise ValueError(
            f"a learned filter: params is {described(params)}; expected a kfjax.learned.Learned."
            " Draw them with kf.learned.init_params(key, filter, model)."
        )


@functools.partial(jit, static_argnums=0)
def _draw(
    network: Callable[[Array, StateSpaceModel], Any], key: Array, model: StateSpaceModel
) -> Any:
    return network(key, model)


def in_precision(dtype: Any, tree: PyTree) -> Any:
    """Return a pytree of floats in one precision."""
    return jax.tree.map(lambda a: jnp.asarray(a, dtype), tree)
