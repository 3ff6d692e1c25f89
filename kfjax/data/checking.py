"""Checks of the arrays of a `Dataset`, and their conversion to the form it keeps."""

from __future__ import annotations

import warnings

import numpy as np

from kfjax._support.values import check_not_masked

__all__: list[str] = []

LOOKED_AT = 100_000  # entries
COARSE = 0.1  # of the usual change from row to row; rounding then adds 0.1 % to its variance
CONSTANT = 10  # resolutions; a channel that moves less is constant with rounding


def check_observations(value: object, dtype: np.dtype) -> np.ndarray:
    """Return the observations [N, T, m] as floats, NaN where missing."""
    given = _real_numbers("ys", value)
    ys = given.astype(dtype)
    if ys.ndim != 3 or 0 in ys.shape:
        remedy = ""
        if ys.ndim < 3:
            remedy = " One trajectory is ys[None]; scalar observations are ys[..., None]."
        raise ValueError(
            f"Dataset: ys has shape {ys.shape}; expected [N, T, m], all above 0.{remedy}"
        )
    if given.dtype == np.float64 and dtype.itemsize < given.dtype.itemsize:
        _warn_of_rounding(given, dtype)
    return ys


def _warn_of_rounding(ys: np.ndarray, dtype: np.dtype) -> None:
    """Warn of a channel whose changes from row to row get lost in a coarser precision.

    Degrees of latitude and metres of a national grid are such channels in float32. Only the
    beginning of large data is looked at.
    """
    _, T, m = ys.shape
    trajectories = max(LOOKED_AT // (T * m), 1)
    some = ys[:trajectories, :LOOKED_AT]
    for channel in range(m):
        values = some[..., channel]
        values = np.where(np.isfinite(values), values, np.nan)
        known = values[~np.isnan(values)]
        changes = np.abs(np.diff(values, axis=1))
        changes = changes[changes > 0]
        if changes.size == 0:
            continue
        largest = np.abs(known).max()
        usual = np.median(changes)
        resolution = np.spacing(dtype.type(largest))
        if COARSE * usual < resolution < np.ptp(known) / CONSTANT:
            warnings.warn(
                f"Dataset: channel {channel} of ys reaches {largest:.7g}, where {dtype} has a"
                f" resolution of {resolution:.2g}, and changes by {usual:.2g} from row to row, so"
                " that rounding distorts it. Subtract an offset (for latitude and"
                " longitude, gps or kfjax.data.LocalFrame), or compute in float64 (x64).",
                stacklevel=4,
            )
            return  # one is enough


def check_lengths(value: object, N: int, T: int) -> np.ndarray | None:
    """Return the lengths [N] as integers, or None if all are T."""
    if value is None:
        return None
    length = _real_numbers("length", value)
    integers = length.shape == (N,) and length.dtype.kind in "iu"
    if not integers or length.min() < 1 or length.max() > T:
        extremes = f", from {length.min()} to {length.max()}" if length.size else ""
        raise ValueError(
            f"Dataset: length has shape {length.shape} and dtype {length.dtype}{extremes};"
            f" expected ({N},) integers from 1 to {T}."
        )
    if (length == T).all():
        return None
    return length.astype(np.int32)


def active_steps(length: np.ndarray | None, N: int, T: int) -> np.ndarray:
    """Return booleans [N, T], false after the end of a trajectory."""
    ends = np.full(N, T) if length is None else length
    return np.arange(T) < ends[:, None]


def separate_mask(
    ys: np.ndarray, observed: object, active: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return ys with zeros where nothing counts, and the mask [N, T, m], or None without any gap.

    Steps after the end are 0 in ys and True in the mask, so that trajectories of different lengths
    without gaps need no mask.
    """
    missing = np.isnan(ys)
    seen = ~missing if observed is None else _given_mask(observed, ys.shape)
    if (seen & missing & active[..., None]).any():
        raise ValueError(
            "Dataset: ys has NaN where observed is True; expected numbers there. Leave"
            " observed out (NaN is then missing), or set it to False there."
        )
    counts = seen & active[..., None]
    ys = np.where(counts, ys, 0)
    if np.isinf(ys).any():
        raise ValueError(
            "Dataset: ys has infinite entries; expected numbers, or NaN where missing."
        )
    if not counts.any():
        raise ValueError("Dataset: ys has no observed number; expected at least one.")
    mask = seen | ~active[..., None]
    return ys, None if mask.all() else mask


def check_states(value: object, dtype: np.dtype, active: np.ndarray) -> np.ndarray:
    """Return the true states [N, T, n] as floats, NaN where not known and 0 after the end."""
    xs = _real_numbers("xs", value).astype(dtype)
    xs = _cleared_after_the_end("xs", xs, active)
    if np.isinf(xs).any():
        raise ValueError(
            "Dataset: xs has infinite entries; expected numbers, or NaN where not known."
        )
    if xs.ndim != 3:
        N, T = active.shape
        raise ValueError(f"Dataset: xs has shape {xs.shape}; expected ({N}, {T}, n).")
    if np.isnan(xs[active]).all():
        raise ValueError(
            "Dataset: xs has no number; expected at least one. Leave xs out if the states are not"
            " known."
        )
    return xs


def check_inputs(value: object, dtype: np.dtype, active: np.ndarray) -> np.ndarray:
    """Return inputs [N, T, ...], 0 after the end; integers and booleans keep their type."""
    us = _real_numbers("us", value)
    if us.dtype.kind == "f":
        us = us.astype(dtype)
    us = _cleared_after_the_end("us", us, active)
    if not np.isfinite(us).all():
        raise ValueError(
            "Dataset: us has NaN or infinite entries; expected finite numbers. Fill the gaps, or"
            " cut with length."
        )
    return us


def check_prior_means(value: object, dtype: np.dtype, N: int) -> np.ndarray:
    """Return the prior means [N, n] as floats."""
    means = _real_numbers("prior_mean", value).astype(dtype)
    if means.ndim != 2 or means.shape[0] != N or not np.isfinite(means).all():
        raise ValueError(
            f"Dataset: prior_mean has shape {means.shape}; expected finite numbers ({N}, n), one"
            " row per trajectory."
        )
    return means


def _real_numbers(name: str, value: object) -> np.ndarray:
    """Return an array of floats, integers or booleans."""
    check_not_masked(f"Dataset: {name}", value)
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(
            f"Dataset: {name} cannot be made an array ({error}); expected [N, T, ...]. Pad"
            " trajectories of different lengths, and pass length=."
        ) from error
    if array.dtype.kind not in "fiub":
        raise ValueError(f"Dataset: {name} has dtype {array.dtype}; expected real numbers.")
    return array


def _given_mask(observed: object, shape: tuple[int, ...]) -> np.ndarray:
    """Return the mask that the caller gave, [N, T] or [N, T, m], as booleans [N, T, m]."""
    mask = _real_numbers("observed", observed)
    if mask.dtype.kind not in "biu" or mask.shape not in (shape, shape[:2]):
        raise ValueError(
            f"Dataset: observed has shape {mask.shape} and dtype {mask.dtype}; expected"
            f" booleans {shape[:2]} or {shape}, as ys."
        )
    return np.broadcast_to(mask.astype(bool).reshape(*shape[:2], -1), shape)


def _cleared_after_the_end(name: str, array: np.ndarray, active: np.ndarray) -> np.ndarray:
    """Return an array [N, T, ...] with zeros after the end of every trajectory."""
    N, T = active.shape
    if array.shape[:2] != (N, T):
        raise ValueError(
            f"Dataset: {name} has shape {array.shape}; expected {N} trajectories of {T} steps, as"
            " ys."
        )
    channels = (1,) * (array.ndim - 2)
    zero = np.zeros((), array.dtype)
    return np.where(active.reshape(N, T, *channels), array, zero)
