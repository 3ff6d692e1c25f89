"""Regimes of a hidden Markov model given the whole record: their probabilities, and a path."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Int, Real

from kfjax._support import one_kernel
from kfjax._support.compiling import jit
from kfjax._support.pytrees import at, prepended
from kfjax.base import Inputs, Mask, state_and_log_likelihood
from kfjax.filters.hidden_regimes import forward
from kfjax.models.chains import log_of, log_sum
from kfjax.models.hidden_markov import (
    HiddenMarkovModel,
    check_hidden_markov,
    log_densities,
    observed_channels,
)
from kfjax.models.masks import restrict
from kfjax.models.records import Record, checked_record, until
from kfjax.models.shapes import check_shapes
from kfjax.runner import run

__all__ = ["RegimePath", "SmoothedRegimes", "forward_backward", "viterbi"]


class SmoothedRegimes(NamedTuple):
    """Beliefs about the regimes given the whole record.

    Attributes:
        weights: p(z_t = k | y_1..T), [T, K].
        initial: those of z_0 [K], or None if there is no z_0, with first="update" in the model.
        joint: p(z_t-1 = i, z_t = j | y_1..T) at [t - 1, i, j], [T, K, K]; zero where no transition
            is counted: at t = 1 without a z_0, and after the end of the record.
        log_likelihood: log p(y_t | y_1..t-1), [T].
    """

    weights: Float[Array, "... T K"]
    initial: Float[Array, "... K"] | Any
    joint: Float[Array, "... T K K"]
    log_likelihood: Float[Array, "... T"]


class RegimePath(NamedTuple):
    """The most likely path of regimes.

    Attributes:
        regimes: z_1..z_T, integers [T].
        log_probability: log p(z, y_1..T) of the path, with z_0 as its best start if there is one.
    """

    regimes: Int[Array, "... T"]
    log_probability: Float[Array, " ..."]


def forward_backward(
    model: HiddenMarkovModel,
    ys: Real[ArrayLike, "T m"],
    *,
    us: Inputs = None,
    observed: Mask = None,
    length: Any = None,
) -> SmoothedRegimes:
    """Return the probabilities of the regimes of a hidden Markov model given the whole record.

    From the filtered weights w_t and the predicted ones c_t+1 of `kfjax.forward()`, backwards,

        joint_ij = w_t,i p_ij s_t+1,j / c_t+1,j,   s_t,i = sum_j joint_ij,

    in logarithms: the discrete form of `kfjax.smooth`, which needs no density a second time.

    Args:
        model: a `HiddenMarkovModel`.
        ys: observations [T, m]; `jax.vmap` takes a batch.
        us: inputs [T, ...], or None.
        observed: booleans [T] or [T, m], or None for everything.
        length: number of leading steps that count; later entries repeat the last one.

    Returns:
        `SmoothedRegimes(weights [T, K], initial, joint [T, K, K], log_likelihood [T])`.

    Raises:
        ValueError: if the model is another one, or shapes or values do not fit, as in `kfjax.run`.

    Example:
        >>> model = kf.HiddenMarkovModel(
        ...     kf.GaussianEmission([[0.0], [4.0]], [[[1.0]], [[1.0]]]),
        ...     transition=[[0.9, 0.1], [0.1, 0.9]],
        ...     weights=[0.5, 0.5],
        ... )
        >>> ys = jnp.array([[0.1], [2.0], [4.2], [3.9]])
        >>> kf.forward_backward(model, ys).weights.argmax(axis=1).tolist()
        [0, 1, 1, 1]

    References:
        G. Kitagawa, Non-Gaussian state-space modeling of nonstationary time series, JASA 82 (1987),
        eq. 2.4; L. R. Rabiner, Proc. IEEE 77 (1989), section III.
    """
    check_hidden_markov("forward_backward", model)
    record = checked_record("forward_backward", ys, us, observed, length)
    return _forward_backward(model, record)


@jit
def _forward_backward(model: HiddenMarkovModel, record: Record) -> SmoothedRegimes:
    steps = check_shapes("forward_backward", model, record)
    ys, us, observed, length = record
    states, log_likelihood = run(
        forward(),
        model,
        ys,
        us=us,
        observed=observed,
        length=length,
        emit=state_and_log_likelihood,
    ).outputs
    us, active = until(length, us, steps)
    filtered = states.log_weights
    starts = prepended(log_of(model.weights), filtered[:-1])

    def back(later: Array, row: tuple[Array, Any, Any]) -> tuple[Array, tuple[Array, Array]]:
        before, u, counts = row
        forth = before[:, None] + log_of(model.transition_at(u))
        reached = log_sum(forth, axis=0)
        # where a regime cannot be reached, its smoothed weight is zero, too
        ratio = jnp.where(reached > -jnp.inf, later - jnp.where(reached > -jnp.inf, reached, 0), 0)
        joint = forth + ratio[None, :]
        new = log_sum(joint, axis=1)
        if counts is not None:  # after the end, regimes are the same
            new = jnp.where(counts, new, later)
            joint = jnp.where(counts, joint, -jnp.inf)
        return new, (new, jnp.exp(joint))

    series = (starts, us, active)
    if model.first == "update":  # no transition leads to z_1
        series = at(series, slice(1, None))
    earlier, joint = one_kernel.scan(back, filtered[-1], series, reverse=True)[1]
    weights = jnp.exp(jnp.concatenate([earlier, filtered[-1:]]))
    if model.first == "predict":
        return SmoothedRegimes(weights[1:], weights[0], joint, log_likelihood)
    none = jnp.zeros((1, model.regimes, model.regimes), joint.dtype)
    return SmoothedRegimes(weights, None, jnp.concatenate([none, joint]), log_likelihood)


def viterbi(
    model: HiddenMarkovModel,
    ys: Real[ArrayLike, "T m"],
    *,
    us: Inputs = None,
    observed: Mask = None,
    length: Any = None,
) -> RegimePath:
    """Return the most likely path of regimes of a hidden Markov model (Viterbi algorithm).

    The path z_1..T maximises p(z_1..T, y_1..T). The most likely value of each z_t by itself has the
    largest weight of `kfjax.forward_backward`, and may differ.

    Args:
        model: a `HiddenMarkovModel`.
        ys: observations [T, m]; `jax.vmap` takes a batch.
        us: inputs [T, ...], or None.
        observed: booleans [T] or [T, m], or None for everything.
        length: number of leading steps that count; later entries repeat the last one.

    Returns:
        `RegimePath(regimes [T], log_probability)`; among equally likely paths, the one that ends
        with the smallest numbers.

    Raises:
        ValueError: if the model is another one, or shapes or values do not fit, as in `kfjax.run`.

    Example:
        >>> model = kf.HiddenMarkovModel(
        ...     kf.CategoricalEmission([[0.8, 0.2], [0.2, 0.8]]),
        ...     transition=[[0.9, 0.1], [0.1, 0.9]],
        ...     weights=[0.5, 0.5],
        ... )
        >>> kf.viterbi(
        ...     model, jnp.array([[0], [0], [1], [0], [1], [1], [1]])
        ... ).regimes.tolist()
        [0, 0, 0, 0, 1, 1, 1]

    References:
        A. J. Viterbi, Error bounds for convolutional codes and an asymptotically optimum decoding
        algorithm, IEEE Trans. Inf. Theory 13 (1967); L. R. Rabiner, Proc. IEEE 77 (1989), eqs. 32
        to 35.
    """
    check_hidden_markov("viterbi", model)
    return _viterbi(model, checked_record("viterbi", ys, us, observed, length))


@jit
def _viterbi(model: HiddenMarkovModel, record: Record) -> RegimePath:
    steps = check_shapes("viterbi", model, record)
    us, active = until(record.length, record.us, steps)
    seen = record.observed
    if active is not None:
        seen = restrict(seen, active, record.ys)

    def observe(best: Array, y: Array, u: Inputs, observed: Mask) -> Array:
        y, mask = observed_channels(model, y, observed)
        return best + log_densities(model, y, u, mask)

    def forth(best: Array, row: tuple[Any, ...]) -> tuple[Array, Array]:
        y, u, observed, counts = row
        scores = best[:, None] + log_of(model.transition_at(u))
        came_from = jnp.argmax(scores, axis=0)
        new = observe(jnp.max(scores, axis=0), y, u, observed)
        if counts is not None:  # after the end, regimes are the same
            new = jnp.where(counts, new, best)
            came_from = jnp.where(counts, came_from, jnp.arange(model.regimes))
        return new, came_from

    def back(regime: Array, came_from: Array) -> tuple[Array, Array]:
        before = came_from[regime]
        return before, before

    series = (record.ys, us, seen, active)
    start = log_of(model.weights)
    if model.first == "update":
        start = observe(start, *at(series[:3], 0))
        series = at(series, slice(1, None))
    best, came_from = one_kernel.scan(forth, start, series)
    last = jnp.argmax(best).astype(came_from.dtype)
    earlier = one_kernel.scan(back, last, came_from, reverse=True)[1]
    regimes = jnp.append(earlier, last)
    if model.first == "predict":
        regimes = regimes[1:]
    return RegimePath(regimes, jnp.max(best))
