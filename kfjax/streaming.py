"""One step at a time, for applications that stream: `step` and `stepper`."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import jax
from jax import Array

from kfjax._support.arguments import check_flag, check_key
from kfjax._support.compiling import jit
from kfjax._support.naming import described
from kfjax._support.types import Key
from kfjax._support.values import check_belief
from kfjax.base import Emit, Filter, Info, Inputs, Mask, Observations, Params, State, info_only
from kfjax.filters.checks import check_filter, check_params
from kfjax.filters.combinators.late_data import takes_late_rows
from kfjax.models.inputs import warn_if_unread
from kfjax.models.lens import starts_with_update
from kfjax.models.records import Record, checked_step, is_usual
from kfjax.models.runtime_checks import check_step_noise, varying_models
from kfjax.models.shapes import check_state, check_step_shapes
from kfjax.runner import check_one_start, predict_and_update

__all__ = ["Stepper", "step", "stepper"]


def step(
    filter: Filter,
    params: Params,
    state: State,
    y: Observations,
    *,
    u: Inputs = None,
    observed: Mask = None,
    key: Key | None = None,
    donate: bool = False,
) -> tuple[State, Info]:
    """Take one predict and one update, jitted: what a streaming application calls every time.

    Args:
        filter: the `Filter`.
        params: its parameters.
        state: the state after the previous observation. None is the start of a record: then the
            step begins with `filter.init(params, key)`, and with first="update" in the model there
            is no prediction. (If a prediction comes first, `filter.init(params)` works too.)
        y: the observation [m].
        u: the input u_t of this step, or None.
        observed: boolean scalar or [m], or None for everything.
        key: random key for filters that draw; with state=None only.
        donate: whether the new state reuses the memory of the old one, which is deleted; for large
            states, such as particles.

    Returns:
        The new state and the `Info` of the update; the same numbers as `run`.

    Raises:
        ValueError: if shapes do not fit, y or u is not finite where it counts, both state and key
            are given, or Q or R as a function gives no covariance in the first step that a model
            takes. The values of the state are not checked, since that would wait for the previous
            step.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> state = None
        >>> for y in jnp.array([[0.3], [0.5]]):
        ...     state, info = kf.step(kf.kalman(), model, state, y)
        >>> info.dof.item()
        1
    """
    check_filter("step", filter)
    check_flag("step: donate", donate)
    check_one_start("step", state, key)
    if key is not None:
        check_key("step: key", key)
    y, u, observed, _ = checked_step("step", y, u, observed)
    if state is not None:
        check_belief("step: state", state, cov=False)
    if not takes_late_rows(filter):
        check_step_noise("step", varying_models(params), state, u)
    take = _donating_step if donate else _step
    try:
        return take(filter, params, state, y, u, observed, key)
    except TypeError:
        check_params("step", params)  # only now: it would take as long as the step
        raise


def _one_step(
    filter: Filter,
    params: Params,
    state: State,
    y: Observations,
    u: Inputs,
    observed: Mask,
    key: Array | None,
) -> tuple[State, Info]:
    """The body of `step`."""
    start = filter.init(params, key) if state is None else state
    check_state("step", params, start)
    check_step_shapes("step", params, Record(y, u, observed))
    warn_if_unread(
        "step", params, u, lambda u: predict_and_update(filter, params, start, y, u, observed)
    )
    begins = state is None and starts_with_update(params)
    return predict_and_update(filter, params, start, y, u, observed, begins=begins)


_step = jit(_one_step, static_argnums=0)
_donating_step = jit(_one_step, static_argnums=0, donate_argnums=2)


@runtime_checkable
class Stepper(Protocol):
    """The function that `stepper` returns."""

    def __call__(
        self,
        state: State,
        y: Observations,
        *,
        u: Inputs = None,
        observed: Mask = None,
        key: Key | None = None,
    ) -> tuple[State, Any]:
        """Return the state after one observation, and what emit keeps of the step."""


def stepper(
    filter: Filter,
    params: Params,
    *,
    emit: Emit[Any] = info_only,
) -> Stepper:
    """Compile one step of a filter with the model inside, for the least time per observation.

    It gives the same numbers as `step`. The arrays of the model become constants of the program, so
    that only the state and the observation are passed, and results that emit leaves out are not
    returned to Python. For small states, passing and returning arrays takes longer than the step
    itself.

    Args:
        filter: the `Filter`.
        params: its parameters. A model that changes from step to step needs `step` instead.
        emit: `(state, info) -> anything`, what to keep of a step; default the `Info`.
            `lambda state, info: None` is the fastest.

    Returns:
        A function `(state, y, *, u=None, observed=None, key=None) -> (state, kept)` with the
        arguments of `step`. It is compiled by its first call, and again for other shapes and types
        or where u or observed is given.

    Raises:
        ValueError: if filter, params or emit is something else; the function raises what `step`
            raises.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> take = kf.stepper(kf.kalman(), model, emit=kf.whole_state)
        >>> state = None
        >>> for y in np.array([[0.3], [0.5]]):
        ...     state, kept = take(state, y)
        >>> kept.mean.shape
        (2,)
    """
    check_filter("stepper", filter)
    check_params("stepper", params)
    if not callable(emit):
        raise ValueError(
            f"stepper: emit is {described(emit)}; expected a function of (state, info), such as"
            " kf.whole_state."
        )
    varying = [] if takes_late_rows(filter) else varying_models(params)

    @jax.jit
    def compiled(state: State, y: Any, u: Any, observed: Any, key: Any) -> tuple[State, Any]:
        new, info = _one_step(filter, params, state, y, u, observed, key)
        return new, emit(new, info)

    def take(
        state: State,
        y: Observations,
        *,
        u: Inputs = None,
        observed: Mask = None,
        key: Array | None = None,
    ) -> tuple[State, Any]:
        if varying:
            check_step_noise("stepper", varying, state, u)
        if u is None and observed is None and key is None and is_usual(y):
            return compiled(state, y, None, None, None)
        check_one_start("stepper", state, key)
        if key is not None:
            check_key("stepper: key", key)
        y, u, observed, _ = checked_step("stepper", y, u, observed)
        return compiled(state, y, u, observed, key)

    return take
