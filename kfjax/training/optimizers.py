"""The default optimiser, and values of hyperparameters put into an optimiser's state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from kfjax.base import constructor

__all__ = ["clipped_adam", "replicate", "set_hyperparameters"]


@constructor
def clipped_adam(
    learning_rate: Any = 1e-3, *, clip: float = 1.0, weight_decay: float = 0.0
) -> optax.GradientTransformation:
    """Return Adam behind clipping of the gradient's global norm: the default of `fit`.

    The same arguments give the same object, so that a second `fit` compiles nothing again.

    Args:
        learning_rate: a number, or a schedule of optax; in `fit`, also one per run by hyperparameters=.
        clip: largest norm of the gradient.
        weight_decay: decoupled, as in AdamW; it acts on what is trained only.

    Example:
        >>> import optax
        >>> optimizer = kf.training.clipped_adam(optax.cosine_decay_schedule(1e-3, 5000, alpha=0.1), weight_decay=1e-4)

    References:
        I. Loshchilov, F. Hutter, Decoupled weight decay regularization, ICLR 2019.
    """

    def build(learning_rate: Any, weight_decay: Any) -> optax.GradientTransformation:
        return optax.chain(optax.clip_by_global_norm(clip), optax.adamw(learning_rate, weight_decay=weight_decay))

    return optax.inject_hyperparams(build)(learning_rate=learning_rate, weight_decay=weight_decay)


def set_hyperparameters(state: Any, values: Mapping[str, Any] | None) -> Any:
    """Return the state of an optimiser with hyperparameters replaced; of several runs, one value or one per run."""
    for name, value in (values or {}).items():
        known = optax.tree.get_all_with_path(state, name)
        if not known:
            raise ValueError(
                f"fit: the optimiser has no hyperparameter {name!r} in its state; expected one of"
                " optax.inject_hyperparams, such as kfjax.training.clipped_adam() with learning_rate."
            )
        now = jnp.asarray(known[0][1])
        given = jnp.asarray(value, now.dtype)
        if given.shape not in ((), now.shape):
            raise ValueError(f"fit: hyperparameter {name!r} has shape {given.shape}; expected () or {now.shape}.")
        state = optax.tree.set(state, **{name: jnp.broadcast_to(given, now.shape)})
    return state


def replicate(params: Any, runs: int) -> Any:
    """Return params with a leading axis of runs, all the same.

    Args:
        params: any pytree of arrays.
        runs: S.

    Example:
        >>> kf.training.replicate(kf.systems.constant_velocity(), 5).Q.shape
        (5, 2, 2)
    """
    return jax.tree.map(lambda a: jnp.broadcast_to(jnp.asarray(a)[None], (runs, *jnp.shape(a))), params)
