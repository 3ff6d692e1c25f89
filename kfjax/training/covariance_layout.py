"""Covariances of a model as free numbers, whole or in part."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax.base import Gaussian, Params
from kfjax.models.lens import model_of, with_model
from kfjax.training.links import FACTORS, Bounds
from kfjax.training.log_cholesky import constrain, unconstrain
from kfjax.training.noise_fitting import covariance_of

__all__: list[str] = []

MIXING = 0.3  # by how much other starts differ, in correlations


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
        """Return the places of the diagonal, then of the rest, in a row-by-row list."""
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
