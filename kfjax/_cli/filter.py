"""The command `kfjax filter`."""

from __future__ import annotations

import functools
import warnings
from argparse import Namespace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import Array

from kfjax._cli.columns import table_columns
from kfjax._cli.estimate_files import write_estimates
from kfjax._cli.loading import load_model
from kfjax._cli.output import check_fit, check_folder, check_model
from kfjax._cli.trained import load_trained
from kfjax._support.compiling import jit
from kfjax.base import Estimate, Filter, Params
from kfjax.data import Dataset, read_data, run_trajectory, start_at
from kfjax.evaluation.chunks import all_chunks, chunk_size
from kfjax.evaluation.summaries import state_difference
from kfjax.filters import by_name
from kfjax.models.state_space import StateSpaceModel
from kfjax.smoothers.rauch_tung_striebel import Smoothed, smooth

__all__: list[str] = []


def run_filter(args: Namespace) -> None:
    """Run one filter over all trajectories and write its estimates."""
    out = Path(args.out)
    if out.is_dir():
        raise ValueError(f"--out {out} is a folder; expected a file, such as {out / 'est.npz'}.")
    check_folder(out.parent)
    model = load_model(args.model)
    data = read_data(args.data, args.split, **table_columns(args))
    if out.exists() and out.samefile(args.data):
        raise ValueError(f"--out {out} is the file of the data; expected another one.")
    check_model(model, data)
    chosen, params = _one_filter(args, model, data)
    check_fit(chosen, params, data)
    arrays = _arrays(chosen, params, data, jax.random.key(args.seed), smoothing=args.smooth)
    beliefs = [arrays[name] for name in ("mean", "cov") if name in arrays]
    sound = [np.isfinite(array).reshape(data.size, -1).all(-1) for array in beliefs]
    broken = data.size - np.logical_and.reduce(sound).sum()
    if broken:
        warnings.warn(
            f"{broken} of {data.size} trajectories have estimates that are not finite.",
            stacklevel=1,
        )
    print(f"Wrote {out}: {write_estimates(out, arrays, data, args)}.")


def _one_filter(args: Namespace, model: StateSpaceModel, data: Dataset) -> tuple[Filter, Any]:
    """Return the filter by name, or the trained one of a folder, with its params."""
    if args.load is None:
        return by_name(args.filter), model
    trained = load_trained(args.load, model, data.ys.shape[2])
    return trained.filter, trained.params


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
