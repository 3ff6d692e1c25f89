"""Sessions of the NCLT data set, as published.

They are csv files of a robot's odometry, GPS, IMU and ground truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kfjax._support.arguments import as_path, check_number, choose_some
from kfjax.data.dataset import Dataset

__all__ = ["read_nclt"]

ORIGIN = np.radians([42.293227, -83.709657])  # latitude and longitude of (0, 0) of the ground truth
EQUATOR = 6378135.0  # radius of the Earth, m
POLE = 6356750.0
HAS_POSITION = 2  # smallest mode of a GPS fix with a position
ROUNDING = 1e-9  # relative tolerance of times and numbers of steps


class _File(NamedTuple):
    """A file of a session.

    Attributes:
        patterns: patterns of its name.
        columns: number of its columns, the first of which is utime, in microseconds.
    """

    patterns: tuple[str, ...]
    columns: int


FILES = {
    # utime, x, y, z (m), roll, pitch, yaw (rad)
    "odometry": _File(("odometry_mu.csv", "odometry_mu_*.csv"), 7),
    # likewise; x is north, y east, z down
    "truth": _File(("groundtruth.csv", "groundtruth_*.csv"), 7),
    # utime, mode, satellites, latitude, longitude (rad), altitude, track, speed
    "gps": _File(("gps.csv",), 8),
    # utime, magnetic field, acceleration (m/s^2), rotation rate (rad/s)
    "imu": _File(("ms25.csv",), 10),
}


def is_nclt(path: str | Path) -> bool:
    """Return whether a folder holds a session of this data set."""
    folder = Path(path)
    return _find(folder, "odometry") is not None and _find(folder, "truth") is not None


def read_nclt(
    folder: str | Path, *, rate: float = 1.0, sensors: Sequence[str] = ("odometry",)
) -> Dataset:
    """Read a session of the University of Michigan North Campus Long-Term data set.

    The session is resampled to equal steps. Positions are interpolated linearly at the end of every
    step if a sample lies within half a step of it, and are unknown elsewhere. Velocities are
    differences of positions over the step.

    Args:
        folder: folder with `odometry_mu.csv` (or odometry_mu_100hz.csv), `groundtruth.csv` (or
            groundtruth_DATE.csv) and, optionally, `gps.csv` and `ms25.csv`.
        rate: steps per second.
        sensors: what is observed: "odometry", its velocity (v_x, v_y) in m/s, in the frame of the
            odometry; "gps", the position (x, y) in m, in the frame of the ground truth; or both, in
            this order.

    Returns:
        A `Dataset` with N = 1 and ys [1, T, 2 or 4]: NaN (missing) where there was no sample or no
        fix; xs [1, T, 4]: true x (north), y (east) in m and their velocities in m/s, NaN where not
        known; us: dict of `dt` [1, T] (s), and, with ms25.csv, `acceleration` (m/s^2) and
        `rotation_rate` (rad/s) [1, T, 3], averaged over each step in the frame of the robot.

    Raises:
        ValueError: if a file is missing or not as published, the files do not overlap in time, or
            an argument is not as above.

    References:
        N. Carlevaris-Bianco, A. K. Ushani, R. M. Eustice, University of Michigan North Campus
        long-term vision and lidar dataset, Int. J. Robotics Research 35 (2016).
    """
    folder = as_path("read_nclt: folder", folder)
    check_number("read_nclt: rate", rate, above=0)
    choose_some("read_nclt: sensors", sensors, ("odometry", "gps"))
    odometry = _table(folder, "odometry")
    truth = _table(folder, "truth")
    times = _common_times(folder, odometry[:, 0], truth[:, 0], rate)
    observed = []
    if "odometry" in sensors:
        observed.append(np.diff(_at(times, odometry[:, :3], 0.5 / rate), axis=0) * rate)
    if "gps" in sensors:
        observed.append(_last_fix(times, _table(folder, "gps")))
    ys = np.concatenate(observed, axis=-1)
    position = _at(times, truth[:, :3], 0.5 / rate)
    velocity = np.diff(position, axis=0) * rate
    xs = np.concatenate([position[1:], velocity], axis=-1)
    us = {"dt": np.full(len(times) - 1, 1 / rate)} | _inertial(folder, times)
    return Dataset(ys[None], xs[None], {name: value[None] for name, value in us.items()})


def _common_times(folder: Path, odometry: np.ndarray, truth: np.ndarray, rate: float) -> np.ndarray:
    """Return the times of x_0..x_T, equally spaced in the time that both clocks cover."""
    first = max(odometry[0], truth[0])
    last = min(odometry[-1], truth[-1])
    steps = int((last - first) * rate + ROUNDING)
    if steps < 1:
        raise ValueError(
            f"read_nclt: {folder} has odometry and ground truth that overlap by less than one"
            " step; expected files of one session, and a rate that is high enough."
        )
    return first + np.arange(steps + 1) / rate


def _inertial(folder: Path, times: np.ndarray) -> dict[str, np.ndarray]:
    """Return the inputs that the IMU measured, if its file is there."""
    if _find(folder, "imu") is None:
        return {}
    imu = _table(folder, "imu")
    return {
        "acceleration": _means(times, imu[:, [0, 4, 5, 6]]),
        "rotation_rate": _means(times, imu[:, [0, 7, 8, 9]]),
    }


def _find(folder: Path, kind: str) -> Path | None:
    """Return the path of the file of one kind, or None."""
    for pattern in FILES[kind].patterns:
        for path in sorted(folder.glob(pattern)):
            return path
    return None


def _table(folder: Path, kind: str) -> np.ndarray:
    """Return the rows without NaN in order of time, the first column in seconds."""
    path = _find(folder, kind)
    patterns, columns = FILES[kind]
    if path is None:
        raise ValueError(
            f"read_nclt: there is no {' or '.join(patterns)} in {folder}; expected a session of"
            " NCLT."
        )
    try:
        table = np.loadtxt(path, delimiter=",", ndmin=2)
    except ValueError as error:
        raise ValueError(
            f"read_nclt: {path} is not a csv file of numbers ({error}); expected the file as"
            " published."
        ) from error
    if table.shape[1] != columns:
        raise ValueError(f"read_nclt: {path} has {table.shape[1]} columns; expected {columns}.")
    # a fix without altitude or track still has a position
    needed = table[:, :5] if kind == "gps" else table
    table = table[np.isfinite(needed).all(1)]
    if len(table) == 0:
        raise ValueError(f"read_nclt: {path} has no row of numbers; expected at least one.")
    table = table[np.argsort(table[:, 0], kind="stable")]
    table[:, 0] /= 1e6
    return table


def _at(times: np.ndarray, table: np.ndarray, reach: float) -> np.ndarray:
    """Interpolate columns at times, NaN where no sample is within reach."""
    clock = table[:, 0]
    last = len(clock) - 1
    after = np.clip(np.searchsorted(clock, times), 1, max(last, 1))
    since = np.abs(times - clock[after - 1])
    until = np.abs(times - clock[np.minimum(after, last)])
    nearest = np.minimum(since, until)
    columns = [np.interp(times, clock, column) for column in table[:, 1:].T]
    values = np.stack(columns, axis=-1)
    return np.where(nearest[:, None] <= reach * (1 + ROUNDING), values, np.nan)


def _last_fix(times: np.ndarray, gps: np.ndarray) -> np.ndarray:
    """Return the position north and east at the last fix within every step, NaN without one."""
    gps = gps[gps[:, 1] >= HAS_POSITION]
    if len(gps) == 0:
        return np.full((len(times) - 1, 2), np.nan)
    count = np.searchsorted(gps[:, 0], times, side="right")  # fixes up to each time
    has_fix = count[1:] > count[:-1]
    last = np.maximum(count[1:] - 1, 0)
    position = _north_east(gps[:, 3], gps[:, 4])
    return np.where(has_fix[:, None], position[last], np.nan)


def _north_east(latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    """Return positions north and east of the origin, in metres.

    The Earth is an ellipsoid of radii a at the equator and b at the poles. At the origin, of
    latitude p, its radii of curvature are a^2 b^2 / r^3 along the meridian and a^2 / r across it,
    where r^2 = a^2 cos(p)^2 + b^2 sin(p)^2.
    """
    origin_latitude, origin_longitude = ORIGIN
    c = EQUATOR * np.cos(origin_latitude)
    s = POLE * np.sin(origin_latitude)
    along_meridian = (EQUATOR * POLE) ** 2 / (c**2 + s**2) ** 1.5
    across = EQUATOR**2 / np.sqrt(c**2 + s**2)
    north = along_meridian * np.sin(latitude - origin_latitude)
    east = across * np.cos(origin_latitude) * np.sin(longitude - origin_longitude)
    return np.stack([north, east], axis=-1)


def _means(times: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Return means of columns over every step, interpolated over steps without a sample."""
    zero = np.zeros((1, table.shape[1] - 1))
    sums = np.concatenate([zero, np.cumsum(table[:, 1:], axis=0)])
    count = np.searchsorted(table[:, 0], times, side="right")  # samples up to each time
    samples = np.diff(count)
    known = samples > 0
    if not known.any():
        raise ValueError(
            "read_nclt: ms25.csv has no sample at the times of the other files; expected files of"
            " the same session."
        )
    means = np.diff(sums[count], axis=0)[known] / samples[known, None]
    step = np.arange(len(samples))
    return np.stack([np.interp(step, step[known], column) for column in means.T], axis=-1)
