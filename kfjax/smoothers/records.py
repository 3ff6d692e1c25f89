"""The series of a recursion backwards in time, and the checks of a whole record."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from kfjax import linalg
from kfjax._support.pytrees import at, prepended
from kfjax.base import Filter, Gaussian, Inputs, Mask, Params
from kfjax.filters.backward_kernels import Belief
from kfjax.filters.beliefs import belief_of
from kfjax.filters.diffuse_beliefs import DiffuseState
from kfjax.filters.square_root_form import SquareRootGaussian
from kfjax.models.records import Record, checked_record, until
from kfjax.models.runtime_checks import check_first_noise
from kfjax.models.state_space import StateSpaceModel, is_linear

__all__: list[str] = []


class BackwardSeries(NamedTuple):
    """The series of a recursion from T to 0, or to 1 if there is no x_0.

    Attributes:
        start: filtered beliefs at t = 0..T-1, or 1..T-1.
        last: the filtered belief at T.
        us: the inputs of the steps between them, u_1..u_T or u_2..u_T.
        active: whether each of these steps counts, or None for all.
    """

    start: Belief
    last: Belief
    us: Inputs
    active: Array | None


def belief_before(model: StateSpaceModel, prior: Any) -> Belief | None:
    """Return the belief about x_0 of a run: the given one, or the prior if that is about x_0."""
    if prior is None and model.first == "update":
        return None
    return factors_or_belief(model.proper_prior if prior is None else prior)


def backward_series(
    filter: Filter,
    params: Params,
    first: Belief | None,
    filtered: Belief,
    us: Inputs,
    length: Any,
) -> BackwardSeries:
    """Return the series of a run, as factors if the filter keeps factors.

    `first` is the belief about x_0, or None if there is none.
    """
    filtered, first = _as_the_filter_has_them(filter, params, filtered, first)
    us, active = until(length, us, filtered.mean.shape[0])
    earlier = at(filtered, slice(-1))
    last = at(filtered, -1)
    if isinstance(last, DiffuseState):  # the record has determined every direction
        last = last.belief
    # the last belief is returned as it is, and a user's covariance may be symmetric up to rounding
    if isinstance(last, Gaussian):
        last = last._replace(cov=linalg.symmetric(last.cov))
    if first is None:
        return BackwardSeries(earlier, last, *at((us, active), slice(1, None)))
    return BackwardSeries(prepended(first, earlier), last, us, active)


def _as_the_filter_has_them(
    filter: Filter, params: Params, filtered: Belief, first: Belief | None
) -> tuple[Belief, Belief | None]:
    """Return filtered beliefs, and the one about x_0, in the form of a filter's states."""
    state = jax.eval_shape(filter.init, params)
    if isinstance(state, DiffuseState):
        if not isinstance(filtered, DiffuseState):
            raise ValueError(
                "the filter has an exactly diffuse start, and the estimate does not tell what was"
                " diffuse; expected its states. Pass those of kf.run(..., emit=kf.whole_state)."
            )
        if first is not None and not isinstance(first, DiffuseState):
            first = filter.init(params)
        return filtered, first
    form = _as_factors if hasattr(state, "cholesky") else belief_of
    return form(filtered), None if first is None else form(first)


def _as_factors(belief: Belief) -> SquareRootGaussian:
    """Return a belief, or a stack of beliefs, with factors."""
    if isinstance(belief, SquareRootGaussian):
        return belief
    return SquareRootGaussian(
        belief.mean, jnp.vectorize(linalg.cholesky, signature="(n,n)->(n,n)")(belief.cov)
    )


def factors_or_belief(estimate: Any) -> Belief:
    """Return the mean and the factors of an estimate.

    Without factors, return the mean and the covariance.
    """
    if isinstance(estimate, DiffuseState):
        return estimate
    if hasattr(estimate, "cholesky") and estimate.cholesky is not None:
        return SquareRootGaussian(estimate.mean, estimate.cholesky)
    return belief_of(estimate)


def whole_record(
    who: str, model: StateSpaceModel, ys: ArrayLike, us: Inputs, observed: Mask, *, linear: bool
) -> Record:
    """Validate the arguments of an algorithm that takes a model and its whole record."""
    if not isinstance(model, StateSpaceModel) or (linear and not is_linear(model)):
        raise ValueError(f"{who}: got a model that is not linear; expected kf.Linear f and h.")
    if not model.state_space.is_euclidean:
        raise ValueError(
            f"{who}: the model has a curved state space; expected a Euclidean one. Use kf.smooth."
        )
    record = checked_record(who, ys, us, observed)
    check_first_noise(who, model, record.us)
    return record
