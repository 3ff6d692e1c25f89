"""Filters by the names that the command line, the benchmarks and the tables use."""

from __future__ import annotations

import functools
from collections.abc import Callable

from kfjax._support.naming import suggest
from kfjax.base import Filter
from kfjax.filters.combinators.guards import fading, gated
from kfjax.filters.combinators.noise_adaptation import adaptive
from kfjax.filters.combinators.robust import huber, student_t
from kfjax.filters.ensembles.ensemble_filter import ensemble
from kfjax.filters.ensembles.forms import Transform
from kfjax.filters.gaussian import cubature, extended, gauss_hermite, kalman, unscented
from kfjax.filters.particles.bootstrap import auxiliary_particle, particle
from kfjax.filters.square_root_form import square_root
from kfjax.moments import Taylor, Unscented

__all__ = ["COMMON", "FILTERS", "by_name"]

# what `kfjax compare` runs unless told otherwise
COMMON: dict[str, Callable[[], Filter]] = {
    "kalman": kalman,
    "extended": extended,
    "iterated_extended": functools.partial(extended, iterations=3),
    "unscented": unscented,
    "cubature": cubature,
    "gauss_hermite": gauss_hermite,
}

FILTERS: dict[str, Callable[[], Filter]] = COMMON | {
    "square_root_extended": lambda: square_root(Taylor()),
    "square_root_unscented": lambda: square_root(Unscented()),
    "gated_extended": lambda: gated(extended()),
    "student_t_extended": lambda: student_t(extended()),
    "huber_extended": lambda: huber(extended()),
    "adaptive_extended": lambda: adaptive(extended()),
    "fading_extended": lambda: fading(extended(), 1.05),
    "ensemble": ensemble,
    "ensemble_transform": lambda: ensemble(form=Transform()),
    "particle": functools.partial(particle, 300),
    "auxiliary_particle": functools.partial(auxiliary_particle, 300),
}


def by_name(name: str) -> Filter:
    """Return the filter of that name, with the settings of the table.

    Args:
        name: a key of `FILTERS`.

    Raises:
        ValueError: if there is no such filter; the text suggests the nearest name.

    Example:
        >>> kf.filters.by_name("unscented") is kf.unscented()
        True
    """
    if not isinstance(name, str) or name not in FILTERS:
        raise ValueError(f"unknown filter {name!r}; {suggest(name, FILTERS)}")
    return FILTERS[name]()
