"""Free parameters of a likelihood: numbers without bounds, and what they stand for.

A layout says which params are free. It is static; `fixed` has the arrays that are not free.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax._support.arguments import choose, choose_some
from kfjax._support.naming import described, suggest
from kfjax._support.types import PyTree
from kfjax.base import Params
from kfjax.filters.combinators.interacting_models import IMMParams
from kfjax.models.augmented_state import check_added_noise
from kfjax.models.hidden_markov import HiddenMarkovModel
from kfjax.models.lens import model_of
from kfjax.structural import Structural
from kfjax.training.covariance_layout import Covariance, NoiseLayout
from kfjax.training.leaf_layout import Leaf, LeafLayout
from kfjax.training.links import FREE, Bounds
from kfjax.training.noise_fitting import NAMES, covariance_of
from kfjax.training.partitioning import partition, path_name

__all__ = ["COVARIANCES"]

COVARIANCES = ("scalar", "diagonal", "full")
POSITIVE = ("_std", "_var", "_density")  # ends of names of what is above zero


class Layout(Protocol):
    """The meaning of free numbers theta [p]: p natural values, and params of a filter."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the natural values."""

    @property
    def bounds(self) -> tuple[Bounds, ...]:
        """Between which ends each natural value lies."""

    def natural(self, theta: Array) -> Array:
        """Return the natural values [p]."""

    def values(self, theta: Array, fixed: Any) -> Any:
        """Return what a person gave, with the free numbers in it."""

    def params(self, theta: Array, fixed: Any) -> Params:
        """Return the params of the filter."""


class FreeStart(NamedTuple):
    """The start of a fit, and the meaning of its numbers.

    Attributes:
        layout: what theta stands for.
        theta: [p].
        spread: standard deviations [p] by which other starts differ from it.
        fixed: arrays that are not free.
    """

    layout: Any
    theta: np.ndarray
    spread: np.ndarray
    fixed: Any


def free_parameters(
    who: str, params: Any, learn: Any, transform: Callable | None, bounds: Mapping[str, Any] | None
) -> FreeStart:
    """Return what is free, and where to start; the arguments are those of `maximum_likelihood`."""
    if isinstance(params, Structural) and learn is None and transform is None:
        return _free_by_name(who, params, bounds or {})
    if learn is None and transform is None and isinstance(params, HiddenMarkovModel | IMMParams):
        raise ValueError(
            f"{who}: params is {type(params).__name__}, whose probabilities sum to"
            " one; expected transform, a function that makes it from free numbers, such as by"
            " jax.nn.softmax. Hidden Markov models are fitted by kf.training.em, too."
        )
    structures = _structures(who, params, learn, transform)
    if structures is None:
        return _free_leaves(who, params, learn, transform, bounds or {})
    if bounds:
        raise ValueError(
            f"{who}: got bounds with covariances to learn; expected none, since they"
            " have their own. Leave bounds out."
        )
    return _free_noise(who, params, structures)


def _structures(
    who: str, params: Any, learn: Any, transform: Callable | None
) -> dict[str, str] | None:
    """Return the structure of each covariance to learn; None if leaves are learned."""
    if transform is not None:
        return None
    if learn is None:
        has_noise = model_of(params) is not None and model_of(params) is params
        return {"Q": "diagonal", "R": "diagonal"} if has_noise else None
    if isinstance(learn, str):
        raise ValueError(f"{who}: learn is {learn!r}; expected names, such as ({learn!r},).")
    if isinstance(learn, Mapping) and all(isinstance(value, str) for value in learn.values()):
        structures = dict(learn)
    elif isinstance(learn, Sequence) and all(isinstance(name, str) for name in learn):
        structures = dict.fromkeys(learn, "full")
    else:
        return None
    choose_some(f"{who}: learn", list(structures), NAMES)
    for name, structure in structures.items():
        choose(f"{who}: learn[{name!r}]", structure, COVARIANCES)
    return structures


def _free_noise(who: str, params: Params, structures: dict[str, str]) -> FreeStart:
    """Return the covariances of a model as free numbers."""
    model = model_of(params)
    if model is None:
        raise ValueError(
            f"{who}: params is {described(params)}; expected a StateSpaceModel, or"
            " params that hold one. Name other params with learn, or give transform."
        )
    check_added_noise(who, model)
    parts = []
    starts = []
    for name, structure in structures.items():
        cov = np.asarray(covariance_of(model, name, who), np.float64)
        has_variance = np.ones(len(cov), bool) if structure == "full" else np.diag(cov) > 0
        if not (np.diag(cov) > 0).any():
            raise ValueError(
                f"{who}: {name} is zero; expected a variance to start from. Start"
                " elsewhere, or leave it out of learn."
            )
        rows = tuple(np.flatnonzero(has_variance).tolist())
        parts.append(Covariance(name, structure, rows, len(cov)))
        starts.append(parts[-1].start(cov))
    theta, spread = (np.concatenate(arrays) for arrays in zip(*starts, strict=True))
    return FreeStart(NoiseLayout(tuple(parts)), theta, spread, params)


def _free_leaves(
    who: str, params: Any, learn: Any, transform: Callable | None, bounds: Mapping[str, Any]
) -> FreeStart:
    """Return arrays of params as free numbers."""
    params = jax.tree.map(_as_float, params)
    trained, frozen = partition(params, learn)
    paths, _ = jax.tree_util.tree_flatten_with_path(trained)
    names = [path_name(path) for path, _ in paths]
    return _free_arrays(who, (trained, frozen), names, transform, bounds)


def _free_by_name(who: str, model: Structural, bounds: Mapping[str, Any]) -> FreeStart:
    """Return the parameters of a structural model as free numbers, by their names."""
    everything = partition(model, True)
    names = list(model.parameters)  # in the order of the leaves
    return _free_arrays(who, everything, names, None, {**model.bounds, **bounds})


def _free_arrays(
    who: str,
    parts: tuple[PyTree, PyTree],
    names: Sequence[str],
    transform: Callable | None,
    bounds: Mapping[str, Any],
) -> FreeStart:
    """Return the arrays of the trained part, which have these names, as free numbers."""
    values = jax.tree.leaves(parts[0])
    unknown = [name for name in bounds if not any(_within(path, name) for path in names)]
    if unknown:
        raise ValueError(
            f"{who}: bounds has {unknown[0]!r}, which is not learned; {suggest(unknown[0], names)}"
        )
    leaves = [
        Leaf(name, np.shape(value), _bounds_of(who, name, bounds), _units(value))
        for name, value in zip(names, values, strict=True)
    ]
    starts = [
        leaf.start(who, np.asarray(value, np.float64))
        for leaf, value in zip(leaves, values, strict=True)
    ]
    theta, spread = (np.concatenate(arrays) for arrays in zip(*starts, strict=True))
    return FreeStart(LeafLayout(tuple(leaves), transform), theta, spread, parts)


def _as_float(leaf: PyTree) -> PyTree:
    """Return Python's numbers as floats of JAX."""
    return jnp.asarray(leaf, float) if isinstance(leaf, (int, float)) else leaf


def _units(value: Any) -> tuple[float, ...]:
    """Return the power of ten nearest to each entry, 1 for zero."""
    sizes = np.abs(np.asarray(value, np.float64)).ravel()
    nearest = np.round(np.log10(np.where(sizes > 0, sizes, 1.0)))
    return tuple((10.0**nearest).tolist())


def _within(path: str, name: str) -> bool:
    """Return whether a path is that of a name, or of a part of it."""
    return path == name or path.startswith(f"{name}/")


def _bounds_of(who: str, path: str, bounds: Mapping[str, Any]) -> Bounds:
    """Return the bounds of a leaf: those given for it, or those that its name implies."""
    for name, ends in bounds.items():
        if _within(path, name):
            return _checked_bounds(who, name, ends)
    return (0.0, math.inf) if path.endswith(POSITIVE) else FREE


def _checked_bounds(who: str, name: str, ends: Any) -> Bounds:
    """Return both ends as floats, infinite for None."""
    try:
        low, high = ends
        low = -math.inf if low is None else float(low)
        high = math.inf if high is None else float(high)
    except (TypeError, ValueError):
        low = high = math.nan
    if not low < high:
        raise ValueError(
            f"{who}: bounds[{name!r}] is {ends!r}; expected (low, high), with None for"
            " no end, such as (0, None)."
        )
    return low, high
