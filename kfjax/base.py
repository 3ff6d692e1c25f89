"""The vocabulary of kfjax: what a filter is made of, and what it gives back.

A filter is a handful of pure functions over *one* trajectory. It has no hidden state and no batch
axis: the model is an argument, the belief is an argument, and `jax.vmap`, `jax.grad` and `jax.jit`
do the rest. This is the one file that a newcomer has to read: the `Filter` and the signatures of
its functions, what they return, and what `kfjax.run` can keep of every step.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    NamedTuple,
    Protocol,
    TypeAlias,
    TypeVar,
    runtime_checkable,
)

from jax import Array
from jaxtyping import Float, Int

from kfjax._support.arguments import check_count
from kfjax._support.constructors import constructor
from kfjax._support.types import Key, PyTree

__all__ = [
    "Emit",
    "Estimate",
    "Filter",
    "Gaussian",
    "Info",
    "Init",
    "Predict",
    "Recentre",
    "Rule",
    "Run",
    "Update",
    "constructor",
    "estimate",
    "estimate_and_info",
    "lagged",
    "leading",
    "whole_state",
]

Params: TypeAlias = PyTree
"""The parameters of a filter; a `kfjax.StateSpaceModel` for a model-based one."""

State: TypeAlias = PyTree
"""The belief of a filter: a pytree with `.mean [n]` and `.cov [n, n]` (or None)."""

Observations: TypeAlias = PyTree
"""An array [m] of one step, or a pytree of them, one for each sensor; [T, m] of a record."""

Inputs: TypeAlias = PyTree
"""The input u_t of one step, or None; with a leading time axis, the inputs of a record."""

Mask: TypeAlias = PyTree
"""What was observed: booleans, a scalar or [m], in the structure of y; None for everything."""

Kept_co = TypeVar("Kept_co", covariant=True)
if TYPE_CHECKING:  # `typing` itself has defaults of type variables from Python 3.13 on
    from typing_extensions import TypeVar as TypeVarWithDefault

    Kept = TypeVarWithDefault("Kept", default="Estimate")  # what an `emit` keeps
else:
    Kept = TypeVar("Kept")


class Gaussian(NamedTuple):
    """A Gaussian belief: the prior of a model, and the state of every Gaussian filter.

    Attributes:
        mean: [..., n].
        cov: [..., n, n]. On a curved space it lives in the tangent space at `mean`, and n is that
            space's dimension.
    """

    mean: Float[Array, "... n"]
    cov: Float[Array, "... d d"]


class Info(NamedTuple):
    """Diagnostics of one update, which the next step does not need.

    Every observation is scored as it was *predicted*, whether or not the filter then used it: a
    filter that rejects an outlier reports its innovation, its likelihood and its NIS like any
    other, and `extra["accepted"]` says that it was not used. All fields are zero where nothing was
    observed, and None where they do not exist for a filter.

    Attributes:
        innovation: y_t - E[y_t | y_1..t-1] [m], zero in unobserved channels.
        innovation_cov: its covariance S_t [m, m] given y_1..t-1, which does not depend on y_t; zero
            in unobserved rows and columns.
        log_likelihood: log p(y_t | y_1..t-1), of the observed channels; -inf for an observation
            that a rejecting filter considers impossible.
        nis: normalised innovation squared, innovation' S_t^-1 innovation; chi-square with `dof`
            degrees of freedom.
        dof: the number of observed channels (int), not counting noise-free ones that earlier
            channels determine.
        extra: what a combinator reports, by name. A filter that may reject reports `accepted`, the
            share of the observed channels that it used: 1 or 0 where it takes or leaves an
            observation as a whole, 0 where nothing was observed.
    """

    innovation: Float[Array, "... m"] | None = None
    innovation_cov: Float[Array, "... m m"] | None = None
    log_likelihood: Float[Array, " ..."] | None = None
    nis: Float[Array, " ..."] | None = None
    dof: Int[Array, " ..."] | None = None
    extra: dict[str, Any] | None = None


@runtime_checkable
class Init(Protocol):
    """`init(params, key=None) -> state`: the belief at the start of a record."""

    def __call__(self, params: Params, key: Key | None = None) -> State:
        """Return the state before the first step; filters that draw need a random key."""


@runtime_checkable
class Predict(Protocol):
    """`predict(params, state, u=None) -> state`: from x_{t-1|t-1} to x_{t|t-1}."""

    def __call__(self, params: Params, state: State, u: Inputs = None) -> State:
        """Return the state before y_t is known; u is u_t."""


@runtime_checkable
class Update(Protocol):
    """`update(params, state, y, u=None, observed=None) -> (state, info)`: to x_{t|t}."""

    def __call__(
        self,
        params: Params,
        state: State,
        y: Observations,
        u: Inputs = None,
        observed: Mask = None,
    ) -> tuple[State, Info]:
        """Return the state given y_t, and the Info of the update.

        `observed` is None (all of y was seen), a boolean scalar, or a boolean [m].
        """


@runtime_checkable
class Recentre(Protocol):
    """`recentre(params, state, gaussian) -> state`: write a Gaussian belief into the state."""

    def __call__(self, params: Params, state: State, gaussian: Gaussian) -> State:
        """Return the state with this belief; whatever else it carries is unchanged."""


@runtime_checkable
class Rule(Protocol):
    """`rule(fn, belief, source, target) -> moments`: how a Gaussian passes through a function.

    A hashable value; see `kfjax.moments`.
    """

    def __call__(
        self,
        fn: Callable[[Float[Array, " n"]], Float[Array, " k"]],
        belief: Gaussian,
        source: Any,
        target: Any,
    ) -> Any:
        """Return the `kfjax.moments.Moments` of fn(x), a function of x alone.

        `source` and `target` are the `kfjax.Space`s of its argument and of its value.
        """


@runtime_checkable
class Emit(Protocol[Kept_co]):
    """`emit(state, info) -> anything`: what `kfjax.run` keeps of every step."""

    def __call__(self, state: State, info: Info, /) -> Kept_co:
        """Return a pytree of arrays; `kfjax.run` stacks them over time."""


class Filter(NamedTuple):
    """A state estimator as pure functions; `params` is whatever a gradient or a `vmap` may touch.

    For a model-based filter `params` is the `kfjax.StateSpaceModel`. A `State` is a pytree with
    `.mean [n]` and `.cov [n, n]` (or None): everything that the next step needs, and nothing else.

    Laws, which the tests hold every filter to: `update(..., observed=False)` returns the state
    unchanged and an Info of zeros; the structure and dtypes of the state never change; the same
    call gives the same result.

    A filter is a static argument of jitted functions, equal to another one if their functions are.
    One that a `constructor` built prints as the call that made it, `gated(extended(), 0.999)`, and
    can be copied and pickled.

    Attributes:
        init: `(params, key=None) -> State`, the belief about x_0 (x_1 with first="update" in the
            model).
        predict: `(params, state, u=None) -> State`, from x_{t-1|t-1} to x_{t|t-1}; u is u_t.
        update: `(params, state, y, u=None, observed=None) -> (State, Info)`, from x_{t|t-1} and y_t
            to x_{t|t}. `observed` is None (all of y was seen), a boolean scalar, or a boolean [m].
        recentre: `(params, state, gaussian) -> State`, or None: writes a Gaussian belief into the
            state.
        rule: the moment rule of `kfjax.moments` by which the filter moves Gaussians, or None;
            smoothers need it.
    """

    init: Init
    predict: Predict
    update: Update
    recentre: Recentre | Any = None  # type checkers see a function, as in nearly every filter
    rule: Rule | Any = None


class Estimate(NamedTuple):
    """The filtered estimates that `kfjax.run` keeps by default.

    Attributes:
        mean: E[x_t | y_1..t], [T, n].
        cov: its covariance [T, n, n], or None for a filter without one.
        log_likelihood: log p(y_t | y_1..t-1), [T], or None.
    """

    mean: Float[Array, "... n"]
    cov: Float[Array, "... d d"] | Any  # type checkers see an array, as in nearly every filter
    log_likelihood: Float[Array, " ..."] | Any


class Run(NamedTuple, Generic[Kept]):
    """The result of `kfjax.run`.

    Attributes:
        final: the state after the last step, from which another run can continue.
        outputs: what `emit` kept, stacked over time; by default an `Estimate` with mean [T, n], cov
            [T, n, n] and log_likelihood [T].
    """

    final: State
    outputs: Kept


def estimate(state: State, info: Info) -> Estimate:
    """Keep the filtered mean, covariance and log-likelihood: the default `emit` of `kfjax.run`."""
    return Estimate(state.mean, state.cov, info.log_likelihood)


def estimate_and_info(state: State, info: Info) -> tuple[Estimate, Info]:
    """Keep the estimate and the whole Info of every step: an `emit` for `kfjax.run`."""
    return estimate(state, info), info


def whole_state(state: State, info: Info) -> State:
    """Keep the whole state of every step: an `emit` for `kfjax.run`."""
    del info
    return state


def leading(n: int) -> Emit[Estimate]:
    """Return an `emit` that keeps the belief about the first n components of the state.

    Args:
        n: the number of components.

    Returns:
        `(state, info) -> Estimate` with mean [n] and cov [n, n].
    """
    check_count("leading: n", n)
    return _leading(n)


@functools.lru_cache(maxsize=1024)
def _leading(n: int) -> Emit[Estimate]:
    """Return the same function for the same n, so that nothing is compiled again."""

    def emit(state: State, info: Info) -> Estimate:
        cov = None if state.cov is None else state.cov[..., :n, :n]
        return Estimate(state.mean[..., :n], cov, info.log_likelihood)

    return emit


def lagged(state: State, info: Info) -> Estimate:
    """Keep the belief about x_t-lag, and the log-likelihood of y_t: the `emit` of `fixed_lag`."""
    belief = state.lagged
    return Estimate(belief.mean, belief.cov, info.log_likelihood)


def mean_only(state: State, info: Info) -> Float[Array, " n"]:
    """Keep the filtered mean."""
    del info
    return state.mean


def info_only(state: State, info: Info) -> Info:
    """Keep the Info."""
    del state
    return info


def extra_only(state: State, info: Info) -> dict[str, Any]:
    """Keep what a combinator or a probe reports."""
    del state
    return info.extra or {}


def innovation_only(state: State, info: Info) -> Float[Array, " m"] | None:
    """Keep the innovation."""
    del state
    return info.innovation


def log_likelihood_only(state: State, info: Info) -> Float[Array, ""] | None:
    """Keep the log-likelihood."""
    del state
    return info.log_likelihood


def state_and_log_likelihood(state: State, info: Info) -> tuple[State, Float[Array, ""] | Any]:
    """Keep the whole state and the log-likelihood."""
    return state, info.log_likelihood
