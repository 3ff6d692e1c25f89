"""Noise that is not additive, or not independent: put it into the state, and every Gaussian filter runs the model.

Filters know x_t = f(x_{t-1}, u_t) + e_t and y_t = h(x_t, u_t) + v_t with independent e and v. A
model beyond that is rewritten over z = (x, w, v); the belief about x is the leading part of the
belief about z.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.linalg import block_diag
from jax.tree_util import Partial

from kfjax._support.arguments import check_covariance
from kfjax._support.pytrees import as_pytree
from kfjax.base import Gaussian
from kfjax.models.functions import Linear
from kfjax.models.spaces import Space, as_space
from kfjax.models.state_space import StateSpaceModel, is_linear

__all__ = ["correlated", "non_additive"]


def non_additive(
    f: Callable[..., Array],
    h: Callable[..., Array],
    Q: Any,
    R: Any,
    prior: Any,
    *,
    in_f: bool = True,
    in_h: bool = False,
    state_space: Space | None = None,
    observation_space: Space | None = None,
) -> StateSpaceModel:
    """Return a model with noise inside its functions, over the augmented state z_t = (x_t, w_{t+1}, v_t).

    x_t = f(x_{t-1}, w_t, u_t),  y_t = h(x_t, v_t, u_t),  w_t ~ N(0, Q),  v_t ~ N(0, R).

    Args:
        f: `(x [n], w [q], u) -> [n]` with in_f, else `(x, u) -> [n]`, and noise is added.
        h: `(x [n], v [r], u) -> [m]` with in_h, else `(x, u) -> [m]`, and noise is added.
        Q: covariance of w [q, q]; without in_f of the added noise [n, n], which may be a callable
            of (x, u).
        R: covariance of v [r, r]; without in_h of the added noise [m, m], which may be a callable
            of (x, u).
        prior: `Gaussian(mean [n], cov [n, n])` of x_0.
        in_f: w is an argument of f.
        in_h: v is an argument of h. Observations then have no added noise, and particle filters
            cannot weigh them.
        state_space: of x, as in `StateSpaceModel`.
        observation_space: as in `StateSpaceModel`.

    Returns:
        A `StateSpaceModel` of z; `kf.run(..., emit=kf.leading(n))` keeps the belief about x alone.

    Raises:
        ValueError: a covariance of noise inside a function that is no array, else as
            `StateSpaceModel`.

    Example:
        A growth rate with noise.

        >>> model = kf.non_additive(
        ...     lambda x, w, u: x * jnp.exp(w), lambda x, u: x, Q=[[0.01]], R=[[0.1]],
        ...     prior=kf.Gaussian(jnp.ones(1), jnp.eye(1)))
        >>> _, est = kf.run(kf.unscented(), model, jnp.ones((5, 1)), emit=kf.leading(1))
        >>> est.mean.shape
        (5, 1)

    References:
        S. J. Julier, J. K. Uhlmann, Unscented filtering and nonlinear estimation, Proc. IEEE 92
        (2004), section IV.
    """
    prior = Gaussian(*map(jnp.asarray, prior))
    noises = [
        _noise("non_additive", *noise)
        for noise, inside in ((("Q", Q), in_f), (("R", R), in_h))
        if inside
    ]
    q = noises[0].shape[0] if in_f else 0
    r = noises[-1].shape[0] if in_h else 0
    layout = _Layout(prior.mean.shape[0], q, r)
    observe = Partial(_Observe(layout, in_h), as_pytree(h))
    return StateSpaceModel(
        Partial(_Move(layout, in_f), as_pytree(f)),
        observe,
        _process_noise(
            layout,
            jnp.zeros_like(prior.cov) if in_f else Q,
            block_diag(*noises) if noises else None,
        ),
        Partial(_none, observe) if in_h else _observation_noise(layout, R),
        _prior(layout, prior, noises if in_f else []),
        _state_space(layout, as_space("non_additive: state_space", state_space)),
        observation_space,
    )


def correlated(model: StateSpaceModel, cross: Any) -> StateSpaceModel:
    """Return the model whose process and observation noise of the same step are correlated, over z_t = (x_t, v_t).

    x_t = f(x_{t-1}, u_t) + e_t,  y_t = h(x_t, u_t) + v_t,  E[e_t v_t'] = cross.

    Textbooks that write x_{t+1} = f(x_t) + e_t correlate e_t with v_t of the step before; that is
    another model.

    Args:
        model: with arrays Q and R. A linear one stays linear.
        cross: the cross-covariance [n, m].

    Returns:
        A `StateSpaceModel` with n + m states and no added observation noise; `emit=kf.leading(n)`
        keeps x alone. Particle filters cannot weigh its observations.

    Raises:
        ValueError: if Q or R is callable, shapes do not fit, or [[Q, cross], [cross', R]] is no
            covariance.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> both = kf.correlated(model, jnp.full((2, 1), 0.01))
        >>> _, est = kf.run(kf.kalman(), both, jnp.ones((5, 1)), emit=kf.leading(2))
        >>> est.cov.shape
        (5, 2, 2)

    References:
        B. D. O. Anderson, J. B. Moore, Optimal Filtering, Prentice-Hall (1979), section 5.5.
    """
    Q, R = _noise("correlated", "model.Q", model.Q), _noise("correlated", "model.R", model.R)
    cross = jnp.asarray(cross, model.dtype)
    if cross.shape != (Q.shape[0], R.shape[0]):
        raise ValueError(
            f"correlated: cross has shape {cross.shape}; expected [n, m] ="
            f" {(Q.shape[0], R.shape[0])}."
        )
    joint = jnp.block([[Q, cross], [cross.T, R]])
    check_covariance("correlated: [[Q, cross], [cross', R]]", joint)
    m = R.shape[0]
    layout = _Layout(model.prior.mean.shape[0], 0, m)
    f: Any = Partial(_Move(layout, False), model.f)
    h: Any = Partial(_Observe(layout, None), model.h)
    if is_linear(model):
        f, h = _linear_move(model.f, m), _linear_observe(model.h)
    return StateSpaceModel(
        f,
        h,
        joint,
        jnp.zeros_like(R),
        _prior(layout, model.prior, []),
        _state_space(layout, model.state_space),
        model.observation_space,
    )


@dataclasses.dataclass(frozen=True)
class _Layout:
    """The sizes of x, w and v in z = (x, w, v); what is built of it is a value, so that like models trace alike."""

    size: int
    q: int
    r: int

    def split(self, z: Array) -> tuple[Array, Array, Array]:
        """Return x, w and v."""
        return z[: self.size], z[self.size : self.size + self.q], z[self.size + self.q :]


@dataclasses.dataclass(frozen=True)
class _Move:
    """z_t = (f(x, w, u), 0, 0), to which fresh noise is added."""

    layout: _Layout
    inside: bool

    def __call__(self, f: Any, z: Array, u: Any) -> Array:
        x, w, _ = self.layout.split(z)
        x = f(x, w, u) if self.inside else f(x, u)
        return jnp.concatenate([x, jnp.zeros(self.layout.q + self.layout.r, x.dtype)])


@dataclasses.dataclass(frozen=True)
class _Observe:
    """y_t = h(x, v, u), or h(x, u) (inside is False), or h(x, u) + v (inside is None)."""

    layout: _Layout
    inside: bool | None

    def __call__(self, h: Any, z: Array, u: Any) -> Array:
        x, _, v = self.layout.split(z)
        if self.inside:
            return h(x, v, u)
        return h(x, u) if self.inside is False else h(x, u) + v


@dataclasses.dataclass(frozen=True)
class _OfState:
    """A noise covariance that depends on x, as a function of z."""

    layout: _Layout

    def __call__(self, cov: Any, z: Array, u: Any) -> Array:
        return cov(self.layout.split(z)[0], u)


@dataclasses.dataclass(frozen=True)
class _Padded:
    """An operation on x and Euclidean noise: differences (of points) and retractions (along tangent vectors)."""

    layout: _Layout
    is_move: bool

    def __call__(self, operation: Any, z: Array, other: Array) -> Array:
        noise = self.layout.q + self.layout.r
        x, other_x = z[..., : self.layout.size], other[..., : other.shape[-1] - noise]
        rest, other_rest = z[..., self.layout.size :], other[..., other.shape[-1] - noise :]
        rest = rest + other_rest if self.is_move else rest - other_rest
        return jnp.concatenate([operation(x, other_x), rest], axis=-1)


def _state_space(layout: _Layout, space: Space) -> Space:
    """Return the space of z."""
    if space.is_euclidean:
        return space
    return Space(
        Partial(_Padded(layout, is_move=False), space.difference),
        Partial(_Padded(layout, is_move=True), space.retract),
    )


def _noise(who: str, name: str, cov: Any) -> Array:
    """Return the covariance of noise that becomes part of the state."""
    if callable(cov):
        raise ValueError(
            f"{who}: {name} is a function; expected an array, since this noise is part of the"
            " state. Scale it inside f"
            " or h instead."
        )
    return jnp.asarray(cov)


def _process_noise(layout: _Layout, Q: Any, rest: Array | None) -> Any:
    """Return Q of z: that of x, and that of the noise in the state."""
    Q = as_pytree(Q)
    if not callable(Q):
        return jnp.asarray(Q) if rest is None else block_diag(jnp.asarray(Q), rest)
    whole = Partial(_OfState(layout), Q)
    return whole if rest is None else Partial(_blocks, whole, rest)


def _blocks(Q: Any, rest: Array, z: Array, u: Any) -> Array:
    """diag(Q(x, u), rest)."""
    return block_diag(Q(z, u), rest)


def _observation_noise(layout: _Layout, R: Any) -> Any:
    """Return R as a function of z."""
    R = as_pytree(R)
    return Partial(_OfState(layout), R) if callable(R) else R


def _none(observe: Any, z: Array, u: Any) -> Array:
    """No added noise, in as many channels as observe has."""
    m = jax.eval_shape(observe, z, u).shape[0]
    return jnp.zeros((m, m), z.dtype)


def _prior(layout: _Layout, prior: Gaussian, noises: list[Array]) -> Gaussian:
    """Return the prior of z: w_1 is drawn before the first step, v_0 is never used."""
    mean = jnp.concatenate([prior.mean, jnp.zeros(layout.q + layout.r, prior.mean.dtype)])
    cov = block_diag(prior.cov, *noises[:1])
    unused = mean.shape[0] - prior.mean.shape[0] + prior.cov.shape[0] - cov.shape[0]
    return Gaussian(mean, jnp.pad(cov, (0, unused)))


def _linear_move(f: Linear, m: int) -> Linear:
    """(x, v) -> (f(x), 0)."""
    A, B, b = (
        _grown(value, (0, m), columns)
        for value, columns in ((f.A, (0, m)), (f.B, (0, 0)), (f.b, None))
    )
    return Linear(A, B, b)


def _linear_observe(h: Linear) -> Linear:
    """(x, v) -> h(x) + v."""
    return Linear(Partial(_beside_at, h.A) if callable(h.A) else _beside(h.A), h.B, h.b)


def _beside(A: Array) -> Array:
    """[A, I]."""
    return jnp.concatenate([A, jnp.eye(A.shape[0], dtype=A.dtype)], axis=1)


def _beside_at(A: Any, u: Any) -> Array:
    return _beside(A(u))


@dataclasses.dataclass(frozen=True)
class _Grown:
    """A matrix, or vector, with rows and columns of zeros added."""

    widths: tuple[tuple[int, int], ...]

    def __call__(self, value: Any, u: Any) -> Array:
        return jnp.pad(value(u), self.widths)


def _grown(value: Any, rows: tuple[int, int], columns: tuple[int, int] | None) -> Any:
    """Add rows and columns to an array, a callable of u, or None."""
    widths = (rows,) if columns is None else (rows, columns)
    if value is None:
        return None
    return Partial(_Grown(widths), value) if callable(value) else jnp.pad(value, widths)
