"""A smoother for models that switch as a Markov chain: Kim's, after the IMM estimator."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kfjax._support import one_kernel
from kfjax._support.compiling import jit
from kfjax._support.naming import described
from kfjax._support.pytrees import at, select
from kfjax.base import Filter, Gaussian, Inputs
from kfjax.filters.backward_kernels import backward_kernel
from kfjax.filters.beliefs import belief_of, check_input_steps
from kfjax.filters.checks import check_filters
from kfjax.filters.combinators.interacting_models import IMMParams, IMMState
from kfjax.filters.combinators.mixtures import mixing_weights, moment_match
from kfjax.models.lens import model_of
from kfjax.models.records import check_length, checked_inputs, until
from kfjax.models.runtime_checks import check_first_noise
from kfjax.models.state_space import StateSpaceModel
from kfjax.smoothers.rauch_tung_striebel import earlier_belief

__all__ = ["SmoothedIMM", "imm_smooth"]


class SmoothedIMM(NamedTuple):
    """Smoothed beliefs of a model that switches between K members.

    Attributes:
        mean: E[x_t | y_1..T] of the mixture, [T, n].
        cov: its covariance [T, n, n].
        weights: probabilities of the members given y_1..T, [T, K].
        members: the belief about x_t given y_1..T and that a member is active, `Gaussian(mean [T,
            K, n], cov [T, K, n, n])`.
    """

    mean: Float[Array, "... T n"]
    cov: Float[Array, "... T d d"]
    weights: Float[Array, "... T K"]
    members: Gaussian


class Mixture(NamedTuple):
    """Weights [K], and beliefs (mean [K, n], cov [K, n, n])."""

    weights: Array
    beliefs: Gaussian


def imm_smooth(
    filters: tuple[Filter, ...],
    params: IMMParams,
    states: Any,
    *,
    us: Inputs = None,
    length: Any = None,
) -> SmoothedIMM:
    """Smooth the estimates of an interacting multiple model filter (Kim's smoother).

    For t = T-1..1, from the filtered weights mu_i and beliefs of all members i at t and the
    smoothed ones of all members j at t + 1: a Rauch-Tung-Striebel step from i with the dynamics of
    j, for each pair, and

        joint_ij = (mu_i p_ij / sum_l mu_l p_lj) mu_j',   mu_i = sum_j joint_ij,

    where ' marks the smoothed weights at t + 1; the K beliefs about x_t of each i are merged into
    one by their moments. The approximation beyond that of the filter is that y_t+1..T say nothing
    about z_t beyond what z_t+1 says. With one member, or with equal members, it is `kfjax.smooth`.
    It costs K^2 smoothing steps for each step of the record.

    Args:
        filters: the filters of `kfjax.imm(filters)`, without maps: each with a moment rule.
        params: the `IMMParams` of that run.
        states: its states over time, from `kfjax.run(..., emit=kfjax.whole_state)`.
        us: its inputs.
        length: its length, if it had one; later entries repeat the last one.

    Returns:
        `SmoothedIMM(mean [T, n], cov [T, n, n], weights [T, K], members)`.

    Raises:
        ValueError: if a filter has no moment rule, or the params or states do not fit.

    Example:
        >>> calm = kf.systems.constant_velocity()
        >>> params = kf.IMMParams(
        ...     (calm, calm.replace(Q=100 * calm.Q)),
        ...     [[0.95, 0.05], [0.1, 0.9]],
        ...     [0.5, 0.5],
        ... )
        >>> xs, ys = kf.simulate(jax.random.key(0), calm, steps=50)
        >>> members = (kf.kalman(), kf.kalman())
        >>> states = kf.run(
        ...     kf.imm(members), params, ys, emit=kf.whole_state
        ... ).outputs
        >>> smoothed = kf.imm_smooth(members, params, states)
        >>> bool(smoothed.cov[20, 0, 0] < states.cov[20, 0, 0])
        True

    References:
        C.-J. Kim, Dynamic linear models with Markov-switching, J. Econometrics 60 (1994), eqs. 2.20
        to 2.26; C.-J. Kim, C. R. Nelson, State-Space Models with Regime Switching (1999), section
        5.3.
    """
    check_filters("imm_smooth", filters)
    _check(filters, params, states)
    check_length("imm_smooth", states.mean, length)
    check_input_steps("imm_smooth", us, states.mean.shape[0])
    us = checked_inputs("imm_smooth", us)
    check_first_noise("imm_smooth", params, us, length=length, names="Q")
    return _imm_smooth(filters, params, states, us, length)


def _check(filters: tuple[Filter, ...], params: Any, states: Any) -> None:
    """Raise unless filters, params and states are those of one run of `imm`."""
    if not isinstance(params, IMMParams):
        raise ValueError(
            f"imm_smooth: params is {described(params)}; expected kf.IMMParams(members, transition,"
            " weights)."
        )
    if not isinstance(states, IMMState):
        raise ValueError(
            f"imm_smooth: states is {described(states)}; expected the states of an imm over time."
            " Pass the .outputs of kf.run(kf.imm(filters), ..., emit=kf.whole_state)."
        )
    counts = {len(filters), len(params.members), len(states.members)}
    if len(counts) != 1:
        raise ValueError(
            f"imm_smooth: got {len(filters)} filters, params of {len(params.members)} members and"
            f" states of {len(states.members)}; expected one number, as in the run."
        )
    each = zip(filters, params.members, states.members, strict=True)
    for k, (member, its_params, state) in enumerate(each):
        if member.rule is None or not isinstance(model_of(its_params), StateSpaceModel):
            raise ValueError(
                f"imm_smooth: member {k}, {member}, has no moment rule or no model; expected a"
                " Gaussian filter such as kf.extended() and a StateSpaceModel."
            )
        shape = jnp.shape(states.mean)
        if len(shape) != 2 or jnp.shape(state.mean) != shape or state.cov is None:
            raise ValueError(
                f"imm_smooth: member {k} has a mean of shape {jnp.shape(state.mean)} and the"
                f" mixture {shape}; expected [T, n] of both, with covariances. Members of different"
                " dimension cannot be smoothed; a batch goes through jax.vmap."
            )


@functools.partial(jit, static_argnums=0)
def _imm_smooth(
    filters: tuple[Filter, ...],
    params: IMMParams,
    states: IMMState,
    us: Inputs,
    length: Any,
) -> SmoothedIMM:
    us, active = until(length, us, states.mean.shape[0])
    beliefs = [belief_of(member) for member in states.members]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves, axis=1), *beliefs)
    filtered = Mixture(states.weights, stacked)

    def back(later: Mixture, row: tuple[Mixture, Any, Any]) -> tuple[Mixture, Mixture]:
        before, u, counts = row
        new = _earlier_mixture(filters, params, before, later, u)
        if counts is not None:  # after the end, x_t-1 and x_t are the same
            new = select(counts, new, later)
        return new, new

    series = (at(filtered, slice(-1)), *at((us, active), slice(1, None)))
    last = at(filtered, -1)
    earlier = one_kernel.scan(back, last, series, reverse=True)[1]
    whole = jax.tree.map(lambda a, b: jnp.concatenate([a, b[None]]), earlier, last)
    space = model_of(params).state_space
    mixed = jax.vmap(lambda one: _merged(one.weights, one.beliefs, space))(whole)
    return SmoothedIMM(mixed.mean, mixed.cov, whole.weights, whole.beliefs)


def _earlier_mixture(
    filters: tuple[Filter, ...], params: IMMParams, before: Mixture, later: Mixture, u: Inputs
) -> Mixture:
    """Return the smoothed mixture at t from the filtered one and the smoothed one at t + 1."""
    space = model_of(params).state_space
    pairs = []  # of j, the beliefs of all i
    for j, (member, its_params) in enumerate(zip(filters, params.members, strict=True)):
        ahead = at(later.beliefs, j)
        step = functools.partial(_one_pair, member, model_of(its_params), ahead, u)
        pairs.append(jax.vmap(step)(before.beliefs))
    _, mixing = mixing_weights(params.transition, before.weights)
    joint = mixing * later.weights[None, :]
    weights = jnp.sum(joint, axis=1)
    # the belief of a member that cannot be active is arbitrary and has no weight
    possible = weights[:, None] > 0
    shares = joint / jnp.where(possible, weights[:, None], 1)
    shares = jnp.where(possible, shares, later.weights[None, :])
    each = jax.tree.map(lambda *leaves: jnp.stack(leaves, axis=1), *pairs)
    merged = jax.vmap(lambda share, beliefs: _merged(share, beliefs, space))(shares, each)
    return Mixture(weights / jnp.sum(weights), merged)


def _one_pair(
    filter: Filter, model: StateSpaceModel, later: Gaussian, u: Inputs, before: Gaussian
) -> Gaussian:
    """Return a belief about x_t given that a member with this model is active at t + 1."""
    kernel = backward_kernel(filter.rule, model, before, u)
    return belief_of(earlier_belief(kernel, before, later, model.state_space))


def _merged(weights: Array, beliefs: Gaussian, space: Any) -> Gaussian:
    """Return the Gaussian with the moments of a mixture of K beliefs."""
    return moment_match(weights, [at(beliefs, k) for k in range(weights.shape[0])], space)
