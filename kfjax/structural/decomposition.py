"""The contribution of each component, and checks of what a record can determine."""

from __future__ import annotations

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax import linalg
from kfjax._support.arguments import is_concrete
from kfjax._support.naming import suggest
from kfjax._support.types import Numbers
from kfjax._support.values import real_array
from kfjax.base import Gaussian, Inputs, Mask
from kfjax.filters.beliefs import model_and_rule
from kfjax.filters.gaussian import kalman
from kfjax.structural.sums import Structural, check_structural, largest_period
from kfjax.structural.telling_apart import check_inputs

__all__ = ["check_record", "decompose"]


def decompose(model: Structural, estimate: Any, *, us: Inputs = None) -> dict[str, Gaussian]:
    """Return what each component contributes to the observations, with its covariance.

    For the block x_i of a component it is H_i x_i, with mean H_i E[x_i] and covariance
    H_i Cov[x_i] H_i'. The contributions are correlated: their covariances do not add up.

    Args:
        model: the sum.
        estimate: mean [T, n] and cov [T, n, n]: filtered, as from `kfjax.run`, or smoothed, as from
            `kfjax.smooth`.
        us: the inputs of the run.

    Returns:
        A dict with, for each component with states, by name, a `kfjax.Gaussian` with mean [T, m]
        and cov [T, m, m], in the unit of y. That of a trend is its level; its slope is a state.

    Raises:
        ValueError: if the model is not a `Structural`, shapes do not fit, or a regression has no
            inputs.
        KeyError: from the dict, if there is no such component; the text lists their names.

    Example:
        >>> model = (
        ...     kf.structural.level(0.3)
        ...     + kf.structural.seasonal(4)
        ...     + kf.structural.irregular()
        ... )
        >>> ys = jnp.arange(12.0)[:, None] % 4
        >>> exact = kf.exact_diffuse()
        >>> states = kf.run(exact, model, ys, emit=kf.whole_state).outputs
        >>> parts = kf.structural.decompose(model, kf.smooth(exact, model, states))
        >>> {name: part.mean.shape for name, part in parts.items()}
        {'level': (12, 1), 'seasonal': (12, 1)}
    """
    check_structural("decompose", model)
    model_and_rule("decompose", kalman(), model, estimate, us)
    _check_inputs(model, us)
    means, covs = (jnp.asarray(a, model.dtype) for a in (estimate.mean, estimate.cov))

    def of_block(component: Any, block: slice) -> Gaussian:
        def one(mean: Array, cov: Array, u: Inputs) -> Gaussian:
            H = component.observed(u).astype(mean.dtype)
            return Gaussian(linalg.matmul(H, mean), linalg.quadratic(H, cov))

        return jax.vmap(one)(means[:, block], covs[:, block, block], us)

    parts = {
        component.name: of_block(component, block)
        for component, block in zip(model.components, model.blocks.values(), strict=True)
        if component.size
    }
    return Contributions(parts)


@jax.tree_util.register_pytree_node_class
class Contributions(dict[str, Gaussian]):
    """Contributions of components by name; a missing key lists the names."""

    def __missing__(self, name: object) -> Gaussian:
        """Raise a KeyError that says which components there are."""
        hint = ""
        if name in ("level", "slope") and "trend" in self:
            hint = (
                " The level of a trend is what it contributes, ['trend']; its slope is the second"
                " state of its block, mean[:, model.blocks['trend']][:, 1] of the estimate."
            )
        elif name == "irregular":
            hint = " Noise has no states: it is y minus the sum of all contributions."
        raise KeyError(
            f"decompose: no component is called {name!r}; {suggest(str(name), list(self))}{hint}"
        )

    def tree_flatten(self) -> tuple[tuple[Gaussian, ...], tuple[str, ...]]:
        """Return the contributions and their names."""
        return tuple(self.values()), tuple(self)

    @classmethod
    def tree_unflatten(cls, names: tuple[str, ...], parts: Any) -> Contributions:
        """Return contributions with these names."""
        return cls(zip(names, parts, strict=True))


def _check_inputs(model: Structural, us: Inputs) -> None:
    """Raise unless the inputs that components are observed by are there."""
    names = [c.input_name for c in model.components if c.size and c.observed_by_inputs]
    if not names:
        return
    wanted = ", ".join(f"{name!r}: ..." for name in names)
    if us is None:
        raise ValueError(
            f"decompose: us is None, and {', '.join(names)} contributes x_t' beta_t with x_t from"
            f" the inputs; expected us={{{wanted}}}, those of kf.run, with a leading time axis."
        )
    check_inputs(model.components, us)
    for name in names:
        if isinstance(us, dict) and name not in us:
            raise ValueError(
                f"decompose: us has {', '.join(map(str, us)) or 'nothing'}; expected"
                f" {{{wanted}}}, as in kf.run."
            )


def check_record(model: Structural, ys: Any, *, observed: Mask = None, times: Any = None) -> None:
    """Raise or warn if a record cannot determine the parameters of a structural model.

    Args:
        model: the sum.
        ys: observations [T, m].
        observed: what was seen, booleans [T] or [T, m], or None for everything.
        times: the times of the observations [T], if they are irregular.

    Raises:
        ValueError: if nothing was observed, times do not increase, or there are fewer observations
            than diffuse states, so that no observation contributes to the likelihood.

    Warns:
        UserWarning: if a series is shorter than two periods of a seasonal component, or constant;
            the warning names the parameters that it hardly determines.

    Example:
        >>> model = kf.structural.level() + kf.structural.irregular()
        >>> kf.structural.check_record(model, [[1.0], [3.0], [2.0]])
    """
    check_structural("check_record", model)
    values = np.asarray(real_array("check_record: ys", ys, ndim=2, finite=False))
    if not is_concrete(ys):
        return
    if values.shape[1] != model.m:
        raise ValueError(
            f"check_record: ys has shape {values.shape}; expected [T, {model.m}], as the model."
        )
    seen = np.isfinite(values)
    if observed is not None:
        mask = np.asarray(real_array("check_record: observed", observed), bool)
        if mask.shape not in (values.shape, values.shape[:1]):
            raise ValueError(
                f"check_record: observed has shape {mask.shape}; expected {values.shape[:1]} or"
                f" {values.shape}."
            )
        seen = seen & (mask if mask.ndim == 2 else mask[:, None])
    _check_times(times, values.shape[0])
    if not seen.any():
        raise ValueError("check_record: nothing is observed; expected some numbers that are.")
    if seen.sum() <= len(model.diffuse):
        raise ValueError(
            f"check_record: {seen.sum()} observations for {len(model.diffuse)} diffuse states"
            f" ({_diffuse_blocks(model)}); expected more. Take a longer series, or a smaller sum."
        )
    steps = np.flatnonzero(seen.any(axis=1))
    span = int(steps[-1] - steps[0]) + 1
    period = largest_period(model)
    if period and span < 2 * period:
        names = [c.name for c in model.components if getattr(c, "period_length", 0.0) * 2 > span]
        warnings.warn(
            f"check_record: the series spans {span} steps, less than two periods of"
            f" {', '.join(names)}; {_parameters_of(model, names)} can hardly be estimated.",
            stacklevel=2,
        )
    for channel in range(values.shape[1]):
        own = values[seen[:, channel], channel]
        if own.size > 1 and np.ptp(own) == 0:
            warnings.warn(
                f"check_record: series {channel} is constant; its likelihood grows without bound as"
                f" {_parameters_of(model, [c.name for c in model.components])} go to zero.",
                stacklevel=2,
            )


def _check_times(times: Numbers, steps: int) -> None:
    """Raise unless times are given for every step and increase."""
    if times is None:
        return
    times = np.asarray(real_array("check_record: times", times, ndim=1))
    if times.shape != (steps,):
        raise ValueError(f"check_record: times has shape {times.shape}; expected ({steps},).")
    if not (np.diff(times) > 0).all():
        index = int(np.argmax(~(np.diff(times) > 0))) + 1
        raise ValueError(
            f"check_record: times[{index}] is {times[index]:g} after {times[index - 1]:g}; expected"
            " increasing times. Sort the record, and join what has one time."
        )


def _diffuse_blocks(model: Structural) -> str:
    """Return the names of the components with diffuse states."""
    names = [c.name for c in model.components if c.size and c.start().diffuse.any()]
    return ", ".join(names)


def _parameters_of(model: Structural, names: list[str]) -> str:
    """Return the names of the standard deviations of some components."""
    found = [
        name
        for name, kind in model.kinds.items()
        if kind in ("positive", "lower triangular factor") and name.split(".")[0] in names
    ]
    return ", ".join(found) or "its parameters"
