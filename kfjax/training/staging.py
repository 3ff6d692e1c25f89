"""Training in stages: short pieces before long trajectories, squared error before likelihood."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax import Array

from kfjax._support.arguments import check_count, check_key, check_kind, check_mapping, items_of
from kfjax._support.persistence import is_key
from kfjax._support.types import RunKeys
from kfjax.base import Params
from kfjax.data import Dataset, first_steps
from kfjax.training.checkpoints import Checkpoints
from kfjax.training.fitting import fit
from kfjax.training.history import Fitted, History, Report

__all__ = ["curriculum", "fit_stages"]


def fit_stages(
    loss: Callable,
    params: Params,
    stages: Sequence[Mapping[str, Any]],
    *,
    key: RunKeys,
    checkpoints: Checkpoints | None = None,
    **shared: Any,
) -> Fitted:
    """Train in stages, each starting from the best params of the previous one.

    Args:
        loss: as in `fit`, for stages without their own.
        params: as in `fit`.
        stages: the arguments of `fit` that belong to one stage, such as `{"data": ..., "updates":
            ...}`, or `"loss"`.
        key: random key, or keys for several runs.
        checkpoints: where to save, with one subdirectory per stage.
        **shared: arguments of `fit` for all stages; a callback gets counts that continue from one
            stage to the next, as in the history.

    Returns:
        `Fitted` of the last stage; its history is that of all stages.

    Raises:
        ValueError: if there are no stages, and as in `fit`.

    Example:
        The schedule recommended in the KalmanNet paper, and a likelihood after the squared error:

        >>> model = kf.systems.constant_velocity()
        >>> keys = jax.random.split(jax.random.key(0), 16)
        >>> xs, ys = jax.vmap(lambda key: kf.simulate(key, model, 40))(keys)
        >>> data, short = kf.Dataset(ys, xs), {"updates": 10}
        >>> split = kf.data.pieces(data, 10, prior_mean=model.prior.mean)
        >>> fitted = kf.training.fit_stages(
        ...     kf.training.state_mse(kf.extended()),
        ...     model.replace(R=4 * model.R),
        ...     [
        ...         {"data": split, **short},
        ...         {"data": data, **short},
        ...         {"data": data, "loss": kf.training.nll(kf.extended()), **short},
        ...     ],
        ...     key=jax.random.key(1),
        ...     learn=kf.StateSpaceModel.axes(R=True),
        ... )
        >>> int(fitted.history.update[-1])
        30
    """
    stages = items_of("fit_stages: stages", stages, "dicts such as {'data': data, 'updates': 1000}")
    check_key("fit_stages: key", key, many=True)
    if checkpoints is not None:
        check_kind("fit_stages: checkpoints", checkpoints, Checkpoints)
    histories: list[History] = []
    for number, stage in enumerate(stages):
        check_mapping(
            f"fit_stages: stage {number}", stage, "a dict such as {'data': data, 'updates': 1000}"
        )
        options = {"loss": loss, **shared, **stage}
        if missing := {"data", "updates"} - options.keys():
            raise ValueError(
                f"fit_stages: stage {number} lacks {', '.join(sorted(missing))}; expected data and"
                " updates in every stage, or in the arguments for all stages."
            )
        options["callback"] = _counted_on(options.get("callback"), histories)
        fitted = fit(
            options.pop("loss"),
            params,
            options.pop("data"),
            key=_fold_in(key, number),
            checkpoints=None if checkpoints is None else checkpoints.below(f"stage_{number}"),
            **options,
        )
        params = fitted.params
        histories.append(fitted.history)
    return fitted._replace(history=_joined(histories))


def curriculum(data: Dataset, lengths: Iterable[int], updates: int) -> list[dict[str, Any]]:
    """Return stages on increasingly long beginnings of the trajectories.

    Args:
        data: trajectories.
        lengths: numbers of steps in time, such as (20, 100, 400).
        updates: number of updates by the optimiser in each stage.

    Raises:
        ValueError: if there are no lengths, or a number is below one.

    Example:
        >>> stages = kf.training.curriculum(
        ...     kf.Dataset(np.zeros((8, 100, 1))), (20, 100), 500
        ... )
        >>> [stage["data"].steps for stage in stages]
        [20, 100]
    """
    check_count("curriculum: updates", updates)
    lengths = items_of("curriculum: lengths", lengths, "numbers of steps, such as (20, 100, 400)")
    return [{"data": first_steps(data, length), "updates": updates} for length in lengths]


def _counted_on(
    callback: Callable[[Report], Any] | None, earlier: list[History]
) -> Callable[[Report], Any] | None:
    """Return a callback whose reports count the updates of earlier stages."""
    if callback is None or not earlier:
        return callback
    before = _joined(earlier)
    made = before.update.max().item()
    refused = before.refused[..., -1]

    def counted(report: Report) -> Any:
        total = np.asarray(report.refused + refused)
        total = total.item() if total.ndim == 0 else total
        return callback(report._replace(update=report.update + made, refused=total))

    return counted


def _fold_in(key: Array, number: int) -> Array:
    """Return a different key for every stage and run."""
    if is_key(key) and key.ndim == 1:
        return jax.vmap(jax.random.fold_in, (0, None))(key, number)
    return jax.random.fold_in(key, number)


def _joined(histories: list[History]) -> History:
    """Return one history with cumulative counts of updates and refusals."""
    made = 0
    refused = 0
    joined = []
    for history in histories:
        updates = history.update + made
        joined.append(history._replace(update=updates, refused=history.refused + refused))
        made = updates[..., -1:].max()
        refused = refused + history.refused[..., -1:]
    return History(*(np.concatenate(parts, axis=-1) for parts in zip(*joined, strict=True)))
