"""A filter whose belief obeys constraints: known bounds, walls, signs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from jax import Array

from kfjax._support.pytrees import Pytree, promote
from kfjax.base import (
    Filter,
    Gaussian,
    Info,
    Inputs,
    Mask,
    Observations,
    Params,
    PyTree,
    State,
    constructor,
)
from kfjax.filters.checks import check_filter
from kfjax.filters.combinators.composing import rewritten
from kfjax.filters.combinators.inequalities import nearest
from kfjax.models.lens import model_of
from kfjax.models.observing import keep_unobserved
from kfjax.models.state_space import StateSpaceModel

__all__ = ["ConstrainedParams", "constrained"]


@dataclasses.dataclass(frozen=True, eq=False)
class ConstrainedParams(Pytree):
    """Params of `constrained`.

    Attributes:
        params: params of the inner filter, such as a `StateSpaceModel`.
        constraints: `Inequalities`, or whatever the `project` function takes.
    """

    params: Params
    constraints: PyTree

    def __post_init__(self) -> None:
        for name, value in promote(vars(self), "ConstrainedParams").items():
            object.__setattr__(self, name, value)

    @property
    def model(self) -> StateSpaceModel | None:
        """Model inside `params`, or None."""
        return model_of(self.params)


@constructor
def constrained(
    filter: Filter, project: Callable[[Gaussian, PyTree], Gaussian] = nearest
) -> Filter:
    """Project the belief onto constraints after every update, such as bounds on the state.

    The belief after the update becomes project(belief, constraints), written back through
    `recentre`; predictions are not projected. `nearest` moves the mean and keeps the covariance,
    while `truncated` conditions both.

    Constraints apply to the coordinates of the state, and therefore not to curved spaces.
    Covariances depend on the data with `truncated`, but not with `nearest`. `rule` is None, since
    smoothed beliefs would leave the constraints again.

    Args:
        filter: filter with `recentre`.
        project: `(Gaussian, constraints) -> Gaussian`: `nearest`, `truncated`, or your own
            module-level function.

    Returns:
        A `Filter` with params `ConstrainedParams(params, constraints)` and the state of `filter`.

    Raises:
        ValueError: if the filter has no `recentre`; while tracing, if params are not
            `ConstrainedParams`.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> bounds = kf.box([0.0, 0.0], [10.0, jnp.inf])
        >>> bounded = kf.ConstrainedParams(model, bounds)
        >>> state, _ = kf.step(
        ...     kf.constrained(kf.kalman()), bounded, model.prior, jnp.array([-5.0])
        ... )
        >>> bool((state.mean >= -1e-6).all())
        True

    References:
        D. Simon, Kalman filtering with state constraints: a survey, IET Control Theory Appl. 4
        (2010).
    """
    check_filter("constrained", filter, recentre=True)

    def init(params: ConstrainedParams, key: Array | None = None) -> State:
        return filter.init(_checked(params).params, key)

    def predict(params: ConstrainedParams, state: State, u: Inputs = None) -> State:
        return filter.predict(_checked(params).params, state, u)

    def update(
        params: ConstrainedParams,
        state: State,
        y: Observations,
        u: Inputs = None,
        observed: Mask = None,
    ) -> tuple[State, Info]:
        new, info = filter.update(params.params, state, y, u, observed)
        belief = project(Gaussian(new.mean, new.cov), params.constraints)
        projected = rewritten(filter, params.params, new, belief)
        return keep_unobserved(observed, projected, state), info

    def recentre(params: ConstrainedParams, state: State, gaussian: Gaussian) -> State:
        return filter.recentre(params.params, state, gaussian)

    return Filter(init, predict, update, recentre)


def _checked(params: Params) -> ConstrainedParams:
    """Return params, or raise unless they are `ConstrainedParams`."""
    if not isinstance(params, ConstrainedParams):
        raise ValueError(
            f"constrained: params is {type(params).__name__}; expected"
            " kf.ConstrainedParams(model, constraints)."
        )
    return params
