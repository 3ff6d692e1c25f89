"""One series, or many, as a `Dataset`."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from kfjax._support.arguments import real_numbers
from kfjax.data.dataset import Dataset

__all__: list[str] = []


def as_dataset(who: str, data: Any, us: Any = None, observed: Any = None) -> Dataset:
    """Return a `Dataset` as it is, and one series ys [T, m] as a `Dataset` of one trajectory.

    Args:
        who: the function, for error texts.
        data: a `Dataset`, or ys [T, m].
        us: inputs of one series, with a leading axis of T, or None.
        observed: what was seen of one series, booleans [T] or [T, m], or None.
    """
    if isinstance(data, Dataset):
        if us is not None or observed is not None:
            raise ValueError(
                f"{who}: got a Dataset with us or observed; expected these inside it. Leave them"
                " out."
            )
        return data
    ys = real_numbers(f"{who}: data", data)
    if ys.ndim != 2:
        raise ValueError(
            f"{who}: data has shape {ys.shape}; expected one series [T, m], or a kfjax.Dataset of"
            " several. A series of one channel is ys[:, None]."
        )
    us, observed = jax.tree.map(lambda a: np.asarray(a)[None], (us, observed))
    return Dataset(ys[None], us=us, observed=observed)
