"""Losses built from other losses: weighted sums, penalties, other parameters, random starts."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kfjax._support.arguments import check_function, check_number
from kfjax._support.naming import described
from kfjax._support.types import Key, PyTree
from kfjax.base import Gaussian, Params, State
from kfjax.data import Dataset
from kfjax.models.lens import model_of
from kfjax.training.mean_losses import FilterLoss
from kfjax.training.partitioning import partition

__all__ = [
    "BatchLoss",
    "l2",
    "random_start",
    "through",
    "weighted_sum",
]


def weighted_sum(*terms: tuple[float, Callable]) -> BatchLoss:
    """Return a loss that is a weighted sum of others; each runs its own filter.

    Args:
        *terms: pairs (weight, loss).

    Raises:
        ValueError: if there are no terms, or they are not pairs of a number and a loss.

    Example:
        >>> filter = kf.extended()
        >>> loss = kf.training.weighted_sum(
        ...     (1.0, kf.training.state_mse(filter)),
        ...     (0.1, kf.training.nll(filter)),
        ...     (1e-4, kf.training.l2()),
        ... )
    """
    if not terms or not all(
        isinstance(term, tuple) and len(term) == 2 and callable(term[1]) for term in terms
    ):
        raise ValueError(f"weighted_sum: got {terms}; expected pairs (weight, loss).")
    return WeightedSum(tuple((float(weight), loss) for weight, loss in terms))


def l2() -> BatchLoss:
    """Return |theta|^2, where theta is the network of `Learned`, or all params otherwise.

    The gamma of gamma |theta|^2 is its weight in `weighted_sum`. Adam's decoupled weight decay is
    `clipped_adam(weight_decay=)`.
    """
    return L2()


def through(loss: Callable, transform: Callable[[Any], Any]) -> BatchLoss:
    """Return the loss as a function of other parameters, loss(transform(theta), batch, key).

    Args:
        loss: a loss of the params that the filter takes.
        transform: `theta -> params`; a module-level function, since a new lambda in every call is
            compiled again.

    Example:
        >>> def positive(theta):
        ...     return kf.with_model(
        ...         theta["model"], R=jnp.exp(theta["log_r"]) * jnp.eye(1)
        ...     )
        >>> loss = kf.training.through(
        ...     kf.training.innovation_nll(kf.kalman()), positive
        ... )
    """
    check_function("through: loss", loss, "a loss (params, batch, key) -> scalar")
    check_function("through: transform", transform, "a function theta -> params")
    return Through(loss, transform)


def random_start(loss: Callable, std: float | tuple[float, ...]) -> BatchLoss:
    """Return the loss with random errors added to every initial mean.

    x_0 <- x_0 + d, d ~ N(0, diag(std^2)); the true states and observations stay.

    Args:
        loss: the loss; its params hold a model.
        std: standard deviation of the error, one number or one per component, in units of the
            state.

    Raises:
        ValueError: if std is negative.

    Example:
        >>> loss = kf.training.random_start(
        ...     kf.training.state_mse(kf.extended()), 0.5
        ... )
    """
    if isinstance(std, (tuple, list)):
        for one in std:
            check_number("random_start: std", one, least=0)
        std = tuple(map(float, std))
    else:
        check_number("random_start: std", std, least=0)
        std = float(std)
    return RandomStart(loss, std)


def filter_params(loss: object, params: Params) -> Iterator[Params]:
    """Yield the params that the filters inside a loss run with; none for a loss of one's own."""
    if isinstance(loss, FilterLoss):
        yield params
    elif isinstance(loss, WeightedSum):
        for _, term in loss.terms:
            yield from filter_params(term, params)
    elif isinstance(loss, Through):
        yield from filter_params(loss.loss, loss.transform(params))
    elif isinstance(loss, RandomStart):
        yield from filter_params(loss.loss, params)


class BatchLoss(abc.ABC):
    """A loss of a batch, `(params, batch, key) -> scalar`, that can continue from states.

    A call runs over whole trajectories from the start and discards the final states. `fit` with
    windows begins with `start` and continues with `continued`.
    """

    def __call__(self, params: Params, batch: PyTree, key: Key) -> Float[Array, ""]:
        """Return the loss of a batch."""
        return self.continued(params, batch, key, None)[0]

    @abc.abstractmethod
    def start(self, params: Params, batch: PyTree, key: Key) -> Any:
        """Return the states at the start of the trajectories."""

    @abc.abstractmethod
    def continued(self, params: Params, batch: PyTree, key: Key, states: State) -> tuple[Any, Any]:
        """Return the loss and the final states; states of None mean the start."""


@dataclasses.dataclass(frozen=True)
class WeightedSum(BatchLoss):
    """The loss that `weighted_sum` returns; its state is the tuple of its terms' states."""

    terms: tuple[tuple[float, Any], ...]

    def start(self, params: Params, batch: PyTree, key: Array) -> tuple:
        """Return the states of every term."""
        return tuple(loss.start(params, batch, key) for _, loss in self.terms)

    def continued(
        self, params: Params, batch: PyTree, key: Array, states: State
    ) -> tuple[Any, Any]:
        """Return the sum and the final states."""
        keys = jax.random.split(key, len(self.terms))
        if states is None:
            return sum(
                w * loss(params, batch, k) for (w, loss), k in zip(self.terms, keys, strict=True)
            ), None
        total: Any = 0
        ends: list[Any] = []
        for (weight, loss), k, state in zip(self.terms, keys, states, strict=True):
            value, end = loss.continued(params, batch, k, state)
            total = total + weight * value
            ends = [*ends, end]
        return total, tuple(ends)


@dataclasses.dataclass(frozen=True)
class L2(BatchLoss):
    """The loss that `l2` returns; it has no state."""

    def start(self, params: Params, batch: PyTree, key: Array) -> tuple:
        """Return an empty state."""
        del params, batch, key
        return ()

    def continued(
        self, params: Params, batch: PyTree, key: Array, states: State
    ) -> tuple[Any, Any]:
        """Return the sum of squares."""
        del batch, key
        learned, _ = partition(params)
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(learned)), states


@dataclasses.dataclass(frozen=True)
class Through(BatchLoss):
    """The loss that `through` returns."""

    loss: Any
    transform: Callable[[Any], Any]

    @property
    def is_squared_error(self) -> bool:
        """Whether the wrapped loss is a squared error."""
        return getattr(self.loss, "is_squared_error", False)

    def __call__(self, params: Params, batch: PyTree, key: Array) -> Array:
        """Return the loss of a batch; the wrapped loss may be any function."""
        return self.loss(self.transform(params), batch, key)

    def start(self, params: Params, batch: PyTree, key: Array) -> Any:
        """Return the states of the wrapped loss."""
        return self.loss.start(self.transform(params), batch, key)

    def continued(
        self, params: Params, batch: PyTree, key: Array, states: State
    ) -> tuple[Array, Any]:
        """Return the loss and the states at the end."""
        return self.loss.continued(self.transform(params), batch, key, states)


@dataclasses.dataclass(frozen=True)
class RandomStart(BatchLoss):
    """The loss that `random_start` returns."""

    loss: Any
    std: float | tuple[float, ...]

    @property
    def is_squared_error(self) -> bool:
        """Whether the wrapped loss is a squared error."""
        return getattr(self.loss, "is_squared_error", False)

    def __call__(self, params: Params, batch: Dataset, key: Array) -> Array:
        """Return the loss of a batch; the wrapped loss may be any function."""
        draw, key = jax.random.split(key)
        return self.loss(params, self.moved(params, batch, draw), key)

    def start(self, params: Params, batch: Dataset, key: Array) -> Any:
        """Return the states of the wrapped loss, from other initial means."""
        draw, key = jax.random.split(key)
        return self.loss.start(params, self.moved(params, batch, draw), key)

    def continued(
        self, params: Params, batch: Dataset, key: Array, states: State
    ) -> tuple[Array, Any]:
        """Return the loss and the states at the end."""
        return self.loss.continued(params, batch, key, states)

    def moved(self, params: Params, batch: Dataset, key: Array) -> Dataset:
        """Return the batch with other initial means."""
        if (model := model_of(params)) is None:
            raise ValueError(
                f"random_start: params is {described(params)}; expected a kf.StateSpaceModel, or"
                " params that hold one."
            )
        prior: Gaussian = model.prior
        size = batch.ys.shape[0]
        means = (
            jnp.broadcast_to(prior.mean[None], (size, *prior.mean.shape))
            if batch.prior_mean is None
            else batch.prior_mean
        )
        std = jnp.broadcast_to(jnp.asarray(self.std, model.dtype), (model.n,))
        errors = std[None, :] * jax.random.normal(key, (size, model.n), model.dtype)
        moved = jax.vmap(model.state_space.retract)(means, errors)
        return Dataset.unchecked(batch.ys, batch.xs, batch.us, batch.observed, batch.length, moved)
