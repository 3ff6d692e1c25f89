"""Which steps and which observations of a dataset count."""

from __future__ import annotations

import numpy as np

from kfjax.data.dataset import Dataset

__all__: list[str] = []


def counted_steps(data: Dataset, skip: int = 0) -> np.ndarray:
    """Return which steps count [N, T]: from number `skip` on, until the end of a trajectory."""
    at = np.arange(data.steps)
    return (at >= skip) & (at < data.lengths[:, None])


def counted_observations(data: Dataset, skip: int = 0) -> np.ndarray:
    """Return which observations there are in the steps that count, [N, T, m]."""
    counted = counted_steps(data, skip)[:, :, None]
    if data.observed is None:
        return np.broadcast_to(counted, data.ys.shape)
    return counted & np.asarray(data.observed)
