"""Checks that the components of a sum can be told apart."""

from __future__ import annotations

from collections import Counter
from typing import Any

from kfjax._support.naming import described
from kfjax.base import Inputs
from kfjax.structural.components import Component

__all__: list[str] = []


def check_apart(components: tuple[Component, ...]) -> None:
    """Raise if two components have the same name, or leave the same frequency undetermined."""
    counts = Counter(component.name for component in components)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise ValueError(
            f"the sum has two components called {twice[0]!r}; expected different names. If both are"
            " meant, pass name= to one of them; two of a kind often cannot be told apart."
        )
    noises = [component.name for component in components if not component.width]
    if len(noises) > 1:
        raise ValueError(
            f"the sum has {noises[0]!r} and {noises[1]!r}, which are both noise of the"
            " observations; expected one, since they cannot be told apart."
        )
    owners: dict[Any, str] = {}
    for component in components:
        for frequency in sorted(component.frequencies()):
            if frequency in owners:
                raise ValueError(_alike(owners[frequency], component.name, frequency))
            owners[frequency] = component.name


def _alike(first: str, second: str, frequency: Any) -> str:
    """Return what two components have in common."""
    what = "a level" if frequency == 0 else f"a wave of period {float(1 / frequency):g}"
    remedy = " Leave one of them out."
    if frequency != 0:
        remedy += " Seasonals with common waves can share them by their harmonics=."
    return (
        f"the sum is not identified: {first!r} and {second!r} both contain {what}, and no data can"
        f" tell them apart; expected one of them.{remedy}"
    )


def check_states(components: tuple[Component, ...]) -> None:
    """Raise unless a sum has states."""
    if not any(component.size for component in components):
        raise ValueError(
            f"the sum has only {components[0].name!r}, which has no states; expected another"
            " component as well, as in kf.structural.level() + kf.structural.irregular()."
        )


def check_inputs(components: tuple[Component, ...], u: Inputs) -> None:
    """Raise if components with different inputs would all read the same array."""
    readers = {c.input_name: c.name for c in components if c.reads_inputs}
    if len(readers) > 1 and not isinstance(u, dict):
        named = ", ".join(f"{name!r}: ..." for name in readers)
        raise ValueError(
            f"{' and '.join(readers.values())} read different inputs, and u is {described(u)};"
            f" expected us={{{named}}}, each with a leading time axis."
        )


def check_channels(components: tuple[Component, ...]) -> None:
    """Raise unless all components observe the same number of series."""
    counts = {component.name: component.channels for component in components}
    if len(set(counts.values())) > 1:
        text = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise ValueError(
            f"the components observe different numbers of series ({text}); expected the same. For k"
            " series pass std of shape [k] or [k, k], and loading= [m, k] for common components."
        )
