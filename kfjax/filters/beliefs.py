"""Beliefs one step ahead and in observation space."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from kfjax._support.compiling import jit
from kfjax._support.naming import described
from kfjax._support.pytrees import at, prepended
from kfjax._support.types import PyTree
from kfjax._support.values import ARRAYS, check_belief, check_finite
from kfjax.base import Filter, Gaussian, Inputs, Params
from kfjax.filters.checks import check_filter
from kfjax.models.augmented_state import is_correlated, with_own_noise
from kfjax.models.lens import model_of
from kfjax.models.observing import bind
from kfjax.models.records import checked_inputs
from kfjax.models.runtime_checks import check_first_noise
from kfjax.models.state_space import StateSpaceModel

__all__ = ["observation_estimate", "predicted"]


def predicted(
    filter: Filter,
    params: Params,
    estimate: PyTree,
    *,
    us: Inputs = None,
    prior: Gaussian | None = None,
) -> Gaussian:
    """Return the beliefs one step ahead, about x_t given y_1..t-1 for t = 1..T, from filtered ones.

    With first="update" in the model, the belief about x_1 is the prior.

    Args:
        filter: a filter with a moment rule.
        params: the `StateSpaceModel`, or params that hold one.
        estimate: filtered mean [T, n] and cov [T, n, n], as from `kfjax.run`.
        us: the inputs of that run.
        prior: the belief about x_0 of that run, if it was started from a `state`; default the prior
            of the model.

    Returns:
        `Gaussian` with mean [T, n] and cov [T, n, n].

    Raises:
        ValueError: if the filter has no rule or the estimate has no covariance.
    """
    model = model_and_rule("predicted", filter, params, estimate, us)
    if prior is not None:
        check_belief("predicted: prior", prior)
    check_first_noise("predicted", model, us, before=prior, names="Q")
    filtered = belief_of(estimate)
    earlier = at(filtered, slice(-1))
    if prior is None and model.first == "update":
        return prepended(
            model.proper_prior, _predicted(filter, model, earlier, at(us, slice(1, None)))
        )
    before = belief_of(model.proper_prior if prior is None else prior)
    return _predicted(filter, model, prepended(before, earlier), us)


@functools.partial(jit, static_argnums=0)
def _predicted(filter: Filter, model: StateSpaceModel, beliefs: Gaussian, us: Inputs) -> Gaussian:
    space = model.state_space

    def one(belief: Gaussian, u: Inputs) -> Gaussian:
        # by the rule, not by filter.predict, whose state may be more than a Gaussian
        moments = filter.rule(bind(model.f, u), belief, space, space)
        return Gaussian(moments.mean, moments.cov + model.process_noise(belief.mean, u))

    return jax.vmap(one)(beliefs, us)


def observation_estimate(
    filter: Filter, params: Params, estimate: PyTree, *, us: Inputs = None
) -> Gaussian:
    """Return beliefs about a new observation y_t, noise included, from beliefs about x_t.

    Noise in the state (`kfjax.non_additive`) is drawn anew for the new observation, whatever is
    known of the noise of the last one.

    Args:
        filter: a filter with a moment rule.
        params: the `StateSpaceModel`, or params that hold one.
        estimate: mean [T, n] and cov [T, n, n]: predicted, filtered, or smoothed.
        us: inputs [T, ...], or None.

    Returns:
        `Gaussian` with mean [T, m] and cov [T, m, m] = Cov[h(x_t)] + R.

    Raises:
        ValueError: if the filter has no rule, the estimate no covariance, or the observation noise
            is correlated with the state (`kfjax.correlated`).

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> xs, ys = kf.simulate(jax.random.key(0), model, steps=10)
        >>> est = kf.run(kf.kalman(), model, ys).outputs
        >>> ahead = kf.predicted(kf.kalman(), model, est)
        >>> kf.observation_estimate(kf.kalman(), model, ahead).mean.shape
        (10, 1)
    """
    model = model_and_rule("observation_estimate", filter, params, estimate, us, observes=True)
    if is_correlated(model):
        raise ValueError(
            "observation_estimate: the observation noise is correlated with the state, and a"
            " belief does not tell whether y_t was used; expected uncorrelated noise. Use"
            " kf.forecast, or the innovation and innovation_cov of kf.run(...,"
            " emit=kf.estimate_and_info)."
        )
    check_noise_at("observation_estimate", model, estimate, us)
    return new_observations(filter, model, belief_of(estimate), us)


@functools.partial(jit, static_argnums=0)
def new_observations(
    filter: Filter, model: StateSpaceModel, beliefs: Gaussian, us: Inputs
) -> Gaussian:
    """Return beliefs about observations; with correlated noise, from predicted beliefs only."""

    def one(belief: Gaussian, u: Inputs) -> Gaussian:
        belief = belief if is_correlated(model) else with_own_noise(model, belief)
        h = bind(model.h, u, name="h")
        moments = filter.rule(h, belief, model.state_space, model.observation_space)
        return Gaussian(moments.mean, moments.cov + model.observation_noise(belief.mean, u))

    return jax.vmap(one)(beliefs, us)


def check_noise_at(who: str, model: StateSpaceModel, estimate: Any, us: Inputs) -> None:
    """Raise unless a function R gives a covariance at the first of these beliefs."""
    if callable(model.R):
        check_first_noise(who, model, us, before=at(belief_of(estimate), 0), moves=False, names="R")


def belief_of(estimate: Any) -> Gaussian:
    """Return the mean and covariance of anything that has them."""
    return Gaussian(estimate.mean, estimate.cov)


def model_and_rule(
    who: str,
    filter: Filter,
    params: Params,
    estimate: Any,
    us: Inputs,
    *,
    observes: bool = False,
) -> StateSpaceModel:
    """Return the model; raise unless there are a rule, a model and beliefs over time.

    Args:
        who: the function whose arguments these are, for error texts.
        filter: the filter.
        params: its params.
        estimate: beliefs over time.
        us: inputs.
        observes: whether h is needed too.
    """
    check_filter(who, filter)
    model = model_of(params)
    if filter.rule is None or model is None:
        raise ValueError(
            f"{who}: the filter has no moment rule, or params ({type(params).__name__}) have no"
            " model; expected a Gaussian filter such as kf.extended() and a StateSpaceModel."
        )
    if observes and model.h is None:
        raise ValueError(
            f"{who}: params have several sensors; expected the model with one of them. Pass"
            " sensors.one(name)."
        )
    if not isinstance(getattr(estimate, "mean", None), ARRAYS):
        raise ValueError(
            f"{who}: the estimate is {described(estimate)}; expected mean [T, n] and cov [T, n,"
            " n]. For a run, pass its .outputs."
        )
    if estimate.cov is None:
        raise ValueError(
            f"{who}: the estimate has no covariance; expected mean [T, n] and cov [T, n, n]."
        )
    steps = jnp.shape(estimate.mean)[:1]
    N = model.proper_prior.mean.shape[0]
    n = model.n
    if not steps or estimate.mean.shape != (*steps, N) or estimate.cov.shape != (*steps, n, n):
        raise ValueError(
            f"{who}: the estimate has mean {jnp.shape(estimate.mean)} and cov"
            f" {jnp.shape(estimate.cov)}; expected [T, {N}] and [T, {n}, {n}]. A batch goes through"
            " jax.vmap."
        )
    for name in ("mean", "cov"):
        check_finite(f"{who}: the estimate's {name}", getattr(estimate, name))
    check_input_steps(who, us, steps[0])
    return model


def check_input_steps(who: str, us: Inputs, steps: int) -> None:
    """Raise unless inputs are numbers with a leading axis of so many steps."""
    for leaf in jax.tree.leaves(checked_inputs(who, us)):
        if jnp.shape(leaf)[:1] != (steps,):
            raise ValueError(
                f"{who}: us has shape {jnp.shape(leaf)}; expected a leading axis of {steps} steps."
            )
