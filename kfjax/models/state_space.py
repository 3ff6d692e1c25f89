"""State-space models as pytrees: what every filter, smoother and simulator takes as its parameters.

x_t = f(x_{t-1}, u_t) + e_t,   e_t ~ N(0, Q)
y_t = h(x_t, u_t)     + v_t,   v_t ~ N(0, R),      x_0 ~ N(prior.mean, prior.cov),   t = 1..T

or, with first="update", x_1 ~ N(prior.mean, prior.cov) and no x_0.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from jax import Array
from jaxtyping import Float

from kfjax._support.arguments import check_covariance, check_function
from kfjax._support.pytrees import ANY, OUTSIDE, STATIC, Pytree, as_array, as_pytree, promote
from kfjax._support.values import check_finite
from kfjax.base import Gaussian, Inputs
from kfjax.models.calling import call
from kfjax.models.functions import Linear, check_affine
from kfjax.models.noise import check_matrix, checked_noise_free, symmetric_part
from kfjax.models.spaces import as_observation_space, as_space

__all__ = ["StateSpaceModel", "linear_gaussian"]

First: TypeAlias = Literal["predict", "update"]
"""Which step comes first in a record: the prior is about x_0 ("predict") or x_1 ("update")."""


@dataclasses.dataclass(frozen=True, eq=False)
class StateSpaceModel(Pytree):
    """A state-space model with additive Gaussian noise; a pytree whose leaves are its parameters.

    x_t = f(x_{t-1}, u_t) + e_t,  y_t = h(x_t, u_t) + v_t,  e_t ~ N(0, Q),  v_t ~ N(0, R),  x_0 ~
    prior.

    Functions with learnable parameters are `jax.tree_util.Partial(fn, theta)` with a module-level
    `fn(theta, x, u)`, so that models built alike share one compilation. Use `model.replace(Q=...)`
    for a changed copy.

    Attributes:
        f: `(x [n], u) -> [n]`. A plain function, a `Partial`, or a `Linear`.
        h: `(x [n], u) -> [m]`, likewise.
        Q: process noise covariance [n, n], or a callable of (x_{t-1|t-1}, u_t).
        R: observation noise covariance [m, m], or a callable of (x_{t|t-1}, u_t).
        prior: belief about x_0 (about x_1 with first="update"), a `Gaussian` or a pair (mean [n],
            cov [n, n]); cov = 0 means that it is known exactly.
        state_space: how states are subtracted and moved, a `Space` such as `kf.angles(2)`; None is
            Euclidean. The attribute is always a `Space`.
        observation_space: how observations are subtracted, likewise; only its difference is used,
            since predicted observations are averages of offsets from a value of h.
        observation_log_density: `(x, y, u, observed) -> scalar`, log p(y | x) for particle filters
            with non-Gaussian noise, or None.
        first: which step comes first in a record. "predict": the prior is about x_0, and every
            observation comes after a prediction. "update": the prior is about x_1, which y_1
            updates without a prediction, as in pykalman, dynamax, statsmodels and TensorFlow
            Probability; there is no x_0, and u_1 reaches only h and R. It is static, and every
            function that takes a whole record obeys it.
        noise_free: whether R may be singular, so that an observation can leave a variance of zero.
            Filters then tell a variance of zero from rounding, which costs time. None decides by
            the values of R where they are known; a callable or traced R may be singular. The
            attribute is always a bool, and part of the structure of the pytree: models that are
            stacked or selected must agree in it.
        names: names of the components of the state, with units if they have any, such as
            ("east [m]", "speed [m/s]"), for tables and pictures; or None. They stay outside of JAX:
            transformations leave them out.

    Raises:
        ValueError: for another `first`, wrong shapes, an asymmetric or indefinite Q, R or
            prior.cov, non-finite numbers, or leaves that are not real numbers. Checked on
            construction, as far as values are known (not inside a trace).

    Example:
        >>> model = kf.StateSpaceModel(
        ...     f=lambda x, u: jnp.sin(x),
        ...     h=lambda x, u: x[:1],
        ...     Q=0.1 * jnp.eye(2),
        ...     R=[[0.5]],
        ...     prior=kf.Gaussian(jnp.zeros(2), jnp.eye(2)),
        ... )
        >>> model.R.shape
        (1, 1)
    """

    f: Any
    h: Any
    Q: Any
    R: Any
    prior: Any
    state_space: Any = None
    observation_space: Any = None
    observation_log_density: Any = None
    first: First = dataclasses.field(default="predict", metadata=STATIC)
    noise_free: bool | None = dataclasses.field(default=None, metadata=STATIC)
    names: Sequence[str] | None = dataclasses.field(default=None, metadata=OUTSIDE)

    def __post_init__(self) -> None:
        if not isinstance(self.prior, tuple) or len(self.prior) != 2:
            raise ValueError(
                f"StateSpaceModel: prior is {type(self.prior).__name__}; expected kf.Gaussian(mean"
                " [n], cov [n, n])."
            )
        check_first("StateSpaceModel", self.first)
        R = self.R  # `promote` turns it into a tracer inside a trace, even if its values are known
        values = {
            field.name: as_pytree(getattr(self, field.name))
            for field in dataclasses.fields(self)
            if field.name not in ("prior", "first", "noise_free", "names")
        }
        values |= {
            "Q": as_array(values["Q"]),
            "R": as_array(values["R"]),
            "prior": Gaussian(*map(as_array, self.prior)),
            "state_space": as_space("StateSpaceModel: state_space", self.state_space),
            "observation_space": as_observation_space(
                "StateSpaceModel: observation_space", self.observation_space
            ),
        }
        for name in ("f", "h"):
            if not callable(values[name]):
                raise ValueError(
                    f"StateSpaceModel: {name} is {type(values[name]).__name__}; expected a function"
                    " of (x, u). A matrix goes in kf.Linear(A)."
                )
        if values["observation_log_density"] is not None:
            check_function(
                "StateSpaceModel: observation_log_density",
                values["observation_log_density"],
                "a function of (x, y, u, observed), or None",
            )
        for name in ("Q", "R"):
            if values[name] is None:
                raise ValueError(
                    f"StateSpaceModel: {name} is None; expected a covariance, or a function of (x,"
                    " u)."
                )
        for name, value in promote(values, "StateSpaceModel").items():
            object.__setattr__(self, name, value)
        _check_model(self)
        object.__setattr__(self, "Q", symmetric_part(self.Q))
        object.__setattr__(self, "R", symmetric_part(self.R))
        mean, cov = self.prior
        object.__setattr__(self, "prior", Gaussian(mean, symmetric_part(cov)))
        noise_free = checked_noise_free("StateSpaceModel", self.noise_free, R)
        object.__setattr__(self, "noise_free", noise_free)
        object.__setattr__(self, "names", _checked_names(self.names, mean.shape[0]))

    @property
    def n(self) -> int:
        """The dimension of the state (of its tangent space, for a curved one)."""
        return self.prior.cov.shape[-1]

    @property
    def dtype(self) -> Any:
        """The float dtype of every leaf."""
        return self.prior.mean.dtype

    @property
    def proper_prior(self) -> Gaussian:
        """The prior, with zeros for states that start exactly diffuse in a structural model."""
        return self.prior

    def process_noise(self, x: Float[Array, " n"], u: Inputs = None) -> Float[Array, "d d"]:
        """Return Q [n, n] at (x_{t-1|t-1}, u_t)."""
        Q = self.noise_as_given("Q", x, u)
        return symmetric_part(Q) if callable(self.Q) else Q

    def observation_noise(self, x: Float[Array, " n"], u: Inputs = None) -> Float[Array, "m m"]:
        """Return R [m, m] at (x_{t|t-1}, u_t)."""
        R = self.noise_as_given("R", x, u)
        return symmetric_part(R) if callable(self.R) else R

    def noise_as_given(
        self, name: str, x: Float[Array, " n"], u: Inputs = None
    ) -> Float[Array, "k k"]:
        """Return Q or R by its name, as a function of x and u may give it, to check it."""
        cov = getattr(self, name)
        if not callable(cov):
            return cov
        return call(name, cov, x, u).astype(self.dtype)

    def replace(self, **changes: Any) -> StateSpaceModel:
        """Return a copy with other fields, checked like those of a new model."""
        check_fields("StateSpaceModel.replace", type(self), changes)
        if "R" in changes:  # the new values decide, unless noise_free is given
            changes = {"noise_free": None} | changes
        return dataclasses.replace(self, **changes)

    @classmethod
    def axes(cls, *, first: First = "predict", **axes: int | None) -> Any:
        """Return a model of batch axes for `jax.vmap(..., in_axes=...)`, None except where named.

        Args:
            first: the `first` of the models, which JAX compares.
            **axes: the axis of each field that has one.

        Example:
            >>> kf.StateSpaceModel.axes(Q=0).Q, kf.StateSpaceModel.axes(Q=0).R
            (0, None)
        """
        check_fields(f"{cls.__name__}.axes", cls, axes)
        values: dict[str, Any] = {"noise_free": ANY, **axes, "first": first}
        fields = [field for field in dataclasses.fields(cls) if field.name != "names"]
        return cls.unchecked(*(values.get(field.name) for field in fields))


def check_first(who: str, first: Any) -> None:
    """Raise unless `first` names the step that comes first in a record."""
    if not isinstance(first, str) or first not in ("predict", "update"):
        raise ValueError(
            f"{who}: first is {first!r}; expected 'predict', if the prior is about the state before"
            " the first observation, or 'update', if it is about the state at it."
        )


def _checked_names(names: Any, n: int) -> tuple[str, ...] | None:
    """Return the names of n components as a tuple, or None."""
    if names is None:
        return None
    is_list = isinstance(names, Sequence) and not isinstance(names, str)
    if not is_list or len(names) != n or not all(isinstance(name, str) for name in names):
        raise ValueError(
            f"StateSpaceModel: names is {names!r}; expected {n} names, one for each component of"
            " the state."
        )
    return tuple(names)


def check_fields(who: str, cls: type, names: Any) -> None:
    """Raise unless all names are fields of a dataclass."""
    known = {field.name for field in dataclasses.fields(cls)}
    if unknown := set(names) - known:
        raise ValueError(
            f"{who}: got {', '.join(sorted(unknown))}; expected fields among"
            f" {', '.join(sorted(known))}."
        )


def _check_model(model: StateSpaceModel) -> None:
    """Validate a new model: its shapes, then its values where they are known."""
    mean, cov = model.prior
    n = cov.shape[-1] if cov.ndim else 0
    if (
        mean.ndim != 1
        or cov.shape != (n, n)
        or (model.state_space.is_euclidean and mean.shape != (n,))
        or n == 0
    ):
        raise ValueError(
            f"StateSpaceModel: prior has mean {mean.shape} and cov {cov.shape}; expected [n] and"
            " [n, n]. A batch of models is made with jax.vmap."
        )
    if not callable(model.Q):
        check_matrix("StateSpaceModel", "Q", model.Q, n)
    if not callable(model.R):
        check_matrix("StateSpaceModel", "R", model.R)
    _check_linear("f", model.f, n, n)
    _check_linear("h", model.h, n, None if callable(model.R) else model.R.shape[0])
    for name, value in (("Q", model.Q), ("R", model.R), ("prior.cov", cov)):
        if not callable(value):
            check_covariance(f"StateSpaceModel: {name}", value)
    check_finite("StateSpaceModel: prior.mean", mean)


def _check_linear(name: str, fn: object, n: int, rows: int | None) -> None:
    """Check the shape of a Linear with a constant matrix."""
    if not isinstance(fn, Linear) or callable(fn.A):
        return
    if fn.A.shape[1] != n or rows not in (None, fn.A.shape[0]):
        raise ValueError(
            f"StateSpaceModel: {name} = Linear with A of shape {fn.A.shape}; expected"
            f" ({'m' if rows is None else rows}, {n}), given Q, R and the prior."
        )


def linear_gaussian(
    F: Any, H: Any, Q: Any, R: Any, prior: Any, B: Any = None, *, first: First = "predict"
) -> StateSpaceModel:
    """Return the linear Gaussian model x_t = F x_{t-1} + B u_t + e_t, y_t = H x_t + v_t.

    Args:
        F: [n, n], or a callable of u.
        H: [m, n], or a callable of u.
        Q: [n, n], or a callable of (x, u).
        R: [m, m], or a callable of (x, u).
        prior: `Gaussian(mean [n], cov [n, n])` of x_0 (of x_1 with first="update").
        B: [n, p], a callable of u, or None.
        first: "predict" or "update", as in `StateSpaceModel`.

    Returns:
        The model; every filter can run it, and `kfjax.kalman()` is exact for it.

    Raises:
        ValueError: as `StateSpaceModel`.

    Example:
        >>> model = kf.linear_gaussian(
        ...     F=[[1.0, 1.0], [0.0, 1.0]],
        ...     H=[[1.0, 0.0]],
        ...     Q=0.01 * jnp.eye(2),
        ...     R=[[1.0]],
        ...     prior=kf.Gaussian(jnp.zeros(2), jnp.eye(2)),
        ... )
        >>> model.n
        2
    """
    check_affine("linear_gaussian", {"F": F, "B": B})
    check_affine("linear_gaussian", {"H": H})
    return StateSpaceModel(Linear(F, B), Linear(H), Q, R, prior, first=first)


def is_linear(model: StateSpaceModel) -> bool:
    """Return whether both functions of the model are `Linear`."""
    return isinstance(model.f, Linear) and isinstance(model.h, Linear)
