"""The command `kfjax compare`."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console

from kfjax._cli import studies
from kfjax._cli.columns import table_columns
from kfjax._cli.loading import load_model
from kfjax._cli.output import check_fit, check_folder, check_model, make_console
from kfjax._cli.pictures import (
    check_states,
    in_style,
    index_of_series,
    name_of_series,
    pages_bytes,
    picture_bytes,
    title_of,
)
from kfjax._cli.recipes import Training, train_quickly
from kfjax._cli.studies import Study
from kfjax._cli.trained import load_both, trained_on
from kfjax._support.files import write_file
from kfjax._support.saving import json_text
from kfjax.base import Filter
from kfjax.data import Dataset, Parts
from kfjax.evaluation import Comparison, compare
from kfjax.filters import COMMON, FILTERS, by_name
from kfjax.models.state_space import StateSpaceModel
from kfjax.plotting import plot_comparison, plot_record
from kfjax.plotting.comparison import shown_filter
from kfjax.training import Tuned, tune

__all__: list[str] = []

GROUPS = {"all": tuple(FILTERS), "common": tuple(COMMON), "quick": ("extended", "unscented")}


class _Table(NamedTuple):
    """One design model of a study, with all filters that run it."""

    title: str
    comparison: Comparison
    left_out: dict[str, str]
    tuned: dict[str, Tuned]
    learned: dict[str, Training]


def run_compare(args: Namespace) -> None:
    """Compare filters and print a table for each design model.

    `compare.json`, `compare.png` and `compare.pdf` are written to the folder.
    """
    out = Path(args.out)
    check_folder(out)
    study = studies.keep_components(_study(args), args.components)
    for model in study.designs.values():
        check_states(args, model, study.data)
    index_of_series(args, study.data)  # before the work that a wrong name would waste
    console = make_console(quiet=args.json)
    console.print(study.text)
    tables = []
    for title, model in study.designs.items():
        tables.append(_table(args, study, title, model))
        _print_table(console, tables[-1], units=args.data is not None)
    for name, reason in {
        name: why for table in tables for name, why in table.left_out.items()
    }.items():
        console.print(f"\nLeft out: {name}, since {reason}")
    document = _document(args, study, tables)
    pictures = _pictures(args, study, tables[0])
    write_file(out / "compare.json", document.encode())
    for name, picture in pictures.items():
        write_file(out / name, picture)
    of_which = " of the first table" if len(tables) > 1 else ""
    console.print(
        f"\nWrote {out / 'compare.json'}, {out / 'compare.png'}{of_which}, and"
        f" {out / 'compare.pdf'} with all states and channels."
    )
    if args.json:
        print(document)


def _study(args: Namespace) -> Study:
    """Return the study: what to compare on."""
    tuning = (
        args.tune is not None or args.learned is not None
    )  # both need data other than those that are reported
    if args.system and (args.data or args.model):
        raise ValueError("got --system with --data or --model; expected one or the other.")
    if args.objective and not args.tune:
        raise ValueError(f"got --objective {args.objective} without --tune; expected both.")
    if args.data:
        if not args.model:
            raise ValueError(
                "got --data without --model; expected FILE.py:NAME, a kfjax.StateSpaceModel for the"
                " data."
            )
        if args.trajectories or args.steps or args.quick:
            raise ValueError(
                "got --trajectories, --steps or --quick with --data; expected them for simulated"
                " data only."
            )
        columns = table_columns(args)
        parted = tuning or (
            args.split is None
            and any(trained_on(folder, args.data, columns) for folder in args.load)
        )
        return studies.data_study(
            args.data,
            args.model,
            load_model(args.model),
            split=args.split,
            tuning=parted,
            columns=columns,
        )
    if columns := table_columns(args):
        raise ValueError(f"got --{next(iter(columns))} without --data; expected both.")
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
    """Run all filters of one table: untuned, tuned and learned ones."""
    filters, left_out = _filters(
        args.filters or ("quick" if args.quick else "common"), model, study.data
    )
    m = study.data.ys.shape[2]
    loaded = [trained for folder in args.load for trained in load_both(folder, model, m)]
    tuned = {
        name: _tune(args, study.parts, name, chosen, model)
        for name, chosen in filters.items()
        if args.tune
    }
    learned, not_learned = (
        train_quickly(args.learned, model, study.parts, args.seed) if args.learned else ({}, {})
    )
    entries: dict[str, Any] = {}
    for name, chosen in filters.items():
        entries[name] = (chosen, model)
        if name in tuned:
            entries[f"{name}, tuned"] = (chosen, tuned[name].params)
    entries |= {name: (training.filter, training.params) for name, training in learned.items()}
    entries |= {trained.name: (trained.filter, trained.params) for trained in loaded}
    comparison = compare(
        entries,
        study.data,
        key=jax.random.key(args.seed),
        skip=study.skip,
        example=index_of_series(args, study.data),
    )
    return _Table(title, comparison, left_out | not_learned, tuned, learned)


def _tune(
    args: Namespace, parts: Parts, name: str, chosen: Filter, model: StateSpaceModel
) -> Tuned:
    options: dict[str, Any] = {
        "structure": args.tune,
        "objective": args.objective or "likelihood",
        "validation": parts.validation,
        "key": jax.random.key(args.seed),
        "skip": parts.skip[:2],
    }
    try:
        return tune(chosen, model, parts.train, **options)
    except ValueError as error:
        raise ValueError(f"filter {name!r}: {error}") from error


def _filters(
    names: str, model: StateSpaceModel, data: Dataset
) -> tuple[dict[str, Filter], dict[str, str]]:
    """Return the filters by name, and the reason for each one of a group that is left out."""
    check_model(model, data)
    if names not in GROUPS:
        filters = {name: by_name(name) for name in names.split(",")}
        for chosen in filters.values():
            check_fit(chosen, model, data)
        return filters, {}
    filters = {}
    left_out = {}
    for name in GROUPS[names]:
        try:
            check_fit(by_name(name), model, data)
            filters[name] = by_name(name)
        except ValueError as error:
            left_out[name] = str(error).removeprefix(f"{name}: ")
    return filters, left_out


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
    """Return the RMSE of every filter with its interval, if the truth is known."""
    errors = {name: evaluation.rmse() for name, evaluation in comparison.evaluations.items()}
    return {name: error for name, error in errors.items() if error is not None}


def _document(args: Namespace, study: Study, tables: Iterable[_Table]) -> str:
    """Return all results as JSON."""
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
    arguments = {
        name: value for name, value in vars(args).items() if name not in ("run", "out", "json")
    }
    return json_text({"study": study.text, "arguments": arguments, "tables": described})


def _tuning(tuned: Tuned) -> dict[str, Any]:
    """Return the result of tuning, with Q and R themselves if they are matrices."""
    noise = {name: getattr(tuned.params, name) for name in ("Q", "R")}
    matrices = {
        name: None if callable(value) else np.asarray(value) for name, value in noise.items()
    }
    return {name: value for name, value in tuned._asdict().items() if name != "params"} | matrices


def _pictures(args: Namespace, study: Study, table: _Table) -> dict[str, bytes]:
    """Return the figure of a comparison, and as pages also all states and channels."""
    comparison = table.comparison
    title = table.title if args.data is None else title_of(args, study.part)
    how: dict[str, Any] = {"parts": study.sections, "title": title}
    shown = shown_filter(comparison)
    with in_style(args):
        overview = plot_comparison(comparison, states=args.show, **how)
        places = [title, shown]
        if study.data.size > 1:
            places.append(name_of_series(study.data, index_of_series(args, study.data)))
        how["title"] = ", ".join(places)
        estimates = {shown: comparison.estimates[shown]}
        pages = plot_record(comparison.example, estimates, comparison.infos[shown], **how)
        return {
            "compare.png": picture_bytes(overview),
            "compare.pdf": pages_bytes([overview, *pages]),
        }
