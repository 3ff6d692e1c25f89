"""Estimates as files: arrays in an npz file, or a csv or parquet table in the data's own times."""

from __future__ import annotations

import io
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kfjax._support.files import write_file
from kfjax._support.saving import npz_bytes
from kfjax.base import Estimate, Gaussian
from kfjax.data import Dataset, Labels, to_pandas

if TYPE_CHECKING:
    import pandas as pd

__all__: list[str] = []

TABLES = (".csv", ".parquet")


def write_estimates(path: Path, arrays: dict[str, Any], data: Dataset, args: Namespace) -> str:
    """Write estimates of all trajectories by name, and return what was written.

    Args:
        path: path of the file, whose end decides on its kind.
        arrays: mean [N, T, n], cov or not, and so on, as `kfjax filter` names them.
        data: what was filtered.
        args: the arguments, for names of columns.
    """
    if path.suffix not in TABLES:
        write_file(path, npz_bytes(arrays))
        return ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
    frame = _frame(arrays, data, args)
    content = io.BytesIO()
    if path.suffix == ".csv":
        frame.to_csv(content, index=False)
    else:
        frame.to_parquet(content, index=False)
    write_file(path, content.getvalue())
    return f"{len(frame)} rows of {', '.join(frame.columns)}"


def _frame(arrays: dict[str, Any], data: Dataset, args: Namespace) -> pd.DataFrame:
    """Return a row for every step of every trajectory."""
    labels = data.labels or Labels()
    active = np.arange(data.steps) < data.lengths[:, None]

    def rows(name: str) -> Any:
        return arrays[name][active] if name in arrays else None

    estimate = Estimate(rows("mean"), rows("cov"), rows("log_likelihood"))
    frame = to_pandas(estimate).reset_index(drop=True)
    if "smoothed_mean" in arrays:
        smoothed = Gaussian(rows("smoothed_mean"), rows("smoothed_cov"))
        names = [f"x{j + 1}_smoothed" for j in range(arrays["mean"].shape[2])]
        later = to_pandas(smoothed, states=names)
        frame = frame.join(later.reset_index(drop=True))
    if labels.times is None:
        steps = np.broadcast_to(np.arange(1, data.steps + 1), active.shape)
        frame.insert(0, "step", steps[active])
    else:
        frame.insert(0, args.time or "time", labels.times[active])
        if labels.zone is not None:
            first = frame.iloc[:, 0].dt.tz_localize("UTC").dt.tz_convert(labels.zone)
            frame = frame.assign(**{frame.columns[0]: first})
    if data.size > 1:
        series = labels.series or range(1, data.size + 1)
        frame.insert(0, args.by or "trajectory", np.repeat(np.asarray(series), data.lengths))
    return frame
