"""The state z = (x, w, v) of a model whose noise is part of its state, and functions of z.

Everything here is built from an `Augmented`, a hashable value, so that models built alike share one
trace. `layout_of` recovers it from the f of such a model, for functions that act on Q, R or the
belief about x: they either leave the noise in the state as it is (`with_own_noise`) or raise
(`check_added_noise`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

from kfjax._support.pytrees import STATIC, as_pytree
from kfjax._support.types import PyTree
from kfjax.base import Gaussian, Inputs
from kfjax.models.functions import Linear
from kfjax.models.spaces import Space

__all__: list[str] = []


@dataclasses.dataclass(frozen=True)
class Augmented:
    """The sizes of x, w and v in z = (x, w, v)."""

    n: int
    q: int
    r: int

    def split(self, z: Array) -> tuple[Array, Array, Array]:
        """Return x, w and v."""
        end = self.n + self.q
        return z[: self.n], z[self.n : end], z[end:]

    def space(self, space: Space) -> Space:
        """Return the space of z, given that of x; noise is Euclidean."""
        if space.is_euclidean:
            return space
        return Space(
            Partial(_Padded(self, is_move=False), space.difference),
            Partial(_Padded(self, is_move=True), space.retract),
        )

    def prior(self, prior: Gaussian, noise: Sequence[Array]) -> Gaussian:
        """Return the prior of z, with the covariances of the noise in the state."""
        size = self.q + self.r
        mean = jnp.concatenate([prior.mean, jnp.zeros(size, prior.mean.dtype)])
        return Gaussian(mean, jax.scipy.linalg.block_diag(prior.cov, *noise))

    def process_noise(self, Q: Any, rest: Array | None) -> Any:
        """Return the process noise of z: Q for x, and the covariance of the noise in the state."""
        Q = as_pytree(Q)
        if callable(Q):
            whole = Partial(_OfState(self), Q)
            return whole if rest is None else Partial(_blocks, whole, rest)
        Q = jnp.asarray(Q)
        return Q if rest is None else jax.scipy.linalg.block_diag(Q, rest)

    def observation_noise(self, R: Any) -> Any:
        """Return R as a function of z, if it is one of x."""
        R = as_pytree(R)
        return Partial(_OfState(self), R) if callable(R) else R


@dataclasses.dataclass(frozen=True)
class Move:
    """z_t = (f(x, w, u), 0, 0), to which fresh noise is added; f(x, u) unless noise is inside."""

    layout: Augmented
    inside: bool

    def __call__(self, f: Any, z: Array, u: Inputs) -> Array:
        x, w, _ = self.layout.split(z)
        x = f(x, w, u) if self.inside else f(x, u)
        noise = jnp.zeros(self.layout.q + self.layout.r, x.dtype)
        return jnp.concatenate([x, noise])


@dataclasses.dataclass(frozen=True)
class Observe:
    """y_t = h(x, v, u), or h(x, u) (inside is False), or h(x, u) + v (inside is None)."""

    layout: Augmented
    inside: bool | None

    def __call__(self, h: Any, z: Array, u: Inputs) -> Array:
        x, _, v = self.layout.split(z)
        if self.inside:
            return h(x, v, u)
        return h(x, u) + v if self.inside is None else h(x, u)


@dataclasses.dataclass(frozen=True)
class _OfState:
    """A noise covariance that depends on x, as a function of z."""

    layout: Augmented

    def __call__(self, cov: Any, z: Array, u: Inputs) -> Array:
        return cov(self.layout.split(z)[0], u)


@dataclasses.dataclass(frozen=True)
class _Padded:
    """A difference or move on the space of x, as one of z."""

    layout: Augmented
    is_move: bool

    def __call__(self, operation: Any, z: Array, other: Array) -> Array:
        # `other` may be a tangent vector, whose part for x is shorter than x
        size = other.shape[-1] - self.layout.q - self.layout.r
        noise = z[..., self.layout.n :]
        other_noise = other[..., size:]
        noise = noise + other_noise if self.is_move else noise - other_noise
        return jnp.concatenate(
            [operation(z[..., : self.layout.n], other[..., :size]), noise], axis=-1
        )


def _blocks(Q: Any, rest: Array, z: Array, u: Inputs) -> Array:
    """Return diag(Q(z, u), rest)."""
    return jax.scipy.linalg.block_diag(Q(z, u), rest)


def no_noise(observe: Any, z: Array, u: Inputs) -> Array:
    """Return a covariance of zeros, in as many channels as observe has."""
    m = jax.eval_shape(observe, z, u).shape[0]
    return jnp.zeros((m, m), z.dtype)


@dataclasses.dataclass(frozen=True, eq=False)
class LinearMove(Linear):
    """A `Linear` f of z."""

    layout: Any = dataclasses.field(default=None, metadata=STATIC)


def linear_move(f: Linear, layout: Augmented) -> LinearMove:
    """Return (x, v) -> (f(x), 0)."""
    m = layout.r
    return LinearMove(
        _grown(f.A, ((0, m), (0, m))),
        _grown(f.B, ((0, m), (0, 0))),
        _grown(f.b, ((0, m),)),
        _joined(layout, _layout_at(f)),
    )


def layout_of(model: object) -> Augmented | None:
    """Return the sizes of x, w and v if there is noise in the state of a model, else None."""
    return _layout_in(getattr(model, "f", None))


def _layout_in(tree: PyTree) -> Augmented | None:
    """Return the layout of the first function of z in a tree, also of a model augmented twice."""
    nodes = jax.tree.leaves(tree, is_leaf=lambda node: _layout_at(node) is not None)
    node = next((node for node in nodes if _layout_at(node) is not None), None)
    layout = _layout_at(node)
    return _joined(layout, _layout_in(node.args)) if isinstance(node, Partial) else layout


def _layout_at(node: object) -> Augmented | None:
    """Return the layout of a node of a tree, if it is a function of z."""
    if isinstance(node, LinearMove):
        return node.layout
    move = getattr(node, "func", None)
    return move.layout if isinstance(move, Move) else None


def _joined(layout: Any, within: Augmented | None) -> Augmented:
    """Return the layout of z = (z', w, v) for that of z' = (x, w', v')."""
    if within is None:
        return layout
    return Augmented(within.n, within.q + layout.q, within.r + layout.r)


def is_correlated(model: Any) -> bool:
    """Return whether noise in the state of a model is correlated with x, by `correlated`."""

    def correlates(node: Any) -> bool:
        observe = getattr(node, "func", None)
        adds = isinstance(observe, Observe) and observe.inside is None
        return adds or isinstance(node, LinearMove)

    nodes = jax.tree.leaves((model.f, model.h), is_leaf=correlates)
    return layout_of(model) is not None and any(map(correlates, nodes))


def with_own_noise(model: Any, belief: Gaussian) -> Gaussian:
    """Return a belief about z whose noise is that of the model, independent of x.

    Later noise is known from the model alone, and the next step forgets the noise of the last
    observation: whatever changes the belief about x must change neither.
    """
    layout = layout_of(model)
    if layout is None:
        return belief
    n = belief.cov.shape[0] - layout.q - layout.r  # of the tangent space
    noise = model.prior
    mean = jnp.concatenate([belief.mean[: layout.n], noise.mean[layout.n :]])
    cov = jax.scipy.linalg.block_diag(belief.cov[:n, :n], noise.cov[n:, n:])
    return Gaussian(mean, cov)


def check_added_noise(who: str, model: Any, names: str = "QR") -> None:
    """Raise if noise is part of the state of a model, so that its covariance is not in Q or R.

    Args:
        who: the function that acts on Q or R, for error texts.
        model: a model.
        names: which it acts on: "Q", "R" or "QR".
    """
    layout = layout_of(model)
    if layout is None or ("Q" not in names and not layout.r):
        return
    raise ValueError(
        f"{who}: the model has noise in its state (kf.non_additive, kf.correlated) and not in"
        f" {' and '.join(names)}; expected a model with added noise. Change the covariances that"
        " the model was built from instead."
    )


def linear_observe(h: Linear) -> Linear:
    """Return (x, v) -> h(x) + v."""
    A = Partial(_beside_at, h.A) if callable(h.A) else _beside(h.A)
    return Linear(A, h.B, h.b)


def _beside(A: Array) -> Array:
    """Return [A, I]."""
    return jnp.concatenate([A, jnp.eye(A.shape[0], dtype=A.dtype)], axis=1)


def _beside_at(A: Any, u: Inputs) -> Array:
    return _beside(A(u))


@dataclasses.dataclass(frozen=True)
class _Grown:
    """A matrix, or vector, with rows and columns of zeros added."""

    widths: tuple[tuple[int, int], ...]

    def __call__(self, value: Any, u: Inputs) -> Array:
        return jnp.pad(value(u), self.widths)


def _grown(value: Any, widths: tuple[tuple[int, int], ...]) -> Any:
    """Pad an array, a callable of u, or None with zeros."""
    if value is None:
        return None
    return Partial(_Grown(widths), value) if callable(value) else jnp.pad(value, widths)
