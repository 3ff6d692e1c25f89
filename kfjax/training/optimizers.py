"""The default optimiser, and hyperparameters set in the state of an optimiser."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jaxtyping import Float

from kfjax._support.arguments import check_count
from kfjax._support.types import PyTree, Scalar
from kfjax.base import Params, constructor
from kfjax.filters.checks import check_params

__all__ = ["Cosine", "clipped_adam", "replicate"]


@constructor
def clipped_adam(
    learning_rate: Any = 1e-3, *, clip: float = 1.0, weight_decay: float = 0.0
) -> optax.GradientTransformation:
    """Return Adam with the gradient clipped by its global norm, the default optimiser of `fit`.

    The same arguments give the same object, so that a second `fit` compiles nothing again.

    Args:
        learning_rate: a number or an optax schedule; `fit` can set one per run by hyperparameters=.
        clip: largest norm of the gradient.
        weight_decay: decoupled weight decay, as in AdamW; it acts only on trained leaves.

    Example:
        >>> schedule = kf.training.Cosine(1e-3, updates=5000)
        >>> optimizer = kf.training.clipped_adam(schedule, weight_decay=1e-4)

    References:
        I. Loshchilov, F. Hutter, Decoupled weight decay regularization, ICLR 2019.
    """

    def build(learning_rate: Any, weight_decay: Any) -> optax.GradientTransformation:
        return optax.chain(
            optax.clip_by_global_norm(clip), optax.adamw(learning_rate, weight_decay=weight_decay)
        )

    return optax.inject_hyperparams(build)(learning_rate=learning_rate, weight_decay=weight_decay)


class Cosine(NamedTuple):
    """Learning rate with a linear warm-up and a cosine decay.

    It is hashable, so that equal trainings are compiled once; optax schedules are closures, and two
    of them are never equal.

    Attributes:
        peak: the largest rate.
        updates: number of updates; afterwards the rate stays at its last value.
        final: the rate at the end, and at the beginning of a warm-up, as a fraction of the peak.
        warmup: the fraction of the updates in which the rate rises.

    Example:
        >>> rate = kf.training.Cosine(1e-2, updates=1000, warmup=0.1)
        >>> [round(float(rate(k)), 4) for k in (0, 100, 1000)]
        [0.001, 0.01, 0.001]
    """

    peak: float
    updates: int
    final: float = 0.1
    warmup: float = 0.0

    def __call__(self, update: Scalar) -> Float[Array, ""]:
        """Return the rate of an update, given its number from 0."""
        low = self.final * self.peak
        rising = round(self.warmup * self.updates)
        start = low if rising else self.peak
        return optax.warmup_cosine_decay_schedule(start, self.peak, rising, self.updates, low)(
            update
        )


def set_hyperparameters(state: PyTree, values: Mapping[str, Any] | None) -> Any:
    """Return the optimiser state with hyperparameters replaced, by one value or one per run."""
    for name, value in (values or {}).items():
        known = optax.tree.get_all_with_path(state, name)
        if not known:
            raise ValueError(
                f"fit: the optimiser has no hyperparameter {name!r} in its state; expected an"
                " optimiser built by optax.inject_hyperparams, such as"
                " kfjax.training.clipped_adam() with learning_rate."
            )
        now = jnp.asarray(known[0][1])
        given = jnp.asarray(value, now.dtype)
        if given.shape not in ((), now.shape):
            raise ValueError(
                f"fit: hyperparameter {name!r} has shape {given.shape}; expected () or {now.shape}."
            )
        state = optax.tree.set(state, **{name: jnp.broadcast_to(given, now.shape)})
    return state


def replicate(params: Params, runs: int) -> Any:
    """Return params with a leading axis of identical runs.

    Args:
        params: any pytree of arrays.
        runs: S.

    Raises:
        ValueError: if params are not arrays, or runs is below one.

    Example:
        >>> kf.training.replicate(kf.systems.constant_velocity(), 5).Q.shape
        (5, 2, 2)
    """
    check_params("replicate", params)
    check_count("replicate: runs", runs)
    return jax.tree.map(
        lambda a: jnp.broadcast_to(jnp.asarray(a)[None], (runs, *jnp.shape(a))), params
    )
