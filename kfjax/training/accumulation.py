"""The E-step of expectation maximisation: expected sufficient statistics of a trajectory.

They come from the posterior of (x_t-1, epsilon_t) and (x_t, v_t), where e_t = U epsilon_t and U U'
= Q. With epsilon in place of e, noise-free components stay exactly noise-free.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from kfjax import linalg
from kfjax._support import one_kernel
from kfjax._support.pytrees import at, select
from kfjax.base import Gaussian, Inputs, state_and_log_likelihood
from kfjax.data.batches import run_trajectory, start_at
from kfjax.data.dataset import Dataset
from kfjax.filters.square_root_form import SquareRootGaussian, conditional_factors, square_root
from kfjax.models.observing import bind
from kfjax.models.records import until
from kfjax.models.state_space import StateSpaceModel
from kfjax.moments import Taylor
from kfjax.smoothers.imputation import noise_given_seen
from kfjax.smoothers.records import backward_series, belief_before

__all__ = ["Sums"]

DYNAMICS = {
    "F": "A",
    "B": "B",
    "b": "b",
}  # names of coefficients, and the fields of Linear that hold them


OBSERVATION = {"H": "A", "D": "B", "d": "b"}


FORWARD = square_root(Taylor())


class Sums(NamedTuple):
    """Expected sufficient statistics of one trajectory, or of all.

    Attributes:
        log_likelihood: log p(y_1..T).
        dynamics: sum of E[s s'], where s is epsilon_t and the regressors of the learned
            coefficients of f.
        observation: likewise with v_t and h, over the steps with any observation.
        steps: number of terms in `dynamics`.
        seen: number of terms in `observation`.
        start: smoothed x_0 (x_1 with first="update") minus the prior mean, and its covariance, for
            every trajectory [N, ...].
    """

    log_likelihood: Array
    dynamics: Array
    observation: Array
    steps: Array
    seen: Array
    start: Gaussian


def expected(names: frozenset[str], model: StateSpaceModel, one: Dataset) -> Sums:
    """Take the E-step for one trajectory: filter forwards, accumulate backwards."""
    model = start_at(model, one.prior_mean)
    filtered, log_likelihood = run_trajectory(
        FORWARD, model, one, emit=state_and_log_likelihood
    ).outputs
    before = belief_before(model, None)
    start, last, us, _ = backward_series(FORWARD, model, before, filtered, one.us, one.length)
    steps = one.ys.shape[0]
    all_us, active = until(one.length, one.us, steps)
    active = jnp.ones(steps, bool) if active is None else active
    masks = jnp.ones_like(one.ys, bool) if one.observed is None else one.observed

    def observed(belief: Any, u: Inputs, row: tuple[Array, ...]) -> tuple[Array, Array]:
        y, mask, counts = row
        sees = counts & mask.any()
        moment = _observation_moment(names, model, belief, y, u, mask)
        return _masked(sees, moment), sees.astype(model.dtype)

    def back(carry: tuple[Any, Any], step: tuple[Any, ...]) -> tuple[tuple[Any, Any], None]:
        later, sums = carry
        belief, u, row = step
        counts = row[-1]
        earlier, moved = _dynamics_moment(names, model, belief, later, u)
        moment, sees = observed(later, u, row)
        terms = (_masked(counts, moved), moment, counts.astype(model.dtype), sees)
        earlier = select(counts, earlier, belief)
        return (earlier, jax.tree.map(jnp.add, sums, terms)), None

    rows = (one.ys, masks, active)
    head, first_u = at((rows, all_us), 0)
    series = (start, us, at(rows, slice(steps - start.mean.shape[0], None)))
    # the sums start at zero, in the shapes and dtypes of one step
    shapes = jax.eval_shape(lambda: back((last, (0.0,) * 4), (last, first_u, head))[0][1])
    zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)
    (first, sums), _ = one_kernel.scan(back, (last, zeros), series, reverse=True)
    dynamics, observation, moves, seen = sums
    if before is None:  # there was no prediction before y_1
        moment, sees = observed(first, first_u, head)
        observation = observation + moment
        seen = seen + sees
    at_start = Gaussian(first.mean - model.prior.mean, first.cov)
    return Sums(log_likelihood.sum(), dynamics, observation, moves, seen, at_start)


def _masked(condition: Array, moment: Array) -> Array:
    return jnp.where(condition, moment, 0)


def _dynamics_moment(
    names: frozenset[str],
    model: StateSpaceModel,
    belief: SquareRootGaussian,
    later: SquareRootGaussian,
    u: Inputs,
) -> tuple[SquareRootGaussian, Array]:
    """Return the smoothed belief about x_t-1, and E[s s'] of s = (epsilon_t, regressors)."""
    n = model.n
    dtype = model.dtype
    f = bind(model.f, u)
    U = linalg.cholesky(model.process_noise(belief.mean, u))
    # The E-step needs the joint belief about the noise and the state before it, not two of states:
    # e_t = x_t - F x_t-1 - ..., as a difference of smoothed states, would cancel where Q is small.
    # With e = U epsilon, x_t = U epsilon + F x_t-1 + ... has no further noise, so that its backward
    # kernel K and residual give E[epsilon epsilon'] directly, also for a singular Q.
    # the belief about (epsilon, x_t-1), of which x_t is a function without further noise
    dx = jax.scipy.linalg.block_diag(jnp.eye(n, dtype=dtype), belief.cholesky)
    dy = jnp.concatenate([U, linalg.matmul(f.A, belief.cholesky)], axis=1)
    S, G, rest = conditional_factors(dx, dy, jnp.zeros((n, 0), dtype))
    K = linalg.solve_lower(S, G.T, transpose=True).T
    mean = jnp.concatenate([jnp.zeros(n, dtype), belief.mean]) + linalg.matmul(
        K, later.mean - f(belief.mean)
    )
    spread = jnp.concatenate([rest, linalg.matmul(K, later.cholesky)], axis=1)
    earlier = SquareRootGaussian(mean[n:], linalg.triangularise(spread[n:]))
    return earlier, _moment(mean, spread, n, _regressors(names, DYNAMICS, u))


def _observation_moment(
    names: frozenset[str],
    model: StateSpaceModel,
    at: SquareRootGaussian,
    y: Array,
    u: Inputs,
    mask: Array,
) -> Array:
    """Return E[s s'] of s = (v_t, regressors); unobserved entries of v_t are inferred."""
    m = y.shape[0]
    dtype = model.dtype
    h = bind(model.h, u, mask, name="h")
    G, rest = noise_given_seen(model.observation_noise(at.mean, u), mask)
    residual = jnp.where(mask, y, 0) - h(at.mean)
    # The seen part of v_t is y - h(x), and the rest is inferred from it by R, v = G v_seen + r. So
    # missing channels enter the sums with what is expected of them; as zeros they would make the
    # estimate of R too small.
    mean = jnp.concatenate([linalg.matmul(G, residual), at.mean])
    L = at.cholesky
    inferred = -linalg.matmul(linalg.matmul(G, h.A), L)
    spread = jnp.concatenate([inferred, L])
    own = jnp.concatenate([linalg.cholesky(rest), jnp.zeros((model.n, m), dtype)])
    return _moment(
        mean, jnp.concatenate([own, spread], axis=1), m, _regressors(names, OBSERVATION, u)
    )


class _Regressors(NamedTuple):
    """The regressors of the learned coefficients: whether the state is one, and known numbers."""

    state: bool
    known: list[Array]


def _regressors(names: frozenset[str], group: dict[str, str], u: Inputs) -> _Regressors:
    by_field = {"B": u, "b": jnp.ones(1)}
    known = [
        by_field[field] for name, field in group.items() if name in names and field in by_field
    ]
    return _Regressors(any(name in names and field == "A" for name, field in group.items()), known)


def _moment(mean: Array, spread: Array, noise: int, regressors: _Regressors) -> Array:
    """Return E[s s'] of s = (noise, state if its coefficients are learned, known)."""
    size = mean.shape[0] if regressors.state else noise
    s = jnp.concatenate([mean[:size], *regressors.known]).astype(mean.dtype)
    rest = (s.shape[0] - size, spread.shape[1])
    spread = jnp.concatenate([spread[:size], jnp.zeros(rest, spread.dtype)])
    # E[s s'] = E[s] E[s]' + Cov[s]. Regressors that are known have no spread, so that their rows of
    # the covariance are zero.
    return jnp.outer(s, s) + linalg.matmul(spread, spread.T)
