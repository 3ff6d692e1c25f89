"""One update of parameters by an optimiser, skipped if it is not finite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from kfjax._support.pytrees import select
from kfjax._support.types import PyTree
from kfjax.base import Params

__all__: list[str] = []


class Updated(NamedTuple):
    """The result of an update.

    Attributes:
        params: the new parameters, or the old ones if the update was skipped.
        optimizer: the state of the optimiser, likewise.
        loss: the loss before the update.
        norm: the norm of its gradient.
        taken: whether the update was taken, since the loss and its gradient were finite.
        aux: auxiliary output of the objective.
    """

    params: Any
    optimizer: Any
    loss: Array
    norm: Array
    taken: Array
    aux: Any


def guarded_update(
    optimizer: optax.GradientTransformation,
    objective: Callable[[Any], tuple[Array, Any]],
    params: Params,
    state: PyTree,
) -> Updated:
    """Take one step of an optimiser, unless the loss or its gradient is not finite.

    Args:
        optimizer: an optax optimiser; it is told the loss, its gradient and the objective.
        objective: `params -> (loss, aux)`.
        params: a pytree of floats.
        state: the state of the optimiser.
    """
    (loss, aux), gradient = jax.value_and_grad(objective, has_aux=True)(params)
    # the sum of squares is finite, so second moments in the optimiser do not overflow either
    norm = optax.tree.norm(gradient)
    taken = jnp.isfinite(loss) & jnp.isfinite(norm)
    told = {"value": loss, "grad": gradient, "value_fn": lambda params: objective(params)[0]}
    # for those that ask, such as line searches and a rate that falls on a plateau
    changes, moved = optax.with_extra_args_support(optimizer).update(
        gradient, state, params, **told
    )
    new = optax.apply_updates(params, changes), moved
    params, state = select(taken, new, (params, state))
    return Updated(params, state, loss, norm, taken, aux)
