"""Models whose noise is not additive or not independent, rewritten with the noise in the state.

Filters assume x_t = f(x_{t-1}, u_t) + e_t and y_t = h(x_t, u_t) + v_t with independent e and v.
Other models are rewritten as models of z = (x, w, v), which every Gaussian filter can run; the
belief about x is the leading part of the belief about z. Combinators that change beliefs (`imm`,
`fading`, `constrained`, ...) leave the noise in the state as it is. Functions that act on Q or R
(`student_t`, `huber`, `adaptive`, `tune`, `em`, ...) raise if that noise is in the state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial
from jaxtyping import Float

from kfjax._support.arguments import check_covariance, check_flag, check_kind
from kfjax._support.pytrees import as_pytree
from kfjax._support.types import Numbers
from kfjax._support.values import check_belief, real_array
from kfjax.base import Gaussian
from kfjax.models.augmented_state import (
    Augmented,
    Move,
    Observe,
    linear_move,
    linear_observe,
    no_noise,
)
from kfjax.models.spaces import Space, as_space
from kfjax.models.state_space import First, StateSpaceModel, is_linear

__all__ = ["correlated", "non_additive"]


def non_additive(
    f: Callable[..., Float[Array, " n"]],
    h: Callable[..., Float[Array, " m"]],
    Q: Any,
    R: Any,
    prior: Any,
    *,
    in_f: bool = True,
    in_h: bool = False,
    state_space: Space | None = None,
    observation_space: Space | None = None,
    first: First = "predict",
) -> StateSpaceModel:
    """Return a model with noise inside its functions, over the state z_t = (x_t, w_{t+1}, v_t).

    x_t = f(x_{t-1}, w_t, u_t),  y_t = h(x_t, v_t, u_t),  w_t ~ N(0, Q),  v_t ~ N(0, R).

    Args:
        f: `(x [n], w [q], u) -> [n]` with in_f; otherwise `(x, u) -> [n]`, to which noise is added.
        h: `(x [n], v [r], u) -> [m]` with in_h; otherwise `(x, u) -> [m]`, to which noise is added.
        Q: covariance [q, q] of w; without in_f, covariance [n, n] of the added noise, which may be
            a callable of (x, u).
        R: covariance [r, r] of v; without in_h, covariance [m, m] of the added noise, which may be
            a callable of (x, u).
        prior: `Gaussian(mean [n], cov [n, n])` of x_0.
        in_f: whether w is an argument of f.
        in_h: whether v is an argument of h. Observations then have no added noise, and particle
            filters cannot weigh them (they raise).
        state_space: the space of x, as in `StateSpaceModel`.
        observation_space: the space of y, as in `StateSpaceModel`.
        first: as in `StateSpaceModel`.

    Returns:
        A `StateSpaceModel` of z; `kf.run(..., emit=kf.leading(n))` keeps the belief about x alone.

    Raises:
        ValueError: if the covariance of noise inside a function is not an array, and as in
            `StateSpaceModel`.

    Example:
        A noisy growth rate.

        >>> model = kf.non_additive(
        ...     lambda x, w, u: x * jnp.exp(w),
        ...     lambda x, u: x,
        ...     Q=[[0.01]],
        ...     R=[[0.1]],
        ...     prior=kf.Gaussian(jnp.ones(1), jnp.eye(1)),
        ... )
        >>> est = kf.run(
        ...     kf.unscented(), model, jnp.ones((5, 1)), emit=kf.leading(1)
        ... ).outputs
        >>> est.mean.shape
        (5, 1)

    References:
        S. J. Julier, J. K. Uhlmann, Unscented filtering and nonlinear estimation, Proc. IEEE 92
        (2004), section IV.
    """
    check_belief("non_additive: prior", prior)
    check_flag("non_additive: in_f", in_f)
    check_flag("non_additive: in_h", in_h)
    prior = Gaussian(*map(jnp.asarray, prior))
    w_noise = _noise("non_additive: Q", Q) if in_f else None
    v_noise = _noise("non_additive: R", R) if in_h else None
    for name, cov in (("Q", Q), ("R", R)):
        if not callable(cov):
            real_array(f"non_additive: {name}", cov, ndim=2)
    inside = [noise for noise in (w_noise, v_noise) if noise is not None]
    layout = Augmented(
        prior.mean.shape[0],
        0 if w_noise is None else w_noise.shape[0],
        0 if v_noise is None else v_noise.shape[0],
    )
    observe = Partial(Observe(layout, in_h), as_pytree(h))
    return StateSpaceModel(
        Partial(Move(layout, in_f), as_pytree(f)),
        observe,
        layout.process_noise(
            jnp.zeros_like(prior.cov) if in_f else Q,
            jax.scipy.linalg.block_diag(*inside) if inside else None,
        ),
        Partial(no_noise, observe) if in_h else layout.observation_noise(R),
        layout.prior(prior, inside),
        layout.space(as_space("non_additive: state_space", state_space)),
        observation_space,
        first=first,
    )


def correlated(model: StateSpaceModel, cross: Any) -> StateSpaceModel:
    """Return the model with correlated process and observation noise, over z_t = (x_t, v_t).

    x_t = f(x_{t-1}, u_t) + e_t,  y_t = h(x_t, u_t) + v_t,  E[e_t v_t'] = cross.

    Here the noises of the same step are correlated. Textbooks that write x_{t+1} = f(x_t) + e_t
    correlate e_t with v_t of the step before; that is another model.

    Args:
        model: a model whose Q and R are arrays. A linear model stays linear.
        cross: the cross-covariance [n, m].

    Returns:
        A `StateSpaceModel` with n + m states and no added observation noise; `emit=kf.leading(n)`
        keeps x alone. Particle filters cannot weigh its observations (they raise).

    Raises:
        ValueError: if Q or R is callable, shapes do not fit, or [[Q, cross], [cross', R]] is not a
            covariance.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> both = kf.correlated(model, jnp.full((2, 1), 0.01))
        >>> est = kf.run(
        ...     kf.kalman(), both, jnp.ones((5, 1)), emit=kf.leading(2)
        ... ).outputs
        >>> est.cov.shape
        (5, 2, 2)

    References:
        B. D. O. Anderson, J. B. Moore, Optimal Filtering, Prentice-Hall (1979), section 5.5.
    """
    check_kind("correlated: model", model, StateSpaceModel)
    Q = _noise("correlated: model.Q", model.Q)
    R = _noise("correlated: model.R", model.R)
    cross = jnp.asarray(real_array("correlated: cross", cross), model.dtype)
    if cross.shape != (Q.shape[0], R.shape[0]):
        raise ValueError(
            f"correlated: cross has shape {cross.shape}; expected [n, m] ="
            f" {(Q.shape[0], R.shape[0])}."
        )
    joint = jnp.block([[Q, cross], [cross.T, R]])
    check_covariance("correlated: [[Q, cross], [cross', R]]", joint)
    m = R.shape[0]
    layout = Augmented(model.prior.mean.shape[0], 0, m)
    f: Any
    h: Any
    if is_linear(model):
        f = linear_move(model.f, layout)
        h = linear_observe(model.h)
    else:
        f = Partial(Move(layout, inside=False), model.f)
        h = Partial(Observe(layout, inside=None), model.h)
    return StateSpaceModel(
        f,
        h,
        joint,
        jnp.zeros_like(R),
        layout.prior(model.prior, [R]),
        layout.space(model.state_space),
        model.observation_space,
        first=model.first,
    )


def _noise(name: str, cov: Numbers) -> Array:
    """Return the covariance of noise that becomes part of the state."""
    if callable(cov):
        raise ValueError(
            f"{name} is a function; expected an array, since this noise is part of the state. Scale"
            " it inside f or h instead."
        )
    return jnp.asarray(real_array(name, cov, ndim=2))
