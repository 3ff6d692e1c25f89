"""Modules of Equinox, Flax nnx and the like as gain networks."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kfjax._support.arguments import check_function
from kfjax._support.modules import Skeleton, split
from kfjax._support.naming import described
from kfjax._support.types import Key, PyTree
from kfjax.learned.gains.sizes import check_sizes

__all__ = ["ModuleNetwork"]


@dataclasses.dataclass(frozen=True)
class ModuleNetwork:
    """A gain network that is a module of Equinox, of Flax nnx, or any other callable pytree.

    The module is called as `module(carry, features) -> (carry, gain [n, m])`, with a dictionary of
    feature vectors by name. Its memory before the first step is
    `module.initial_carry(constants, dtype)`; without that method it has none, an empty tuple. Its
    arrays of floats are trained: `init_params` draws them, and `Learned.network` holds them by
    their paths, such as "cell/weight_ih". Changes that a module makes to itself when it is called,
    such as to running averages, are lost.

    Attributes:
        make: `(key) -> module`, such as the class of the module. Define it once, since filters of
            different functions are compiled separately.
        n: dimension of the state; None takes that of the design model.
        m: dimension of the observation, or None.

    Raises:
        ValueError: if `make` is not a hashable function, a size is below 1, or, when it is used,
            if the module is not a callable pytree, or holds arrays that are not floats, such as the
            random state of dropout.

    Example:
        >>> from flax import nnx
        >>> class Memoryless(nnx.Module):
        ...     def __init__(self, key):
        ...         self.gain = nnx.Linear(1, 2, rngs=nnx.Rngs(key))
        ...
        ...     def __call__(self, carry, features):
        ...         return carry, self.gain(features["F2"])[:, None]
        >>> network = kf.learned.ModuleNetwork(Memoryless, n=2, m=1)
        >>> filter = kf.learned.kalman_net(network, features=("F2",))
        >>> model = kf.systems.constant_velocity()
        >>> params = kf.learned.init_params(jax.random.key(0), filter, model)
        >>> sorted(params.network)
        ['gain/bias/value', 'gain/kernel/value']
        >>> type(network.module(params.network)).__name__
        'Memoryless'
    """

    make: Callable[[Key], Any]
    n: int | None = None
    m: int | None = None

    def __post_init__(self) -> None:
        check_function("ModuleNetwork: make", self.make, "a function of a key that makes a module")
        if any(hasattr(leaf, "dtype") for leaf in jax.tree.leaves(self.make)):
            raise ValueError(
                f"ModuleNetwork: make is {described(self.make)}, a module with arrays; expected a"
                " function of a key that makes one, such as its class. Pass the weights of this one"
                " as Learned(model, network.variables(module))."
            )
        check_sizes("ModuleNetwork", n=self.n, m=self.m)

    def initial_carry(self, constants: PyTree, dtype: Any) -> PyTree:
        """Return the memory before the first step."""
        skeleton, shapes = _layout(self.make)
        method = getattr(skeleton.module(shapes), "initial_carry", None)
        return () if method is None else method(constants, dtype)

    def init(
        self, key: Key, carry: PyTree, features: dict[str, Float[Array, " _"]]
    ) -> dict[str, Float[Array, " ..."]]:
        """Draw the variables."""
        del carry, features
        _layout(self.make)  # checks it
        return split(self.make(key), _is_fixed)[1]

    def apply(
        self,
        variables: dict[str, Float[Array, " ..."]],
        carry: PyTree,
        features: dict[str, Float[Array, " _"]],
    ) -> tuple[PyTree, Float[Array, "n m"]]:
        """Return the new memory and the gain."""
        return _layout(self.make)[0](variables, carry, features)

    def module(self, variables: dict[str, Float[Array, " ..."]]) -> PyTree:
        """Return the module with these variables, such as `fitted.params.network`."""
        return _layout(self.make)[0].module(variables)

    def variables(self, module: PyTree) -> dict[str, Float[Array, " ..."]]:
        """Return the variables of a module that was made and trained elsewhere.

        Raises:
            ValueError: if it has another structure, or arrays of other shapes, than `make` gives.
        """
        skeleton, shapes = _layout(self.make)
        found, arrays = split(module, _is_fixed)
        if found.names != skeleton.names or found.structure != skeleton.structure:
            raise ValueError(
                f"ModuleNetwork.variables: module is {described(module)} with arrays"
                f" {', '.join(found.names)}; expected a module as {described(self.make)} makes it,"
                f" with {', '.join(skeleton.names)}."
            )
        for name, array in arrays.items():
            if jnp.shape(array) != shapes[name].shape:
                raise ValueError(
                    f"ModuleNetwork.variables: {name} has shape {jnp.shape(array)}; expected"
                    f" {shapes[name].shape}."
                )
        return arrays


def _is_fixed(leaf: object) -> bool:
    return not hasattr(leaf, "dtype")


@functools.lru_cache(maxsize=64)
def _layout(make: Callable[[Array], Any]) -> tuple[Skeleton, dict[str, jax.ShapeDtypeStruct]]:
    """Return the skeleton of the modules that a function makes, and the shapes of their arrays."""
    found: list[Skeleton] = []

    def arrays(key: Array) -> dict[str, Array]:
        module = make(key)
        if not callable(module):
            raise ValueError(
                f"ModuleNetwork: make returns {described(module)}; expected a module that can be"
                " called as module(carry, features)."
            )
        skeleton, variables = split(module, _is_fixed)
        found.append(skeleton)
        return variables

    shapes = jax.eval_shape(arrays, jax.random.key(0))
    for name, array in shapes.items():
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise ValueError(
                f"ModuleNetwork: {name} of the module is {array.dtype}; expected arrays of floats."
                " Leave out layers with random state or counters, such as dropout, or keep the"
                " array static."
            )
    return found[-1], shapes
