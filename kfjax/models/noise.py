"""Covariances as users pass them: made symmetric to the bit, and whether R may be singular."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kfjax import linalg
from kfjax._support.arguments import is_concrete
from kfjax._support.naming import described

__all__: list[str] = []

LARGE = 100  # rows; with larger states, no matrix of that size may be formed


def check_matrix(who: str, name: str, cov: Any, n: int | None = None) -> None:
    """Raise unless an array of noise covariance is square, and [n, n] if n is given."""
    shape = jnp.shape(cov)
    if len(shape) == 2 and shape[0] == shape[1] > 0 and n in (None, shape[0]):
        return
    if shape == (0, 0):
        raise ValueError(
            f"{who}: {name} has shape (0, 0); expected at least one channel. Steps without an"
            " observation are observed=False."
        )
    expected = "[m, m]" if n is None else f"({n}, {n}), as prior.cov"
    raise ValueError(f"{who}: {name} has shape {shape}; expected {expected}.{_remedy(name, shape)}")


def _remedy(name: str, shape: tuple[int, ...]) -> str:
    """Return the remedy for a covariance with a wrong number of axes."""
    if len(shape) == 0:
        return (
            f" A single variance is [[{name}]]; one for all components is {name} * jnp.eye(...)"
            " with their number."
        )
    if len(shape) == 1:
        return f" Variances of independent components are jnp.diag({name})."
    if len(shape) == 3:
        return (
            " If the first axis is time, pass a function of (x, u) that picks one, as in"
            f" {name}=Partial(lambda stack, x, u: stack[u], {name}) with us=jnp.arange(T)."
        )
    return ""


def symmetric_part(cov: Any) -> Any:
    """Make a covariance that is symmetric up to rounding symmetric to the bit; keep a function.

    A product such as G q G' is symmetric only up to rounding: factorisations would read one of its
    triangles, and products the other.
    """
    if cov is None or callable(cov) or jnp.ndim(cov) != 2:
        return cov
    if not is_concrete(cov):
        return linalg.symmetric(cov) if cov.shape[-1] <= LARGE else cov
    values = np.asarray(cov)
    if np.array_equal(values, values.T):
        return cov
    return jnp.asarray(0.5 * (values + values.T), values.dtype)


def checked_noise_free(who: str, noise_free: Any, R: Any) -> bool:
    """Return whether R may be singular: the given answer, or one determined from R.

    Raises:
        ValueError: if it is not a bool, or False although the values of R are known and singular.
    """
    if noise_free is None:
        return may_be_noise_free(R)
    if not isinstance(noise_free, (bool, np.bool_)):
        raise ValueError(
            f"{who}: noise_free is {described(noise_free)}; expected True, False, or None to find"
            " out from R."
        )
    known = not callable(R) and all(map(is_concrete, jax.tree.leaves(R)))
    if known and not noise_free and may_be_noise_free(R):
        raise ValueError(
            f"{who}: noise_free is False and R is singular; expected None, to determine it from R,"
            " or True. model.replace(R=...) determines it again, dataclasses.replace does not."
        )
    return bool(noise_free)


def may_be_noise_free(R: object) -> bool:
    """Return whether R may be singular, which is not known where it is callable or traced."""
    if R is None:
        return False
    if callable(R) or not all(map(is_concrete, jax.tree.leaves(R))):
        return True
    values = np.atleast_2d(np.asarray(R))
    scale = np.sqrt(np.maximum(np.diag(values), 0))
    if (scale == 0).any():
        return True
    dtype = values.dtype if np.issubdtype(values.dtype, np.floating) else np.dtype(np.float64)
    correlations = values.astype(np.float64) / np.outer(scale, scale)
    lowest = np.linalg.eigvalsh(correlations)[0]
    return bool(lowest <= scale.size * np.finfo(dtype).eps)
