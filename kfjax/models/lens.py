"""The state-space models inside params: finding them, and changing their fields."""

from __future__ import annotations

from typing import Any, TypeVar

import jax

from kfjax._support.arguments import is_concrete
from kfjax.models.hidden_markov import HiddenMarkovModel
from kfjax.models.sensors import Sensors
from kfjax.models.state_space import StateSpaceModel

__all__ = ["with_model"]

Params = TypeVar("Params")


def model_of(params: object) -> StateSpaceModel | Any:
    """Return the model that params is, or has as its `.model`, or None.

    The model of `Sensors` has h = R = None, since every sensor has its own. (The annotation has
    `Any` in it so that callers who know that there is a model need not check.)
    """
    model = params
    while not isinstance(model, StateSpaceModel) and hasattr(model, "model"):
        model = model.model
    return model if isinstance(model, StateSpaceModel) else None


def is_model(value: object) -> bool:
    """Return whether a value has the fields of a model: a `StateSpaceModel`, or `Sensors`."""
    return isinstance(value, (StateSpaceModel, Sensors))


def models_in(params: object) -> list[Any]:
    """Return the models that params hold; `Sensors` are one."""
    return [leaf for leaf in jax.tree.leaves(params, is_leaf=is_model) if is_model(leaf)]


def count_models(params: object) -> int:
    """Return how many models params hold; `Sensors` count as one."""
    return len(models_in(params))


def starts_with_update(params: object) -> bool:
    """Return whether the prior of the models in params is about x_1, before y_1; see `first`.

    Raises:
        ValueError: if they do not agree.
    """
    kinds = (StateSpaceModel, Sensors, HiddenMarkovModel)
    leaves = jax.tree.leaves(params, is_leaf=lambda value: isinstance(value, kinds))
    found = {leaf.first for leaf in leaves if isinstance(leaf, kinds)}
    if len(found) > 1:
        raise ValueError(
            f"params ({type(params).__name__}) hold models with first='predict' and with"
            " first='update'; expected the same in all, since their priors are about one state."
            " Change it with model.replace(first=...)."
        )
    return found == {"update"}


def with_model(params: Params, **changes: Any) -> Params:
    """Return params with fields of the state-space models inside replaced.

    Combinators use this lens to change a model wherever it is inside params.

    Args:
        params: a `StateSpaceModel` or `Sensors`, or any pytree that holds at least one.
        **changes: fields of `StateSpaceModel`, or of `Sensors`. A traced R leaves `noise_free` as
            it is, unless it is given.

    Raises:
        ValueError: if there is no model inside, or no such field.

    Example:
        >>> kf.with_model(kf.systems.constant_velocity(), R=[[4.0]]).R.tolist()
        [[4.0]]
    """
    if not count_models(params):
        raise ValueError(
            f"with_model: params is {type(params).__name__}; expected one that holds a"
            " StateSpaceModel."
        )

    def changed(value: Any) -> Any:
        if not is_model(value):
            return value
        if (
            isinstance(value, StateSpaceModel)
            and "R" in changes
            and not all(map(is_concrete, jax.tree.leaves(changes["R"])))
        ):
            # filters scale R, and trainers keep it positive definite
            return value.replace(**{"noise_free": value.noise_free} | changes)
        return value.replace(**changes)

    return jax.tree.map(changed, params, is_leaf=is_model)
