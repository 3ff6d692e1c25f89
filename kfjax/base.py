"""The vocabulary of kfjax: what a filter is, and what it gives back.

A filter is a handful of pure functions over *one* trajectory. It has no hidden state and no batch
axis: the model is an argument, the belief is an argument, and `jax.vmap`, `jax.grad` and `jax.jit`
do the rest. This is the one file that a newcomer has to read.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar

import jax
from jax import Array

__all__ = ["Estimate", "Filter", "Gaussian", "Info", "constructor", "estimate", "estimate_and_info"]

Arguments = ParamSpec("Arguments")
Built = TypeVar("Built")
if TYPE_CHECKING:  # `typing` itself knows defaults from Python 3.13 on
    from typing_extensions import TypeVar as TypeVarWithDefault

    Kept = TypeVarWithDefault("Kept", default="Estimate")  # what an `emit` keeps
else:
    Kept = TypeVar("Kept")


class Filter(NamedTuple):
    """A state estimator as pure functions; `params` is whatever a gradient or a `vmap` may touch.

    For a model-based filter `params` is the `kfjax.StateSpaceModel`. A `State` is a pytree with
    `.mean [n]` and `.cov [n, n]` (or None): everything that the next step needs, nothing else.

    Laws, which the tests hold every filter to: `update(..., observed=False)` returns the state
    unchanged and an Info of zeros; the structure and dtypes of the state never change; the same
    call gives the same result.

    Attributes:
        init: `(params, key=None) -> State`, the belief about x_0.
        predict: `(params, state, u=None) -> State`, from x_{t-1|t-1} to x_{t|t-1}; u is u_t.
        update: `(params, state, y, u=None, observed=None) -> (State, Info)`, from x_{t|t-1} and y_t
            to x_{t|t}. `observed` is None (all of y was seen), a boolean scalar, or a boolean [m].
        recentre: `(params, state, gaussian) -> State`, or None: writes a Gaussian belief into the
            state.
        rule: the moment rule of `kfjax.moments` by which the filter moves Gaussians, or None;
            smoothers need it.
    """

    init: Callable[..., Any]
    predict: Callable[..., Any]
    update: Callable[..., tuple[Any, Info]]
    recentre: Any = None
    rule: Any = None


class Gaussian(NamedTuple):
    """A Gaussian belief: the prior of a model, and the state of every Gaussian filter.

    Attributes:
        mean: [..., n].
        cov: [..., n, n]. On a curved space it lives in the tangent space at `mean`, and n is that
            space's dimension.
    """

    mean: Array
    cov: Array


class Info(NamedTuple):
    """What an observer wants to know of one update and the next step does not need.

    All fields are zero where nothing was observed, and None where they do not exist for a filter.

    Attributes:
        innovation: y_t - E[y_t | y_1..t-1] [m], zero in unobserved channels.
        innovation_cov: its covariance S_t [m, m], zero in unobserved rows and columns.
        log_likelihood: log p(y_t | y_1..t-1), of the observed channels.
        nis: normalised innovation squared, innovation' S_t^-1 innovation; chi-square with `dof`
            degrees of freedom.
        dof: the number of observed channels (int).
        extra: what a combinator reports, by name.
    """

    innovation: Array | None = None
    innovation_cov: Array | None = None
    log_likelihood: Array | None = None
    nis: Array | None = None
    dof: Array | None = None
    extra: dict[str, Any] | None = None


class Estimate(NamedTuple):
    """What `kfjax.run` keeps of every step by default.

    Attributes:
        mean: E[x_t | y_1..t], [T, n].
        cov: its covariance [T, n, n], or None for a filter without one.
        log_likelihood: log p(y_t | y_1..t-1), [T], or None.
    """

    mean: Array
    cov: Array | Any  # to type checkers an array, which it is for nearly every filter
    log_likelihood: Array | Any


def estimate(state: Any, info: Info) -> Estimate:
    """Keep the filtered mean, covariance and log-likelihood: the default `emit` of `kfjax.run`."""
    return Estimate(state.mean, state.cov, info.log_likelihood)


def estimate_and_info(state: Any, info: Info) -> tuple[Estimate, Info]:
    """Keep the estimate and the whole Info of every step: an `emit` for `kfjax.run`."""
    return estimate(state, info), info


def constructor(build: Callable[Arguments, Built]) -> Callable[Arguments, Built]:
    """Decorate a filter constructor: the same arguments give the same object, and arrays are refused.

    A filter is a static argument of a jitted loop, so that an equal but different filter would
    compile again, and an array in it would be a constant that no gradient reaches.
    """
    signature = inspect.signature(build)
    cached = functools.lru_cache(maxsize=None)(build)

    @functools.wraps(build)
    def public(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Built:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        for name, value in bound.arguments.items():
            try:
                hash(value)
            except TypeError as error:
                raise ValueError(
                    f"{build.__name__}: {name} is or holds {_kind(value)}; expected a plain number"
                    " or a hashable value,"
                    " since a filter is static. Put arrays in params (the model)."
                ) from error
        return cached(*bound.args, **bound.kwargs)

    return public


def _kind(value: Any) -> str:
    """Name what cannot be hashed, for an error text."""
    return (
        "an array"
        if isinstance(value, jax.Array) or hasattr(value, "dtype")
        else f"a {type(value).__name__}"
    )
