"""Adapting a learned filter while it runs, from innovations alone: no true states are needed."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from kfjax.base import Estimate, Filter, Inputs, Mask, Run, State, estimate, info_only
from kfjax.learned.params import Learned
from kfjax.models.records import Record, checked_record
from kfjax.runner import run

__all__ = ["Adaptation", "adapt", "start_adapting"]

ADAM = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-2))


class Adaptation(NamedTuple):
    """What goes on from window to window.

    Attributes:
        params: `Learned`, as adapted so far.
        optimizer: the state of the optimiser.
        state: the filter's state before the next window.
    """

    params: Learned
    optimizer: Any
    state: Any


def start_adapting(
    filter: Filter,
    params: Learned,
    *,
    state: State = None,
    optimizer: optax.GradientTransformation = ADAM,
) -> Adaptation:
    """Return the start of an adaptation.

    Args:
        filter: a learned filter.
        params: its params, trained or not; the network is what adapts.
        state: the filter's state to go on from; default its belief about x_0.
        optimizer: as in `adapt`.

    Raises:
        ValueError: if params is not `Learned`.
    """
    if not isinstance(params, Learned):
        raise ValueError(
            f"start_adapting: params is {type(params).__name__}; expected kf.learned.Learned, of"
            " which the network"
            " adapts. Noise covariances of a classical filter adapt in kf.adaptive."
        )
    start = filter.init(params) if state is None else state
    return Adaptation(params, optimizer.init(params.network), start)


def adapt(
    filter: Filter,
    adaptation: Adaptation,
    ys: Array,
    *,
    us: Inputs = None,
    observed: Mask = None,
    stride: int | None = None,
    updates: int = 1,
    optimizer: optax.GradientTransformation = ADAM,
) -> tuple[Adaptation, Estimate]:
    """Estimate a window of observations, then improve the network on it.

    The loss is minus the mean log-likelihood of the innovations where the filter has one, and else
    their mean square (the one-step prediction error), from the state carried to the start of the
    window. Windows overlap if the stride is shorter than a window: the next one begins `stride`
    rows later. A step whose gradient is not finite is not taken.

    Args:
        filter: a learned filter; the Info of one without a covariance has no likelihood.
        adaptation: of `start_adapting`, or of the call before.
        ys: the observations of the window [W, m].
        us: inputs of the window, with a leading axis of W, or None.
        observed: booleans [W] or [W, m], or None.
        stride: rows after which the next window begins; default W.
        updates: number of gradient steps on this window.
        optimizer: an optimiser of optax, built once: a new one compiles again.

    Returns:
        The `Adaptation` to go on with, and the `Estimate` of all W rows with the params from
        before: of overlapping windows the last `stride` rows are new.

    Raises:
        ValueError: if stride is not from 1 to W, or updates is below 1.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> filter = kf.learned.kalman_net(kf.learned.Architecture2(n=2, m=1))
        >>> params = kf.learned.init(jax.random.key(0), filter, model)
        >>> xs, ys = kf.simulate(jax.random.key(1), model, steps=40)
        >>> adaptation = kf.learned.start_adapting(filter, params)
        >>> for begin in range(0, 21, 10):
        ...     adaptation, est = kf.learned.adapt(filter, adaptation, ys[begin:begin + 20], stride=10)
    """
    rows = jnp.shape(ys)[0]
    stride = rows if stride is None else stride
    if not 1 <= stride <= rows:
        raise ValueError(
            f"adapt: stride is {stride}; expected 1 to {rows}, the rows of the window."
        )
    if updates < 1:
        raise ValueError(f"adapt: updates is {updates}; expected at least 1.")
    window = checked_record("adapt", ys, us, observed)
    return _adapt(filter, optimizer, stride, updates, adaptation, window)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _adapt(
    filter: Filter,
    optimizer: Any,
    stride: int,
    count: int,
    before: Adaptation,
    window: Record,
) -> tuple[Adaptation, Estimate]:
    old = jax.tree.map(lambda a: a[:stride], window)
    state, est = _run(filter, before.params, old, before.state, estimate)
    if stride < window.ys.shape[0]:
        new = jax.tree.map(lambda a: a[stride:], window)
        later = _run(filter, before.params, new, state, estimate).outputs
        est = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), est, later)

    def improve(at: tuple[Any, Any], _: None) -> tuple[tuple[Any, Any], None]:
        network, memory = at
        gradient = jax.grad(_surprise, argnums=2)(filter, before, network, window)
        updates, moved = optimizer.update(gradient, memory, network)
        finite = jnp.isfinite(optax.tree.norm(gradient))
        better = optax.apply_updates(network, updates), moved
        return jax.tree.map(lambda a, b: jnp.where(finite, a, b), better, at), None

    (network, memory), _ = jax.lax.scan(
        improve, (before.params.network, before.optimizer), length=count
    )
    return Adaptation(before.params._replace(network=network), memory, state), est


def _surprise(filter: Filter, before: Adaptation, network: Any, window: Record) -> Array:
    """Return minus the log-likelihood, or the squared innovation, per observed number."""
    params = before.params._replace(network=network)
    info = _run(filter, params, window, before.state, info_only).outputs
    if info.log_likelihood is None:
        total = jnp.sum(info.innovation**2)
    else:
        total = -jnp.sum(info.log_likelihood)
    return total / jnp.maximum(jnp.sum(info.dof), 1)


def _run(filter: Filter, params: Learned, window: Record, state: State, emit: Any) -> Run[Any]:
    """Run over a window from a state."""
    ys, us, observed, _ = window
    return run(filter, params, ys, us=us, observed=observed, state=state, emit=emit)
