"""Dimensions of networks and gain rules that come from the design model."""

from __future__ import annotations

import dataclasses
from typing import Any

from kfjax._support.arguments import check_counts
from kfjax._support.naming import described
from kfjax.models.state_space import StateSpaceModel

__all__: list[str] = []


def check_sizes(who: str, **counts: int | None) -> None:
    """Raise unless all sizes are None or whole numbers of at least one."""
    check_counts(who, **{name: size for name, size in counts.items() if size is not None})


def dimensions(network: Any) -> tuple[int, int]:
    """Return n and m of a network that has them."""
    if network.n is None or network.m is None:
        raise ValueError(
            f"{described(network)}: n is {network.n} and m is {network.m}; expected both where a"
            " network is used without a design model, as in Architecture2(n=3, m=2)."
        )
    return network.n, network.m


def sized(value: Any, model: StateSpaceModel) -> Any:
    """Return a network or a gain rule with the n and m of the model where its own are None."""
    missing = {name for name in ("n", "m") if getattr(value, name) is None}
    if not missing:
        return value
    sizes = {"n": model.n} if "n" in missing else {}
    if "m" in missing:
        sizes["m"] = _observation_size(value, model)
    return _replaced(value, sizes)


def _observation_size(value: Any, model: StateSpaceModel) -> int:
    """Return the dimension of the observation, from R."""
    if callable(model.R):
        raise ValueError(
            f"{described(value)}: m is None, and R of the model is a function, which does not tell"
            " the dimension of the observation; expected m, as in Architecture2(m=2)."
        )
    return model.R.shape[-1]


def _replaced(value: Any, sizes: dict[str, int]) -> Any:
    """Return a Flax module, a NamedTuple or a dataclass with other sizes."""
    if hasattr(value, "_replace"):
        return value._replace(**sizes)
    fields = {field.name for field in dataclasses.fields(value)}  # m may follow from n
    sizes = {name: size for name, size in sizes.items() if name in fields}
    clone = getattr(value, "clone", None)
    return dataclasses.replace(value, **sizes) if clone is None else clone(**sizes)
