"""Rao-Blackwellised particle filters: particles for some components, Gaussians for the others.

Split x = (n, l) such that f and h are affine in l for given n:

n_t = f_n(n_{t-1}) + A_n(n_{t-1}) l_{t-1} + e_n,   (e_n, e_l) ~ N(0, Q)
l_t = f_l(n_{t-1}) + A_l(n_{t-1}) l_{t-1} + e_l
y_t = h(n_t) + C(n_t) l_t + v_t,                   v_t ~ N(0, R)

Given the path of n, l is Gaussian, and each particle tracks it with a Kalman filter of its own. The
prediction propagates the joint Gaussian, draws n_t from it, and conditions l_t on the draw, which
carries information about l_{t-1} as an observation would (except in the hierarchical model, where
A_n = 0). The update is the Kalman update of l_t; its likelihood is the weight of the particle.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax import linalg
from kfjax.base import Filter, Gaussian, Info, Inputs, Mask, constructor
from kfjax.filters import clouds
from kfjax.filters.gaussian import Standard
from kfjax.filters.particles.resampling import SYSTEMATIC, Resampling, normalised
from kfjax.filters.particles.states import (
    ParticleState,
    check_particles,
    mixture_info,
    selected,
    weighed,
)
from kfjax.models.observing import Observation, bind, observe
from kfjax.models.spaces import EUCLIDEAN, Space
from kfjax.models.state_space import StateSpaceModel
from kfjax.moments import MomentRule, Taylor

__all__ = ["rao_blackwellised"]

TAYLOR = Taylor()


@constructor
def rao_blackwellised(
    linear: tuple[int, ...],
    particles: int = 1000,
    *,
    rule: MomentRule = TAYLOR,
    resampling: Resampling = SYSTEMATIC,
    ess: float = 0.5,
) -> Filter:
    """Filter a partly linear model with fewer particles (Rao-Blackwellised particle filter).

    It takes an ordinary model; the argument `linear` says which components enter linearly. Their
    matrices are the derivatives of f and h. Where f or h is *not* affine in them, every particle
    carries an extended Kalman filter (or that of another rule) instead of an exact one. Q and R may
    have any correlations. R may be singular as long as the linear part leaves y uncertain; without
    any uncertainty y has no density, and its log-likelihood is -inf.

    Args:
        linear: indices of the components in which f and h are affine, given the others.
        particles: N.
        rule: the moment rule, with `deviations`, that propagates the Gaussians; every rule is
            exact for affine functions.
        resampling: a scheme of `kfjax.filters`, as in `particle`.
        ess: resample where the effective sample size is below this fraction of N.

    Returns:
        A `Filter`; params `StateSpaceModel`, state `ParticleState` with `covs`. `init` needs a key.

    Raises:
        ValueError: if linear is empty or has an index twice; from `init`, if there is no key, if
            linear does not fit the state or leaves nothing for particles, or if the model has an
            `observation_log_density`.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> xs, ys = kf.simulate(jax.random.key(0), model, steps=20)
        >>> filter = kf.rao_blackwellised(linear=(1,), particles=100)
        >>> est = kf.run(filter, model, ys, key=jax.random.key(1)).outputs
        >>> est.mean.shape
        (20, 2)

    References:
        T. Schon, F. Gustafsson, P.-J. Nordlund, Marginalized particle filters for mixed
        linear/nonlinear state-space models, IEEE Trans. Signal Process. 53 (2005), eq. (18)-(25),
        algorithm 1.
    """
    check_particles("rao_blackwellised", particles, ess, resampling)
    _check_arguments(linear, rule)

    def normals(key: Array, model: StateSpaceModel) -> Array:
        return jax.random.normal(key, (particles, model.n - len(linear)), model.dtype)

    def init(params: StateSpaceModel, key: Array | None = None) -> ParticleState:
        _check_model(params, linear)
        data, (draw,) = clouds.split(clouds.key_data("rao_blackwellised", key), 1)
        return _spread(params, linear, data, params.prior, normals(draw, params))

    def predict(params: StateSpaceModel, state: ParticleState, u: Inputs = None) -> ParticleState:
        data, (select, move) = clouds.split(state.key, 2)
        state, _ = selected(resampling, ess, select, state)
        one = functools.partial(_move, rule, params, _parts(params, linear), u)
        points, covs = jax.vmap(one)(state.particles, state.covs, normals(move, params))
        return state._replace(particles=points, covs=covs, key=data)

    def update(
        params: StateSpaceModel,
        state: ParticleState,
        y: Array,
        u: Inputs = None,
        observed: Mask = None,
    ) -> tuple[ParticleState, Info]:

        def one(x: Array, P: Array) -> tuple[Array, Array, Array, Array]:
            seen = observe(params, x, y, u, observed)
            return _condition(rule, params, _parts(params, linear), seen, x, P)

        points, covs, S, density = jax.vmap(one)(state.particles, state.covs)
        proposed = state._replace(particles=points, covs=covs)
        new, log_likelihood = weighed(state, proposed, density, observed)
        seen = observe(params, state.mean, y, u, observed)
        ys = jax.vmap(seen.fn)(state.particles).astype(density.dtype)
        noise = clouds.mixed(state.weights, S)
        return new, mixture_info(seen, ys, state.weights, noise, log_likelihood)

    def recentre(
        params: StateSpaceModel, state: ParticleState, gaussian: Gaussian
    ) -> ParticleState:
        data, (draw, again) = clouds.split(state.key, 2)
        z = normals(draw, params)
        # draws with sample mean 0 and covariance I give the particles exactly the requested moments
        unit = Gaussian(jnp.zeros_like(z[0]), jnp.eye(z.shape[1], dtype=z.dtype))
        equal = jnp.full_like(z[:, 0], 1 / particles)
        z = clouds.affine_move(again, None, z, equal, unit)
        return _spread(params, linear, data, gaussian, z)

    return Filter(init, predict, update, recentre)


class _Parts(NamedTuple):
    """Selection matrices of the components with particles [k, n] and of the linear ones [l, n]."""

    sampled: Array
    linear: Array


def _parts(model: StateSpaceModel, linear: tuple[int, ...]) -> _Parts:
    """Return the selection matrices of a model with these linear components."""
    rows = np.eye(model.n)
    sampled = np.delete(rows, linear, 0)
    return _Parts(
        jnp.asarray(sampled, model.dtype),
        jnp.asarray(rows[list(linear)], model.dtype),
    )


def _check_arguments(linear: tuple[int, ...], rule: MomentRule) -> None:
    """Raise unless the indices in linear differ and the rule has deviations."""
    indices = isinstance(linear, tuple) and all(isinstance(i, int) for i in linear)
    if not indices or not linear or len(set(linear)) < len(linear):
        raise ValueError(
            f"rao_blackwellised: linear is {linear}; expected a tuple of at least one index,"
            " without repetition."
        )
    if not hasattr(rule, "deviations"):
        raise ValueError(
            f"rao_blackwellised: {rule} has no deviations; expected a rule such as"
            " kf.moments.Taylor()."
        )


def _check_model(model: StateSpaceModel, linear: tuple[int, ...]) -> None:
    """Raise for a model that the filter cannot run correctly."""
    if not set(linear) < set(range(model.n)):
        raise ValueError(
            f"rao_blackwellised: linear is {linear}; expected indices of some of the {model.n}"
            " components, not all. For a fully linear model, use kf.kalman()."
        )
    if model.observation_log_density is not None:
        raise ValueError(
            "rao_blackwellised: the model has an observation_log_density; expected Gaussian noise,"
            " for which the linear part can be integrated out. Use kf.particle(), or"
            " model.replace(observation_log_density=None)."
        )


def _move(
    rule: Any, model: StateSpaceModel, parts: _Parts, u: Inputs, x: Array, P: Array, z: Array
) -> tuple[Array, Array]:
    """Predict one particle and its covariance, with normals z [k] for the sampled components."""
    space = model.state_space
    f = _of_linear(parts, bind(model.f, u), x, space)
    L = linalg.cholesky(linalg.quadratic(parts.linear, P))
    mean, _, dy = rule.deviations(f, jnp.zeros_like(L[0]), L, EUCLIDEAN, space)
    offset, cov = _draw(parts, dy, model.process_noise(x, u), z)
    return space.retract(mean, offset), cov


def _condition(
    rule: MomentRule,
    model: StateSpaceModel,
    parts: _Parts,
    seen: Observation,
    x: Array,
    P: Array,
) -> tuple[Array, Array, Array, Array]:
    """Update the linear components of one particle.

    Returns its point and covariance, and the covariance and log density of y.
    """
    space = model.state_space
    belief = Gaussian(jnp.zeros_like(parts.linear[:, 0]), linalg.quadratic(parts.linear, P))
    local = seen._replace(fn=_of_linear(parts, seen.fn, x, space))
    (d, cov), info = Standard()(rule, belief, local, EUCLIDEAN)
    S: Any = info.innovation_cov
    density: Any = info.log_likelihood
    if seen.mask is not None:
        # unit variance, so that unobserved channels do not make S singular
        S = S + jnp.diag((~seen.mask).astype(S.dtype))
    embed = parts.linear.T
    point = space.retract(x, linalg.matmul(embed, d))
    return point, linalg.quadratic(embed, cov), S, density


def _of_linear(parts: _Parts, fn: Any, x: Array, space: Space) -> Any:
    """Return fn as a function of the offset [l] of the linear components of x."""
    return lambda d: fn(space.retract(x, linalg.matmul(parts.linear.T, d)))


def _spread(
    model: StateSpaceModel, linear: tuple[int, ...], data: Array, belief: Gaussian, z: Array
) -> ParticleState:
    """Draw particles from a belief, with standard normals z [N, k] for the sampled components."""
    parts = _parts(model, linear)
    factor = linalg.cholesky(belief.cov)
    offsets, covs = jax.vmap(lambda z: _draw(parts, factor, jnp.zeros_like(factor), z))(z)
    points = jax.vmap(model.state_space.retract, in_axes=(None, 0))(belief.mean, offsets)
    equal = normalised(jnp.zeros_like(z[:, 0]))
    return ParticleState(points, equal, data, covs, space=clouds.space_of(model))


def _draw(parts: _Parts, deviations: Array, Q: Array, z: Array) -> tuple[Array, Array]:
    """Draw the sampled components of N(0, D D' + Q) from standard normals z [k].

    Returns the draw with the conditional mean and covariance of the others.
    """
    A, B = (linalg.matmul(part, deviations) for part in parts)
    within = linalg.matmul(A, A.T)
    S = linalg.factorise(within + linalg.quadratic(parts.sampled, Q))
    cross_deviations = linalg.matmul(A, B.T)
    cross_noise = linalg.matmul(linalg.matmul(parts.sampled, Q), parts.linear.T)
    cross = cross_deviations + cross_noise
    K = S.solve(cross).T
    d = linalg.matmul(S.lower, z)
    sampled = linalg.matmul(parts.sampled.T, d)
    others = linalg.matmul(parts.linear.T, linalg.matmul(K, d))
    offset = sampled + others
    # the covariance of l - K n as a sum of squares, which keeps it definite
    left = parts.linear - linalg.matmul(K, parts.sampled)
    residual = linalg.matmul(parts.linear.T, left)
    rest = linalg.matmul(residual, deviations)
    return offset, linalg.matmul(rest, rest.T) + linalg.quadratic(residual, Q)
