"""The command `kfjax train`."""

from __future__ import annotations

import warnings
from argparse import Namespace
from pathlib import Path
from typing import Any

import flax
import jax

from kfjax._cli import studies
from kfjax._cli.classical import Classical, learn_classical
from kfjax._cli.columns import table_columns
from kfjax._cli.loading import learned_kind, load_model
from kfjax._cli.output import check_fit, check_folder, check_model, make_console
from kfjax._cli.pictures import picture_bytes, title_of
from kfjax._cli.recipes import Settings, Training, train_learned
from kfjax._cli.trained import CHECKPOINTS, check_own, save_only_classical, save_trained
from kfjax._support.files import locked
from kfjax.data import Parts
from kfjax.evaluation import Comparison, compare
from kfjax.filters import extended
from kfjax.learned.params import init_params
from kfjax.learned.registry import LEARNED_FILTERS
from kfjax.models.state_space import StateSpaceModel
from kfjax.plotting import plot_history
from kfjax.training import Checkpoints

__all__: list[str] = []

CLASSICAL = "extended"  # the filter whose model is learned, if none is named
CLASSICAL_UPDATES = 150  # of the tuning of Q and R, at most

CHOICES = (
    "updates",
    "batch_size",
    "learning_rate",
    "seed",
    "seeds",
    "patience",
    "window",
)  # fields of Settings that are reported unchanged


def run_train(args: Namespace) -> None:
    """Train a filter; write its parameters, `training.json` and `history.png` into the folder."""
    out = Path(args.out)
    check_folder(out)
    check_own(out)
    model = load_model(args.model)
    columns = table_columns(args)
    study = studies.data_study(
        args.data, args.model, model, split=args.split, tuning=True, columns=columns
    )
    parts = study.parts
    check_model(model, parts.train)
    if args.learn != "gain":
        _check_classical(args)
        with locked(out / CHECKPOINTS, "kfjax train"):  # which also marks the folder as our own
            _train_classical(args, out, study.text, model, parts)
        return
    if args.filter is None:
        raise ValueError(
            f"got no --filter; expected one of {', '.join(LEARNED_FILTERS)}, or --learn noise, f or"
            " h, which learn the model of a classical filter."
        )
    chosen = learned_kind(args.filter).build(model.n, parts.train.ys.shape[2])
    check_fit(chosen, init_params(jax.random.key(0), chosen, model), parts.train)
    console = make_console()
    console.print(
        f"{study.text}\nTraining {args.filter}; if it is interrupted, the same command goes on."
    )
    settings = Settings(**{name: getattr(args, name) for name in ("loss", *CHOICES)})
    out.mkdir(parents=True, exist_ok=True)
    training = train_learned(args.filter, model, parts, settings, Checkpoints(out / CHECKPOINTS))
    beside, comparison = _beside(args, training, model, parts)
    console.print("\nOn the validation part, on which the parameters were chosen:")
    console.print(comparison)
    about = _about(args, training, comparison)
    picture = _picture(args, training)
    save_trained(out, args.filter, training.params, parts, about, picture, beside)
    console.print(
        f"\nWrote {out}; use it with `kfjax compare --load {out}` or `kfjax filter --load {out}`."
    )


def _check_classical(args: Namespace) -> None:
    """Raise unless the options go together with learning noise, f or h."""
    name = args.filter or CLASSICAL
    if name in LEARNED_FILTERS:
        raise ValueError(
            f"got --filter {name} with --learn {args.learn}; expected a classical filter, such as"
            " extended (the default)."
        )
    if args.loss == "nll":
        raise ValueError(
            f"got --loss nll with --learn {args.learn}; expected mse or innovation, the likelihood"
            " of the observations."
        )


def _train_classical(
    args: Namespace, out: Path, text: str, model: StateSpaceModel, parts: Parts
) -> None:
    """Learn noise, f or h of a classical filter; write its model and `training.json`."""
    name = args.filter or CLASSICAL
    console = make_console()
    console.print(f"{text}\nLearning {args.learn} of {name}.")
    loss = args.loss or ("innovation" if parts.train.xs is None else "mse")
    objective = "likelihood" if loss == "innovation" else "mse"
    updates = min(args.updates, CLASSICAL_UPDATES)
    options: dict[str, Any] = {"objective": objective, "updates": updates, "seed": args.seed}
    learned = learn_classical(name, args.learn, model, parts, **options)
    entries = {name: (learned.filter, model), f"{name}, learned": (learned.filter, learned.model)}
    key = jax.random.key(args.seed)
    comparison = compare(entries, parts.validation, key=key, skip=parts.skip[1])
    console.print("\nOn the validation part, on which the parameters were chosen:")
    console.print(comparison)
    console.print(learned.text)
    about = {"data": args.data, "model": args.model, "columns": table_columns(args)}
    save_only_classical(out, learned, model, parts, {**about, **_values(comparison)})
    console.print(
        f"\nWrote {out}; use it with `kfjax compare --load {out}` or `kfjax filter --load {out}`."
    )


def _beside(
    args: Namespace, training: Training, model: StateSpaceModel, parts: Parts
) -> tuple[Classical | None, Comparison]:
    """Return the tuned extended Kalman filter of the design model, and a comparison with it.

    The comparison is on the validation part.
    """
    entries: dict[str, Any] = {"extended": (extended(), model)}
    objective = "likelihood" if training.loss == "innovation" else "mse"
    options: dict[str, Any] = {"objective": objective, "seed": args.seed}
    beside = None
    try:
        beside = learn_classical("extended", "noise", model, parts, **options)
        entries["extended, tuned"] = (extended(), beside.model)
    except ValueError as error:
        warnings.warn(f"the extended Kalman filter could not be tuned: {error}", stacklevel=1)
    entries[args.filter] = (training.filter, training.params)
    key = jax.random.key(args.seed)
    return beside, compare(entries, parts.validation, key=key, skip=parts.skip[1])


def _values(comparison: Comparison) -> dict[str, Any]:
    """Return the errors of a comparison by filter."""
    rows = {row.name: row for row in comparison.rows}
    return {
        "validation_db": {
            name: None if row.mse_db is None else row.mse_db.value for name, row in rows.items()
        },
        "prediction_db": {
            name: row.prediction_db.value
            for name, row in rows.items()
            if row.prediction_db is not None
        },
    }


def _about(args: Namespace, training: Training, comparison: Comparison) -> dict[str, Any]:
    """Return the description of the training, in addition to that of the filter itself."""
    told = ("data", "model", *CHOICES)
    fitted = training.fitted
    document = comparison.to_dict()
    return {
        "loss": training.loss,
        **{name: getattr(args, name) for name in told},
        "columns": table_columns(args),
        **_values(comparison),
        "runs": {
            "validation": fitted.validation,
            "spread": fitted.spread,
            "refused": fitted.refused,
        },
        "versions": document["settings"]["versions"] | {"flax": flax.__version__},
        "history": fitted.history,
    }


def _picture(args: Namespace, training: Training) -> bytes:
    """Return the history as a PNG file."""
    axes = plot_history(training.fitted.history, ylabel=f"loss ({training.loss})")
    axes.set_title(f"{title_of(args)}, {args.filter}", loc="left", fontsize="medium")
    return picture_bytes(axes.figure)
