"""Adaptation of a learned filter while it runs, from innovations alone, without true states."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from kfjax._support.arguments import check_count, check_kind
from kfjax._support.compiling import jit
from kfjax._support.types import PyTree
from kfjax.base import Estimate, Filter, Inputs, Mask, Observations, Run, State, estimate
from kfjax.data import Dataset
from kfjax.filters.beliefs import check_input_steps
from kfjax.filters.checks import check_filter
from kfjax.learned.params import Learned
from kfjax.models.lens import starts_with_update
from kfjax.models.records import Record, checked_record
from kfjax.models.runtime_checks import check_first_noise
from kfjax.models.values import check_start
from kfjax.runner import run
from kfjax.training import merge, partition
from kfjax.training.checks import check_optimizer
from kfjax.training.losses import unlabelled_loss
from kfjax.training.updates import guarded_update

__all__ = ["Adaptation", "adapt", "start_adapting"]

ADAM = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-2))


class Adaptation(NamedTuple):
    """State that is carried from window to window.

    Attributes:
        params: `Learned`, as adapted so far.
        optimizer: the state of the optimiser.
        state: the filter's state before the next window; None before the first one if the model has
            first="update".
        refused: number of updates skipped so far, because the loss or its gradient was not finite.
    """

    params: Learned
    optimizer: Any
    state: State
    refused: Any


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
        state: the filter's state to continue from; default the start of a record.
        optimizer: as in `adapt`.

    Raises:
        ValueError: if params is not `Learned`.
    """
    check_filter("start_adapting", filter)
    if not isinstance(params, Learned):
        raise ValueError(
            f"start_adapting: params is {type(params).__name__}; expected kf.learned.Learned,"
            " whose network adapts. To adapt noise covariances of a classical filter, use"
            " kf.adaptive."
        )
    check_optimizer("start_adapting: optimizer", optimizer)
    if state is not None:
        check_start("start_adapting", state)
    start = state
    if start is None and not starts_with_update(params):
        # with a state already before the first window, all windows share one compilation
        start = filter.init(params)
    learned, _ = partition(params)
    return Adaptation(params, optimizer.init(learned), start, jnp.zeros((), jnp.int32))


def adapt(
    filter: Filter,
    adaptation: Adaptation,
    ys: Observations,
    *,
    us: Inputs = None,
    observed: Mask = None,
    stride: int | None = None,
    updates: int = 1,
    optimizer: optax.GradientTransformation = ADAM,
) -> tuple[Adaptation, Estimate]:
    """Estimate a window of observations, then improve the network on it.

    The loss is `kfjax.training.innovation_nll` if the filter has a likelihood, and otherwise
    `kfjax.training.prediction_error`, from the state carried to the start of the window. Windows
    overlap if the stride is shorter than a window: the next one begins `stride` rows later. An
    update whose loss or gradient is not finite is skipped and counted.

    Args:
        filter: a learned filter, with or without a likelihood.
        adaptation: from `start_adapting`, or from the previous call.
        ys: the observations of the window [W, m].
        us: inputs of the window, with a leading axis of W, or None.
        observed: booleans [W] or [W, m], or None.
        stride: rows after which the next window begins; default W.
        updates: number of updates on this window.
        optimizer: an optax optimiser, built once, since a new one is compiled again.

    Returns:
        The `Adaptation` to continue with, and the `Estimate` of all W rows with the params before
        the updates; with overlapping windows, only the last `stride` rows are new.

    Raises:
        ValueError: if stride is not from 1 to W, or updates is below 1.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> filter = kf.learned.kalman_net(kf.learned.Architecture2(n=2, m=1))
        >>> params = kf.learned.init_params(jax.random.key(0), filter, model)
        >>> xs, ys = kf.simulate(jax.random.key(1), model, steps=40)
        >>> adaptation = kf.learned.start_adapting(filter, params)
        >>> for begin in range(0, 21, 10):
        ...     window = ys[begin : begin + 20]
        ...     adaptation, est = kf.learned.adapt(
        ...         filter, adaptation, window, stride=10
        ...     )
    """
    check_filter("adapt", filter)
    check_kind("adapt: adaptation", adaptation, Adaptation)
    window = checked_record("adapt", ys, us, observed)
    check_input_steps("adapt", us, jax.tree.leaves(window.ys)[0].shape[0])
    check_first_noise("adapt", adaptation.params, window.us, before=adaptation.state)
    if np.ndim(window.ys) != 2:
        raise ValueError(
            f"adapt: ys has shape {np.shape(window.ys)}; expected the window [W, m]. A batch goes"
            " through jax.vmap."
        )
    rows = window.ys.shape[0]
    stride = rows if stride is None else stride
    check_count("adapt: stride", stride, most=rows)
    check_count("adapt: updates", updates)
    return _adapt(filter, optimizer, stride, updates, adaptation, window)


@functools.partial(jit, static_argnums=(0, 1, 2, 3))
def _adapt(
    filter: Filter,
    optimizer: optax.GradientTransformation,
    stride: int,
    updates: int,
    before: Adaptation,
    window: Record,
) -> tuple[Adaptation, Estimate]:
    params = before.params
    start = before.state
    old = jax.tree.map(lambda a: a[:stride], window)
    state, est = _run(filter, params, old, start)
    if stride < window.ys.shape[0]:
        new = jax.tree.map(lambda a: a[stride:], window)
        later = _run(filter, params, new, state).outputs
        est = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), est, later)

    learned, frozen = partition(params)
    batch = _one_trajectory(window)
    states = jax.tree.map(lambda a: a[None], start)
    loss = unlabelled_loss(filter, params, batch)
    key = jax.random.key(0)  # not used: the state carries its own

    def objective(learned: PyTree) -> tuple[Array, None]:
        return loss.continued(merge(learned, frozen), batch, key, states)[0], None

    def improve(at: tuple[Any, Any, Array], _: None) -> tuple[tuple[Any, Any, Array], None]:
        learned, memory, refused = at
        found = guarded_update(optimizer, objective, learned, memory)
        return (found.params, found.optimizer, refused + ~found.taken), None

    at = (learned, before.optimizer, before.refused)
    (learned, memory, refused), _ = jax.lax.scan(improve, at, length=updates)
    return Adaptation(merge(learned, frozen), memory, state, refused), est


def _one_trajectory(window: Record) -> Dataset:
    """Return a window as data of one trajectory, with a mask of single channels."""
    ys, us, observed, _ = window
    if observed is not None:
        rows = jnp.asarray(observed, bool).reshape(ys.shape[0], -1)
        observed = jnp.broadcast_to(rows, ys.shape)
    one = jax.tree.map(lambda a: a[None], (ys, us, observed))
    return Dataset.unchecked(one[0], None, one[1], one[2], None, None)


def _run(filter: Filter, params: Learned, window: Record, state: State) -> Run[Estimate]:
    """Run over a window from a state."""
    ys, us, observed, _ = window
    return run(filter, params, ys, us=us, observed=observed, state=state, emit=estimate)
