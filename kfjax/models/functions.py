"""Affine functions whose matrices are parameters."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Real

from kfjax import linalg
from kfjax._support.pytrees import Pytree, as_array, as_pytree
from kfjax._support.values import real_array
from kfjax.base import Inputs

__all__ = ["Linear"]


@dataclasses.dataclass(frozen=True, eq=False)
class Linear(Pytree):
    """The affine function A x + B u + b, whose matrices are parameters.

    Up to eight columns are added from the last to the first: with positions listed before their
    derivatives the largest term comes last, and smaller terms are not lost in float32.

    Filters take the exact path for it. Each of A, B and b may be a callable of u (for example of a
    time step); if B is None, u enters only through such callables.

    Attributes:
        A: [k, n], or a callable u -> [k, n].
        B: [k, p], or a callable, or None.
        b: [k], or a callable, or None.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> f = kf.Linear([[1.0, 0.5], [0.0, 1.0]])
        >>> f(jnp.array([1.0, 3.0]), None).tolist()
        [2.5, 3.0]
    """

    A: Any
    B: Any = None
    b: Any = None

    def __post_init__(self) -> None:
        for name in ("A", "B", "b"):
            object.__setattr__(self, name, as_pytree(as_array(getattr(self, name))))
        check_affine("Linear", {"A": self.A, "B": self.B, "b": self.b})

    def at(self, u: Inputs) -> Linear:
        """Return the function of x alone, with u filled in: Linear(A, None, B u + b)."""
        A, B, b = (m(u) if callable(m) else m for m in (self.A, self.B, self.b))
        if B is not None:
            if u is None:
                raise ValueError(
                    "Linear: got no input u; expected one, since B is given. Pass us= to run."
                )
            if jnp.shape(u) != B.shape[1:]:
                raise ValueError(
                    f"Linear: input u has shape {jnp.shape(u)}; expected {B.shape[1:]}, the columns"
                    " of B."
                )
            b = linalg.matmul(B, u) if b is None else linalg.matmul(B, u) + b
        return Linear.unchecked(A, None, b)

    def masked(self, mask: Bool[Array, " k"]) -> Linear:
        """Return a function of x alone with zeros in the rows where a mask [k] is False."""
        b = None if self.b is None else jnp.where(mask, self.b, 0)
        return Linear.unchecked(jnp.where(mask[:, None], self.A, 0), None, b)

    def matrix(self, dtype: Any) -> Any:
        """Return A of a function of x alone, as products of a moment rule read it."""
        return self.A.astype(dtype)

    def __call__(self, x: Real[Array, " n"], u: Inputs = None) -> Float[Array, " k"]:
        """Return A x + B u + b."""
        fixed = self.at(u)
        mean = linalg.matmul(fixed.A, x)
        return mean if fixed.b is None else mean + fixed.b


def check_affine(who: str, parts: dict[str, Any]) -> None:
    """Raise unless A, B and b fit together; B and b may be None, and each a callable of u.

    Args:
        who: the function whose arguments they are, for error texts.
        parts: A, B and b, or the first of them, by the names that the function gives them.
    """
    axes = (("k", "n"), ("k", "p"), ("k",))
    first = next(iter(parts))
    rows = None
    for (name, value), expected in zip(parts.items(), axes, strict=False):
        if callable(value) or (value is None and name != first):
            continue
        shape = np.shape(real_array(f"{who}: {name}", value))
        if len(shape) != len(expected):
            raise ValueError(
                f"{who}: {name} has shape {shape}; expected {len(expected)} axes"
                f" [{', '.join(expected)}]. {_remedy(name, shape, len(expected))}"
            )
        if rows is not None and shape[0] != rows:
            raise ValueError(
                f"{who}: {name} has {shape[0]} rows; expected {rows}, as many as {first}."
            )
        if name == first:
            rows = shape[0]


def _remedy(name: str, shape: tuple[int, ...], axes: int) -> str:
    """Return the remedy for an array with a wrong number of axes."""
    if len(shape) == axes + 1:
        return (
            "If the first axis is time, pass a function of u, which picks one, as in"
            f" {name}=Partial(operator.getitem, {name}) with us=jnp.arange(T)."
        )
    if axes == 2 and len(shape) == 0:
        return f"Reshape it: a single number is [[{name}]]."
    if axes == 2 and len(shape) == 1:
        return f"Reshape it: one row is {name}[None, :]."
    return "Reshape it."
