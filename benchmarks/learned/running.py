"""What the studies share: official data, training of several seeds at once, tuned classical filters, errors in dB."""

import functools
import os
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import kfjax as kf
from benchmarks.learned.results import Measured
from kfjax.data import run_trajectory

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks" / "models"))


class Budget(NamedTuple):
    """How long and how a network is trained; the learning rate rises for a tenth, and falls to a tenth as a cosine.

    Attributes:
        steps: of the optimiser, on whole trajectories.
        split: before that, as many steps on pieces of `piece` steps that start at true states.
        likelihood: after that, as many steps by the likelihood of the true states, which trains
            covariances.
        window: steps of truncated backpropagation that goes on through the trajectories; None takes
            them whole.
    """

    steps: int
    split: int = 0
    likelihood: int = 0
    piece: int = 5
    learning_rate: float = 2e-3
    batch_size: int = 32
    ema: float | None = 0.99
    weight_decay: float = 0.0
    seeds: int = 5
    window: int | None = None

    def quick(self):
        """Return a budget that shows no more than that everything runs."""
        split, steps, likelihood = (
            n and max(20, n // 50) for n in (self.split, self.steps, self.likelihood)
        )
        return self._replace(split=split, steps=steps, likelihood=likelihood, seeds=2)


@functools.cache
def official(name):
    """Return the train, validation and test parts of an official data set."""
    return kf.data.read_parts(official_file(name))


def official_file(name):
    """Return where an official data set is looked for."""
    folder = Path(os.environ.get("KFJAX_DATA", ROOT.parent / "shared" / "data"))
    return folder / "kalmannet" / f"{name}.npz"


def shortened(parts, steps):
    """Return parts whose trajectories for training and validation are cut to their first steps."""
    return parts._replace(
        train=kf.data.first_steps(parts.train, steps),
        validation=kf.data.first_steps(parts.validation, steps),
    )


def optimizer(budget, steps):
    """Return clipped Adam with a warm start and a falling rate."""
    schedule = kf.training.Cosine(budget.learning_rate, steps, warmup=0.1)
    return kf.training.clipped_adam(schedule, weight_decay=budget.weight_decay)


def train(filter, model, parts, budget, constants=None, pieces_of=None):
    """Train all seeds of a learned filter at once: by squared error, then, if the budget says so, by likelihood.

    Pieces are cut from `pieces_of`, by default from the training data.
    """
    keys = jax.random.split(jax.random.key(1), budget.seeds)
    params = jax.vmap(lambda key: kf.learned.init(key, filter, model, constants))(keys)
    by_error, whole = (
        {"loss": kf.training.mse(filter)},
        {"data": parts.train, "window": budget.window},
    )
    stages = []
    if budget.split:
        whole_ones = parts.train if pieces_of is None else pieces_of
        pieces = kf.data.pieces(whole_ones, budget.piece, prior_mean=model.prior.mean)
        stages.append(by_error | {"data": pieces, "steps": budget.split})
    if budget.steps:
        stages.append(by_error | whole | {"steps": budget.steps})
    if budget.likelihood:
        stages.append(whole | {"loss": kf.training.nll(filter), "steps": budget.likelihood})
    return kf.training.fit_stages(
        None,
        params,
        [stage | {"optimizer": optimizer(budget, stage["steps"])} for stage in stages],
        key=keys,
        batch_size=budget.batch_size,
        validation=parts.validation,
        ema=budget.ema,
    )


def decibels(filter, params, data, *, many=False):
    """Return the MSE in dB over all trajectories, steps and dimensions; of params of several seeds, one for each."""
    mean = (
        means(filter, params, data)
        if not many
        else jax.vmap(lambda p: means(filter, p, data))(params)
    )
    error = np.asarray(mean, np.float64) - np.asarray(data.xs, np.float64)
    values = 10 * np.log10(np.mean(error**2, axis=(-3, -2, -1)))
    return values.round(4).tolist()


@functools.partial(jax.jit, static_argnums=0)
def means(filter, params, data):
    """Return the estimates of all trajectories."""
    keys = jax.random.split(jax.random.key(0), data.ys.shape[0])
    return jax.vmap(lambda one, k: run_trajectory(filter, params, one, key=k, emit=_mean)[1])(
        data, keys
    )


def _mean(state, info):
    del info
    return state.mean


def learned(filter, model, parts, tests, budget, constants=None):
    """Return the row of a learned filter: its errors on test data, by column."""
    fitted = train(filter, model, parts, budget, constants)
    values = {
        column: decibels(filter, fitted.params, data, many=True) for column, data in tests.items()
    }
    settings = budget._asdict() | {"best_steps": np.asarray(fitted.step).tolist()}
    return Measured(values, settings | {"refused_steps": np.asarray(fitted.refused).tolist()})


def classical(filter, model, tests):
    """Return the row of a filter with a given model."""
    return Measured({column: decibels(filter, model, data) for column, data in tests.items()})


def tuned(filter, model, parts, tests, **options):
    """Return the row of a filter whose noise is tuned on training data and chosen on validation data."""
    options = {"structure": "diagonal", "objective": "mse"} | options
    found = kf.training.tune(filter, model, parts.train, parts.validation, **options)
    factors = {name: np.round(getattr(found.scales, name), 6).tolist() for name in ("Q", "R")}
    return Measured(classical(filter, found.params, tests).values, options | {"factors": factors})


def simulated(key, model, trajectories, steps, std=0.0):
    """Return trajectories from known, random x_0 ~ N(prior mean, std^2 I)."""
    start, key = jax.random.split(key)
    n = model.n
    initial = model.prior.mean[None] + std * jax.random.normal(start, (trajectories, n))

    def one(k, x):
        return kf.simulate(k, model.replace(prior=kf.systems.known(x)), steps)

    xs, ys = jax.vmap(one)(jax.random.split(key, trajectories), initial)
    return kf.Dataset(ys, xs, prior_mean=np.asarray(initial))


def floor_db(model, steps):
    """Return the least MSE of a linear model, from theory, in dB."""
    cov = kf.evaluation.expected_error(model, steps=steps)
    return float(10 * jnp.log10(jnp.trace(cov, axis1=1, axis2=2).mean() / model.n))
