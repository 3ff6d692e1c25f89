"""Gain networks without training, which allow exact checks of learned filters."""

import dataclasses

import jax.numpy as jnp

import kfjax as kf


@dataclasses.dataclass(frozen=True)
class Replay:
    """A network that returns its variables, gains [T, n, m], one after the other."""

    n: int
    m: int

    def initial_carry(self, constants, dtype):
        return jnp.zeros((), jnp.int32)

    def apply(self, gains, carry, features):
        return carry + 1, gains[carry]


@dataclasses.dataclass(frozen=True)
class Spy:
    """A network that returns its variables, a gain [n, m], and stores the last features."""

    n: int
    m: int

    def initial_carry(self, constants, dtype):
        sizes = {"F1": self.m, "F2": self.m, "F3": self.n, "F4": self.n}
        return {name: jnp.zeros(size, dtype) for name, size in sizes.items()}

    def apply(self, gain, carry, features):
        return features, gain


def states(state, info):
    """Keep everything: an `emit` for `kfjax.run`."""
    return state, info


def raw(network):
    """The filter of a network that sees all features as they are."""
    return kf.learned.kalman_net(network, feature_map=kf.learned.Raw())
