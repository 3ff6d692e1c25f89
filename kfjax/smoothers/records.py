"""What a recursion over a whole record runs over, and its checks."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from kfjax import linalg
from kfjax.base import Filter, Gaussian
from kfjax.filters.backward_kernels import Belief
from kfjax.filters.beliefs import belief_of
from kfjax.filters.square_root_form import SquareRoot
from kfjax.models.record_checks import (
    check_mask_dtype,
    check_nan,
    check_series,
    until,
)
from kfjax.models.state_space import StateSpaceModel, is_linear

__all__ = ["Records", "check_record", "factors_or_belief", "records"]


class Records(NamedTuple):
    """What a recursion from T to 0 runs over.

    Attributes:
        start: filtered beliefs at t = 0..T-1.
        last: the filtered belief at T.
        us: the inputs u_1..u_T.
        active: whether step t = 1..T counts, or None for all.
    """

    start: Belief
    last: Belief
    us: Any
    active: Array | None


def records(
    filter: Filter, params: Any, first: Belief, filtered: Belief, us: Any, length: Any
) -> Records:
    """Return the records of a run, as factors if the filter keeps those."""
    if hasattr(jax.eval_shape(filter.init, params), "cholesky"):
        first, filtered = _as_factors(first), _as_factors(filtered)
    else:
        first, filtered = (Gaussian(b.mean, b.cov) for b in (first, filtered))
    active = None
    if length is not None:
        active, us = jnp.arange(filtered.mean.shape[0]) < length, until(length, us)
    start = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b[:-1]]), first, filtered)
    return Records(start, jax.tree.map(lambda a: a[-1], filtered), us, active)


def _as_factors(belief: Belief) -> SquareRoot:
    """Return a belief, or a stack of them, by its factors."""
    if isinstance(belief, SquareRoot):
        return belief
    return SquareRoot(
        belief.mean, jnp.vectorize(linalg.cholesky, signature="(n,n)->(n,n)")(belief.cov)
    )


def factors_or_belief(estimate: Any) -> Gaussian | SquareRoot:
    """Return the mean and the factors of anything that has them, else the mean and the covariance."""
    if hasattr(estimate, "cholesky") and estimate.cholesky is not None:
        return SquareRoot(estimate.mean, estimate.cholesky)
    return belief_of(estimate)


def check_record(
    who: str, model: StateSpaceModel, ys: Array, us: Any, observed: Any, *, linear: bool
) -> None:
    """The door of functions of a model and its whole record."""
    if not isinstance(model, StateSpaceModel) or (linear and not is_linear(model)):
        raise ValueError(f"{who}: got a model that is not linear; expected kf.Linear f and h.")
    if not model.state_space.is_euclidean:
        raise ValueError(
            f"{who}: the model has a curved state space; expected a Euclidean one. Use kf.smooth."
        )
    check_mask_dtype(who, observed)
    check_nan(who, ys, observed, None)
    check_series(who, model, ys, us, observed)
