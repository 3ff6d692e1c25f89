"""Hidden Markov models for tests, and all their paths, one by one, in numpy."""

import itertools
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.stats
from jax.tree_util import Partial

import kfjax as kf

STEPS = 6
CHAIN = np.array([[0.8, 0.15, 0.05], [0.1, 0.7, 0.2], [0.25, 0.25, 0.5]])
WEIGHTS = np.array([0.5, 0.3, 0.2])


class Case(NamedTuple):
    """A model with data: ys [T, m], us, and a mask [T, m] with full, empty and partial rows."""

    model: kf.HiddenMarkovModel
    ys: Any
    us: Any
    observed: Any


def hurried(logits: Any, u: Any) -> Any:
    """Transition probabilities that depend on an input."""
    scores = logits + jnp.eye(logits.shape[0]) * (1 + u[0])
    return jnp.exp(scores) / jnp.exp(scores).sum(axis=1, keepdims=True)


def mask() -> np.ndarray:
    """What was observed of two channels."""
    seen = np.ones((STEPS, 2), bool)
    seen[1], seen[3, 0], seen[4, 1] = False, False, False
    return seen


def gaussian() -> Case:
    """Three regimes, two correlated channels, transitions that depend on an input."""
    rng = np.random.default_rng(0)
    covs = np.array([[[1.0, 0.5], [0.5, 2.0]], [[0.5, -0.2], [-0.2, 0.4]], [[2.0, 0], [0, 1]]])
    emission = kf.GaussianEmission([[0.0, 1.0], [2.0, -1.0], [-1.0, 0.5]], covs)
    chain = Partial(hurried, jnp.log(jnp.asarray(CHAIN)))
    model = kf.HiddenMarkovModel(emission, chain, WEIGHTS)
    return Case(model, rng.normal(size=(STEPS, 2)), rng.normal(size=(STEPS, 1)), mask())


def counts() -> Case:
    """Three regimes, two channels of counts; the weights are about z_0."""
    rng = np.random.default_rng(1)
    emission = kf.PoissonEmission([[1.0, 5.0], [4.0, 2.0], [9.0, 0.5]])
    model = kf.HiddenMarkovModel(emission, CHAIN, WEIGHTS, first="predict")
    return Case(model, rng.poisson(4.0, size=(STEPS, 2)).astype(float), None, mask())


def symbols() -> Case:
    """Three regimes, two channels of four categories; one transition is impossible."""
    rng = np.random.default_rng(2)
    p = rng.dirichlet(np.ones(4), size=(3, 2))
    chain = CHAIN + np.array([[0.05, 0, -0.05], [0, 0, 0], [0, 0, 0]])
    model = kf.HiddenMarkovModel(kf.CategoricalEmission(p), chain, WEIGHTS)
    return Case(model, rng.integers(0, 4, size=(STEPS, 2)).astype(float), None, mask())


CASES = {"gaussian": gaussian, "counts": counts, "symbols": symbols}


def density(emission: Any, k: int, y: Any, seen: Any) -> float:
    """Return log p(y | k) of the observed channels."""
    if isinstance(emission, kf.GaussianEmission):
        mean, cov = np.asarray(emission.mean[k])[seen], np.asarray(emission.cov[k])
        cov = cov[np.ix_(seen, seen)]
        return scipy.stats.multivariate_normal(mean, cov).logpdf(y[seen]) if seen.any() else 0.0
    if isinstance(emission, kf.PoissonEmission):
        return scipy.stats.poisson.logpmf(y[seen], np.asarray(emission.rate[k])[seen]).sum()
    p = np.asarray(emission.probabilities[k])
    return sum(np.log(p[i, int(y[i])]) for i in np.flatnonzero(seen))


class Enumerated(NamedTuple):
    """Sums over all paths.

    Attributes:
        filtered: p(z_t | y_1..t) [T, K].
        log_likelihood: log p(y_t | y_1..t-1) [T].
        smoothed: p(z_t | y_1..T) [T, K].
        joint: p(z_t-1, z_t | y_1..T) [T, K, K], zero at t = 1 without a z_0.
        best: the most likely path [T], and the logarithm of its probability.
    """

    filtered: Any
    log_likelihood: Any
    smoothed: Any
    joint: Any
    best: tuple[Any, float]


def enumerated(case: Case) -> Enumerated:
    """Return the beliefs of a case by the sum over all paths of regimes."""
    model, T, K = case.model, len(case.ys), case.model.regimes
    begins = model.first == "update"
    inputs = [None] * T if case.us is None else case.us
    chains = [np.asarray(model.transition_at(u)) for u in inputs]
    emitted = [
        [density(model.emission, k, y, seen) for k in range(K)]
        for y, seen in zip(case.ys, case.observed, strict=True)
    ]
    weights = np.asarray(model.weights)
    paths = list(itertools.product(range(K), repeat=T if begins else T + 1))
    scores = np.full((len(paths), T), -np.inf)  # of the first t steps of each path
    with np.errstate(divide="ignore"):
        for i, path in enumerate(paths):
            z = path if begins else path[1:]
            total = np.log(weights[path[0]])
            for t in range(T):
                if t or not begins:
                    total += np.log(chains[t][z[t - 1] if t else path[0], z[t]])
                total += emitted[t][z[t]]
                scores[i, t] = total
    regimes = np.array(paths) if begins else np.array(paths)[:, 1:]
    totals, filtered = np.zeros(T), np.zeros((T, K))
    for t in range(T):
        # paths that agree up to t are one
        _, first = np.unique(
            np.array(paths)[:, : t + (1 if begins else 2)], axis=0, return_index=True
        )
        p = np.exp(scores[first, t])
        totals[t] = np.log(p.sum())
        filtered[t] = [p[regimes[first, t] == k].sum() / p.sum() for k in range(K)]
    p = np.exp(scores[:, -1] - totals[-1])
    smoothed = np.array([[p[regimes[:, t] == k].sum() for k in range(K)] for t in range(T)])
    joint = np.zeros((T, K, K))
    for t in range(int(begins), T):
        at = t if begins else t + 1
        for i, j in itertools.product(range(K), repeat=2):
            whole = np.array(paths)
            joint[t, i, j] = p[(whole[:, at - 1] == i) & (whole[:, at] == j)].sum()
    top = scores[:, -1].argmax()
    best = regimes[top], scores[top, -1]
    return Enumerated(filtered, np.diff(totals, prepend=0.0), smoothed, joint, best)
