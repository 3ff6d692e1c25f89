"""The command `kfjax filter`."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from argparse import Namespace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array
from matplotlib.figure import Figure

from kfjax._cli.columns import table_columns
from kfjax._cli.distil import load_imitation
from kfjax._cli.estimate_files import write_estimates
from kfjax._cli.loading import load_model
from kfjax._cli.output import check_fit, check_folder, check_model
from kfjax._cli.pictures import (
    check_states,
    in_style,
    index_of_series,
    name_of_series,
    pages_bytes,
    picture_bytes,
    title_of,
)
from kfjax._cli.trained import load_trained
from kfjax._support.compiling import jit
from kfjax._support.files import write_file
from kfjax.base import Estimate, Filter, Gaussian, Params
from kfjax.data import Dataset, Labels, read_data, run_trajectory, start_at
from kfjax.evaluation.chunks import all_chunks, chunk_size
from kfjax.evaluation.summaries import filter_one, state_difference
from kfjax.filters import by_name
from kfjax.models.state_space import StateSpaceModel
from kfjax.plotting import plot_record
from kfjax.smoothers.rauch_tung_striebel import Smoothed, smooth

__all__: list[str] = []

PICTURES = (".pdf", ".png", ".svg")
SHOWN = 20  # trajectories that are drawn
ROWS = 6  # panels on a page


def run_filter(args: Namespace) -> None:
    """Run one filter over all trajectories and write its estimates."""
    out = Path(args.out)
    if out.is_dir():
        raise ValueError(f"--out {out} is a folder; expected a file, such as {out / 'est.npz'}.")
    check_folder(out.parent)
    data = read_data(args.data, args.split, **table_columns(args))
    plot = _checked_plot(args)
    if out.exists() and out.samefile(args.data):
        raise ValueError(f"--out {out} is the file of the data; expected another one.")
    model, chosen, params, data = _one_filter(args, data)
    check_states(args, model, data)
    series = index_of_series(args, data)
    check_fit(chosen, params, data)
    key = jax.random.key(args.seed)
    arrays = _arrays(chosen, params, data, key, smoothing=args.smooth)
    beliefs = [arrays[name] for name in ("mean", "cov") if name in arrays]
    sound = [np.isfinite(array).reshape(data.size, -1).all(-1) for array in beliefs]
    broken = data.size - np.logical_and.reduce(sound).sum()
    if broken:
        warnings.warn(
            f"{broken} of {data.size} trajectories have estimates that are not finite.",
            stacklevel=1,
        )
    written = write_estimates(out, arrays, data, args, model.names)
    print(f"Wrote {out}: {written}.")
    if plot is None:
        return
    drawing = _Drawing(args, model, chosen, params, data, key, arrays)
    drawn = [series]
    if plot.suffix == ".pdf" and args.series is None:
        drawn = list(range(min(data.size, SHOWN)))
    with in_style(args):
        if plot.suffix == ".pdf":
            content = pages_bytes(page for index in drawn for page in drawing.of(index))
        else:
            (figure,) = drawing.of(series, rows=model.n + data.ys.shape[2])
            content = picture_bytes(figure, plot.suffix[1:])
    write_file(plot, content)
    print(f"Wrote {plot}: {len(drawn)} of {data.size} trajectories.")


def _checked_plot(args: Namespace) -> Path | None:
    """Return the file to draw into, or None; raise if it cannot be written."""
    if args.plot is None:
        if args.show or args.style or args.series:
            raise ValueError(
                "got --show, --series or --style without --plot; expected a file to draw into."
            )
        return None
    path = Path(args.plot)
    if path.suffix not in PICTURES:
        raise ValueError(
            f"--plot {path} is not of a known kind; expected a name that ends in"
            f" {', '.join(PICTURES)}."
        )
    if path == Path(args.out):
        raise ValueError(f"--plot {path} is also --out; expected two files.")
    check_folder(path.parent)
    return path


class _Drawing(NamedTuple):
    """The figures of `kfjax filter --plot`, and what they are drawn from."""

    args: Namespace
    model: StateSpaceModel
    filter: Filter
    params: Any
    data: Dataset
    key: Array
    arrays: dict[str, Any]

    def of(self, index: int, rows: int = ROWS) -> list[Figure]:
        """Return the pages of a trajectory, filtered once more to know its innovations."""
        one = self.data[index]
        labels = one.labels or Labels()
        if self.model.names is not None:
            labels = labels.naming_states(self.model.names)
        one = dataclasses.replace(one, labels=labels)
        trajectory = jax.tree.map(lambda a: a[0], one)
        key = jax.random.fold_in(self.key, index)
        estimate, info = filter_one(self.filter, self.params, trajectory, key)
        name = self.args.filter or Path(self.args.load).name
        estimates: dict[str, Any] = {name: estimate}
        if "smoothed_mean" in self.arrays:
            smoothed = (self.arrays[f"smoothed_{part}"][index] for part in ("mean", "cov"))
            estimates["smoothed"] = Gaussian(*smoothed)
        series = name_of_series(self.data, index)
        title = ", ".join([title_of(self.args), name] + ([series] if self.data.size > 1 else []))
        return plot_record(one, estimates, info, states=self.args.show, title=title, rows=rows)


def _one_filter(args: Namespace, data: Dataset) -> tuple[StateSpaceModel, Filter, Any, Dataset]:
    """Return the model, the filter by name or the trained one of a folder, its params and data."""
    if args.model is None and args.load is None:
        raise ValueError("got no --model; expected FILE.py:NAME, a kfjax.StateSpaceModel.")
    if args.model is None:
        imitation, data = load_imitation(args.load, data)
        return imitation.params.model, imitation.filter, imitation.params, data
    model = load_model(args.model)
    check_model(model, data)
    if args.load is None:
        return model, by_name(args.filter), model, data
    trained = load_trained(args.load, model, data.ys.shape[2])
    return model, trained.filter, trained.params, data


def _arrays(
    chosen: Filter, params: Params, data: Dataset, key: Array, *, smoothing: bool
) -> dict[str, Any]:
    """Return estimates of all trajectories by name, computed in chunks that fit in memory."""
    one = jax.tree.map(lambda a: a[0], data)
    parts = []
    difference = state_difference(params)
    size = chunk_size(chosen, params, one, key, data.size, difference=difference)
    for index, count in all_chunks(data.size, size):
        keys = jax.vmap(functools.partial(jax.random.fold_in, key))(index)
        outputs = _estimates(chosen, smoothing, params, data[index], keys)
        parts.append(jax.tree.map(lambda a: np.asarray(a)[:count], outputs))  # noqa: B023
    filtered, smoothed = jax.tree.map(lambda *some: np.concatenate(some), *parts)
    named = filtered._asdict()
    if smoothed is not None:
        named |= {"smoothed_mean": smoothed.mean, "smoothed_cov": smoothed.cov}
    if data.length is not None:
        named["length"] = data.length
    return {name: array for name, array in named.items() if array is not None}


@functools.partial(jit, static_argnums=(0, 1))
def _estimates(
    chosen: Filter, smoothing: bool, params: Params, data: Dataset, keys: Array
) -> tuple[Estimate, Smoothed | None]:
    def one(trajectory: Dataset, key: Array) -> tuple[Estimate, Smoothed | None]:
        filtered = run_trajectory(chosen, params, trajectory, key=key).outputs
        if not smoothing:
            return filtered, None
        started = start_at(params, trajectory.prior_mean)
        return filtered, smooth(
            chosen, started, filtered, us=trajectory.us, length=trajectory.length
        )

    return jax.vmap(one)(data, keys)
