"""Latitude and longitude as metres in a plane that touches the earth, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from kfjax._support.naming import not_installed
from kfjax._support.values import real_array

__all__ = ["LocalFrame", "LocalPosition"]

LIMITS = {"latitude": 90.0, "longitude": 360.0}


class LocalPosition(NamedTuple):
    """Positions in metres from the origin of a `LocalFrame`.

    Attributes:
        east: [...].
        north: [...].
        up: [...], along the vertical of the origin.
    """

    east: Float[np.ndarray, " ..."]
    north: Float[np.ndarray, " ..."]
    up: Float[np.ndarray, " ..."]


@dataclasses.dataclass(frozen=True)
class LocalFrame:
    """A plane that touches the earth at an origin: east, north and up in metres (ENU, WGS 84).

    Filters work in metres: degrees are of different lengths to the east and to the north, and
    float32 resolves degrees only to some decimetres. The conversion is that of pyproj, exact at any
    distance; beyond some 100 km "up" differs much from the local vertical.

    Attributes:
        latitude: of the origin, in degrees.
        longitude: of the origin, in degrees.
        height: of the origin above the ellipsoid, in metres.

    Raises:
        ValueError: if a coordinate is not finite or out of its range.
        ImportError: if pyproj is not installed, at the first conversion.

    Example:
        >>> frame = kf.data.LocalFrame(50.8133, 12.9296)
        >>> place = frame.to_local([50.8133, 50.8143], [12.9296, 12.9296])
        >>> place.north.round(2).tolist()
        [0.0, 111.24]
        >>> latitude, longitude, height = frame.to_global(*place)
        >>> latitude.round(6).tolist()
        [50.8133, 50.8143]
    """

    latitude: float
    longitude: float
    height: float = 0.0

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            number = real_array(f"LocalFrame: {name}", value, ndim=0)
            object.__setattr__(self, name, float(number))
        _check_degrees("LocalFrame", latitude=self.latitude, longitude=self.longitude)

    def to_local(self, latitude: Any, longitude: Any, height: Any = None) -> LocalPosition:
        """Return positions in metres from the origin.

        Args:
            latitude: [...], in degrees; NaN where there is no fix.
            longitude: [...], in degrees.
            height: [...], in metres above the ellipsoid; default that of the origin.

        Raises:
            ValueError: if degrees are out of their range.
        """
        given = (latitude, longitude, self.height if height is None else height)
        names = ("latitude", "longitude", "height")
        latitude, longitude, height = (
            np.asarray(real_array(f"LocalFrame.to_local: {name}", value, finite=False), np.float64)
            for name, value in zip(names, given, strict=True)
        )
        _check_degrees("LocalFrame.to_local", latitude=latitude, longitude=longitude)
        latitude, longitude, height = np.broadcast_arrays(latitude, longitude, height)
        return LocalPosition(*self._transformed((longitude, latitude, height), "FORWARD"))

    def to_global(
        self, east: Any, north: Any, up: Any = 0.0
    ) -> tuple[Float[np.ndarray, " ..."], Float[np.ndarray, " ..."], Float[np.ndarray, " ..."]]:
        """Return latitude and longitude in degrees and the height in metres of positions [...]."""
        places = np.broadcast_arrays(
            *(np.asarray(value, np.float64) for value in (east, north, up))
        )
        longitude, latitude, height = self._transformed(places, "INVERSE")
        return latitude, longitude, height

    def _transformed(self, places: Sequence[np.ndarray], direction: str) -> list[np.ndarray]:
        """Return three coordinates, NaN where one of them is NaN."""
        try:
            from pyproj import Transformer
        except ImportError as error:
            raise not_installed("pyproj", error) from error
        transformer = Transformer.from_pipeline(
            "+proj=pipeline +step +proj=cart +ellps=WGS84 +step +proj=topocentric +ellps=WGS84"
            f" +lat_0={self.latitude!r} +lon_0={self.longitude!r} +h_0={self.height!r}"
        )
        known = np.isfinite(places).all(0)
        x, y, z = places
        results = transformer.transform(x, y, z, direction=direction)
        return [np.where(known, result, np.nan) for result in results]


def _check_degrees(who: str, **coordinates: Any) -> None:
    """Raise if degrees are out of their range."""
    for name, value in coordinates.items():
        largest = float(np.max(np.abs(value), where=~np.isnan(value), initial=0.0))
        if largest > LIMITS[name]:
            raise ValueError(
                f"{who}: {name} is {largest:g}; expected degrees, at most {LIMITS[name]:g}."
                " Divide numbers that are not in degrees (such as 1e-7 degrees), and give latitude"
                " before longitude."
            )
