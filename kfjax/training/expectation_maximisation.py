"""Expectation maximisation: the parameters of a linear model by maximum likelihood, without a step size.

E-step: the posterior of (x_t-1, epsilon_t) and (x_t, v_t) for e_t = U epsilon_t, U U' = Q. M-step:
the coefficients change by the regression of the noise on what they multiply, and what is left is
the noise covariance. Taking epsilon instead of e keeps what is noise-free exactly so.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax import linalg
from kfjax._support.naming import suggest
from kfjax.base import Gaussian, state_and_log_likelihood
from kfjax.data.batches import run_trajectory, start_at
from kfjax.data.dataset import Dataset
from kfjax.filters.square_root_form import SquareRootGaussian, conditional_factors, square_root
from kfjax.models.functions import Linear
from kfjax.models.observing import bind
from kfjax.models.state_space import StateSpaceModel, is_linear
from kfjax.moments import Taylor
from kfjax.smoothers.imputation import noise_given_seen
from kfjax.smoothers.records import backward_series

__all__ = ["LEARNABLE", "Maximised", "em"]

DYNAMICS = {
    "F": "A",
    "B": "B",
    "b": "b",
}  # names of coefficients, and the fields of Linear where they are
OBSERVATION = {"H": "A", "D": "B", "d": "b"}
LEARNABLE = (*DYNAMICS, *OBSERVATION, "Q", "R", "prior_mean", "prior_cov")
FORWARD = square_root(Taylor())


class Maximised(NamedTuple):
    """What expectation maximisation found.

    Attributes:
        model: the model with the learned parameters.
        log_likelihood: of all the data, before every iteration and after the last [iterations + 1];
            it never falls.
    """

    model: StateSpaceModel
    log_likelihood: Array


def em(
    model: StateSpaceModel,
    data: Dataset,
    *,
    learn: Sequence[str] = ("Q", "R"),
    iterations: int = 50,
) -> Maximised:
    """Fit parameters of a linear Gaussian model by expectation maximisation.

    x_t = F x_t-1 + B u_t + b + e_t,  y_t = H x_t + D u_t + d + v_t,  e_t ~ N(0, Q),  v_t ~ N(0, R).

    The likelihood of all trajectories grows in every iteration, towards a maximum (a local one; F,
    H, Q and R together are determined only up to a change of the coordinates of x: fix some).
    Missing rows and single missing channels are handled exactly, those of correlated R included. It
    is slow where little is observed; `jax.grad` of the likelihood is the alternative. What Q makes
    noise-free stays so, and so do the rows of F, B and b there; likewise what the prior knows. One
    trajectory cannot tell `prior_cov`, which then shrinks to zero. Prefer float64.

    Args:
        model: where to start, with `Linear` f and h. What is learned is an array there, and so is Q
            (R) where coefficients of f (h) are learned; everything else may depend on u. A None
            among B, b, D, d starts at zero.
        data: trajectories y_1..y_T, of any lengths, with gaps; B and D need `us` of shape [N,
            T, p].
        learn: names among F, B, b (of f), H, D, d (of h), Q, R, prior_mean and prior_cov.
        iterations: how many.

    Returns:
        `Maximised(model, log_likelihood [iterations + 1])`.

    Raises:
        ValueError: an unknown name, a model that is not linear, a parameter that is a function
            where it must be an array, inputs that are no vectors, `prior_mean` where the data give
            prior means, or iterations below 1.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> xs, ys = jax.vmap(lambda key: kf.simulate(key, model, 50))(jax.random.split(jax.random.key(0), 20))
        >>> fitted = kf.training.em(model.replace(R=100 * model.R), kf.Dataset(ys), learn=["R"], iterations=20)
        >>> bool(0.9 < fitted.model.R[0, 0] / model.R[0, 0] < 1.1)
        True

    References:
        R. H. Shumway, D. S. Stoffer, An approach to time series smoothing and forecasting using the
        EM algorithm, J. Time Series Analysis 3 (1982); Z. Ghahramani, G. E. Hinton, Parameter
        estimation for linear dynamical systems, CRG-TR-96-2 (1996), section 3.
    """
    names = frozenset(learn)
    _check(model, data, names, iterations)
    p = np.shape(data.us)[-1] if names & {"B", "D"} else 0
    f = _filled(model.f, DYNAMICS, names, model.n, p)
    h = _filled(model.h, OBSERVATION, names, data.ys.shape[-1], p)
    return _em(names, iterations, model.replace(f=f, h=h), data)


def _check(model: Any, data: Any, names: frozenset[str], iterations: int) -> None:
    """The public door."""
    for name in sorted(names - set(LEARNABLE)):
        raise ValueError(f"em: got {name!r} in learn; {suggest(name, LEARNABLE)}")
    if not names or iterations < 1:
        raise ValueError(
            f"em: got learn={sorted(names)} and iterations={iterations}; expected some, and at"
            " least 1."
        )
    if not isinstance(model, StateSpaceModel) or not is_linear(model):
        raise ValueError(
            "em: got a model that is not linear; expected a StateSpaceModel with kf.Linear f and h."
        )
    if not (model.state_space.is_euclidean and model.observation_space.is_euclidean):
        raise ValueError(
            "em: the model has states or observations on a curved space; expected Euclidean ones."
            " Fit it by gradient."
        )
    if not isinstance(data, Dataset):
        raise ValueError(
            f"em: data is a {type(data).__name__}; expected a Dataset. One record is"
            " kf.Dataset(ys[None])."
        )
    if "prior_mean" in names and data.prior_mean is not None:
        raise ValueError(
            "em: got prior_mean in learn, but the data give prior means; expected one of the two."
        )
    if names & {"B", "D"} and np.ndim(data.us) != 3:
        raise ValueError("em: B or D is to be learned; expected data with us [N, T, p].")
    need = {
        name: getattr(fn, field)
        for fn, group in _groups(model)
        for name, field in group.items()
        if name in names
    }
    need |= {"Q": model.Q} if names & {"Q", *DYNAMICS} else {}
    need |= {"R": model.R} if names & {"R", *OBSERVATION} else {}
    for name, value in need.items():
        if callable(value):
            raise ValueError(
                f"em: {name} is a function, but has to be an array for learn={sorted(names)};"
                " expected an array."
                " Leave out what depends on it, or fit by gradient."
            )


def _groups(model: StateSpaceModel) -> tuple[tuple[Linear, dict[str, str]], ...]:
    return (model.f, DYNAMICS), (model.h, OBSERVATION)


def _filled(fn: Linear, group: dict[str, str], names: frozenset[str], rows: int, p: int) -> Linear:
    """Return a linear function with zeros where what is to be learned is None."""
    parts = {field: getattr(fn, field) for field in ("A", "B", "b")}
    for name, field in group.items():
        if name in names and parts[field] is None:
            parts[field] = jnp.zeros((rows, p) if field == "B" else (rows,))
    return Linear(**parts)


class _Sums(NamedTuple):
    """Expected sufficient statistics of one trajectory, or of all.

    Attributes:
        log_likelihood: log p(y_1..T).
        dynamics: sum of E[s s'], s = (epsilon_t, what the learned coefficients of f multiply).
        observation: likewise with v_t and h, over the steps where something was seen.
        steps: how many terms the two sums have.
        seen: likewise.
        start: smoothed x_0 - prior mean, and its covariance; of every trajectory [N, ...].
    """

    log_likelihood: Array
    dynamics: Array
    observation: Array
    steps: Array
    seen: Array
    start: Gaussian


@functools.partial(jax.jit, static_argnums=(0, 1))
def _em(names: frozenset[str], iterations: int, model: StateSpaceModel, data: Dataset) -> Maximised:
    def expect(model: StateSpaceModel) -> _Sums:
        each = jax.vmap(functools.partial(_expected, names, model))(data)
        return jax.tree.map(lambda a: a.sum(0), each)._replace(start=each.start)

    def iterate(model: StateSpaceModel, _: None) -> tuple[StateSpaceModel, Array]:
        sums = expect(model)
        return _maximised(names, model, sums), sums.log_likelihood

    fitted, history = jax.lax.scan(iterate, model, length=iterations)
    return Maximised(fitted, jnp.append(history, expect(fitted).log_likelihood))


def _expected(names: frozenset[str], model: StateSpaceModel, one: Dataset) -> _Sums:
    """The E-step for one trajectory: filter forwards, sum up backwards."""
    model = start_at(model, one.prior_mean)
    filtered, log_likelihood = run_trajectory(
        FORWARD, model, one, emit=state_and_log_likelihood
    ).outputs
    start, last, us, active = backward_series(
        FORWARD, model, FORWARD.init(model), filtered, one.us, one.length
    )
    ones = jnp.ones(one.ys.shape[0], bool)
    active = ones if active is None else active
    masks = jnp.broadcast_to(ones[:, None], one.ys.shape) if one.observed is None else one.observed

    def back(carry: tuple[Any, Any], at: tuple[Any, ...]) -> tuple[tuple[Any, Any], None]:
        later, sums = carry
        belief, u, y, mask, counts = at
        noise = _observation_moment(names, model, later, y, u, mask)
        earlier, moved = _dynamics_moment(names, model, belief, later, u)
        sees = counts & mask.any()
        terms = (
            _masked(counts, moved),
            _masked(sees, noise),
            counts.astype(model.dtype),
            sees.astype(model.dtype),
        )
        earlier = jax.tree.map(lambda a, b: jnp.where(counts, a, b), earlier, belief)
        return (earlier, jax.tree.map(jnp.add, sums, terms)), None

    at = (start, us, one.ys, masks, active)
    shapes = jax.eval_shape(
        lambda: back((last, (0.0,) * 4), jax.tree.map(lambda a: a[0], at))[0][1]
    )
    zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)
    (first, sums), _ = jax.lax.scan(back, (last, zeros), at, reverse=True)
    dynamics, observation, steps, seen = sums
    at_start = Gaussian(first.mean - model.prior.mean, first.cov)
    return _Sums(log_likelihood.sum(), dynamics, observation, steps, seen, at_start)


def _masked(condition: Array, moment: Array) -> Array:
    return jnp.where(condition, moment, 0)


def _dynamics_moment(
    names: frozenset[str],
    model: StateSpaceModel,
    belief: SquareRootGaussian,
    later: SquareRootGaussian,
    u: Any,
) -> tuple[SquareRootGaussian, Array]:
    """Return the smoothed belief about x_t-1, and E[s s'] of s = (epsilon_t, regressors)."""
    n, dtype = model.n, model.dtype
    f, U = bind(model.f, u), linalg.cholesky(model.process_noise(belief.mean, u))
    dx = jax.scipy.linalg.block_diag(
        jnp.eye(n, dtype=dtype), belief.cholesky
    )  # of (epsilon, x_t-1)
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
    u: Any,
    mask: Array,
) -> Array:
    """Return E[s s'] of s = (v_t, regressors); what was not seen of v_t is inferred from what was."""
    m, dtype = y.shape[0], model.dtype
    h = bind(model.h, u, mask)
    G, rest = noise_given_seen(model.observation_noise(at.mean, u), mask)
    mean = jnp.concatenate([linalg.matmul(G, jnp.where(mask, y, 0) - h(at.mean)), at.mean])
    L = at.cholesky
    spread = jnp.concatenate([-linalg.matmul(linalg.matmul(G, h.A), L), L])
    own = jnp.concatenate([linalg.cholesky(rest), jnp.zeros((model.n, m), dtype)])
    return _moment(
        mean, jnp.concatenate([own, spread], axis=1), m, _regressors(names, OBSERVATION, u)
    )


class _Regressors(NamedTuple):
    """What the learned coefficients multiply: the state or not, and what is known."""

    state: bool
    known: list[Array]


def _regressors(names: frozenset[str], group: dict[str, str], u: Any) -> _Regressors:
    by_field = {"B": u, "b": jnp.ones(1)}
    known = [
        by_field[field] for name, field in group.items() if name in names and field in by_field
    ]
    return _Regressors(any(name in names and field == "A" for name, field in group.items()), known)


def _moment(mean: Array, spread: Array, noise: int, regressors: _Regressors) -> Array:
    """Return E[s s'] of s = (noise, state if its coefficients are learned, known)."""
    size = mean.shape[0] if regressors.state else noise
    s = jnp.concatenate([mean[:size], *regressors.known]).astype(mean.dtype)
    spread = jnp.concatenate(
        [spread[:size], jnp.zeros((s.shape[0] - size, spread.shape[1]), spread.dtype)]
    )
    return jnp.outer(s, s) + linalg.matmul(spread, spread.T)


def _maximised(names: frozenset[str], model: StateSpaceModel, sums: _Sums) -> StateSpaceModel:
    """The M-step."""
    changes: dict[str, Any] = {}
    if names & {"Q", *DYNAMICS}:
        U = linalg.cholesky(model.Q)
        change, left = _regressed(sums.dynamics, model.n)
        changes["f"] = _moved(names, DYNAMICS, model.f, linalg.matmul(U, change))
        changes["Q"] = (
            linalg.symmetric(linalg.quadratic(U, left)) / sums.steps if "Q" in names else model.Q
        )
    if names & {"R", *OBSERVATION}:
        change, left = _regressed(sums.observation, model.R.shape[0])
        changes["h"] = _moved(names, OBSERVATION, model.h, change)
        changes["R"] = linalg.symmetric(left) / sums.seen if "R" in names else model.R
    mean, cov = model.prior
    deviation = sums.start.mean
    if "prior_mean" in names:
        mean, deviation = mean + deviation.mean(0), deviation - deviation.mean(0)[None]
    if "prior_cov" in names:
        cov = sums.start.cov.mean(0) + linalg.matmul(deviation.T, deviation) / deviation.shape[0]
    return model.replace(prior=Gaussian(mean, cov), **changes)


def _regressed(moment: Array, n: int) -> tuple[Array, Array]:
    """Regress the noise on the rest: the coefficients [n, p], and the sum of squares of what is left [n, n]."""
    if moment.shape[0] == n:
        return jnp.zeros((n, 0), moment.dtype), moment
    change = linalg.factorise(moment[n:, n:]).solve(moment[n:, :n]).T
    residual = jnp.concatenate([jnp.eye(n, dtype=moment.dtype), -change], axis=1)
    return change, linalg.quadratic(residual, moment)


def _moved(names: frozenset[str], group: dict[str, str], fn: Linear, change: Array) -> Linear:
    """Return the linear function with its learned coefficients changed."""
    parts = {field: getattr(fn, field) for field in ("A", "B", "b")}
    for name, field in group.items():
        if name in names:
            size = 1 if field == "b" else parts[field].shape[1]
            step, change = change[:, :size], change[:, size:]
            parts[field] = parts[field] + (step[:, 0] if field == "b" else step)
    return Linear(**parts)
