"""The Labyrinth data set: a small robot with ultra-wideband (UWB) ranges and wheel odometry."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kfjax._support.arguments import as_path
from kfjax.data.dataset import Dataset
from kfjax.models.discretisation import time_steps

__all__ = ["read_indoor_uwb"]

SENSORS = "Indoor_UWB_Input.txt"
TRUTH = "Indoor_UWB_GT.txt"


def is_indoor_uwb(path: str | Path) -> bool:
    """Return whether a folder holds this data set."""
    return (Path(path) / SENSORS).is_file()


def read_indoor_uwb(folder: str | Path) -> Dataset:
    """Read the Labyrinth data set (T. Pfeifer, TU Chemnitz).

    The data are one trajectory, whose steps are the range measurements. Step t is the t-th range in
    order of time, to one of four anchors in turn; x_0 is at time 0 of the record's clock. Odometry
    and ground truth are interpolated linearly at the time of the range (in the published record all
    stamps coincide); the speeds reported at t are taken to hold since the previous range.

    Args:
        folder: folder with `Indoor_UWB_Input.txt` and `Indoor_UWB_GT.txt`.

    Returns:
        A `Dataset` with N = 1 and ys [1, T, 1]: range in metres, outliers included; xs [1, T, 3]:
        true x and y in metres at the time of the range; the heading is not known (NaN); us:
        dict of `dt` [1, T] (s), `anchor` [1, T, 2] (x, y in m), `anchor_id` [1, T] (integer),
        `right`, `left` and `lateral` [1, T] (speeds of the wheels and sideways, m/s), `wheel_base`
        [1, T] (m).

    Raises:
        ValueError: if a file is missing, or a line is not as the data set's readme says.
    """
    folder = as_path("read_indoor_uwb: folder", folder)
    sensors = folder / SENSORS
    truth = folder / TRUTH
    time, distance, _, x, y, anchor_id = _table(sensors, "range2", 6)
    clock, right, left, lateral, base = _table(sensors, "odom2diff", 5)
    true_time, true_x, true_y = _table(truth, "point2", 3)

    def odometry_at_range(values: np.ndarray) -> np.ndarray:
        return np.interp(time, clock, values)

    def truth_at_range(values: np.ndarray) -> np.ndarray:
        return np.interp(time, true_time, values, left=np.nan, right=np.nan)

    us = {
        "dt": np.asarray(time_steps(time, start=0.0)),
        "anchor": np.stack([x, y], axis=-1),
        "anchor_id": anchor_id.astype(int),
        "right": odometry_at_range(right),
        "left": odometry_at_range(left),
        "lateral": odometry_at_range(lateral),
        "wheel_base": odometry_at_range(base),
    }
    heading = np.full(len(time), np.nan)
    xs = np.stack([truth_at_range(true_x), truth_at_range(true_y), heading], axis=-1)
    us = {name: values[None] for name, values in us.items()}
    return Dataset(distance[None, :, None], xs[None], us)


def _rows(path: Path, kind: str) -> list[list[str]]:
    """Return the words of every line of one kind, which is its first word."""
    if not path.is_file():
        raise ValueError(
            f"read_indoor_uwb: there is no file {path}; expected the Labyrinth data set in that"
            " folder."
        )
    rows = [line.split() for line in path.read_text().splitlines()]
    return [row[1:] for row in rows if row[:1] == [kind]]


def _table(path: Path, kind: str, columns: int) -> np.ndarray:
    """Return the leading columns of the rows of one kind, as [columns, rows] sorted by time."""
    rows = _rows(path, kind)
    try:
        table = np.array([[float(text) for text in row[:columns]] for row in rows])
    except ValueError as error:
        raise ValueError(
            f"read_indoor_uwb: {path} has a {kind} row that is not numeric ({error}); expected the"
            " file as published."
        ) from error
    if table.ndim != 2 or table.shape[1] != columns:
        raise ValueError(
            f"read_indoor_uwb: {path} has {kind} rows of shape {table.shape}; expected at least"
            f" one row, with at least {columns} numbers."
        )
    by_time = np.argsort(table[:, 0], kind="stable")
    return table[by_time].T
