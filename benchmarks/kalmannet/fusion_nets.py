"""KalmanNet on the NCLT sessions with GPS, trained in two ways.

By the recipe of the authors of the published one, J. Song et al., Practical implementation of
KalmanNet for accurate data fusion in integrated navigation, IEEE Signal Process. Lett. (2024):
windows of 100 steps that start at true positions, smooth L1 loss, Adam with a constant rate and
weight decay, gradients clipped at 1, and whole sessions for validation. They train on 22 sessions
of 2012; here, one is left for training. And on long pieces of that session, through which training
continues window by window, at a lower rate.

Wheels and heading are inputs, and only the position is a state: the other states of the authors'
model are overwritten by the inputs in every step.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

import kfjax as kf
from benchmarks.estimates import mean_only
from benchmarks.kalmannet import fusion
from benchmarks.kalmannet.fusion import LARGE, SESSIONS, SMALL

SEEDS = 3
WINDOW = 100  # steps
DECAY = 1e-4  # of the weights


class Recipe(NamedTuple):
    """How KalmanNet is trained.

    Attributes:
        steps: length of a piece of the session, which starts at its true position.
        stride: steps between the starts of two pieces.
        batch_size: pieces per update.
        updates: number of updates.
        validation: names of the sessions that choose the update to keep.
        reports: how often they are evaluated.
        peak: learning rate; the largest one, if it falls.
        falls: whether it warms up and falls as a cosine, and weights are averaged.
    """

    steps: int
    stride: int
    batch_size: int
    updates: int
    validation: tuple[str, ...]
    reports: int
    peak: float
    falls: bool

    @property
    def rate(self):
        """The learning rate, or its schedule."""
        if not self.falls:
            return self.peak
        return kf.training.Cosine(self.peak, self.updates, warmup=0.1)


PUBLISHED = Recipe(WINDOW, 25, 64, 3000, (SMALL,), 100, 1e-3, False)
LONG = Recipe(1200, 100, 16, 1000, (LARGE, SMALL), 20, 2e-4, True)


@dataclasses.dataclass(frozen=True)
class SmoothL1:
    """The term of a loss: quadratic within a metre, linear beyond."""

    def __call__(self, params, trajectory, mean):
        """Return the values and which count, both [T, n]."""
        del params
        error = trajectory.xs - mean
        known = ~jnp.isnan(error)
        size = jnp.abs(jnp.where(known, error, 0))
        return jnp.where(size < 1, 0.5 * size**2, size - 0.5), known


def smooth_l1(method):
    """Return the loss of a filter."""
    return kf.training.FilterLoss(method, SmoothL1(), mean_only)


def step(scale, x, u):
    """Move the position by wheels and heading."""
    return x + scale * u[0] * jnp.stack([jnp.cos(u[1]), jnp.sin(u[1])])


def positions(theta):
    """Return the model whose state is the position; the noise does not matter here."""
    scale = jnp.asarray(theta["wheel_scale"], jnp.float32)
    prior = kf.Gaussian(jnp.zeros(2), jnp.eye(2))
    return kf.linear_gaussian(
        jnp.eye(2), jnp.eye(2), jnp.eye(2), jnp.exp(2 * theta["fix"]) * jnp.eye(2), prior
    ).replace(f=Partial(step, scale))


def pieces(recipe):
    """Return pieces of the large 2013 session."""
    gps, truth, inputs = fusion.session(SESSIONS[LARGE])
    starts = np.arange(1, len(gps) - recipe.steps + 1, recipe.stride)
    rows = starts[:, None] + np.arange(recipe.steps)
    return kf.Dataset(gps[rows], truth[rows], inputs[rows], prior_mean=truth[starts - 1])


def trained(theta, recipe):
    """Return KalmanNet with the position as its state, and what was fitted from all seeds."""
    method = kf.learned.published("C4")
    model = positions(theta)
    keys = jax.random.split(jax.random.key(1), SEEDS)
    params = jax.vmap(lambda key: kf.learned.init_params(key, method, model))(keys)
    fitted = kf.training.fit(
        smooth_l1(method),
        params,
        pieces(recipe),
        key=keys,
        updates=recipe.updates,
        batch_size=recipe.batch_size,
        optimizer=kf.training.clipped_adam(recipe.rate, weight_decay=DECAY),
        ema=0.99 if recipe.falls else None,
        window=None if recipe.steps == WINDOW else WINDOW,
        validation=fusion.sessions(*recipe.validation, states=2),
        validation_loss=kf.training.state_mse(method),
        reports=recipe.reports,
    )
    return method, fitted
