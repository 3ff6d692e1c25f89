"""Smoothers: beliefs about x_t given the whole record y_1..y_T."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kfjax import linalg
from kfjax._support import one_kernel
from kfjax._support.compiling import jit
from kfjax._support.pytrees import at, select
from kfjax._support.values import check_belief
from kfjax.base import Filter, Gaussian, Inputs, Params
from kfjax.filters.backward_kernels import BackwardKernel, Belief, backward_kernel
from kfjax.filters.beliefs import model_and_rule
from kfjax.filters.combinators.interacting_models import IMMParams
from kfjax.filters.diffuse_beliefs import proper
from kfjax.filters.square_root_form import SquareRootGaussian
from kfjax.models.hidden_markov import HiddenMarkovModel
from kfjax.models.lens import model_of
from kfjax.models.records import check_length
from kfjax.models.runtime_checks import check_first_noise
from kfjax.models.spaces import Space
from kfjax.models.state_space import StateSpaceModel
from kfjax.smoothers.records import backward_series, belief_before, factors_or_belief

__all__ = ["Smoothed", "smooth"]


class Smoothed(NamedTuple):
    """Smoothed beliefs.

    Attributes:
        mean: E[x_t | y_1..T], [T, n], for t = 1..T.
        cov: its covariance [T, n, n].
        initial: the smoothed belief about x_0, `Gaussian(mean [n], cov [n, n])`
            (`SquareRootGaussian` with factors); None if there is no x_0, with first="update" in the
            model.
        cross: lag-one cross-covariances Cov[x_t, x_{t-1} | y_1..T] [T, n, n] for t = 1..T; zero at
            t = 1 if there is no x_0.
        cholesky: lower triangular factors of cov [T, n, n] in the square-root form, otherwise None.
    """

    mean: Float[Array, "... T n"]
    cov: Float[Array, "... T d d"]
    initial: Any
    cross: Float[Array, "... T d d"]
    cholesky: Float[Array, "... T d d"] | None = None


def smooth(
    filter: Filter,
    params: Params,
    estimate: Any,
    *,
    us: Inputs = None,
    length: Any = None,
    prior: Any = None,
) -> Smoothed:
    """Smooth with the filter's own moment rule, whatever it is (Rauch-Tung-Striebel).

    For t = T-1..0, with the moments of f at the filtered belief m, P and cross C = Cov[x_t,
    f(x_t)]:

        G = C (Cov[f] + Q)^-1,  m_s = m + G (m_s' - E[f]),  P_s = D + G P_s' G',  D = residual(G) +
        G Q G',

    where ' marks the next step; Cov[x', x | y_1..T] = P_s' G'. The sum of squares keeps P_s
    definite to rounding. Estimates of `kfjax.square_root(rule)` are smoothed in square-root form:
    [D^1/2, G P_s'^1/2] is triangularised, and no covariance is subtracted. Missing data need no
    treatment here: the filtered estimates account for them. Smooth a batch in the same `jax.vmap`
    as the filter, so that covariances which the batch shares are computed once.

    Args:
        filter: the filter that made the estimate; it must have a moment rule.
        params: the `StateSpaceModel`, or params that hold one.
        estimate: filtered mean [T, n] and cov [T, n, n], as from `kfjax.run`. For the square-root
            form, pass the states of `kfjax.run(..., emit=kfjax.whole_state)` instead, whose factors
            keep all digits.
        us: the inputs of that run.
        length: the length of that run, if it had one; later entries repeat the last one.
        prior: the belief about x_0 of that run, if it was started from a `state`; default the prior
            of the model.

    Returns:
        `Smoothed(mean [T, n], cov [T, n, n], initial, cross [T, n, n], cholesky [T, n, n] or
        None)`.

    Raises:
        ValueError: if the filter has no rule or the estimate has no covariance.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> xs, ys = kf.simulate(jax.random.key(0), model, steps=20)
        >>> filtered = kf.run(kf.kalman(), model, ys).outputs
        >>> smoothed = kf.smooth(kf.kalman(), model, filtered)
        >>> bool((smoothed.cov[0, 0, 0] < filtered.cov[0, 0, 0]).item())
        True

    References:
        S. Sarkka, Bayesian Filtering and Smoothing (2013), algorithm 10.1; for the lag-one
        covariance, R. H. Shumway, D. S. Stoffer, Time Series Analysis and Its Applications (2017),
        property 6.3; for the square-root form, P. Park, T. Kailath, New square-root smoothing
        algorithms, IEEE TAC 41 (1996).
    """
    if isinstance(params, HiddenMarkovModel | IMMParams):
        raise ValueError(
            f"smooth: params is {type(params).__name__}; expected a StateSpaceModel. Use"
            " kf.forward_backward for a hidden Markov model, and kf.imm_smooth for an imm."
        )
    model = model_and_rule("smooth", filter, params, estimate, us)
    check_length("smooth", estimate.mean, length)
    if prior is not None:
        check_belief("smooth: prior", prior)
    check_first_noise("smooth", model, us, before=prior, length=length, names="Q")
    first = belief_before(model, prior)
    return _smooth(filter, params, first, factors_or_belief(estimate), us, length)


@functools.partial(jit, static_argnums=0)
def _smooth(
    filter: Filter,
    params: Params,
    first: Belief | None,
    filtered: Belief,
    us: Inputs,
    length: Any,
) -> Smoothed:
    model = model_of(params)
    start, last, us, active = backward_series(filter, params, first, filtered, us, length)

    def back(later: Belief, row: tuple[Belief, Any, Any]) -> tuple[Belief, tuple[Belief, Array]]:
        belief, u, active_t = row
        kernel = backward_kernel(filter.rule, model, belief, u)
        belief = proper(belief)
        new = earlier_belief(kernel, belief, later, model.state_space)
        # Cov[x_t+1, x_t | y_1..T] = P_t+1|T G', since x_t = G x_t+1 + ... with independent noise.
        cross = linalg.matmul(later.cov, kernel.gain.T)
        if active_t is not None:  # after the end, x_t-1 and x_t are the same
            new, cross = select(active_t, (new, cross), (belief, belief.cov))
        return new, (new, cross)

    smoothed, cross = one_kernel.scan(back, last, (start, us, active), reverse=True)[1]
    initial = None
    if first is None:
        # the recursion ends at x_1, which has no covariance with an x_0
        cross = jnp.concatenate([jnp.zeros_like(last.cov)[None], cross])
    else:
        initial = at(smoothed, 0)
        smoothed = at(smoothed, slice(1, None))
    path = jax.tree.map(lambda a, b: jnp.concatenate([a, b[None]]), smoothed, last)
    return Smoothed(path.mean, path.cov, initial, cross, getattr(path, "cholesky", None))


def started(model: StateSpaceModel, smoothed: Smoothed) -> Smoothed:
    """Return smoothed beliefs without the x_0 that stood for x_1, if the model has no x_0."""
    if model.first == "predict":
        return smoothed
    return smoothed._replace(initial=None, cross=smoothed.cross.at[0].set(0))


def earlier_belief(kernel: BackwardKernel, belief: Belief, later: Any, space: Space) -> Belief:
    """Return the smoothed belief about x_t from the one about x_t+1."""
    # rest + G P_s G' with rest = Cov[x_t | x_t+1, y_1..t], and not P + G (P_s - P_pred) G': a sum
    # of squares stays definite, where the difference of two covariances that are nearly equal does
    # not.
    G, predicted, rest = kernel
    mean = space.retract(belief.mean, linalg.matmul(G, space.difference(later.mean, predicted)))
    if isinstance(belief, SquareRootGaussian):
        spread = jnp.concatenate([rest, linalg.matmul(G, later.cholesky)], axis=1)
        return SquareRootGaussian(mean, linalg.triangularise(spread))
    return Gaussian(mean, rest + linalg.quadratic(G, later.cov))
