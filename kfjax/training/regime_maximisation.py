"""Expectation maximisation of hidden Markov models (Baum-Welch)."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax import linalg
from kfjax._support.arguments import choose_some
from kfjax._support.compiling import jit
from kfjax._support.naming import described
from kfjax._support.precision import eps_of
from kfjax.data.dataset import Dataset
from kfjax.models.emissions import CategoricalEmission, GaussianEmission, PoissonEmission
from kfjax.models.hidden_markov import HiddenMarkovModel
from kfjax.smoothers.hidden_regimes import forward_backward

__all__: list[str] = []

CHAIN = ("transition", "weights")


class Weighted(NamedTuple):
    """All observations, with the weights of the regimes.

    Attributes:
        ys: [N T, m].
        seen: what was observed and counts [N T, m].
        weights: p(z_t = k | y_1..T) where anything was observed, otherwise zero [N T, K].
    """

    ys: Array
    seen: Array
    weights: Array


def em_regimes(
    model: HiddenMarkovModel, data: Dataset, learn: Sequence[str] | None, iterations: int
) -> tuple[HiddenMarkovModel, Array]:
    """Return the fitted model and the log-likelihoods of `kfjax.training.em`."""
    kind = type(model.emission)
    fields = [field.name for field in dataclasses.fields(kind)] if kind in STEPS else []
    learn = (*CHAIN, *fields) if learn is None else learn
    try:
        choose_some("em: learn", learn, (*CHAIN, *fields))
    except ValueError as error:
        if fields:
            raise
        raise ValueError(
            f"{error} The emission is {described(model.emission)}, whose step is not known: fit it"
            " by gradient."
        ) from None
    names = frozenset(learn)
    if "transition" in names and callable(model.transition):
        raise ValueError(
            "em: transition is a function, but must be an array to be learned; expected"
            " learn=[...] without it. Fit its parameters by gradient."
        )
    if not isinstance(data, Dataset):
        raise ValueError(
            f"em: data is a {type(data).__name__}; expected a Dataset. One record is"
            " kf.Dataset(ys[None])."
        )
    if data.prior_mean is not None:
        raise ValueError("em: the data have prior means; expected none for a hidden Markov model.")
    fitted, history = _em_regimes(names, iterations, model, data)
    _warn_of_collapse(fitted, data)
    return fitted, history


@functools.partial(jit, static_argnums=(0, 1))
def _em_regimes(
    names: frozenset[str], iterations: int, model: HiddenMarkovModel, data: Dataset
) -> tuple[HiddenMarkovModel, Array]:
    def one(model: HiddenMarkovModel, row: Dataset) -> Any:
        return forward_backward(model, row.ys, us=row.us, observed=row.observed, length=row.length)

    def iterate(model: HiddenMarkovModel, _: None) -> tuple[HiddenMarkovModel, Array]:
        smoothed = jax.vmap(functools.partial(one, model))(data)
        return _maximised(names, model, smoothed, data), jnp.sum(smoothed.log_likelihood)

    fitted, history = jax.lax.scan(iterate, model, length=iterations)
    last = jax.vmap(functools.partial(one, fitted))(data).log_likelihood
    return fitted, jnp.append(history, jnp.sum(last))


def _maximised(
    names: frozenset[str], model: HiddenMarkovModel, smoothed: Any, data: Dataset
) -> HiddenMarkovModel:
    """Return the model of the M-step."""
    transition, start, emission = model.transition, model.weights, model.emission
    if "transition" in names:
        transition = _shares(jnp.sum(smoothed.joint, axis=(0, 1)), transition)
    if "weights" in names:
        first = smoothed.weights[:, 0] if smoothed.initial is None else smoothed.initial
        start = jnp.mean(first, axis=0)
    if names - set(CHAIN):
        step = STEPS[type(emission)]
        emission = step(names, emission, _weighted(smoothed.weights, data))
    return HiddenMarkovModel.unchecked(emission, transition, start, model.first)


def _weighted(weights: Array, data: Dataset) -> Weighted:
    """Return the observations of all trajectories in one series."""
    ys = jnp.asarray(data.ys, weights.dtype)
    seen = jnp.ones(ys.shape, bool) if data.observed is None else jnp.asarray(data.observed, bool)
    if data.length is not None:
        active = jnp.arange(ys.shape[1])[None, :] < jnp.asarray(data.length)[:, None]
        seen = seen & active[..., None]
    m, K = ys.shape[-1], weights.shape[-1]
    seen = seen.reshape(-1, m)
    weights = jnp.where(seen.any(axis=1)[:, None], weights.reshape(-1, K), 0)
    return Weighted(jnp.where(seen, ys.reshape(-1, m), 0), seen, weights)


def _shares(counts: Array, before: Array) -> Array:
    """Return counts as probabilities over the last axis, or the earlier ones without counts."""
    total = jnp.sum(counts, axis=-1, keepdims=True)
    return jnp.where(total > 0, counts / jnp.where(total > 0, total, 1), before)


def _gaussian(names: frozenset[str], emission: Any, data: Weighted) -> Any:
    """Return the step of Gaussian emissions, in which missing channels have their expectations."""

    def one(mean: Array, cov: Array, weights: Array) -> tuple[Array, Array]:
        def expected(y: Array, seen: Array) -> tuple[Array, Array]:
            # E[y - mean | observed channels] = gain innovation, Cov = cov - gain cov_seen; observed
            # channels have a row of the identity in the gain and no covariance
            both = seen[:, None] & seen[None, :]
            R = jnp.where(both, cov, jnp.diag((~seen).astype(cov.dtype)))
            cross = jnp.where(seen[None, :], cov, 0)
            gain = linalg.factorise(R).solve(cross.T).T
            error = linalg.matmul(gain, jnp.where(seen, y - mean, 0))
            either = seen[:, None] | seen[None, :]
            rest = jnp.where(either, 0, cov - linalg.matmul(gain, cross.T))
            return error, rest

        errors, rests = jax.vmap(expected)(data.ys, data.seen)
        total = jnp.sum(weights)
        some = total > 0
        shares = weights / jnp.where(some, total, 1)
        moved = jnp.where(some, linalg.matmul(errors.T, shares), 0)
        shift = moved if "mean" in names else jnp.zeros_like(moved)
        centred = errors - shift[None, :]
        spread = linalg.weighted_gram(shares, centred, centred)
        new = spread + jnp.sum(shares[:, None, None] * rests, axis=0)
        learned = linalg.symmetric(new) if "cov" in names else cov
        return mean + shift, jnp.where(some, learned, cov)

    means, covs = jax.vmap(one)(emission.mean, emission.cov, data.weights.T)
    return GaussianEmission.unchecked(means, covs)


def _poisson(names: frozenset[str], emission: Any, data: Weighted) -> Any:
    """Return the step of Poisson emissions: mean counts of the observed channels."""
    del names
    total = linalg.matmul(data.weights.T, data.seen.astype(data.ys.dtype))
    counts = linalg.matmul(data.weights.T, data.ys)
    rate = jnp.where(total > 0, counts / jnp.where(total > 0, total, 1), emission.rate)
    return PoissonEmission.unchecked(jnp.maximum(rate, jnp.finfo(rate.dtype).tiny))


def _categorical(names: frozenset[str], emission: Any, data: Weighted) -> Any:
    """Return the step of categorical emissions: shares of the observed categories."""
    del names
    p = emission.probabilities
    categories = jnp.arange(p.shape[-1], dtype=data.ys.dtype)
    chosen = (data.ys[..., None] == categories[None, None]) & data.seen[..., None]
    counts = jnp.einsum("tk,tmc->kmc", data.weights, chosen.astype(p.dtype))
    return CategoricalEmission.unchecked(_shares(counts, p))


STEPS: dict[type, Callable[[frozenset[str], Any, Weighted], Any]] = {
    GaussianEmission: _gaussian,
    PoissonEmission: _poisson,
    CategoricalEmission: _categorical,
}


def _warn_of_collapse(model: HiddenMarkovModel, data: Dataset) -> None:
    """Warn if a Gaussian has shrunk to a point, where the likelihood has no bound."""
    if not isinstance(model.emission, GaussianEmission):
        return
    covs = np.asarray(model.emission.cov, np.float64)
    seen = np.ones(np.shape(data.ys), bool) if data.observed is None else np.asarray(data.observed)
    scale = np.sqrt([np.var(data.ys[..., i][seen[..., i]]) for i in range(covs.shape[-1])])
    scale = np.where(scale > 0, scale, 1)
    scaled = np.where(np.isfinite(covs), covs / np.outer(scale, scale), 0)
    lowest = np.linalg.eigvalsh(scaled).min(axis=1)
    if (lowest < 100 * eps_of(model.emission.cov)).any():
        warnings.warn(
            f"em: the covariance of regime {lowest.argmin()} has become singular: the likelihood"
            " has no bound where a regime emits a single value. Start elsewhere, take fewer"
            " regimes, or keep the covariances: learn=['transition', 'weights', 'mean'].",
            stacklevel=4,
        )
