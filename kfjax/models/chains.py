"""Markov chains of a few regimes: probabilities, their logarithms, and one step."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax._support.arguments import is_concrete

__all__: list[str] = []


def check_probabilities(name: str, p: Array, shape: tuple[int, ...], entry: str = "member") -> None:
    """Raise unless p has the shape and its rows, where they are known, are probabilities.

    Args:
        name: the argument, for error texts.
        p: probabilities, which sum to one over the last axis.
        shape: the shape that is expected.
        entry: what there is one entry for.
    """
    if p.shape != shape:
        raise ValueError(f"{name} has shape {p.shape}; expected {shape}, one entry per {entry}.")
    if not is_concrete(p):
        return
    values = np.asarray(p, np.float64)
    if not (values >= 0).all() or np.abs(values.sum(-1) - 1).max() > 1e-4:
        raise ValueError(
            f"{name} is {values.tolist()}; expected probabilities that sum to one (in each row)."
        )


def log_of(p: Array) -> Array:
    """Return log p, with a derivative of zero where p is zero: the impossible stays impossible."""
    possible = p > 0
    return jnp.where(possible, jnp.log(jnp.where(possible, p, 1)), -jnp.inf)


def log_sum(scores: Array, axis: int | tuple[int, ...] | None = None) -> Array:
    """Return log sum exp of scores, -inf and without NaN in derivatives where all are -inf."""
    best = jax.lax.stop_gradient(jnp.max(scores, axis=axis, keepdims=True))
    best = jnp.where(jnp.isfinite(best), best, 0)
    total = jnp.sum(jnp.exp(scores - best), axis=axis, keepdims=True)
    return jnp.squeeze(best + log_of(total), axis=axis)


def normalised(scores: Array) -> tuple[Array, Array]:
    """Return scores [K] minus log sum exp of them, and that sum; unchanged where all are -inf.

    The largest score is subtracted first, so small differences of large scores keep digits.
    """
    best = jax.lax.stop_gradient(jnp.max(scores))
    best = jnp.where(jnp.isfinite(best), best, 0)
    above = scores - best
    total = log_sum(above)
    possible = total > -jnp.inf
    return above - jnp.where(possible, total, 0), best + total


def one_step(log_weights: Array, transition: Array) -> Array:
    """Return the log-probabilities [K] one step later, of which none underflows."""
    return log_sum(log_weights[:, None] + log_of(transition), axis=0)
