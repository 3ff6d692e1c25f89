"""The filter of the sums of `kfjax forecast --model auto`."""

from __future__ import annotations

from kfjax.base import Filter
from kfjax.filters import exact_diffuse, kalman, square_root
from kfjax.moments import Taylor
from kfjax.structural.seasonals import Waves
from kfjax.structural.sums import Structural

__all__: list[str] = []


def filter_of(model: Structural) -> Filter:
    """Return the filter of a sum, which starts exactly diffuse.

    The first steps of a long season hardly tell its waves apart. Their variances are then so much
    larger than those of the noise that rounding makes a covariance indefinite, from which the
    filter diverges, also in float64. A square root cannot become indefinite.
    """
    waves = any(isinstance(component, Waves) for component in model.components)
    return exact_diffuse(square_root(Taylor()) if waves else kalman())
