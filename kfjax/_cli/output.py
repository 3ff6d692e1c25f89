"""The console, the output folder, and checks that model and filter fit the data."""

from __future__ import annotations

import codecs
import io
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from kfjax._cli.angles import warn_of_angles
from kfjax._support.saving import in_ascii
from kfjax.base import Filter, Params
from kfjax.data import Dataset
from kfjax.data.counting import counted_steps
from kfjax.data.future import calendar_frequency
from kfjax.evaluation.summaries import filter_one
from kfjax.filters import by_name
from kfjax.models.calling import advice
from kfjax.models.inputs import evaluated, reads
from kfjax.models.lens import model_of
from kfjax.models.state_space import StateSpaceModel

__all__: list[str] = []

REGULAR = 0.01  # steps that vary by less are alike

PIPE_WIDTH = 140  # columns of a table that is not shown in a terminal


def make_console(*, quiet: bool = False) -> Console:
    """Return the console that tables are printed on."""
    return Console(
        quiet=quiet,
        width=None if sys.stdout.isatty() else PIPE_WIDTH,
        highlight=False,
        markup=False,
    )


def print_anywhere() -> None:
    """Let this process print in any encoding, with substitutes for missing characters."""
    codecs.register_error("kfjax", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="kfjax")


def _plain(error: UnicodeError) -> tuple[str, int]:
    """Replace characters that an encoding does not have."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    return in_ascii(signs).encode("ascii", "replace").decode(), error.end


def check_folder(folder: Path) -> None:
    """Raise before any work is done if its results could not be written."""
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise ValueError(
            f"--out: cannot write into {folder}; {existing} is not a folder, or is read-only."
        )


def check_model(model: StateSpaceModel, data: Dataset) -> None:
    """Raise unless a model fits data, and warn if it does not read steps that vary."""
    if isinstance(data.us, dict) and set(data.us) == {"dt"}:
        # it comes from the column of times, not from a user who expects it to have an effect
        warnings.filterwarnings(
            "ignore", r"run: no function of the model reads u\['dt'\]", UserWarning
        )
    check_fit(by_name("extended"), model, data)
    warn_of_angles(model, data)
    if not isinstance(data.us, dict) or "dt" not in data.us:
        return
    step = jax.tree.map(lambda values: values[0, 0], data.us)

    def values(dt: Any) -> Any:
        return evaluated(model, step | {"dt": dt})

    if reads(values, step["dt"]):
        return
    dt = later_steps(data)
    if dt.size and np.ptp(dt) > REGULAR * np.median(dt) and not _on_a_calendar(data):
        warnings.warn(
            f"the steps of the data vary from {dt.min():.4g} to {dt.max():.4g}, and neither f, h, Q"
            " nor R of the model reads u['dt']. Make them functions of it, as the models of"
            " kfjax.systems are with dt=None.",
            stacklevel=2,
        )


def _on_a_calendar(data: Dataset) -> bool:
    """Return whether the dates of all trajectories follow the calendar, such as months."""
    if data.labels is None or data.labels.times is None:
        return False
    rows = zip(data.labels.times, data.lengths, strict=True)
    return all(calendar_frequency(row[:length], data.labels.zone) for row, length in rows)


def later_steps(data: Dataset) -> np.ndarray:
    """Return dt of all rows but the first of every trajectory, whose dt depends on its start."""
    return np.asarray(data.us["dt"])[counted_steps(data, 1)]


def check_fit(chosen: Filter, params: Params, data: Dataset) -> None:
    """Raise a ValueError unless the filter runs its model on these data.

    The functions of the model may raise any exception.
    """
    model = model_of(params)
    try:
        one = jax.tree.map(lambda a: a[0], data)
        jax.eval_shape(
            lambda p, d, k: filter_one(chosen, p, d, k)[0].mean, params, one, jax.random.key(0)
        )
    except ValueError:
        raise
    except Exception as error:
        given = "no inputs"
        if data.us is not None:
            given = f"inputs {jax.tree.map(lambda a: a.shape, data.us)}"
        raise ValueError(
            f"the model cannot be evaluated on the data ({type(error).__name__}: {error}); expected"
            f" f(x, u) and h(x, u) of a state [{model.n}] and one step of the data, which have"
            f" {given}.{advice(error)}"
        ) from error
    if data.xs is not None and data.xs.shape[2:] != model.proper_prior.mean.shape:
        raise ValueError(
            f"the true state has {data.xs.shape[2]} components and the model's"
            f" {model.proper_prior.mean.shape[0]}; expected the same. Give the data's state in the"
            " model's order, with NaN for what is not known (of a table, - in place of a column:"
            " --xs A,-,B)."
        )
