"""Training of learned filters from several random keys at once."""

from typing import NamedTuple

import jax

import kfjax as kf


class Budget(NamedTuple):
    """How a network is trained.

    The learning rate rises during the first tenth of the updates, and falls to a tenth of its
    largest value as a cosine.

    Attributes:
        updates: number of updates on whole trajectories, by squared error.
        split: number of updates before these, on pieces of `piece` steps that start at true states.
        likelihood: number of updates after these, by the likelihood of the true states, which
            trains covariances.
        piece: number of time steps in a piece.
        learning_rate: largest learning rate of Adam.
        batch_size: number of trajectories per update.
        ema: decay of the moving average of the weights, or None.
        weight_decay: weight decay of Adam.
        seeds: number of trainings, from different random keys.
        window: number of time steps of truncated backpropagation, which continues through the
            trajectories; None backpropagates through whole trajectories.
    """

    updates: int
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
        """Return a small budget, which only shows that everything runs."""

        def fewer(updates):
            return max(20, updates // 50) if updates else 0

        return self._replace(
            updates=fewer(self.updates),
            split=fewer(self.split),
            likelihood=fewer(self.likelihood),
            seeds=2,
        )


def optimizer(budget, updates):
    """Return clipped Adam whose learning rate warms up and then falls."""
    schedule = kf.training.Cosine(budget.learning_rate, updates, warmup=0.1)
    return kf.training.clipped_adam(schedule, weight_decay=budget.weight_decay)


def train(filter, model, parts, budget, constants=None, pieces_of=None):
    """Train a learned filter from all seeds at once.

    Args:
        filter: the learned filter.
        model: its design model.
        parts: training data, and the validation data that choose the update to keep.
        budget: the `Budget`.
        constants: constants of the network, see `kfjax.learned.init_params`.
        pieces_of: trajectories to cut pieces from, by default the training data.

    Returns:
        The fitted parameters and history, with a leading axis over seeds.
    """
    keys = jax.random.split(jax.random.key(1), budget.seeds)
    params = jax.vmap(lambda key: kf.learned.init_params(key, filter, model, constants))(keys)
    by_error = {"loss": kf.training.state_mse(filter)}
    whole = {"data": parts.train, "window": budget.window}
    stages = []
    if budget.split:
        source = parts.train if pieces_of is None else pieces_of
        pieces = kf.data.pieces(source, budget.piece, prior_mean=model.prior.mean)
        stages.append(by_error | {"data": pieces, "updates": budget.split})
    if budget.updates:
        stages.append(by_error | whole | {"updates": budget.updates})
    if budget.likelihood:
        stages.append(whole | {"loss": kf.training.nll(filter), "updates": budget.likelihood})
    return kf.training.fit_stages(
        None,
        params,
        [stage | {"optimizer": optimizer(budget, stage["updates"])} for stage in stages],
        key=keys,
        batch_size=budget.batch_size,
        validation=parts.validation,
        ema=budget.ema,
    )
