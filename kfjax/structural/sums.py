"""Sums of components, which are state-space models with named blocks."""

from __future__ import annotations

import dataclasses
import math
from operator import methodcaller
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial
from jaxtyping import Float

from kfjax._support.arguments import check_kind, check_mapping, check_number, is_concrete
from kfjax._support.naming import described, suggest
from kfjax._support.precision import eps_of
from kfjax._support.pytrees import OUTSIDE, STATIC, promote
from kfjax.base import Gaussian
from kfjax.models.functions import Linear
from kfjax.models.noise import may_be_noise_free
from kfjax.models.spaces import EUCLIDEAN
from kfjax.models.sparse import with_pattern
from kfjax.models.state_space import First, StateSpaceModel, check_first
from kfjax.structural import matrices
from kfjax.structural.components import (
    BOUNDS,
    INVERTIBLE,
    STATIONARY,
    Component,
    check_parameter,
)
from kfjax.structural.matrices import Components
from kfjax.structural.telling_apart import check_apart, check_channels

__all__ = ["Structural"]

DIGITS = 0.125  # of eps that a variance of disturbances may be of that of diffuse states


@dataclasses.dataclass(frozen=True, eq=False, init=False, repr=False)
class Structural(StateSpaceModel):
    """A structural time series: a sum of components, as a linear state-space model.

    x_t = diag(F_1, F_2, ...) x_{t-1} + e_t,  y_t = [H_1, H_2, ...] x_t + v_t,  where every
    component has its own block of states.

    The leaves of the pytree are the parameters of the components, from which f, h, Q, R and the
    prior are computed when they are read: gradients and batches are over the parameters. The start
    is about x_1 (first="update"). Its mean is zero; stationary components start from their
    stationary covariance, and the other states exactly diffuse: the filter is
    `kfjax.exact_diffuse()`. For filters that need a proper prior, `with_start` gives these states a
    variance.

    Sums are made by `+` from `kfjax.structural.level`, `kfjax.structural.seasonal` and the like;
    kernels also have products, by `*`.

    Attributes:
        components: the components, in the order of their blocks.
        diffuse_variance: the variance of diffuse states in the prior, in the square of the unit of
            y; None if they have none. It has no effect with `kfjax.exact_diffuse`.

    Raises:
        ValueError: if two components cannot be told apart, have the same name, or observe
            different numbers of series; and where the prior is read (by filters other than
            `kfjax.exact_diffuse`) if diffuse states have no variance.

    Example:
        >>> model = (
        ...     kf.structural.level(0.3)
        ...     + kf.structural.seasonal(4)
        ...     + kf.structural.irregular()
        ... )
        >>> model.blocks
        {'level': slice(0, 1, None), 'seasonal': slice(1, 4, None), 'irregular': slice(4, 4, None)}
        >>> sorted(model.parameters)
        ['irregular.std', 'level.std', 'seasonal.std']
    """

    # what a plain model has as fields is computed from the components whenever it is read
    f: Any = dataclasses.field(default=property(methodcaller("_f")), metadata=OUTSIDE)
    h: Any = dataclasses.field(default=property(methodcaller("_h")), metadata=OUTSIDE)
    Q: Any = dataclasses.field(default=property(methodcaller("_Q")), metadata=OUTSIDE)
    R: Any = dataclasses.field(default=property(methodcaller("_R")), metadata=OUTSIDE)
    prior: Any = dataclasses.field(default=property(methodcaller("_prior")), metadata=OUTSIDE)
    state_space: Any = dataclasses.field(default=EUCLIDEAN, metadata=OUTSIDE)
    observation_space: Any = dataclasses.field(default=EUCLIDEAN, metadata=OUTSIDE)
    observation_log_density: Any = dataclasses.field(default=None, metadata=OUTSIDE)
    first: First = dataclasses.field(default="update", metadata=STATIC)
    noise_free: bool | None = dataclasses.field(default=None, metadata=STATIC)
    components: Components = ()
    diffuse_variance: float | None = dataclasses.field(default=None, metadata=STATIC)

    def __init__(
        self,
        components: Components,
        *,
        diffuse_variance: float | None = None,
        first: First = "update",
    ) -> None:
        if not isinstance(components, tuple) or not components:
            got = "empty" if isinstance(components, tuple) else described(components)
            raise ValueError(
                f"Structural: components is {got}; expected a tuple of them. Add"
                " components, as in kf.structural.level() + kf.structural.irregular()."
            )
        for component in components:
            if not isinstance(component, Component):
                raise ValueError(
                    f"Structural: components hold {described(component)}; expected components, as"
                    " from kf.structural.level().components."
                )
        if diffuse_variance is not None:
            check_number("Structural: diffuse_variance", diffuse_variance, above=0)
            diffuse_variance = float(diffuse_variance)
        check_first("Structural", first)
        values = {
            "components": promote(components, "Structural"),
            "diffuse_variance": diffuse_variance,
            "first": first,
        }
        check_apart(components)
        check_channels(components)
        for name, value in values.items():
            object.__setattr__(self, name, value)
        # a tracer says nothing about its value: a std that is learned is above zero
        stds = [c.std for c in components if not c.width]  # type: ignore[attr-defined]
        noise_free = not stds or may_be_noise_free(matrices.total_noise(components, self.m))
        object.__setattr__(self, "noise_free", noise_free)

    @classmethod
    def of(cls, component: Component) -> Structural:
        """Return the sum of one component."""
        return cls((component,))

    def __add__(self, other: object) -> Structural:
        """Return the sum of both."""
        if not isinstance(other, Structural):
            return NotImplemented
        return self._with_components(self.components + other.components)

    def __mul__(self, other: object) -> Structural:
        """Return the product of two sums of kernels."""
        if not isinstance(other, Structural):
            return NotImplemented
        for component in (*self.components, *other.components):
            if not hasattr(component, "times"):
                raise ValueError(
                    f"*: {component.name} is not a kernel; expected kernels in time, such as"
                    " kf.structural.matern. Other components only add."
                )
        kernels: tuple[Any, ...] = self.components
        products = [a.times(b) for a in kernels for b in other.components]
        return self._with_components(tuple(products))

    def __repr__(self) -> str:
        """Return the names of the components."""
        return f"Structural({' + '.join(component.name for component in self.components)})"

    def __getitem__(self, name: str) -> Component:
        """Return a component by its name."""
        names = [component.name for component in self.components]
        if name not in names:
            raise ValueError(f"{self!r} has no component {name!r}; {suggest(str(name), names)}")
        return self.components[names.index(name)]

    @property
    def n(self) -> int:
        """The number of states."""
        return sum(component.size for component in self.components)

    @property
    def m(self) -> int:
        """The number of series that are observed."""
        return self.components[0].channels

    @property
    def dtype(self) -> Any:
        """The float dtype of the parameters."""
        return matrices.dtype_of(self.components)

    @property
    def blocks(self) -> dict[str, slice]:
        """The slice of the states of each component, by name."""
        ends = np.cumsum([component.size for component in self.components]).tolist()
        starts = [0, *ends[:-1]]
        return {
            c.name: slice(start, end)
            for c, start, end in zip(self.components, starts, ends, strict=True)
        }

    @property
    def parameters(self) -> dict[str, Float[Array, " ..."]]:
        """The parameters by name, such as "level.std"."""
        return {
            f"{component.name}.{name}": value
            for component in self.components
            for name, value in component.parameters().items()
        }

    @property
    def kinds(self) -> dict[str, str]:
        """The kind of number that each parameter is: "positive", "between 0 and 1", "real", ..."""
        return {
            f"{component.name}.{name}": component.kind_of(name)
            for component in self.components
            for name in component.parameters()
        }

    @property
    def bounds(self) -> dict[str, tuple[float | None, float | None]]:
        """The ends of the range of each parameter that has one, by name; None for no end."""
        scalars = {name for name, value in self.parameters.items() if jnp.size(value) == 1}
        # more coefficients have no range of their own; m and 1 / m have the same likelihood
        single = {STATIONARY: (-1.0, 1.0), INVERTIBLE: (-1.0, 1.0)}
        ranges = {
            name: single.get(kind) if name in scalars and kind in single else BOUNDS.get(kind)
            for name, kind in self.kinds.items()
        }
        return {name: found for name, found in ranges.items() if found is not None}

    @property
    def diffuse(self) -> tuple[int, ...]:
        """The indices of the states whose start is diffuse."""
        return tuple(np.flatnonzero(self._diffuse).tolist())

    @property
    def distinct_start(self) -> bool:
        """Whether the first observations tell the diffuse states well apart."""
        return all(component.distinct_start for component in self.components)

    def with_parameters(self, values: dict[str, Any]) -> Structural:
        """Return the sum with other values of some parameters.

        Args:
            values: arrays of the same shapes, by name, as in `parameters`.

        Raises:
            ValueError: if a name is unknown, or a value has another shape or is out of its range.

        Example:
            >>> model = kf.structural.level(1.0).with_parameters({"level.std": 2.0})
            >>> model.Q.tolist()
            [[4.0]]
        """
        check_mapping("with_parameters: values", values, 'a dict such as {"level.std": 0.1}')
        known, kinds = self.parameters, self.kinds
        for name, value in values.items():
            if name not in known:
                raise ValueError(f"with_parameters: {name!r}; {suggest(str(name), list(known))}")
            check_parameter(f"with_parameters: {name}", value, jnp.shape(known[name]), kinds[name])

        def changed(component: Component) -> Component:
            own = {
                name: values[f"{component.name}.{name}"]
                for name in component.parameters()
                if f"{component.name}.{name}" in values
            }
            return component.with_parameters(own)

        return self._with_components(tuple(map(changed, self.components)))

    def with_start(self, *, diffuse_variance: float | None) -> Structural:
        """Return the sum with another variance of diffuse states, for filters that need one.

        Args:
            diffuse_variance: in the square of the unit of y, large compared with the squares of y;
                None for an exactly diffuse start, by `kfjax.exact_diffuse`.

        Raises:
            ValueError: if it is so much larger than the variances of the disturbances (in float32,
                1e6 times) that filters which keep covariances would diverge.
        """
        if diffuse_variance is not None:
            check_number("with_start: diffuse_variance", diffuse_variance, above=0)
            self._check_digits(float(diffuse_variance))
        return Structural(self.components, diffuse_variance=diffuse_variance, first=self.first)

    def _check_digits(self, variance: float) -> None:
        """Raise if a variance of diffuse states leaves no digits of those of the disturbances."""
        noises = (self.Q, self.R)
        known = all(is_concrete(noise) and not callable(noise) for noise in noises)
        if len(self.diffuse) < 2 or not known:
            return
        # A prediction adds the variances of states that are known by now to those of states that
        # are not; rounding of the sum makes a covariance indefinite, from which no filter returns.
        total = sum(float(np.asarray(noise, np.float64).diagonal().max()) for noise in noises)
        most = DIGITS * total / eps_of(self)
        if variance > most:
            raise ValueError(
                f"with_start: diffuse_variance is {variance:g}, and the variances of disturbances"
                f" and noise are {total:.3g} together; expected at most {most:.3g}, beyond which"
                f" {self.dtype} has no digits of both. Use kf.exact_diffuse(), which needs no"
                " variance, or double precision."
            )

    def plain(self) -> StateSpaceModel:
        """Return a `kfjax.StateSpaceModel` of arrays, which no longer knows the parameters."""
        return self._plain(self.prior)

    def replace(self, **changes: Any) -> StateSpaceModel:
        """Return the plain model with other fields, such as Q."""
        prior = changes.pop("prior") if "prior" in changes else self.prior
        return self._plain(prior).replace(**changes)

    @classmethod
    def axes(cls, *, first: First = "update", **axes: int | None) -> Any:
        """Raise: the fields of a sum are computed; batch over its parameters instead."""
        raise ValueError(
            f"Structural.axes: got {', '.join(axes) or first}; expected a batch over parameters,"
            " jax.vmap(lambda values: run(model.with_parameters(values)))({'level.std': stds})."
        )

    @property
    def proper_prior(self) -> Gaussian:
        """The prior, with zeros for the states that start exactly diffuse."""
        cov = matrices.blocks(self.components, [c.start().cov for c in self.components])
        return Gaussian(jnp.zeros(self.n, self.dtype), cov)

    def _plain(self, prior: Gaussian) -> StateSpaceModel:
        return StateSpaceModel(
            self.f, self.h, self.Q, self.R, prior, first=self.first, noise_free=self.noise_free
        )

    def _with_components(self, components: Components) -> Structural:
        return Structural(components, diffuse_variance=self.diffuse_variance, first=self.first)

    @property
    def _diffuse(self) -> np.ndarray:
        return np.concatenate([component.start().diffuse for component in self.components])

    @property
    def _reads_inputs(self) -> bool:
        return any(component.reads_inputs for component in self.components)

    def _f(self) -> Linear:
        pattern = matrices.pattern_of_transition(self.components)
        if self._reads_inputs:
            return with_pattern(Partial(matrices.transition, self.components), pattern)
        return with_pattern(matrices.transition(self.components, None), pattern)

    def _h(self) -> Linear:
        pattern = matrices.pattern_of_observed(self.components)
        if self._reads_inputs:
            return with_pattern(Partial(matrices.observed, self.components), pattern)
        return with_pattern(matrices.observed(self.components, None), pattern)

    def _Q(self) -> Any:
        if self._reads_inputs:
            return Partial(matrices.noise, self.components)
        return matrices.noise(self.components, None, None)

    def _R(self) -> Array:
        return matrices.total_noise(self.components, self.m).astype(self.dtype)

    def _prior(self) -> Gaussian:
        mean, cov = self.proper_prior
        variance = self.diffuse_variance
        if not self._diffuse.any():
            return Gaussian(mean, cov)
        if variance is None:
            raise ValueError(_without_prior(self.components))
        large = np.diag(np.where(self._diffuse, variance, 0.0))
        return Gaussian(mean, cov + jnp.asarray(large, self.dtype))


def _without_prior(components: Components) -> str:
    """Return the text of the error where a start that is exactly diffuse is read as a prior."""
    names = [component.name for component in components if component.start().diffuse.any()]
    # A variance that no unit of y would miss leaves float32 no digits of disturbances of 0.01.
    return (
        f"the sum starts exactly diffuse in {', '.join(names)}, and the filter or function needs a"
        " proper prior; expected kf.exact_diffuse() as the filter, for example in place of"
        " kf.kalman(). To give these states a variance instead, pass"
        " model.with_start(diffuse_variance=v), with v large compared with the squares of y."
        " kf.simulate takes x0=."
    )


def check_structural(who: str, model: object) -> None:
    """Raise unless a value is a sum of components."""
    check_kind(f"{who}: model", model, Structural)


def largest_period(model: Structural) -> float:
    """Return the longest period of the seasonal components, or 0 without any."""
    periods = [float(getattr(c, "period_length", 0.0)) for c in model.components]
    return max(periods, default=0.0) if all(map(math.isfinite, periods)) else 0.0
