"""Recurrent networks as filters: estimates without a gain, from any mixture of model outputs.

The network sees v_t (a choice from `SEES`), and its output z_t is added in one of four places:

    carry_t, z_t = network(carry_{t-1}, v_t)
    level:      x_{t|t} = c + D z_t
    increment:  x_{t|t} = x_{t-1|t-1} + D z_t
    update:     x_{t|t} = f(x_{t-1|t-1}, u_t) + D z_t
    recursion:  x_{t|t} = A x_{t-1|t-1} + B (y_t, mask_t, u_t, 1) + D z_t

`predict` runs the network on a row in which nothing is seen, and `update` runs it again from the
same memory with y_t. So the memory advances once per step, observed or not, and if nothing is
missing the first run is not computed. One `update` belongs to one `predict`: a second one would
replace the first.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from jax import Array

from kfjax._support.arguments import check_count, choose
from kfjax.base import Filter, constructor
from kfjax.learned.gains.feature_maps import Asinh, FeatureMap
from kfjax.learned.gains.features import FEATURES
from kfjax.learned.params import Initialiser, Learned
from kfjax.learned.recurrent_networks.cells import RecurrentStack
from kfjax.learned.recurrent_networks.recurrent_rule import Recurrent, RecurrentState

__all__ = ["recurrent", "with_dropout"]

SEES = ("y", "mask", "prediction", "feedback", *FEATURES)


OUTPUTS = ("level", "increment", "update", "recursion")


ASINH = Asinh()


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

    The network may see:

    * "y": y_t, measured from its centre in units of its spread; 0 where missing.
    * "mask": 1 in observed channels, otherwise 0.
    * "prediction": f(x_{t-1|t-1}, u_t), from the centre of x and in units of its spread.
    * "feedback": x_{t-1|t-1}, likewise.
    * "F1" to "F4": see `kfjax.learned.gains.features`; a missing y_t counts as
      h(f(x_{t-1|t-1}, u_t), u_t). Unlike in gain networks, F4 after a row without data is the
      change that the network itself made in that row.

    Centres and spreads are constants of the params, see `series_scales`; without them 0 and 1 are
    used. D is diagonal with the spreads of x, or with `constants["output"]["spread"]` [n], such as
    the standard deviations of a teacher. On curved spaces, states and observations are subtracted
    and moved by the model's own difference and retraction.

    Args:
        network: a `RecurrentStack` with as many outputs as the state has dimensions.
        m: dimension of the observation.
        sees: names, in any order.
        output: "level", "increment", "update" or "recursion". The last needs A [n, n] and
            B [n, 2 m + inputs + 1] as `constants["recursion"]` of the params, in units of the
            spreads; `imitator` fits them. There, a missing channel counts as its latest value.
        inputs: number of entries of u, an array or a pytree of arrays, that the network sees; 0 for
            none.
        feature_map: how F1 to F4 are scaled.

    Returns:
        A `Filter`; params `Learned(model, network)`, to be drawn by `kfjax.learned.init_params`;
        state `RecurrentState`. There is no covariance; Info has innovation, y_t - h(x_{t|t-1}), and
        dof.

    Raises:
        ValueError: for unknown names or wrong sizes; from `init`, if n and m are not those of the
            model.

    Example:
        >>> model = kf.systems.lorenz()
        >>> stack = kf.learned.RecurrentStack(3, (32,))
        >>> filter = kf.learned.recurrent(
        ...     stack, 3, ("y", "mask", "prediction"), "update"
        ... )
        >>> params = kf.learned.init_params(jax.random.key(0), filter, model)
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
    check_count("recurrent: inputs", inputs, least=0)
    return _filter(Recurrent(network, m, sees, output, inputs, feature_map))


def with_dropout(filter: Filter) -> Filter:
    """Return the filter with its dropout switched on, for the training loss.

    The params are the same.

    Args:
        filter: a filter from `recurrent` or its relatives, which never drops anything.

    Returns:
        A `Filter` that needs a random key in `init` (and so in `kfjax.run`); losses pass theirs.

    Raises:
        ValueError: if the filter is not recurrent, or its network has no dropout.
    """
    rule = getattr(getattr(filter, "init", None), "rule", None)
    if not isinstance(rule, Recurrent) or not rule.network.dropout:
        raise ValueError(
            "with_dropout: got a filter without dropout; expected a recurrent filter whose"
            " network has dropout."
        )
    return _filter(dataclasses.replace(rule, dropping=True))


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
