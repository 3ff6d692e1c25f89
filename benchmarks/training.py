"""Training of learned filters from several random keys at once."""

from typing import NamedTuple

import jax

import kfjax as kf


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
