"""Learned filters by the names of the command line, built for the dimensions of a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from kfjax._support.naming import suggest
from kfjax.base import Filter
from kfjax.data import Dataset
from kfjax.learned.gains.corrections import corrected_gain
from kfjax.learned.gains.features import FEATURES
from kfjax.learned.gains.kalman_nets import published
from kfjax.learned.gains.networks import Architecture2
from kfjax.learned.gains.recursive_gain import recursive_kalman_net
from kfjax.learned.gains.split_gain import split_kalman_net
from kfjax.learned.recurrent_networks.sequence_models import (
    recurrent_baseline,
    sequence_regressor,
    series_scales,
)
from kfjax.models.state_space import StateSpaceModel

__all__ = ["LEARNED_FILTERS", "learned_by_name"]


class Kind(NamedTuple):
    """A learned filter before its dimensions are known.

    Attributes:
        build: `(n, m) -> Filter`, with default settings.
        features: the features among F1 to F4 that its network sees.
        constants: `(model, training data) -> constants` of the params, or None if it needs none.
    """

    build: Callable[[int, int], Filter]
    features: tuple[str, ...] = FEATURES
    constants: Callable[[StateSpaceModel, Dataset], Any] | None = None


LEARNED_FILTERS: dict[str, Kind] = {
    "kalman_net": Kind(lambda n, m: published("C4", n=n, m=m)),
    "kalman_net_1": Kind(lambda n, m: published("C1", n=n, m=m), ("F2", "F4")),
    "corrected_gain": Kind(corrected_gain),
    "recursive_kalman_net": Kind(lambda n, m: recursive_kalman_net(Architecture2(n, m))),
    "split_kalman_net": Kind(split_kalman_net),
    "recurrent": Kind(sequence_regressor, (), series_scales),
    "recurrent_differences": Kind(
        lambda n, m: recurrent_baseline("differences", n, m), ("F2", "F4")
    ),
}


def learned_by_name(name: str, n: int, m: int) -> Filter:
    """Return the learned filter of that name, with its default settings.

    Its params are drawn by `init_params`.

    Args:
        name: a key of `LEARNED_FILTERS`: kalman_net (architecture #2, all features), kalman_net_1
            (architecture #1), corrected_gain, recursive_kalman_net, split_kalman_net, recurrent (an
            LSTM), recurrent_differences (the paper's model-based network with difference features).
        n: dimension of the state.
        m: dimension of the observation.

    Raises:
        ValueError: if there is no such filter; the text suggests the nearest name.

    Example:
        >>> named = kf.learned.learned_by_name("kalman_net", n=3, m=3)
        >>> named == kf.learned.published("C4", n=3, m=3)
        True
    """
    check_learned_name(name)
    return LEARNED_FILTERS[name].build(n, m)


def check_learned_name(name: str) -> None:
    """Raise unless there is a learned filter of that name."""
    if name not in LEARNED_FILTERS:
        raise ValueError(f"unknown learned filter {name!r}; {suggest(name, LEARNED_FILTERS)}")
