"""Recurrent networks as filters: estimates without a gain, from any mixture of what a model knows.

With what the network sees, v_t (`SEES`), and where its output z_t is added:

    carry_t, z_t = network(carry_{t-1}, v_t)
    level:      x_{t|t} = c + D z_t
    increment:  x_{t|t} = x_{t-1|t-1} + D z_t
    update:     x_{t|t} = f(x_{t-1|t-1}, u_t) + D z_t

`predict` runs the network on a row in which nothing is seen, and `update` runs it again from the
same memory with y_t. So the memory ticks once per step, seen or not, and where nothing is missing
the first run is not computed. One `update` belongs to one `predict`: a second one would replace the
first.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from kfjax._support.arguments import check_count, choose
from kfjax.base import Filter, Info, constructor
from kfjax.learned.gains.feature_maps import Asinh, FeatureMap
from kfjax.learned.gains.features import FEATURES, differences, first_past, next_past, sizes
from kfjax.learned.params import Initialiser, Learned
from kfjax.learned.recurrent.cells import RecurrentStack
from kfjax.models.observing import keep_unobserved, observe
from kfjax.models.state_space import StateSpaceModel

__all__ = ["OUTPUTS", "SEES", "RecurrentState", "recurrent", "training"]

SEES = ("y", "mask", "prediction", "feedback", *FEATURES)
OUTPUTS = ("level", "increment", "update")
ASINH = Asinh()


class Before(NamedTuple):
    """What a step started from, for `update` to start there again.

    Attributes:
        mean: x_{t-1|t-1} [N].
        carry: the memory.
        predicted: f(x_{t-1|t-1}, u_t) [N], or None where it is not used.
        past: what the features F1 to F4 remember, or None.
        key: words of the random key of this step's dropout, or None.
    """

    mean: Array
    carry: Any
    predicted: Any
    past: Any
    key: Any


class RecurrentState(NamedTuple):
    """The state of a recurrent filter.

    Attributes:
        mean: [N].
        cov: None.
        carry: the memory of the network.
        before: what this step started from.
        key: words of the random key of the next step's dropout (uint32), or None.
    """

    mean: Array
    cov: None
    carry: Any
    before: Before
    key: Array | None


@constructor
def recurrent(
    network: RecurrentStack,
    m: int,
    sees: tuple[str, ...] = ("y", "mask"),
    output: str = "increment",
    *,
    inputs: int = 0,
    feature_map: FeatureMap = ASINH,
) -> Filter:
    """Return a recurrent network as a filter.

    What it may see:

    * "y": y_t, measured from its centre in units of its spread; 0 where missing.
    * "mask": 1 in channels that were seen, else 0.
    * "prediction": f(x_{t-1|t-1}, u_t), from the centre of x and in units of its spread.
    * "feedback": x_{t-1|t-1}, likewise.
    * "F1" to "F4": see `kfjax.learned.features`; a missing y_t counts as h(f(x_{t-1|t-1}, u_t), u_t). Unlike there, F4
      after a row without data is what the network itself did in that row.

    Centres and spreads are constants of the params, see `series_scales`; without them 0 and 1 are
    used. States and observations on curved spaces are measured and moved by the model's own
    difference and retraction.

    Args:
        network: with as many outputs as the state has dimensions.
        m: dimension of the observation.
        sees: names, in any order.
        output: "level", "increment" or "update".
        inputs: how many entries of u (an array [p]) the network sees; 0 for none.
        feature_map: how F1 to F4 are scaled.

    Returns:
        A `Filter`; params `Learned(model, network)`, to be drawn by `kfjax.learned.init`; state
        `RecurrentState`. There is no covariance; Info has innovation, y_t - h(x_{t|t-1}), and dof.

    Raises:
        ValueError: unknown names, wrong sizes; from `init`, if n and m are not those of the model.

    Example:
        >>> model = kf.systems.lorenz()
        >>> filter = kf.learned.recurrent(kf.learned.RecurrentStack(3, (32,)), 3, ("y", "mask", "prediction"), "update")
        >>> params = kf.learned.init(jax.random.key(0), filter, model)
        >>> xs, ys = kf.simulate(jax.random.key(1), model, steps=20)
        >>> kf.run(filter, params, ys).outputs.mean.shape
        (20, 3)
    """
    if not isinstance(network, RecurrentStack):
        raise ValueError(
            f"recurrent: network is {type(network).__name__}; expected a kf.learned.RecurrentStack."
        )
    if not isinstance(sees, tuple) or not sees or len(set(sees)) != len(sees):
        raise ValueError(
            f"recurrent: sees is {sees!r}; expected a tuple of names, each once, such as ('y',"
            " 'mask')."
        )
    for name in sees:
        choose("recurrent: a name in sees", name, SEES)
    choose("recurrent: output", output, OUTPUTS)
    check_count("recurrent: m", m)
    check_count("recurrent: inputs (if not 0)", inputs or 1)
    return _filter(Recurrent(network, m, sees, output, inputs, feature_map))


def training(filter: Filter) -> Filter:
    """Return the filter with its dropout switched on, for the loss that is trained; the params are the same.

    Args:
        filter: of `recurrent` and its relatives; it never drops anything.

    Returns:
        A `Filter` that needs a random key in `init` (and so in `kfjax.run`); losses pass theirs.

    Raises:
        ValueError: if it is no recurrent filter, or its network has no dropout.
    """
    rule = getattr(getattr(filter, "init", None), "rule", None)
    if not isinstance(rule, Recurrent) or not rule.network.dropout:
        raise ValueError(
            "training: got a filter without dropout; expected a recurrent one whose network has"
            " some."
        )
    return _filter(dataclasses.replace(rule, dropping=True))


@dataclasses.dataclass(frozen=True)
class Recurrent:
    """The three functions of a recurrent filter, a value."""

    network: RecurrentStack
    m: int
    sees: tuple[str, ...]
    output: str
    inputs: int
    feature_map: FeatureMap
    dropping: bool = False

    @property
    def features(self) -> tuple[str, ...]:
        """Which of F1 to F4 are seen."""
        return tuple(name for name in FEATURES if name in self.sees)

    @property
    def predicts(self) -> bool:
        """Whether f is used."""
        return self.output == "update" or "prediction" in self.sees or bool(self.features)

    def draw(self, key: Array, model: StateSpaceModel) -> Any:
        """Draw the variables of the network."""
        self.check(model)
        n, m = self.network.outputs, self.m
        shapes = {"y": m, "mask": m, "prediction": n, "feedback": n} | sizes(FEATURES, n, m)
        v = jnp.zeros(sum(shapes[name] for name in self.sees) + self.inputs, model.dtype)
        carry = tuple(jnp.zeros(width, model.dtype) for width in self.network.widths)
        return self.network.init(key, carry, v)

    def check(self, model: StateSpaceModel) -> None:
        """Refuse a model of other dimensions."""
        n, m = self.network.outputs, self.m if callable(model.R) else model.R.shape[-1]
        if (model.n, m) != (n, self.m):
            raise ValueError(
                f"the model has n = {model.n} and m = {m}, the recurrent filter n = {n} and m ="
                f" {self.m}; expected the"
                " same. Make the network for the model."
            )

    def first(self, params: Learned, key: Array | None = None) -> RecurrentState:
        """Return the state before the first step."""
        model = params.model
        self.check(model)
        if self.dropping and key is None:
            raise ValueError(
                "training(filter): got no random key; expected one, for the dropout. Pass key= to"
                " run, or run the"
                " filter itself, which also draws the params in kf.learned.init."
            )
        mean, words = model.prior.mean, _words(key) if self.dropping else None
        carry = self.network.apply(params.network, model.dtype, method="start")
        past = first_past(model, self.m) if self.features else None
        before = Before(mean, carry, mean if self.predicts else None, past, words)
        # every array is its own, so that the state can be donated
        return jax.tree.map(jnp.copy, RecurrentState(mean, None, carry, before, words))

    def predict(self, params: Learned, state: RecurrentState, u: Any = None) -> RecurrentState:
        """Take a step in which nothing is seen."""
        model, past = params.model, state.before.past
        predicted: Any = model.f(state.mean, u).astype(model.dtype) if self.predicts else None
        if self.features:
            past = next_past(model, past, state.mean, predicted, u)
        now, later = (None, None) if state.key is None else jax.random.split(state.key)
        before = Before(state.mean, state.carry, predicted, past, now)
        nothing = jnp.zeros(self.m, model.dtype)
        carry, mean = self.move(params, before, {"y": nothing, "mask": nothing, "F2": nothing}, u)
        return RecurrentState(mean, None, carry, before, later)

    def update(
        self, params: Learned, state: RecurrentState, y: Array, u: Any = None, observed: Any = None
    ) -> tuple[RecurrentState, Info]:
        """Take the step again, with what was seen."""
        model, before = params.model, state.before
        seen = observe(model, state.mean, y, u, observed)
        mask = jnp.ones(self.m, bool) if seen.mask is None else seen.mask
        centre, spread = _scale(params, "y", jnp.zeros(self.m, model.dtype))
        values = {"y": seen.innovation(centre) / spread, "mask": mask.astype(model.dtype)}
        if self.features:
            values["F2"] = seen.innovation(seen.fn(before.predicted))
            filled = jnp.where(mask, jnp.asarray(y, model.dtype), before.past.y)
            before = before._replace(past=before.past._replace(y=filled))
        carry, mean = self.move(params, before, values, u)
        info = Info(
            innovation=seen.innovation(seen.fn(state.mean)), dof=jnp.sum(mask, dtype=jnp.int32)
        )
        return keep_unobserved(
            observed, state._replace(mean=mean, carry=carry, before=before), state
        ), info

    def move(
        self, params: Learned, before: Before, values: dict[str, Array], u: Any
    ) -> tuple[Any, Array]:
        """Return the new memory and mean."""
        space = params.model.state_space
        start = params.model.prior.mean
        centre, spread = _scale(params, "x", jnp.zeros_like(start) if space.is_euclidean else start)
        values = {**values, **self.scaled_features(params, before, values)}
        for name, x in (("prediction", before.predicted), ("feedback", before.mean)):
            if name in self.sees:
                values[name] = space.difference(x, centre) / spread
        v = [values[name] for name in self.sees]
        if self.inputs:
            middle, unit = _scale(params, "u", jnp.zeros(self.inputs, params.model.dtype))
            v.append((jnp.asarray(u, params.model.dtype) - middle) / unit)
        rngs = None if before.key is None else {"dropout": jax.random.wrap_key_data(before.key)}
        found: Any = self.network.apply(params.network, before.carry, jnp.concatenate(v), rngs=rngs)
        carry, z = found
        base = {"level": centre, "increment": before.mean, "update": before.predicted}[self.output]
        return carry, space.retract(base, spread * z)

    def scaled_features(
        self, params: Learned, before: Before, values: dict[str, Array]
    ) -> dict[str, Array]:
        """Return F1 to F4 as the network sees them."""
        if not self.features:
            return {}
        scales = (params.constants or {}).get("scales", {})
        found = differences(self.features, params.model, before.past, values["F2"])
        return {name: self.feature_map(value, scales.get(name)) for name, value in found.items()}


@dataclasses.dataclass(frozen=True)
class _Start(Initialiser):
    """The `init` of a recurrent filter, which may need a key."""

    rule: Any = None

    def __call__(self, params: Learned, key: Array | None = None) -> RecurrentState:
        """Return the state before the first step."""
        return self.rule.first(params, key)


@constructor
def _filter(rule: Recurrent) -> Filter:
    return Filter(_Start(rule.first, rule.draw, rule), rule.predict, rule.update)


def _scale(params: Learned, name: str, zero: Array) -> tuple[Array, Array]:
    """The centre and spread of a series; default a centre of zero and a spread of 1."""
    given = (params.constants or {}).get(name, {})
    return given.get("centre", zero), given.get("spread", jnp.ones((), zero.dtype))


def _words(key: Any) -> Array:
    """The words of a key, of the new type or the old, in an array of their own."""
    return jnp.copy(
        jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key
    )
