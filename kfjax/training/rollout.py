"""Truncation, rematerialisation and burn-in for backpropagation through a filter."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool

from kfjax._support import one_kernel
from kfjax._support.arguments import check_count, check_kind
from kfjax._support.types import Key, PyTree
from kfjax.base import Emit, Filter, Kept, Params, Run, State
from kfjax.data import Dataset, run_trajectory, start_at
from kfjax.filters.starting import BegunState, emit_inner, update_first
from kfjax.models.lens import starts_with_update
from kfjax.runner import run

__all__ = ["Rollout", "roll"]


class Rollout(NamedTuple):
    """Settings for differentiating through the filter of a loss; its estimates stay the same.

    Attributes:
        burn_in: number of leading steps that are left out of the loss.
        detach: number of steps after which the gradient is cut (truncated backpropagation); None
            means full backpropagation. On a chaotic system, about one Lyapunov time is enough.
        remat: number of steps between stored states (rematerialisation): the steps between are
            computed again in the backward pass, which takes about a third more time. True means
            sqrt(T), with O(sqrt(T)) memory; None stores everything.

    Example:
        >>> rollout = kf.training.Rollout(burn_in=5, remat=True)
        >>> loss = kf.training.state_mse(kf.extended(), rollout=rollout)

    References:
        T. Chen, B. Xu, C. Zhang, C. Guestrin, Training deep nets with sublinear memory cost, arXiv
        1604.06174 (2016).
    """

    burn_in: int = 0
    detach: int | None = None
    remat: int | bool | None = None

    def counts(self, trajectory: Dataset) -> Bool[Array, " T"]:
        """Return which steps of one trajectory count, [T]."""
        steps = trajectory.ys.shape[0]
        if not 0 <= self.burn_in < steps:
            raise ValueError(
                f"Rollout: burn_in is {self.burn_in}; expected 0 to {steps - 1}, below the number"
                " of steps."
            )
        at = jnp.arange(steps)
        return (at >= self.burn_in) & (
            at < (steps if trajectory.length is None else trajectory.length)
        )


FULL = Rollout()  # full backpropagation through every step


def start_state(filter: Filter, params: Params, trajectory: Dataset, key: Array | None) -> Any:
    """Return the filter's belief at the start of one trajectory, for `roll`."""
    started = update_first(filter) if starts_with_update(params) else filter
    return jax.tree.map(jnp.asarray, started.init(start_at(params, trajectory.prior_mean), key))


def roll(
    filter: Filter,
    params: Params,
    trajectory: Dataset,
    rollout: Rollout = FULL,
    *,
    key: Key | None = None,
    state: State = None,
    emit: Emit[Kept],
) -> Run[Kept]:
    """Run a filter over one trajectory, with the values of `kfjax.data.run_trajectory`.

    Args:
        filter: the `Filter`.
        params: its parameters.
        trajectory: a `Dataset` without its leading axis, as seen inside `jax.vmap`.
        rollout: how the gradient is computed.
        key: random key for filters that draw.
        state: a state to continue from, from `start_state` or the end of another roll; default the
            start of the record.
        emit: what to keep of every step, as in `kfjax.run`.

    Returns:
        `Run(final, outputs)`, as from `kfjax.run`; for models with first="update", the final state
        also says that the record has begun, unless one `kfjax.run` sufficed.

    Raises:
        ValueError: if detach or remat is below one.
    """
    check_kind("roll: trajectory", trajectory, Dataset)
    check_kind("roll: rollout", rollout, Rollout)
    detach = rollout.detach
    remat = _chunk(rollout, trajectory.ys.shape[0])
    # nothing to cut, recompute or continue: one run is enough
    if detach is None and remat is None and state is None:
        return run_trajectory(filter, params, trajectory, key=key, emit=emit)
    params = start_at(params, trajectory.prior_mean)
    length = trajectory.length
    state = start_state(filter, params, trajectory, key) if state is None else state
    begins = isinstance(state, BegunState)
    method = update_first(filter) if begins else filter
    keep = emit_inner(emit) if begins else emit

    def steps(state: State, series: PyTree) -> tuple[Any, Any]:
        ys, us, observed, active = series
        count = None if active is None else active.sum()
        return run(
            method, params, ys, us=us, observed=observed, length=count, state=state, emit=keep
        )

    def cut(state: State, series: PyTree) -> tuple[Any, Any]:
        return steps(jax.tree.map(jax.lax.stop_gradient, state), series)

    advance = (
        steps if detach is None else lambda state, series: _in_chunks(cut, state, series, detach)
    )
    active = None if length is None else jnp.arange(trajectory.ys.shape[0]) < length
    series = jax.tree.map(jnp.asarray, (trajectory.ys, trajectory.us, trajectory.observed, active))
    if remat is None:
        return Run(*advance(state, series))
    # inside a scan, XLA cannot merge the recomputation with the forward pass, so the barriers of
    # prevent_cse would only cost time
    return Run(*_in_chunks(jax.checkpoint(advance, prevent_cse=False), state, series, remat))


def _chunk(rollout: Rollout, steps: int) -> int | None:
    """Return the steps per recomputed chunk, a multiple of `detach` so that cuts coincide."""
    for name, value in (("detach", rollout.detach), ("remat", rollout.remat)):
        if value is not None and not isinstance(value, bool):
            check_count(f"Rollout: {name}", value)
    if rollout.remat is None or rollout.remat is False:
        return None
    chunk = math.isqrt(steps - 1) + 1 if rollout.remat is True else rollout.remat
    unit = rollout.detach or 1
    return -(-chunk // unit) * unit


def _in_chunks(
    advance: Callable[[Any, Any], tuple[Any, Any]], state: State, series: PyTree, size: int
) -> tuple[Any, Any]:
    """Advance through chunks of `size` steps and a shorter last one; join the outputs."""
    steps = jax.tree.leaves(series)[0].shape[0]
    whole = steps // size * size
    outputs = []
    if whole:
        chunks = jax.tree.map(lambda a: a[:whole].reshape(-1, size, *a.shape[1:]), series)
        state, out = one_kernel.scan(advance, state, chunks)
        outputs.append(jax.tree.map(lambda a: a.reshape(whole, *a.shape[2:]), out))
    if whole < steps:
        state, out = advance(state, jax.tree.map(lambda a: a[whole:], series))
        outputs.append(out)
    return state, jax.tree.map(lambda *parts: jnp.concatenate(parts), *outputs)
