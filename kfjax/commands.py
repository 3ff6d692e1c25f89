"""What the commands do: `compare` filters on a study, or run one `filter` over data and write its estimates."""

from __future__ import annotations

import functools
import io
import json
import os
import sys
import warnings
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array
from rich.console import Console

from kfjax import studies
from kfjax.base import Estimate, Filter
from kfjax.data import Dataset, Parts, read_data, run_trajectory, start_at
from kfjax.evaluation import Comparison, compare
from kfjax.evaluation.engine import chunk_size, chunks, filter_one
from kfjax.evaluation.saving import plain, write_whole
from kfjax.filters import COMMON, FILTERS, by_name
from kfjax.loading import load_model
from kfjax.models import StateSpaceModel, model_of
from kfjax.recipes import Training, train_quickly
from kfjax.smoothers import Smoothed, smooth
from kfjax.studies import Study
from kfjax.trained import load_trained, trained_on
from kfjax.training import Tuned, tune

__all__ = ["check_fit", "check_folder", "make_console", "run_compare", "run_filter"]

GROUPS = {"all": tuple(FILTERS), "common": tuple(COMMON), "quick": ("extended", "unscented")}
PIPE_WIDTH = 140  # columns of a table that no terminal shows


class _Table(NamedTuple):
    """One design model of a study, with all filters that run it."""

    title: str
    comparison: Comparison
    left_out: dict[str, str]
    tuned: dict[str, Tuned]
    learned: dict[str, Training]


def run_compare(args: Namespace) -> None:
    """Compare filters, a table for each design model; print the tables, write `compare.json` and `compare.png`."""
    out = Path(args.out)
    check_folder(out)
    study = studies.keep_components(_study(args), args.components)
    console = make_console(quiet=args.json)
    console.print(study.text)
    tables = []
    for title, model in study.designs.items():
        tables.append(_table(args, study, title, model))
        _print_table(console, tables[-1], units=args.data is not None)
    for name, reason in {name: why for table in tables for name, why in table.left_out.items()}.items():
        console.print(f"\nLeft out: {name}, since {reason}")
    document = _document(args, study, tables)
    picture = _picture(tables[0].comparison)
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / "compare.json", document.encode())
    write_whole(out / "compare.png", picture)
    of_which = " (of the first table)" if len(tables) > 1 else ""
    console.print(f"\nWrote {out / 'compare.json'} and {out / 'compare.png'}{of_which}.")
    if args.json:
        print(document)


def make_console(*, quiet: bool = False) -> Console:
    """Return what tables are printed on."""
    return Console(quiet=quiet, width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False, markup=False)


def check_folder(folder: Path) -> None:
    """Raise before the work is done if its results could not be written."""
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise ValueError(f"--out: cannot write into {folder}; {existing} is no folder, or one that may not be changed.")


def _study(args: Namespace) -> Study:
    """Choose what to compare on."""
    tuning = args.tune is not None or args.learned is not None  # both need data other than what is reported
    if args.system and (args.data or args.model):
        raise ValueError("got --system with --data or --model; expected one or the other.")
    if args.objective and not args.tune:
        raise ValueError(f"got --objective {args.objective} without --tune; expected both.")
    if args.data:
        if not args.model:
            raise ValueError("got --data without --model; expected FILE.py:NAME, a kfjax.StateSpaceModel for the data.")
        if args.trajectories or args.steps or args.quick:
            raise ValueError(
                "got --trajectories, --steps or --quick with --data; expected them for simulated data only."
            )
        parted = tuning or (args.split is None and any(trained_on(folder, args.data) for folder in args.load))
        return studies.data_study(args.data, args.model, load_model(args.model), split=args.split, tuning=parted)
    if args.split:
        raise ValueError("got --split without --data; expected it for npz files that hold parts.")
    sizes = {"seed": args.seed, "tuning": tuning}
    sizes["trajectories"] = args.trajectories or (50 if args.quick else 300)
    sizes["steps"] = args.steps or (50 if args.quick else 100)
    if args.model:
        return studies.simulated_study(args.model, load_model(args.model), **sizes)
    if args.system:
        return studies.system_study(args.system, **sizes)
    return studies.lorenz_study(quick=args.quick, **sizes)


def _table(args: Namespace, study: Study, title: str, model: StateSpaceModel) -> _Table:
    """Run all filters of one table, tuned ones beside untuned ones, and learned ones."""
    filters, left_out = _filters(args.filters or ("quick" if args.quick else "common"), model, study.data)
    loaded = [load_trained(folder, model, study.data.obs.shape[2]) for folder in args.load]
    tuned = {name: _tune(args, study.parts, name, chosen, model) for name, chosen in filters.items() if args.tune}
    learned, not_learned = train_quickly(args.learned, model, study.parts, args.seed) if args.learned else ({}, {})
    entries: dict[str, Any] = {}
    for name, chosen in filters.items():
        entries[name] = (chosen, model)
        if name in tuned:
            entries[f"{name}, tuned"] = (chosen, tuned[name].params)
    entries |= {name: (training.filter, training.params) for name, training in learned.items()}
    entries |= {trained.name: (trained.filter, trained.params) for trained in loaded}
    comparison = compare(entries, study.data, key=jax.random.key(args.seed), skip=study.skip)
    return _Table(title, comparison, left_out | not_learned, tuned, learned)


def _tune(args: Namespace, parts: Parts, name: str, chosen: Filter, model: StateSpaceModel) -> Tuned:
    options = {"structure": args.tune, "objective": args.objective or "likelihood", "seed": args.seed}
    try:
        return tune(chosen, model, parts.train, parts.validation, skip=parts.skip[:2], **options)
    except ValueError as error:
        raise ValueError(f"filter {name!r}: {error}") from error


def _filters(names: str, model: StateSpaceModel, data: Dataset) -> tuple[dict[str, Filter], dict[str, str]]:
    """Return the filters by name, and those left out of a group with the reason."""
    check_fit(by_name("extended"), model, data)
    if names not in GROUPS:
        filters = {name: by_name(name) for name in names.split(",")}
        for chosen in filters.values():
            check_fit(chosen, model, data)
        return filters, {}
    filters, left_out = {}, {}
    for name in GROUPS[names]:
        try:
            check_fit(by_name(name), model, data)
            filters[name] = by_name(name)
        except ValueError as error:
            left_out[name] = str(error).removeprefix(f"{name}: ")
    return filters, left_out


def check_fit(chosen: Filter, params: Any, data: Dataset) -> None:
    """Raise a ValueError unless the filter runs its model on these data; somebody's functions may raise anything."""
    model = model_of(params)
    try:
        one = jax.tree.map(lambda a: a[0], data)
        jax.eval_shape(lambda p, d, k: filter_one(chosen, p, d, k)[0].mean, params, one, jax.random.key(0))
    except ValueError:
        raise
    except Exception as error:
        given = "no inputs" if data.inputs is None else f"inputs {jax.tree.map(lambda a: a.shape, data.inputs)}"
        raise ValueError(
            f"the model cannot be evaluated on the data ({type(error).__name__}: {error}); expected f(x, u) and h(x, u)"
            f" of a state [{model.n}] and one step of the data, which have {given}."
        ) from error
    if data.state is not None and data.state.shape[2:] != model.prior.mean.shape:
        raise ValueError(
            f"the true state has {data.state.shape[2]} components and the model's {model.prior.mean.shape[0]}; expected"
            " the same. Give the data's state in the model's order, with NaN for what is not known."
        )


def _print_table(console: Console, table: _Table, *, units: bool) -> None:
    console.print(f"\n{table.title}", style="bold")
    console.print(table.comparison)
    if units and (errors := _rmse(table.comparison)):
        values = ", ".join(f"{name} {value:.4g}" for name, (value, _, _) in errors.items())
        console.print(f"RMSE, the root of the MSE, in the units of the state: {values}.")
    for name, tuned in table.tuned.items():
        q, r = (np.array2string(np.asarray(factors), precision=3) for factors in tuned.scales)
        console.print(
            f"{name}, tuned: Q x {q}, R x {r}; the objective on the validation part went from"
            f" {tuned.validation[0]:.4g} to {tuned.validation[1]:.4g}."
        )
    for name, training in table.learned.items():
        console.print(f"{name}: {training.text}")


def _rmse(comparison: Comparison) -> dict[str, Any]:
    """Root mean squared error of every filter with its interval, where the truth is known."""
    errors = {name: evaluation.rmse() for name, evaluation in comparison.evaluations.items()}
    return {name: error for name, error in errors.items() if error is not None}


def _document(args: Namespace, study: Study, tables: Iterable[_Table]) -> str:
    """Everything as JSON."""
    described = [
        {
            "title": table.title,
            "left_out": table.left_out,
            "tuning": {name: _tuning(tuned) for name, tuned in table.tuned.items()},
            "learned": {name: training.text for name, training in table.learned.items()},
            "rmse": _rmse(table.comparison),
            **table.comparison.to_dict(),
        }
        for table in tables
    ]
    arguments = {name: value for name, value in vars(args).items() if name not in ("run", "out", "json")}
    document = plain({"study": study.text, "arguments": arguments, "tables": described})
    return json.dumps(document, allow_nan=False, indent=1)


def _tuning(tuned: Tuned) -> dict[str, Any]:
    """What tuning found; Q and R themselves where they are matrices."""
    noise = {name: getattr(tuned.params, name) for name in ("Q", "R")}
    matrices = {name: None if callable(value) else np.asarray(value) for name, value in noise.items()}
    return {name: value for name, value in tuned._asdict().items() if name != "params"} | matrices


def _picture(comparison: Comparison) -> bytes:
    """The picture of a comparison as a PNG file."""
    data = io.BytesIO()
    comparison.plot().savefig(data, format="png", dpi=150)
    return data.getvalue()


def run_filter(args: Namespace) -> None:
    """Run one filter over all trajectories and write its estimates."""
    out = Path(args.out)
    if out.is_dir():
        raise ValueError(f"--out {out} is a folder; expected a file, such as {out / 'est.npz'}.")
    check_folder(out.parent)
    model, data = load_model(args.model), read_data(args.data, args.split)
    check_fit(by_name("extended"), model, data)
    chosen, params = _one_filter(args, model, data)
    check_fit(chosen, params, data)
    arrays = _arrays(chosen, params, data, jax.random.key(args.seed), smoothing=args.smooth)
    broken = sum(not np.isfinite(mean).all() for mean in arrays["mean"])
    if broken:
        warnings.warn(f"{broken} of {data.size} trajectories have estimates that are not finite.", stacklevel=1)
    content = io.BytesIO()
    np.savez(content, **arrays)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, content.getvalue())
    shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
    print(f"Wrote {out}: {shapes}.")


def _one_filter(args: Namespace, model: StateSpaceModel, data: Dataset) -> tuple[Filter, Any]:
    """The filter by name, or the trained one of a folder, with its params."""
    if args.load is None:
        return by_name(args.filter), model
    trained = load_trained(args.load, model, data.obs.shape[2])
    return trained.filter, trained.params


def _arrays(chosen: Filter, params: Any, data: Dataset, key: Array, *, smoothing: bool) -> dict[str, Any]:
    """Estimates of all trajectories by name, computed in chunks that fit in memory."""
    one = jax.tree.map(lambda a: a[0], data)
    parts = []
    for index, count in chunks(data.size, chunk_size(chosen, params, one, key, data.size)):
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


@functools.partial(jax.jit, static_argnums=(0, 1))
def _estimates(
    chosen: Filter, smoothing: bool, params: Any, data: Dataset, keys: Array
) -> tuple[Estimate, Smoothed | None]:
    def one(trajectory: Dataset, key: Array) -> tuple[Estimate, Smoothed | None]:
        filtered = run_trajectory(chosen, params, trajectory, key=key)[1]
        if not smoothing:
            return filtered, None
        started = start_at(params, trajectory.initial)
        return filtered, smooth(chosen, started, filtered, trajectory.inputs, length=trajectory.length)

    return jax.vmap(one)(data, keys)
