"""The command `kfjax distil`, and the networks that it trained."""

from __future__ import annotations

import dataclasses
import io
import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kfjax._cli.columns import table_columns
from kfjax._cli.imitation import Imitation, imitate
from kfjax._cli.output import check_folder, later_steps, make_console
from kfjax._cli.studies import size_in_words
from kfjax._cli.trained import (
    CHECKPOINTS,
    DESCRIPTION,
    PARAMS,
    PICTURE,
    Trained,
    check_files,
    check_own,
    describe,
)
from kfjax._support.files import write_file
from kfjax.base import Filter
from kfjax.data import Dataset, Parts, read_parts
from kfjax.learned.params import Learned
from kfjax.learned.recurrent_networks.imitators import blank_imitator
from kfjax.plotting import plot_history
from kfjax.training import (
    Checkpoints,
    Diagnosis,
    Fitted,
    diagnose,
    load_params,
    save_params,
)

__all__: list[str] = []

TEXT = "diagnosis.txt"
REGULAR = 0.01  # steps that vary by less are alike


def run_distil(args: Namespace) -> None:
    """Train a sequence model on recorded estimates, or diagnose given predictions."""
    out = Path(args.out)
    check_folder(out)
    check_own(out)
    columns = table_columns(args)
    parts = _parts(args, columns)
    console = make_console()
    train, validation, test = map(size_in_words, parts[:3])
    console.print(f"{args.data}: training {train}; validation {validation}; test {test}.")
    out.mkdir(parents=True, exist_ok=True)
    about: dict[str, Any] = {"model_mark": None, "data": args.data, "columns": columns}
    if args.predictions:
        diagnosis = _of_predictions(args, parts, columns)
    else:
        settings = Imitation(**{name: getattr(args, name) for name in Imitation._fields})
        console.print("Training; if it is interrupted, the same command goes on.")
        student, fitted = imitate(parts, settings, Checkpoints(out / CHECKPOINTS))
        diagnosis = _of_student(args, parts, student, fitted)
        about |= _save(out, parts, settings, fitted)
    units = "standard deviations of the training targets"
    text = f"Errors on the test records, in {units}:\n\n{diagnosis}\n"
    console.print(f"\n{text}")
    write_file(out / TEXT, text.encode())
    verdicts = [verdict._asdict() for verdict in diagnosis.verdicts]
    figures = diagnosis.figures._asdict()
    about |= {"scale": diagnosis.scale, "figures": figures, "verdicts": verdicts}
    describe(out, about)
    console.print(f"Wrote {out}.")
    if not args.predictions:
        console.print(f"Run the network on other data with `kfjax filter --load {out}`.")


def _parts(args: Namespace, columns: dict[str, Any]) -> Parts:
    """Return the recording in three parts, without dt if all time steps are equal."""
    parts = read_parts(args.data, **columns)
    if any(part.xs is None for part in parts[:3]):
        raise ValueError(
            f"{args.data}: got no --targets; expected the columns of the recorded estimates (of an"
            " npz file, state [N, T, n])."
        )
    if not isinstance(parts.train.us, dict) or "dt" not in parts.train.us:
        return parts
    dt = later_steps(parts.train)
    if dt.size and np.ptp(dt) > REGULAR * np.median(dt):
        return parts
    train, validation, test = map(_without_dt, parts[:3])
    return Parts(train, validation, test, parts.skip)


def _without_dt(data: Dataset) -> Dataset:
    """Return data without the input dt."""
    inputs = {name: u for name, u in data.us.items() if name != "dt"}
    return dataclasses.replace(data, us=inputs or None, dtype=data.dtype)


def _of_predictions(args: Namespace, parts: Parts, columns: dict[str, Any]) -> Diagnosis:
    """Diagnose predictions in columns of the table; rows without one do not count."""
    other = read_parts(args.data, **{**columns, "xs": args.predictions}).test
    if other.xs.shape != parts.test.xs.shape:
        raise ValueError(
            f"got {other.xs.shape[2]} columns of --predictions and {parts.test.xs.shape[2]} of"
            " --targets; expected as many, in the same order."
        )
    known = np.where(np.isnan(other.xs), np.nan, parts.test.xs)
    test = dataclasses.replace(parts.test, xs=known, dtype=parts.test.dtype)
    return diagnose(
        train=parts.train,
        validation=test,
        predictions=other.xs,
        burn_in=max(args.burn_in, parts.skip[2]),
        window=args.window_seen,
    )


def _of_student(args: Namespace, parts: Parts, student: Filter, fitted: Fitted) -> Diagnosis:
    return diagnose(
        None,
        (student, fitted.params),
        parts.train,
        parts.test,
        history=fitted.history,
        burn_in=max(args.burn_in, parts.skip[2]),
    )


def _save(out: Path, parts: Parts, settings: Imitation, fitted: Fitted) -> dict[str, Any]:
    """Write the parameters and the picture; return the description of the network."""
    save_params(out / PARAMS, fitted.params)
    write_file(out / PICTURE, _picture(fitted))
    params: Learned = fitted.params
    scales = params.constants
    return {
        "imitator": {
            "n": params.model.n,
            "m": parts.train.ys.shape[2],
            "inputs": scales["u"]["centre"].size if "u" in scales else 0,
            "hidden": settings.hidden,
            **settings.network,
            "output": settings.network["output"] or _output(scales),
        },
        "input_names": sorted(parts.train.us) if isinstance(parts.train.us, dict) else [],
        "dtype": str(params.model.dtype),
        "settings": settings._asdict(),
        "validation": fitted.validation,
        "history": fitted.history,
    }


def _output(constants: dict[str, Any]) -> str:
    """Return where the output of an imitator with these constants is added."""
    return "recursion" if "recursion" in constants else "increment"


def _picture(fitted: Fitted) -> bytes:
    """Return the history as a PNG file."""
    data = io.BytesIO()
    axes = plot_history(fitted.history, ylabel="mean squared error")
    axes.figure.canvas.print_figure(data, format="png", dpi=150)
    return data.getvalue()


def load_imitation(directory: str | Path, data: Dataset) -> tuple[Trained, Dataset]:
    """Load a network that `kfjax distil` trained, and return the data with the inputs it sees.

    Args:
        directory: the folder.
        data: what it is to run on.

    Raises:
        ValueError: if there is none, or the data have other observations or inputs.
    """
    directory = Path(directory)
    about = _describe(directory)
    sizes = dict(about["imitator"])
    names = about["input_names"]
    given = data.us if isinstance(data.us, dict) else {}
    missing = [name for name in names if name not in given]
    if data.ys.shape[2] != sizes["m"] or missing:
        columns = about.get("columns", {})
        raise ValueError(
            f"--load {directory}: the network was trained with {columns}, that is m ="
            f" {sizes['m']} and the inputs {names}; got m = {data.ys.shape[2]} and"
            f" {sorted(given)}. Name the same columns."
        )
    dtype = jax.dtypes.canonicalize_dtype(float)
    hidden = tuple(sizes.pop("hidden"))
    n, m, inputs = (sizes.pop(name) for name in ("n", "m", "inputs"))
    chosen, like = blank_imitator(
        jax.random.key(0), n, m, inputs, hidden, dtype=np.dtype(about["dtype"]), **sizes
    )
    params = jax.tree.map(lambda a: a.astype(dtype), load_params(directory / PARAMS, like))
    model = params.model.replace(names=about["columns"].get("xs"))
    params = params._replace(model=model)
    seen = {name: given[name] for name in names}
    data = dataclasses.replace(data, us=seen or None, dtype=data.dtype)
    return Trained(f"imitator ({directory.name or directory})", chosen, params), data


def _describe(directory: Path) -> dict[str, Any]:
    """Read the description of a network, or raise."""
    try:
        about = json.loads((directory / DESCRIPTION).read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(
            f"--load {directory}: there is no readable {DESCRIPTION} in it; expected the folder of"
            " a finished `kfjax distil`, or --model FILE.py:NAME beside that of a `kfjax train`."
        ) from error
    if not isinstance(about, dict) or not about.get("imitator"):
        raise ValueError(
            f"--load {directory}: it holds no network of `kfjax distil`; expected --model"
            " FILE.py:NAME, the model that the filter was trained with."
        )
    check_files(directory, about)
    return about
