"""Names, units and times of the arrays of a `Dataset`, as in their source."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Real, Shaped

from kfjax._support.naming import described
from kfjax._support.saving import json_text
from kfjax.data.local_frame import LocalFrame

__all__ = ["Labels"]

# "east [m]", "east (m)" and "east(m)", but not "acc[0]"
UNIT = re.compile(r"(.*\S)\s*[\[(]([^\])]*[^\])\d][^\])]*)[\])]")


@dataclasses.dataclass(frozen=True, eq=False)
class Labels:
    """Names, units and times of a `Dataset`, for tables and pictures; no filter reads them.

    Readers of tables fill them in. They stay outside of JAX: transformations leave them out, and
    neither compilation nor results depend on them.

    Attributes:
        ys: m names of the observed channels, or None.
        xs: n names of the components of the state, or None.
        units: units by name of a channel, component or input, such as {"east": "m"}; of `time` if
            times are numbers.
        times: time of every step [N, T]: numpy dates (UTC, unless the zone is not known), time
            differences, or numbers as the table has them; NaT or NaN after the end of a
            trajectory. None if not known.
        time: name of the times, such as that of their column, or None.
        zone: name of the time zone in which to show dates, or None.
        series: N names of the trajectories, or None.
        frame: where the local metres of the channels start on the earth, or None.

    Example:
        >>> labels = kf.data.Labels(ys=["east", "north"], units={"east": "m"})
        >>> kf.Dataset(np.zeros((1, 5, 2)), labels=labels)
        Dataset(1 trajectories of 5 steps, m=2 (east, north))
    """

    ys: Sequence[str] | None = None
    xs: Sequence[str] | None = None
    units: Mapping[str, str] = dataclasses.field(default_factory=dict)
    times: Any = None
    time: str | None = None
    zone: str | None = None
    series: Sequence[Any] | None = None
    frame: LocalFrame | None = None

    def __post_init__(self) -> None:
        for name in ("ys", "xs", "series"):
            value = getattr(self, name)
            if isinstance(value, str) or (value is not None and not np.iterable(value)):
                raise ValueError(f"Labels: {name} is {described(value)}; expected a list of names.")
            if value is not None:
                object.__setattr__(self, name, tuple(value))
        if self.times is not None:
            object.__setattr__(self, "times", _checked_times(self.times))

    def with_unit(self, name: str) -> str:
        """Return the name of a channel, component or input with its unit, such as "east [m]"."""
        unit = self.units.get(name)
        return name if unit is None else f"{name} [{unit}]"

    def naming_states(self, names: Sequence[str]) -> Labels:
        """Return labels with other names of the components of the state, which may have units."""
        parts = [without_unit(name) for name in names]
        units = {name: unit for name, unit in parts if unit is not None}
        return dataclasses.replace(
            self, xs=[name for name, _ in parts], units={**self.units, **units}
        )

    def rows(self, index: slice | Shaped[np.ndarray, " _"]) -> Labels:
        """Return the labels of some of the trajectories."""
        times = None if self.times is None else self.times[index]
        series = None
        if self.series is not None:
            numbers = np.arange(len(self.series))[index]
            series = [self.series[number] for number in numbers]
        return dataclasses.replace(self, times=times, series=series)

    def first(self, steps: int) -> Labels:
        """Return the labels of the first steps."""
        times = None if self.times is None else self.times[:, :steps]
        return dataclasses.replace(self, times=times)

    def check(self, ys: Real[np.ndarray, "N T m"], xs: Real[np.ndarray, "N T n"] | None) -> None:
        """Raise unless the labels fit observations [N, T, m] and states [N, T, n]."""
        N, T, m = ys.shape
        counts = {"ys": m, "series": N}
        if xs is not None:
            counts["xs"] = xs.shape[2]
        for name, count in counts.items():
            names = getattr(self, name)
            if names is not None and len(names) != count:
                raise ValueError(
                    f"Dataset: labels.{name} has {len(names)} names; expected {count}, as the"
                    " arrays have. Pass labels=None, or others."
                )
        if self.times is not None and self.times.shape != (N, T):
            raise ValueError(
                f"Dataset: labels.times has shape {self.times.shape}; expected ({N}, {T}), as ys."
            )


def without_unit(text: str) -> tuple[str, str | None]:
    """Return the name and the unit in a text such as "east [m]"; None if it has no unit."""
    found = UNIT.fullmatch(text.strip())
    if found is None:
        return text, None
    name, unit = found.groups()
    return name, unit.strip()


def _checked_times(value: object) -> np.ndarray:
    """Return times as an array of dates, time differences or numbers [N, T]."""
    try:
        times = np.asarray(value)
    except ValueError:  # rows of different lengths
        times = np.asarray(None)
    if times.ndim != 2 or times.dtype.kind not in "mMfiu":
        raise ValueError(
            f"Labels: times is {described(value)}; expected [N, T], numpy dates, time differences"
            " or numbers."
        )
    return times


def to_json(labels: Labels) -> str:
    """Return labels as JSON, without the times."""
    return json_text(dataclasses.replace(labels, times=None))


def from_json(text: str, times: np.ndarray | None = None) -> Labels:
    """Return the labels that `to_json` wrote, with times.

    Raises:
        ValueError: if it is something else.
    """
    try:
        fields = json.loads(text)
        frame = fields.pop("frame")
        fields["times"] = times
        return Labels(**fields, frame=None if frame is None else LocalFrame(**frame))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"the labels cannot be read ({error}); expected them as Dataset.save wrote them."
        ) from error
