"""Smoothers: beliefs about x_t given the whole record y_1..y_T."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from kfjax import linalg
from kfjax.base import Filter, Gaussian
from kfjax.imputation import belief_of, model_and_rule
from kfjax.models import StateSpaceModel
from kfjax.observing import bind
from kfjax.runner import until

__all__ = ["Smoothed", "smooth"]


class Smoothed(NamedTuple):
    """Smoothed beliefs.

    Attributes:
        mean: E[x_t | y_1..T], [T, n], for t = 1..T.
        cov: its covariance [T, n, n].
        initial: the smoothed belief about x_0, `Gaussian(mean [n], cov [n, n])`.
    """

    mean: Array
    cov: Array
    initial: Gaussian


def smooth(
    filter: Filter,
    params: Any,
    estimate: Any,
    us: Any = None,
    *,
    length: Any = None,
    initial: Gaussian | None = None,
) -> Smoothed:
    """Rauch-Tung-Striebel smoothing with the filter's own moment rule, whatever it is.

    For t = T-1..0, with the moments of f at the filtered belief m, P and cross C = Cov[x_t, f(x_t)]:

        G = C (Cov[f] + Q)^-1,  m_s = m + G (m_s' - E[f]),  P_s = residual(G) + G (Q + P_s') G',

    where ' is the step after. The sum of squares keeps P_s definite to rounding. Missing data need no care here: they
    are in the filtered estimates. Smooth a batch in the same `jax.vmap` as the filter, so that covariances which the
    batch shares are computed once.

    Args:
        filter: the filter that made the estimate; it must have a moment rule.
        params: the `StateSpaceModel`, or params that hold one.
        estimate: filtered mean [T, n] and cov [T, n, n], as from `kfjax.run`.
        us: the inputs of that run.
        length: the length of that run, if it had one; later entries stay those of the end.
        initial: the belief about x_0 of that run; default the prior.

    Returns:
        `Smoothed(mean [T, n], cov [T, n, n], initial)`.

    Raises:
        ValueError: if the filter has no rule or the estimate no covariance.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> xs, ys = kf.simulate(jax.random.key(0), model, steps=20)
        >>> filtered = kf.run(kf.kalman(), model, ys)[1]
        >>> smoothed = kf.smooth(kf.kalman(), model, filtered)
        >>> bool((smoothed.cov[0, 0, 0] < filtered.cov[0, 0, 0]).item())
        True

    References:
        S. Sarkka, Bayesian Filtering and Smoothing (2013), algorithm 10.1.
    """
    model = model_and_rule("smooth", filter, params, estimate, us)
    first = model.prior if initial is None else initial
    return _smooth(filter, model, Gaussian(first.mean, first.cov), belief_of(estimate), us, length)


@functools.partial(jax.jit, static_argnums=0)
def _smooth(
    filter: Filter,
    model: StateSpaceModel,
    first: Gaussian,
    filtered: Gaussian,
    us: Any,
    length: Any,
) -> Smoothed:
    space = model.state_space
    steps = filtered.mean.shape[0]
    active = None
    if length is not None:
        active, us = jnp.arange(steps) < length, until(length, us)

    def back(later: Gaussian, at: tuple[Gaussian, Any, Any]) -> tuple[Gaussian, Gaussian]:
        belief, u, active_t = at
        moments = filter.rule(bind(model.f, u), belief, space, space)
        Q = model.process_noise(belief.mean, u)
        G = linalg.factorise(moments.cov + Q).solve(moments.cross.T).T
        mean = space.retract(belief.mean, linalg.matmul(G, space.difference(later.mean, moments.mean)))
        cov = moments.residual(G) + linalg.quadratic(G, Q + later.cov)
        new = Gaussian(mean, cov)
        if active_t is not None:
            new = jax.tree.map(lambda a, b: jnp.where(active_t, a, b), new, belief)
        return new, new

    start = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b[:-1]]), first, filtered)
    last = jax.tree.map(lambda a: a[-1], filtered)
    smoothed = jax.lax.scan(back, last, (start, us, active), reverse=True)[1]
    initial = jax.tree.map(lambda a: a[0], smoothed)
    mean, cov = jax.tree.map(lambda a, b: jnp.concatenate([a[1:], b[None]]), smoothed, last)
    return Smoothed(mean, cov, initial)
