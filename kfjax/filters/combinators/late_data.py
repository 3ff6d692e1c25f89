"""Observations that arrive late: a filter that goes back, and gives what sorted data would give."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from kfjax._support.arguments import check_count
from kfjax._support.naming import described
from kfjax._support.pytrees import at, select
from kfjax.base import Filter, Info, Inputs, Mask, Observations, Params, State, constructor
from kfjax.filters.checks import check_filter
from kfjax.filters.combinators.composing import reported, used_share
from kfjax.filters.combinators.flat_rows import count_channels, flat_mask, flatten
from kfjax.filters.combinators.histories import (
    History,
    find,
    gained,
    insert,
    new_history,
    repeat,
    step_of,
    with_step,
    write,
)
from kfjax.filters.combinators.refiltering import Late, again_unless, log_likelihood_of, moved
from kfjax.models.observing import any_observed

__all__ = ["DelayedState", "delayed"]

LARGEST_WINDOW = 100_000  # a state is kept for every row of the window


class DelayedState(NamedTuple):
    """The state of a filter that takes late observations.

    Attributes:
        inner: state of the filter at the newest time, given all that has arrived.
        predicted: state of the filter that the next update starts from, at the time of its row.
        history: the latest rows.
        in_use: number of rows in the history; the start of the record is the first (int).
        place: row of the history that the next update fills; -1 if it is too old (int).
        unreported: what has been added to the log-likelihood, and not yet been reported.
    """

    inner: State
    predicted: State
    history: History
    in_use: Int[Array, " ..."]
    place: Int[Array, " ..."]
    unreported: Float[Array, " ..."]

    @property
    def mean(self) -> Float[Array, "... n"]:
        """Mean of the belief at the newest time [..., n]."""
        return self.inner.mean

    @property
    def cov(self) -> Float[Array, "... d d"]:
        """Covariance of the belief at the newest time [..., n, n]."""
        return self.inner.cov


@constructor
def delayed(
    filter: Filter, window: int, dt: str | int = "dt", inputs: int = 1, channels: int | None = None
) -> Filter:
    """Take observations that arrive late, as if they had come in order of their times.

    Rows (the observations of one time, with their inputs) come in order of arrival. The time step
    of a row is the time since the newest row so far: above zero for a row in order, zero for
    another one of the same time, and *negative for a late one*, by how much it is late
    (`kf.time_steps(times, start, ordered=False)` computes them). Whatever has arrived, the belief
    is that of `filter` over the same rows sorted by time, each predicted from the row before it:

        x_{t|all so far} = update_k(predict_k(... update_1(predict_1(x_0)))),  t_1 <= ... <= t_k,

    and where a row falls between two others, the time step of the later one becomes shorter. Rows
    of the same time are used in order of arrival, without a prediction between them.

    The states after the last `window` rows are kept. A late row starts from the one before it, and
    the later ones are filtered again: a late step costs as many steps of the filter as rows are
    later (twice as many if it falls between two times), a step in order costs one. Under `jax.vmap`
    over time steps every step costs about 2 * window of them. A row with more than `window` rows
    later than it, or before the start of the record, is refused: it changes nothing, is not scored,
    and Info says so.

    The time step is u itself, or part of it, as for any model of irregular time. A model with a
    fixed step ignores it: count in whole steps then, 1 for the next and -3 for three steps ago, and
    send a row for every step, with `observed` False where there is nothing yet.

    Other combinators, `sequential` among them, go inside. `recentre` and `rule` are None, since
    estimates are not in order of time; forecast from `state.inner` with `filter` itself.

    Args:
        filter: any filter.
        window: number of rows by which one may be late.
        dt: where the time step is in u: the key of a dict or the index of a vector. A number u is
            the step itself.
        inputs: how many numbers u holds, the time step included.
        channels: number of channels of y, all sensors together; needed only where both R and h are
            functions.

    Returns:
        A `Filter` with the params of `filter` and a `DelayedState`. Info is that of `filter` for
        what has arrived, predicted from the rows before it in time; only `log_likelihood` is the
        change of the whole sum: log p(y | all that arrived before), so that the sum over all steps
        is that of the sorted data. In `extra`: `accepted` is 0 where nothing was used; `refused` is
        1 where an observation was too old; `late` is the number of rows later than it.

    Raises:
        ValueError: if an argument is out of range; from `init`, if params hold no model; while
            tracing, if u has no time step or another number of numbers.

    Example:
        >>> model = kf.systems.constant_velocity(dt=None)
        >>> times = np.array([1.0, 2.0, 4.0, 3.0])  # the last one is late
        >>> us = kf.time_steps(times, start=0.0, ordered=False)
        >>> ys = jnp.array([[1.0], [2.1], [4.2], [2.9]])
        >>> late = kf.run(kf.delayed(kf.kalman(), window=5), model, ys, us=us).final
        >>> order = np.argsort(times)
        >>> sorted_us = kf.time_steps(times[order], start=0.0)
        >>> final = kf.run(kf.kalman(), model, ys[order], us=sorted_us).final
        >>> bool(jnp.allclose(late.mean, final.mean))
        True

    References:
        Y. Bar-Shalom, Update with out-of-sequence measurements in tracking: exact solution, IEEE
        Trans. Aerosp. Electron. Syst. 38 (2002), where the same result is sought without a history.
    """
    check_filter("delayed", filter)
    check_count("delayed: window", window, most=LARGEST_WINDOW)
    check_count("delayed: inputs", inputs)
    if channels is not None:
        check_count("delayed: channels", channels)
    if not isinstance(dt, (str, int)) or isinstance(dt, bool):
        raise ValueError(f"delayed: dt is {described(dt)}; expected a key or an index.")
    rows = window + 1  # the row that the latest of them starts from, too

    def init(params: Params, key: Array | None = None) -> DelayedState:
        inner = filter.init(params, key)
        width = count_channels("delayed", params) if channels is None else channels
        history = new_history(inner, rows, inputs, width)
        in_use = jnp.ones((), jnp.int32)
        place = jnp.full((), rows - 1, jnp.int32)
        zero = jnp.zeros((), inner.mean.dtype)
        return DelayedState(inner, jax.tree.map(jnp.copy, inner), history, in_use, place, zero)

    late = Late(filter, dt, inputs, rows)
    return Filter(init, functools.partial(_predict, late), functools.partial(_update, late))


def takes_late_rows(filter: Filter) -> bool:
    """Return whether a filter is a `delayed` one, whose model never sees the input of a late row.

    That input goes back in time; the model sees the steps between rows that are in order.
    """
    return getattr(filter.predict, "func", None) is _predict


def _predict(late: Late, params: Params, state: DelayedState, u: Inputs = None) -> DelayedState:
    """Insert a row in which nothing is observed."""
    place = find(state.history, state.in_use, step_of(u, late.dt))
    flat = flatten(u)
    _check_size("inputs", "u", flat, late.inputs)
    predicted = moved(late, params, at(state.history.after, place.row), u, place.step)
    history = insert(state.history, place, predicted, flat)
    is_newest = place.row == late.rows - 1
    newest = select(is_newest, predicted, state.inner)
    done = is_newest | (place.step == 0) | place.refused
    again = (params, history, predicted, place.row, u)
    inner, changed = again_unless(done, (newest, history), late, again)
    in_use = jnp.minimum(state.in_use + 1, late.rows)
    unreported = state.unreported + gained(changed, history)
    new = DelayedState(inner, predicted, changed, in_use, place.row, unreported)
    refused = state._replace(place=jnp.full_like(state.place, -1))
    return select(place.refused, refused, new)


def _update(
    late: Late,
    params: Params,
    state: DelayedState,
    y: Observations,
    u: Inputs = None,
    observed: Mask = None,
) -> tuple[DelayedState, Info]:
    """Write the observations of a row, and filter the later rows again."""
    flat = flatten(y)
    _check_size("channels", "y", flat, state.history.y.shape[-1])
    refused = state.place < 0
    index = jnp.maximum(state.place, 0)
    in_use, history = _room(state, index)
    # the start of a record has no step; what its inputs say of one stays
    step = jnp.where(state.in_use == 1, step_of(u, late.dt), history.step[index])
    u_of_row = with_step(u, late.dt, step)
    new, info = late.filter.update(params, state.predicted, y, u_of_row, observed)
    channels_seen = flat_mask(observed, y)
    history = write(
        history,
        index,
        after=new,
        u=flatten(u),
        y=jnp.where(channels_seen, flat, 0),
        observed=channels_seen,
        log_likelihood=log_likelihood_of(info, state),
    )
    done = (index == late.rows - 1) | refused
    inner, changed = again_unless(done, (new, history), late, (params, history, new, index, u))
    gain = state.unreported + gained(changed, history)
    after = DelayedState(inner, new, changed, in_use, index, jnp.zeros_like(gain))
    seen = any_observed(observed)
    used = seen & ~refused
    info = jax.tree.map(lambda a: jnp.where(used, a, 0), _with_gain(info, gain))
    report = {
        "accepted": used_share(info, used),
        "refused": (seen & refused).astype(jnp.int32),
        "late": jnp.where(used, late.rows - 1 - index, 0),
    }
    return select(used, after, state), reported(info, **report)


def _room(state: DelayedState, index: Array) -> tuple[Array, History]:
    """Return the history with room for an observation in a row, or in a copy of that row."""
    history = state.history
    filled = history.observed[index].any()
    wanted = state.in_use + filled.astype(state.in_use.dtype)
    in_use = jnp.minimum(wanted, history.step.shape[0])
    return in_use, select(filled, repeat(history, index, state.predicted), history)


def _with_gain(info: Info, gain: Array) -> Info:
    """Return the Info with what earlier rows have gained added to the log-likelihood."""
    if info.log_likelihood is None:
        return info
    return info._replace(log_likelihood=info.log_likelihood + gain)


def _check_size(argument: str, name: str, flat: Array, expected: int) -> None:
    """Raise unless there are as many numbers as the history has room for."""
    if flat.shape != (expected,):
        raise ValueError(
            f"delayed: {name} holds {flat.shape[0]} numbers; expected {expected}. Write"
            f" delayed(..., {argument}={flat.shape[0]}), or check {name}."
        )
