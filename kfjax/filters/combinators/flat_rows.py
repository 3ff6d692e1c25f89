"""Observations, inputs and masks of one step as vectors, whatever their structure."""

from __future__ import annotations

import functools
import itertools
import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from kfjax.base import Inputs, Mask, Observations, Params, PyTree
from kfjax.models.calling import call
from kfjax.models.functions import Linear
from kfjax.models.hidden_markov import HiddenMarkovModel, observation_shape
from kfjax.models.lens import models_in
from kfjax.models.sensors import Sensors, like_sensors, sensor_names
from kfjax.models.state_space import StateSpaceModel

__all__: list[str] = []


def flatten(tree: PyTree, dtype: DTypeLike = float) -> Array:
    """Return all numbers of a pytree in one vector."""
    parts = [jnp.asarray(leaf).astype(dtype).reshape(-1) for leaf in jax.tree.leaves(tree)]
    return jnp.concatenate([jnp.zeros(0, dtype), *parts])


def unflatten(vector: Array, like: PyTree) -> PyTree:
    """Return the numbers of a vector in the structure, shapes and dtypes of a pytree.

    Booleans stay booleans.
    """
    leaves, structure = jax.tree.flatten(like)
    ends = list(itertools.accumulate(math.prod(jnp.shape(leaf)) for leaf in leaves))
    parts = [vector[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    values = [part.reshape(jnp.shape(leaf)) for part, leaf in zip(parts, leaves, strict=True)]
    if vector.dtype != bool:
        pairs = zip(values, leaves, strict=True)
        values = [value.astype(jnp.result_type(leaf)) for value, leaf in pairs]
    return jax.tree.unflatten(structure, values)


def flat_mask(observed: Mask, y: Observations) -> Array:
    """Return a boolean for every number of an observation."""
    seen = True if observed is None else observed
    if jax.tree_util.all_leaves([seen]):
        seen = jax.tree.map(lambda _: seen, y)
    channels = jax.tree.map(lambda o, leaf: jnp.broadcast_to(o, jnp.shape(leaf)), seen, y)
    return flatten(channels, bool)


def observation_shapes(params: Params, u: Inputs) -> PyTree:
    """Return the shapes of an observation of the model in params, of one sensor or of several."""
    if isinstance(params, HiddenMarkovModel):
        return observation_shape("delayed", params)
    seen = _first_model("delayed", params)
    if not isinstance(seen, Sensors):
        return _shape(seen, u)
    shapes = [_shape(seen.one(name), u) for name in sensor_names(seen.sensors)]
    return like_sensors(seen.sensors, shapes)


def count_channels(who: str, params: Params) -> int:
    """Return the number of channels of an observation, as far as it is known without inputs."""
    if isinstance(params, HiddenMarkovModel):
        return observation_shape(who, params).shape[0]
    seen = _first_model(who, params)
    if not isinstance(seen, Sensors):
        return _count(who, seen)
    return sum(_count(who, seen.one(name)) for name in sensor_names(seen.sensors))


def _first_model(who: str, params: Params) -> StateSpaceModel | Sensors:
    """Return any of the models in params, since all describe the same observations."""
    found = models_in(params)
    if not found:
        raise ValueError(
            f"{who}: params is {type(params).__name__}; expected a StateSpaceModel or Sensors, or"
            " one inside."
        )
    return found[0]


def _count(who: str, model: StateSpaceModel) -> int:
    """Return the number of channels of a model with one sensor."""
    if not callable(model.R):
        return model.R.shape[0]
    if isinstance(model.h, Linear) and not callable(model.h.A):
        return model.h.A.shape[0]
    raise ValueError(
        f"{who}: R and h of the model are functions, which do not tell how many channels there are"
        " before there are inputs. Pass channels=, of all sensors together."
    )


def _shape(model: StateSpaceModel, u: Inputs) -> jax.ShapeDtypeStruct:
    """Return the shape of an observation of a model with one sensor."""
    R = model.R
    if callable(R):
        R = jax.eval_shape(functools.partial(call, "R", R), model.prior.mean, u)
    return jax.ShapeDtypeStruct(R.shape[:1], model.dtype)
