"""Free parameters of a likelihood: numbers without bounds, and what they stand for.

A layout says which params are free. It is static; `fixed` has the arrays that are not free.
"""

from __future__ import annotations

import dataclasses
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
from kfjax.base import Gaussian, Params
from kfjax.models.augmented_state import check_added_noise
from kfjax.models.lens import model_of, with_model
from kfjax.structural import Structural
from kfjax.training.covariances import NAMES, constrain, covariance_of, unconstrain
from kfjax.training.partitioning import merge, partition, path_name

__all__ = ["COVARIANCES"]

COVARIANCES = ("scalar", "diagonal", "full")
POSITIVE = ("_std", "_var", "_density")  # ends of names of what is above zero
FREE = (-math.inf, math.inf)
WHO = "maximum_likelihood"

# by how much other starts differ: in logarithms, in correlations, and of numbers without bounds
FACTORS = 2.0
MIXING = 0.3
SHARE = 0.5

Bounds = tuple[float, float]


class Layout(Protocol):
    """What the free numbers theta [p] stand for: p natural values, and params of a filter."""

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
    """Where to start, and from what.

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


@dataclasses.dataclass(frozen=True)
class Covariance:
    """One covariance of a model as free numbers.

    Attributes:
        field: "Q", "R" or "P0".
        structure: "full", the whole matrix; "diagonal", standard deviations with the correlations
            as given; "scalar", one factor on the variances.
        rows: the components that have a variance; the others stay without.
        n: the number of components.
    """

    field: str
    structure: str
    rows: tuple[int, ...]
    n: int

    @property
    def names(self) -> tuple[str, ...]:
        """Names of standard deviations, then of correlations."""
        if self.structure == "scalar":
            return (f"{self.field}_factor",)
        if self.n == 1:
            return (f"{self.field}_std",)
        names = [f"{self.field}_std[{i}]" for i in self.rows]
        if self.structure == "full":
            names += [f"{self.field}_corr[{i},{j}]" for i, j in self._below()]
        return tuple(names)

    @property
    def bounds(self) -> tuple[Bounds, ...]:
        """Standard deviations are above zero, and correlations between -1 and 1."""
        if self.structure == "full":
            below = len(self._below())
            return ((0.0, math.inf),) * self.n + ((-1.0, 1.0),) * below
        return ((0.0, math.inf),) * len(self.names)

    def start(self, cov: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the free numbers of a given covariance, and the spread of other starts."""
        if self.structure == "scalar":
            return np.zeros(1), np.full(1, FACTORS)
        if self.structure == "diagonal":
            stds = np.sqrt(np.diag(cov)[list(self.rows)])
            return np.log(stds), np.full(stds.shape, FACTORS)
        free = np.asarray(unconstrain(cov))
        order = self._order()
        spread = np.where(np.arange(len(free)) < self.n, FACTORS, MIXING)
        return free[order], spread

    def natural(self, theta: Array) -> Array:
        """Return standard deviations, then correlations."""
        if self.structure != "full":
            return jnp.exp(theta)
        cov = self._whole(theta)
        std = jnp.sqrt(jnp.diag(cov))
        below = [cov[i, j] / (std[i] * std[j]) for i, j in self._below()]
        return jnp.concatenate([std, jnp.asarray(below, std.dtype)])

    def value(self, theta: Array, given: Array) -> Array:
        """Return the covariance."""
        if self.structure == "full":
            return self._whole(theta)
        if self.structure == "scalar":
            return jnp.exp(theta[0]) * given
        rows = np.array(self.rows)
        factors = jnp.zeros(self.n, given.dtype)
        stds = jnp.sqrt(jnp.diag(given)[rows])
        factors = factors.at[rows].set(jnp.exp(theta) / stds)
        return given * factors[:, None] * factors[None, :]

    def _whole(self, theta: Array) -> Array:
        """Return a full covariance."""
        return constrain(theta[np.argsort(self._order())])

    def _below(self) -> list[tuple[int, int]]:
        """Return the places below the diagonal, row by row."""
        return [(i, j) for i in range(self.n) for j in range(i)]

    def _order(self) -> np.ndarray:
        """Return where the diagonal, then the rest, stand among numbers row by row."""
        rows, columns = np.tril_indices(self.n)
        on_diagonal = rows == columns
        return np.concatenate([np.flatnonzero(on_diagonal), np.flatnonzero(~on_diagonal)])


@dataclasses.dataclass(frozen=True)
class NoiseLayout:
    """Covariances of a model as free numbers; `fixed` are the params."""

    parts: tuple[Covariance, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of standard deviations and correlations."""
        return sum((part.names for part in self.parts), ())

    @property
    def bounds(self) -> tuple[Bounds, ...]:
        """Between which ends they lie."""
        return sum((part.bounds for part in self.parts), ())

    def natural(self, theta: Array) -> Array:
        """Return standard deviations and correlations."""
        return jnp.concatenate([part.natural(own) for part, own in self._split(theta)])

    def values(self, theta: Array, fixed: Any) -> Any:
        """Return the params."""
        return self.params(theta, fixed)

    def params(self, theta: Array, fixed: Any) -> Params:
        """Return params with these covariances."""
        model = model_of(fixed)
        covs: dict[str, Any] = {
            part.field: part.value(own, covariance_of(model, part.field))
            for part, own in self._split(theta)
        }
        if "P0" in covs:
            covs["prior"] = Gaussian(model.prior.mean, covs.pop("P0"))
        return with_model(fixed, **covs)

    def _split(self, theta: Array) -> list[tuple[Covariance, Array]]:
        sizes = [len(part.names) for part in self.parts]
        return list(zip(self.parts, jnp.split(theta, np.cumsum(sizes)[:-1]), strict=True))


@dataclasses.dataclass(frozen=True)
class Leaf:
    """An array of params as free numbers.

    Attributes:
        name: its path.
        shape: its shape.
        bounds: between which ends its entries lie.
        units: powers of ten near the start of its entries, by which those without ends are divided,
            so that a step means about as much in each.
    """

    name: str
    shape: tuple[int, ...]
    bounds: Bounds
    units: tuple[float, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of its entries."""
        if not self.shape:
            return (self.name,)
        places = np.ndindex(self.shape)
        return tuple(f"{self.name}[{','.join(map(str, place))}]" for place in places)

    def start(self, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the free numbers of given entries, and the spread of other starts."""
        low, high = self.bounds
        entries = value.ravel()
        if not ((entries > low) & (entries < high)).all():
            raise ValueError(
                f"maximum_likelihood: {self.name} starts at {value.tolist()}; expected numbers"
                f" between {low:g} and {high:g}, without the ends. Start elsewhere, or give other"
                " bounds."
            )
        if self.bounds == FREE:
            free = entries / np.array(self.units)
            return free, SHARE * np.maximum(np.abs(free), 1.0)
        return link(entries, *self.bounds), np.full(entries.shape, FACTORS)

    def natural(self, theta: Array) -> Array:
        """Return its entries."""
        if self.bounds == FREE:
            return theta * jnp.asarray(self.units, theta.dtype)
        return unlink(theta, *self.bounds)


@dataclasses.dataclass(frozen=True)
class LeafLayout:
    """Arrays of params as free numbers; `fixed` are the trained and the frozen part."""

    leaves: tuple[Leaf, ...]
    transform: Callable[[Any], Params] | None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the entries."""
        return sum((leaf.names for leaf in self.leaves), ())

    @property
    def bounds(self) -> tuple[Bounds, ...]:
        """Between which ends they lie."""
        return sum(((leaf.bounds,) * len(leaf.names) for leaf in self.leaves), ())

    def natural(self, theta: Array) -> Array:
        """Return the entries."""
        return jnp.concatenate([leaf.natural(own) for leaf, own in self._split(theta)])

    def values(self, theta: Array, fixed: Any) -> Any:
        """Return what `transform` takes."""
        trained, frozen = fixed
        given, structure = jax.tree.flatten(trained)
        arrays = [
            leaf.natural(own).reshape(leaf.shape).astype(value.dtype)
            for (leaf, own), value in zip(self._split(theta), given, strict=True)
        ]
        return merge(jax.tree.unflatten(structure, arrays), frozen)

    def params(self, theta: Array, fixed: Any) -> Params:
        """Return the params of the filter."""
        values = self.values(theta, fixed)
        return values if self.transform is None else self.transform(values)

    def _split(self, theta: Array) -> list[tuple[Leaf, Array]]:
        sizes = [len(leaf.names) for leaf in self.leaves]
        return list(zip(self.leaves, jnp.split(theta, np.cumsum(sizes)[:-1]), strict=True))


def free_parameters(
    params: Any, learn: Any, transform: Callable | None, bounds: Mapping[str, Any] | None
) -> FreeStart:
    """Return what is free, and where to start; the arguments are those of `maximum_likelihood`."""
    if isinstance(params, Structural) and learn is None and transform is None:
        return _free_by_name(params, bounds or {})
    structures = _structures(params, learn, transform)
    if structures is None:
        return _free_leaves(params, learn, transform, bounds or {})
    if bounds:
        raise ValueError(
            "maximum_likelihood: got bounds with covariances to learn; expected none, since they"
            " have their own. Leave bounds out."
        )
    return _free_noise(params, structures)


def _structures(params: Any, learn: Any, transform: Callable | None) -> dict[str, str] | None:
    """Return the structure of each covariance to learn; None if leaves are learned."""
    if transform is not None:
        return None
    if learn is None:
        has_noise = model_of(params) is not None and model_of(params) is params
        return {"Q": "diagonal", "R": "diagonal"} if has_noise else None
    if isinstance(learn, str):
        raise ValueError(
            f"maximum_likelihood: learn is {learn!r}; expected names, such as ({learn!r},)."
        )
    if isinstance(learn, Mapping) and all(isinstance(value, str) for value in learn.values()):
        structures = dict(learn)
    elif isinstance(learn, Sequence) and all(isinstance(name, str) for name in learn):
        structures = dict.fromkeys(learn, "full")
    else:
        return None
    choose_some("maximum_likelihood: learn", list(structures), NAMES)
    for name, structure in structures.items():
        choose(f"maximum_likelihood: learn[{name!r}]", structure, COVARIANCES)
    return structures


def _free_noise(params: Params, structures: dict[str, str]) -> FreeStart:
    """Return the covariances of a model as free numbers."""
    model = model_of(params)
    if model is None:
        raise ValueError(
            f"maximum_likelihood: params is {described(params)}; expected a StateSpaceModel, or"
            " params that hold one. Name other params with learn, or give transform."
        )
    check_added_noise("maximum_likelihood", model)
    parts = []
    starts = []
    for name, structure in structures.items():
        cov = np.asarray(covariance_of(model, name, WHO), np.float64)
        has_variance = np.ones(len(cov), bool) if structure == "full" else np.diag(cov) > 0
        if not (np.diag(cov) > 0).any():
            raise ValueError(
                f"maximum_likelihood: {name} is zero; expected a variance to start from. Start"
                " elsewhere, or leave it out of learn."
            )
        rows = tuple(np.flatnonzero(has_variance).tolist())
        parts.append(Covariance(name, structure, rows, len(cov)))
        starts.append(parts[-1].start(cov))
    theta, spread = (np.concatenate(arrays) for arrays in zip(*starts, strict=True))
    return FreeStart(NoiseLayout(tuple(parts)), theta, spread, params)


def _free_leaves(
    params: Any, learn: Any, transform: Callable | None, bounds: Mapping[str, Any]
) -> FreeStart:
    """Return arrays of params as free numbers."""
    params = jax.tree.map(_as_float, params)
    trained, frozen = partition(params, learn)
    paths, _ = jax.tree_util.tree_flatten_with_path(trained)
    names = [path_name(path) for path, _ in paths]
    return _free_arrays((trained, frozen), names, transform, bounds)


def _free_by_name(model: Structural, bounds: Mapping[str, Any]) -> FreeStart:
    """Return the parameters of a structural model as free numbers, by their names."""
    everything = partition(model, True)
    names = list(model.parameters)  # in the order of the leaves
    return _free_arrays(everything, names, None, {**model.bounds, **bounds})


def _free_arrays(
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
            f"maximum_likelihood: bounds has {unknown[0]!r}, which is not learned;"
            f" {suggest(unknown[0], names)}"
        )
    leaves = [
        Leaf(name, np.shape(value), _bounds_of(name, bounds), _units(value))
        for name, value in zip(names, values, strict=True)
    ]
    starts = [
        leaf.start(np.asarray(value, np.float64))
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
    """Tell whether a path is that of a name, or of a part of it."""
    return path == name or path.startswith(f"{name}/")


def _bounds_of(path: str, bounds: Mapping[str, Any]) -> Bounds:
    """Return the bounds of a leaf: those given for it, or those that its name implies."""
    for name, ends in bounds.items():
        if _within(path, name):
            return _checked_bounds(name, ends)
    return (0.0, math.inf) if path.endswith(POSITIVE) else FREE


def _checked_bounds(name: str, ends: Any) -> Bounds:
    """Return two ends as floats; None is no end."""
    try:
        low, high = ends
        low = -math.inf if low is None else float(low)
        high = math.inf if high is None else float(high)
    except (TypeError, ValueError):
        low = high = math.nan
    if not low < high:
        raise ValueError(
            f"maximum_likelihood: bounds[{name!r}] is {ends!r}; expected (low, high), with None for"
            " no end, such as (0, None)."
        )
    return low, high


def link(value: Any, low: float, high: float) -> Any:
    """Return numbers between bounds as numbers without bounds, in numpy."""
    if math.isinf(low) and math.isinf(high):
        return value
    if math.isinf(high):
        return np.log(value - low)
    if math.isinf(low):
        return np.log(high - value)
    return np.log(value - low) - np.log(high - value)


def unlink(free: Any, low: float, high: float) -> Any:
    """Return numbers without bounds as numbers between bounds; the inverse of `link`."""
    if math.isinf(low) and math.isinf(high):
        return free
    if math.isinf(high):
        return low + jnp.exp(free)
    if math.isinf(low):
        return high - jnp.exp(free)
    return low + (high - low) * jax.nn.sigmoid(free)
