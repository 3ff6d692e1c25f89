"""Sessions of the NCLT data set as they are published.

Csv files of a robot's odometry, GPS, IMU and ground truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kfjax.data.dataset import Dataset

__all__ = ["read_nclt"]

ORIGIN = np.radians([42.293227, -83.709657])  # latitude and longitude of (0, 0) of the ground truth
EQUATOR, POLE = 6378135.0, 6356750.0  # radii of the Earth, m
FILES = {  # patterns of the names, and number of columns
    "odometry": (
        ("odometry_mu.csv", "odometry_mu_*.csv"),
        7,
    ),  # utime, x, y, z (m), roll, pitch, yaw (rad)
    "truth": (("groundtruth.csv", "groundtruth_*.csv"), 7),  # the same; x is north, y east, z down
    "gps": (
        ("gps.csv",),
        8,
    ),  # utime, mode, satellites, latitude, longitude (rad), altitude, track, speed
    "imu": (
        ("ms25.csv",),
        10,
    ),  # utime, magnetic field, acceleration (m/s^2), rotation rate (rad/s)
}
FIX = 2  # modes of the GPS from here on have a position


def is_nclt(path: str | Path) -> bool:
    """Tell whether a folder holds a session of this data set."""
    return _find(Path(path), "odometry") is not None and _find(Path(path), "truth") is not None


def read_nclt(
    folder: str | Path, *, rate: float = 1.0, sensors: Sequence[str] = ("odometry",)
) -> Dataset:
    """Read a session of the University of Michigan North Campus Long-Term data set.

    The session is resampled to equal steps.

    Positions are interpolated linearly at the end of every step, where a sample lies within half a
    step of it, and are not known elsewhere. Velocities are differences of positions over the step.

    Args:
        folder: where `odometry_mu.csv` (or odometry_mu_100hz.csv), `groundtruth.csv` (or
            groundtruth_DATE.csv) and, if wanted, `gps.csv` and `ms25.csv` are.
        rate: steps per second.
        sensors: what is observed: "odometry", its velocity (v_x, v_y) in m/s, in the frame of the
            odometry; "gps", the position (x, y) in m, in the frame of the ground truth; or both, in
            this order.

    Returns:
        A `Dataset` with N = 1 and ys [1, T, 2 or 4]: NaN, that is missing, where there was no
        sample or no fix; xs [1, T, 4]: true x (north), y (east) in m and their velocities in
        m/s, NaN where not known; us: dict of `dt` [1, T] (s), and with ms25.csv `acceleration`
        (m/s^2) and `rotation_rate` (rad/s) [1, T, 3], means over each step in the frame of the
        robot.

    Raises:
        ValueError: if a file is missing or not as published, they do not overlap in time, or an
            argument is none.

    References:
        N. Carlevaris-Bianco, A. K. Ushani, R. M. Eustice, University of Michigan North Campus
        long-term vision and lidar dataset, Int. J. Robotics Research 35 (2016).
    """
    folder = Path(folder)
    if not sensors or set(sensors) - {"odometry", "gps"} or not rate > 0:
        raise ValueError(
            f"read_nclt: got sensors {sensors} at rate {rate}; expected odometry, gps or both,"
            " above 0."
        )
    odometry, truth = _table(folder, "odometry"), _table(folder, "truth")
    first, last = max(odometry[0, 0], truth[0, 0]), min(odometry[-1, 0], truth[-1, 0])
    steps = int((last - first) * rate + 1e-9)
    if steps < 1:
        raise ValueError(
            f"read_nclt: {folder} has odometry and ground truth that overlap by less than one step."
        )
    times = first + np.arange(steps + 1) / rate
    position = _at(times, truth[:, :3], 0.5 / rate)
    observed = {"odometry": np.diff(_at(times, odometry[:, :3], 0.5 / rate), axis=0) * rate}
    if "gps" in sensors:
        observed["gps"] = _last_fix(times, _table(folder, "gps"))
    us = {"dt": np.full(steps, 1 / rate)}
    if _find(folder, "imu") is not None:
        imu = _table(folder, "imu")
        us["acceleration"] = _means(times, imu[:, [0, 4, 5, 6]])
        us["rotation_rate"] = _means(times, imu[:, [0, 7, 8, 9]])
    ys = np.concatenate(
        [observed[name] for name in ("odometry", "gps") if name in sensors], axis=-1
    )
    xs = np.concatenate([position[1:], np.diff(position, axis=0) * rate], axis=-1)
    return Dataset(ys[None], xs[None], {name: value[None] for name, value in us.items()})


def _find(folder: Path, kind: str) -> Path | None:
    """The file of one kind, or None."""
    return next((path for pattern in FILES[kind][0] for path in sorted(folder.glob(pattern))), None)


def _table(folder: Path, kind: str) -> np.ndarray:
    """Rows of numbers in order of time, the first column in seconds; rows with NaN are left out."""
    path, (patterns, columns) = _find(folder, kind), FILES[kind]
    if path is None:
        raise ValueError(
            f"read_nclt: there is no {' or '.join(patterns)} in {folder}; expected a session of"
            " NCLT."
        )
    try:
        table = np.loadtxt(path, delimiter=",", ndmin=2)
    except ValueError as error:
        raise ValueError(f"read_nclt: {path} is not a csv file of numbers ({error}).") from error
    if table.shape[1] != columns:
        raise ValueError(f"read_nclt: {path} has {table.shape[1]} columns; expected {columns}.")
    used = slice(0, 5) if kind == "gps" else slice(None)  # a fix without altitude or track is one
    table = table[np.isfinite(table[:, used]).all(1)]
    if len(table) == 0:
        raise ValueError(f"read_nclt: {path} has no row of numbers; expected some.")
    table = table[np.argsort(table[:, 0], kind="stable")]
    table[:, 0] /= 1e6
    return table


def _at(times: np.ndarray, table: np.ndarray, reach: float) -> np.ndarray:
    """Interpolate columns at times, NaN where no sample is within reach."""
    clock = table[:, 0]
    after = np.clip(np.searchsorted(clock, times), 1, max(len(clock) - 1, 1))
    nearest = np.minimum(
        np.abs(times - clock[after - 1]), np.abs(times - clock[np.minimum(after, len(clock) - 1)])
    )
    values = np.stack([np.interp(times, clock, column) for column in table[:, 1:].T], axis=-1)
    return np.where(nearest[:, None] <= reach * (1 + 1e-9), values, np.nan)


def _last_fix(times: np.ndarray, gps: np.ndarray) -> np.ndarray:
    """Position north and east of the origin at the last fix within every step.

    The position is NaN where there was no fix.
    """
    gps = gps[gps[:, 1] >= FIX]
    place = np.searchsorted(gps[:, 0], times, side="right")
    had, last = place[1:] > place[:-1], np.maximum(place[1:] - 1, 0)
    if len(gps) == 0:
        return np.full((len(times) - 1, 2), np.nan)
    latitude, longitude = (gps[:, 3:5] - ORIGIN).T
    c, s = EQUATOR * np.cos(ORIGIN[0]), POLE * np.sin(ORIGIN[0])
    north = (EQUATOR * POLE) ** 2 / (c**2 + s**2) ** 1.5  # radii of curvature at the origin
    east = EQUATOR**2 / np.sqrt(c**2 + s**2)
    position = np.stack(
        [north * np.sin(latitude), east * np.cos(ORIGIN[0]) * np.sin(longitude)], axis=-1
    )
    return np.where(had[:, None], position[last], np.nan)


def _means(times: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Means of columns over every step.

    Steps without a sample take what is between their neighbours.
    """
    sums = np.concatenate([np.zeros((1, table.shape[1] - 1)), np.cumsum(table[:, 1:], axis=0)])
    place = np.searchsorted(table[:, 0], times, side="right")
    counts = np.diff(place)
    known = counts > 0
    if not known.any():
        raise ValueError(
            "read_nclt: ms25.csv has no sample at the time of the others; expected the same"
            " session."
        )
    means = np.diff(sums[place], axis=0)[known] / counts[known, None]
    at = np.arange(len(counts))
    return np.stack([np.interp(at, at[known], column) for column in means.T], axis=-1)
