"""Regression functions that start at zero: polynomials and small networks.

A regressor is a hashable value: `init(key, inputs, outputs, dtype) -> weights`, `regressor(weights,
v) -> [outputs]`, and `fit(key, weights, v, target, seen) -> weights` for regression. Inputs and
targets are standardised by the caller.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array
from jaxtyping import Bool, Float

from kfjax import linalg
from kfjax._support.arguments import check_count, check_counts, check_number
from kfjax._support.types import Key, PyTree
from kfjax.learned.params import in_precision
from kfjax.learned.recurrent_networks.cells import dense
from kfjax.training import Cosine, clipped_adam
from kfjax.training import fit as train

__all__ = ["MLP", "Polynomial"]


@dataclasses.dataclass(frozen=True)
class Polynomial:
    """All monomials up to a degree, including the constant.

    Every output has C(inputs + degree, degree) coefficients.

    Attributes:
        degree: degree of the polynomial, at least 0.
        ridge: penalty on squared weights per row of data, in standardised units.

    Example:
        >>> kf.learned.Polynomial(3).init(None, inputs=3, outputs=3).shape
        (3, 20)
    """

    degree: int = 3
    ridge: float = 1e-8

    def __post_init__(self) -> None:
        check_count("Polynomial: degree", self.degree, least=0)
        check_number("Polynomial: ridge", self.ridge, least=0)

    def init(
        self, key: Key | None, inputs: int, outputs: int, dtype: Any = None
    ) -> Float[Array, "outputs monomials"]:
        """Return weights of zero, [outputs, monomials]."""
        del key
        return jnp.zeros(
            (outputs, sum(len(last) for _, last in _monomials(inputs, self.degree)) + 1), dtype
        )

    def basis(self, v: Float[Array, " inputs"]) -> Float[Array, " monomials"]:
        """Return the monomials of v, the constant first.

        Monomials of degree d are products of v with those of degree d - 1.
        """
        parts = [jnp.ones(1, v.dtype)]
        for parents, last in _monomials(v.shape[-1], self.degree):
            parts.append(parts[-1][parents] * v[last])
        return jnp.concatenate(parts)

    def __call__(
        self, weights: Float[Array, "outputs monomials"], v: Float[Array, " inputs"]
    ) -> Float[Array, " outputs"]:
        """Return the polynomials at v, [outputs]."""
        return linalg.matmul(weights, self.basis(v))

    def fit(
        self,
        key: Key | None,
        weights: Float[Array, "outputs monomials"],
        v: Float[Array, "N inputs"],
        target: Float[np.ndarray, "N outputs"],
        seen: Bool[np.ndarray, "N outputs"],
    ) -> Float[np.ndarray, "outputs monomials"]:
        """Return the least-squares weights, in closed form; the given weights are not used."""
        del key
        basis = np.asarray(jax.vmap(self.basis)(v), np.float64)
        return ridge_regression(basis, target, seen, self.ridge).astype(weights.dtype)


@functools.lru_cache(maxsize=64)
def _monomials(inputs: int, degree: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the two factors of each monomial by degree: one of lower degree, and an input."""
    table = []
    before: dict[tuple[int, ...], int] = {(): 0}
    for d in range(1, degree + 1):
        now = list(itertools.combinations_with_replacement(range(inputs), d))
        lower = [before[m[:-1]] for m in now]
        last = [m[-1] for m in now]
        table.append((np.array(lower, np.int32), np.array(last, np.int32)))
        before = {m: i for i, m in enumerate(now)}
    return table


def ridge_regression(
    basis: np.ndarray, target: np.ndarray, seen: np.ndarray, ridge: float = 0.0
) -> np.ndarray:
    """Return W [k, p] with target = W basis by least squares over the observed rows.

    Every output is fitted separately.
    """
    p = basis.shape[1]
    weights = []
    # one factorisation if nothing is missing
    groups = [slice(None)] if seen.all() else range(target.shape[1])
    for group in groups:
        rows = slice(None) if seen.all() else seen[:, group]
        X = basis[rows]
        y = np.asarray(target, np.float64)[rows][:, group]
        penalty = np.sqrt(ridge * len(X)) * np.eye(p)
        zeros = np.zeros((p, *y.shape[1:]))
        weights.append(
            np.linalg.lstsq(np.concatenate([X, penalty]), np.concatenate([y, zeros]), rcond=None)[0]
        )
    return weights[0].T if seen.all() else np.stack(weights)


@dataclasses.dataclass(frozen=True)
class MLP:
    """A network of dense layers with SiLU, whose last layer starts at zero.

    Attributes:
        hidden: sizes of the hidden layers.
        updates: number of updates by Adam in a regression.
        learning_rate: initial step size; it falls to a hundredth as a cosine.
        batch_size: pairs per update.

    Example:
        >>> weights = kf.learned.MLP((16,)).init(
        ...     jax.random.key(0), inputs=2, outputs=1
        ... )
        >>> kf.learned.MLP((16,))(weights, jnp.ones(2)).tolist()
        [0.0]
    """

    hidden: tuple[int, ...] = (32, 32)
    updates: int = 3000
    learning_rate: float = 5e-3
    batch_size: int = 256

    def __post_init__(self) -> None:
        if not isinstance(self.hidden, tuple):
            raise ValueError(
                f"MLP: hidden is {self.hidden!r}; expected a tuple of sizes, such as (32, 32)."
            )
        for size in self.hidden:
            check_count("MLP: hidden", size)
        check_counts("MLP", updates=self.updates, batch_size=self.batch_size)
        check_number("MLP: learning_rate", self.learning_rate, above=0)

    def init(self, key: Key | None, inputs: int, outputs: int, dtype: Any = None) -> Any:
        """Draw the weights."""
        if key is None:
            raise ValueError(
                "MLP: got no random key; expected one, to draw the hidden layers. Pass key=."
            )
        dtype = jnp.result_type(float) if dtype is None else dtype
        return in_precision(
            dtype, _Layers(self.hidden, outputs).init(key, jnp.zeros(inputs, dtype))
        )

    def __call__(self, weights: PyTree, v: Float[Array, " inputs"]) -> Float[Array, " outputs"]:
        """Return the network's output, [outputs]."""
        network: Any = _Layers(self.hidden, weights["params"]["last"]["bias"].shape[-1])
        return network.apply(weights, v)

    def fit(
        self,
        key: Key | None,
        weights: PyTree,
        v: Float[Array, "N inputs"],
        target: Float[np.ndarray, "N outputs"],
        seen: Bool[np.ndarray, "N outputs"],
    ) -> Any:
        """Return weights trained on the mean squared error."""
        if key is None:
            raise ValueError("MLP: got no random key; expected one, to draw batches. Pass key=.")
        data = (v, jnp.asarray(target, v.dtype), jnp.asarray(seen))
        optimizer = clipped_adam(Cosine(self.learning_rate, self.updates, final=0.01))
        options: dict[str, Any] = {
            "updates": self.updates,
            "batch_size": self.batch_size,
            "reports": 1,
            "progress": False,
        }
        return train(
            _SquaredError(self), weights, data, key=key, optimizer=optimizer, **options
        ).params


class _Layers(nn.Module):
    """The network of an `MLP`."""

    hidden: tuple[int, ...]
    outputs: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Return the output."""
        for k, size in enumerate(self.hidden):
            x = nn.silu(dense(size, name=f"dense_{k}")(x))
        return dense(self.outputs, zero=True, name="last")(x)


@dataclasses.dataclass(frozen=True)
class _SquaredError:
    """The loss of a regression, hashable."""

    regressor: MLP

    def __call__(self, weights: PyTree, batch: tuple[Array, Array, Array], key: Array) -> Array:
        del key
        v, target, seen = batch
        error = target - jax.vmap(self.regressor, (None, 0))(weights, v)
        total = jnp.sum(jnp.where(seen, error, 0) ** 2)
        return total / jnp.maximum(jnp.sum(seen), 1)
