"""Estimates as files: arrays in an npz file, or a csv or parquet table in the data's own times."""

from __future__ import annotations

import io
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kfjax._cli.columns import name_of_time
from kfjax._support.files import write_file
from kfjax._support.saving import npz_bytes
from kfjax.base import Estimate, Gaussian
from kfjax.data import Dataset, Labels, to_pandas
from kfjax.data.counting import counted_steps
from kfjax.data.labels import without_unit

if TYPE_CHECKING:
    import pandas as pd

__all__: list[str] = []

TABLES = (".csv", ".parquet")


def write_estimates(
    path: Path,
    arrays: dict[str, Any],
    data: Dataset,
    args: Namespace,
    names: Sequence[str] | None,
) -> str:
    """Write estimates of all trajectories by name, and return what was written.

    Args:
        path: path of the file, whose end decides on its kind.
        arrays: mean [N, T, n], cov or not, and so on, as `kfjax filter` names them.
        data: what was filtered.
        args: the arguments, for names of columns.
        names: names of the states, or None.
    """
    if path.suffix not in TABLES:
        write_file(path, npz_bytes(arrays))
        return ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
    return write_table(path, _frame(arrays, data, args, names))


def write_table(path: Path, frame: pd.DataFrame) -> str:
    """Write a csv or parquet file, as the end of its name says, and return what was written."""
    content = io.BytesIO()
    if path.suffix == ".csv":
        frame.to_csv(content, index=False)
    else:
        frame.to_parquet(content, index=False)
    write_file(path, content.getvalue())
    return f"{len(frame)} rows of {', '.join(frame.columns)}"


def _frame(
    arrays: dict[str, Any], data: Dataset, args: Namespace, names: Sequence[str] | None
) -> pd.DataFrame:
    """Return a row for every step of every trajectory."""
    import pandas as pd

    labels = data.labels or Labels()
    active = counted_steps(data)
    count, number = np.nonzero(active)
    index = {}
    if data.size > 1:
        series = np.asarray(labels.series or range(1, data.size + 1))
        index[args.by or "trajectory"] = series[count]
    if labels.times is None:
        index["step"] = number + 1
    else:
        times = pd.Series(labels.times[active])
        if labels.zone is not None:
            times = times.dt.tz_localize("UTC").dt.tz_convert(labels.zone)
        index[name_of_time(args)] = times
    rows = {name: array[active] for name, array in arrays.items() if name != "length"}
    estimate = Estimate(rows["mean"], rows.get("cov"), rows.get("log_likelihood"))
    names = [without_unit(name)[0] for name in names or ()]
    if not names or not index.keys().isdisjoint(names):
        names = [f"x{j}" for j in range(1, estimate.mean.shape[1] + 1)]
    frames = [pd.DataFrame(index), to_pandas(estimate, states=names)]
    if "smoothed_mean" in rows:
        smoothed = Gaussian(rows["smoothed_mean"], rows["smoothed_cov"])
        frames.append(to_pandas(smoothed, states=[f"{name}_smoothed" for name in names]))
    return pd.concat([frame.reset_index(drop=True) for frame in frames], axis=1)
