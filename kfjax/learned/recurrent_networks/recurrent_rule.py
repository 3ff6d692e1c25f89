"""The three functions of a recurrent filter.

See `kfjax.learned.recurrent_networks.recurrent_filter`.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from kfjax import linalg
from kfjax._support.persistence import as_words
from kfjax.base import Info, Inputs, Mask
from kfjax.learned.gains.feature_maps import FeatureMap
from kfjax.learned.gains.features import FEATURES, differences, first_past, next_past, sizes
from kfjax.learned.params import Learned, check_learned
from kfjax.learned.recurrent_networks.cells import RecurrentStack
from kfjax.models.calling import call
from kfjax.models.observing import keep_unobserved, observe
from kfjax.models.state_space import StateSpaceModel

__all__: list[str] = []


class Before(NamedTuple):
    """The start of a step, from which `update` starts again.

    Attributes:
        mean: x_{t-1|t-1} [N].
        carry: the memory.
        predicted: f(x_{t-1|t-1}, u_t) [N], or None if it is not used.
        past: past values for the features F1 to F4, or None.
        y: the latest value of every channel from its centre, in units of its spread, or None if it
            is not used.
        key: words of the random key of this step's dropout, or None.
    """

    mean: Array
    carry: Any
    predicted: Any
    past: Any
    y: Any
    key: Any


class RecurrentState(NamedTuple):
    """The state of a recurrent filter.

    Attributes:
        mean: [N].
        cov: None.
        carry: the memory of the network.
        before: the start of this step.
        key: words of the random key of the next step's dropout (uint32), or None.
    """

    mean: Array
    cov: None
    carry: Any
    before: Before
    key: Array | None


@dataclasses.dataclass(frozen=True)
class Recurrent:
    """The three functions of a recurrent filter, hashable."""

    network: RecurrentStack
    m: int
    sees: tuple[str, ...]
    output: str
    inputs: int
    feature_map: FeatureMap
    dropping: bool = False

    @property
    def features(self) -> tuple[str, ...]:
        """Which of F1 to F4 the network sees."""
        return tuple(name for name in FEATURES if name in self.sees)

    @property
    def predicts(self) -> bool:
        """Whether f is used."""
        return self.output == "update" or "prediction" in self.sees or bool(self.features)

    def draw(self, key: Array, model: StateSpaceModel) -> Any:
        """Draw the variables of the network."""
        self.check(model)
        n = self.network.outputs
        m = self.m
        shapes = {"y": m, "mask": m, "prediction": n, "feedback": n} | sizes(FEATURES, n, m)
        v = jnp.zeros(sum(shapes[name] for name in self.sees) + self.inputs, model.dtype)
        carry = tuple(jnp.zeros(width, model.dtype) for width in self.network.widths)
        return self.network.init(key, carry, v)

    def check(self, model: StateSpaceModel) -> None:
        """Raise unless the model has the dimensions of the network."""
        n = self.network.outputs
        m = self.m if callable(model.R) else model.R.shape[-1]
        if (model.n, m) != (n, self.m):
            raise ValueError(
                f"the model has n = {model.n} and m = {m}, the recurrent filter n = {n} and m ="
                f" {self.m}; expected the same. Make the network for the model."
            )

    def first(self, params: Learned, key: Array | None = None) -> RecurrentState:
        """Return the state before the first step."""
        check_learned(params)
        model = params.model
        self.check(model)
        if self.dropping and key is None:
            raise ValueError(
                "with_dropout(filter): got no random key; expected one for the dropout. Pass key="
                " to run, or run the filter itself, which also draws the params in"
                " kf.learned.init_params."
            )
        mean = model.prior.mean
        words = _words(key) if self.dropping else None
        carry = self.network.apply(params.network, model.dtype, method="start")
        past = first_past(model, self.m) if self.features else None
        y = jnp.zeros(self.m, model.dtype) if self.output == "recursion" else None
        before = Before(mean, carry, mean if self.predicts else None, past, y, words)
        # all arrays are distinct, so that the state can be donated
        return jax.tree.map(jnp.copy, RecurrentState(mean, None, carry, before, words))

    def predict(self, params: Learned, state: RecurrentState, u: Inputs = None) -> RecurrentState:
        """Take a step in which nothing is observed."""
        check_learned(params)
        model = params.model
        past = state.before.past
        predicted: Any = (
            call("f", model.f, state.mean, u).astype(model.dtype) if self.predicts else None
        )
        if self.features:
            past = next_past(model, past, state.mean, predicted, u)
        now, later = (None, None) if state.key is None else jax.random.split(state.key)
        before = Before(state.mean, state.carry, predicted, past, state.before.y, now)
        nothing = jnp.zeros(self.m, model.dtype)
        carry, mean = self.move(params, before, {"y": nothing, "mask": nothing, "F2": nothing}, u)
        return RecurrentState(mean, None, carry, before, later)

    def update(
        self,
        params: Learned,
        state: RecurrentState,
        y: Array,
        u: Inputs = None,
        observed: Mask = None,
    ) -> tuple[RecurrentState, Info]:
        """Take the step again with the observation."""
        model = params.model
        before = state.before
        seen = observe(model, state.mean, y, u, observed)
        mask = jnp.ones(self.m, bool) if seen.mask is None else seen.mask
        centre, spread = scale_of(params, "y", jnp.zeros(self.m, model.dtype))
        values = {"y": seen.innovation(centre) / spread, "mask": mask.astype(model.dtype)}
        if self.features:
            values["F2"] = seen.innovation(seen.fn(before.predicted))
            filled = jnp.where(mask, jnp.asarray(y, model.dtype), before.past.y)
            before = before._replace(past=before.past._replace(y=filled))
        if self.output == "recursion":
            before = before._replace(y=jnp.where(mask, values["y"], before.y))
        carry, mean = self.move(params, before, values, u)
        info = Info(
            innovation=seen.innovation(seen.fn(state.mean)), dof=jnp.sum(mask, dtype=jnp.int32)
        )
        return keep_unobserved(
            observed, state._replace(mean=mean, carry=carry, before=before), state
        ), info

    def move(
        self, params: Learned, before: Before, values: dict[str, Array], u: Inputs
    ) -> tuple[Any, Array]:
        """Return the new memory and mean."""
        space = params.model.state_space
        start = params.model.prior.mean
        centre, spread = scale_of(
            params, "x", jnp.zeros_like(start) if space.is_euclidean else start
        )
        values = {**values, **self.scaled_features(params, before, values)}
        for name, x in (("prediction", before.predicted), ("feedback", before.mean)):
            if name in self.sees:
                values[name] = space.difference(x, centre) / spread
        v = [values[name] for name in self.sees]
        if self.inputs:
            middle, unit = scale_of(params, "u", jnp.zeros(self.inputs, params.model.dtype))
            seen_u = (input_vector(u, self.inputs, params.model.dtype) - middle) / unit
            v.append(seen_u)
        rngs = None if before.key is None else {"dropout": jax.random.wrap_key_data(before.key)}
        found: Any = self.network.apply(params.network, before.carry, jnp.concatenate(v), rngs=rngs)
        carry, z = found
        move = (params.constants or {}).get("output", {}).get("spread", spread) * z
        if self.output == "recursion":
            series = [before.y, values["mask"], *v[len(self.sees) :]]
            move = move + spread * self.recursion(params, (before.mean - centre) / spread, series)
        base = {"increment": before.mean, "update": before.predicted}.get(self.output, centre)
        return carry, space.retract(base, move)

    def recursion(self, params: Learned, x: Array, series: list[Array]) -> Array:
        """Return A x + B v of `constants["recursion"]`, all in units of their spreads."""
        found = (params.constants or {}).get("recursion")
        if found is None:
            raise ValueError(
                "recurrent: output is 'recursion' and the params have no constants['recursion'];"
                " expected A and B, as in the params that kf.learned.imitator returns."
            )
        v = jnp.concatenate([*series, jnp.ones(1, x.dtype)])
        return linalg.matmul(found["A"], x) + linalg.matmul(found["B"], v)

    def scaled_features(
        self, params: Learned, before: Before, values: dict[str, Array]
    ) -> dict[str, Array]:
        """Return F1 to F4 as the network sees them."""
        if not self.features:
            return {}
        scales = (params.constants or {}).get("scales", {})
        found = differences(self.features, params.model, before.past, values["F2"])
        return {name: self.feature_map(value, scales.get(name)) for name, value in found.items()}


def input_vector(u: Inputs, size: int, dtype: Any) -> Array:
    """Return the entries of an input, a pytree of arrays, in one vector."""
    entries = [jnp.ravel(jnp.asarray(leaf, dtype)) for leaf in jax.tree.leaves(u)]
    vector = jnp.concatenate(entries) if entries else jnp.zeros(0, dtype)
    if vector.size != size:
        raise ValueError(
            f"recurrent: the input u has {vector.size} entries; expected inputs={size}, as the"
            " filter was made for. Pass us= with as many, or make it with other inputs."
        )
    return vector


def scale_of(params: Learned, name: str, zero: Array) -> tuple[Array, Array]:
    """Return the centre and spread of a series; the defaults are 0 and 1."""
    given = (params.constants or {}).get(name, {})
    return given.get("centre", zero), given.get("spread", jnp.ones((), zero.dtype))


def _words(key: Array | None) -> Array:
    """Return the words of a key, typed or raw, in a new array."""
    return jnp.copy(as_words(key))
