"""The command `kfjax train`."""

from __future__ import annotations

import warnings
from argparse import Namespace
from pathlib import Path
from typing import Any

import flax
import jax

from kfjax._cli import studies
from kfjax._cli.columns import table_columns
from kfjax._cli.loading import load_model
from kfjax._cli.output import check_fit, check_folder, check_model, make_console
from kfjax._cli.pictures import picture_bytes, title_of
from kfjax._cli.recipes import Settings, Training, train_learned
from kfjax._cli.trained import CHECKPOINTS, check_own, save_trained
from kfjax.data import Parts
from kfjax.evaluation import Comparison, compare
from kfjax.filters import extended
from kfjax.learned.params import init_params
from kfjax.learned.registry import learned_by_name
from kfjax.models.state_space import StateSpaceModel
from kfjax.plotting import plot_history
from kfjax.training import Checkpoints, tune

__all__: list[str] = []

CHOICES = (
    "updates",
    "batch_size",
    "learning_rate",
    "seed",
    "seeds",
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
    chosen = learned_by_name(args.filter, model.n, parts.train.ys.shape[2])
    check_model(model, parts.train)
    check_fit(chosen, init_params(jax.random.key(0), chosen, model), parts.train)
    console = make_console()
    console.print(
        f"{study.text}\nTraining {args.filter}; if it is interrupted, the same command goes on."
    )
    settings = Settings(**{name: getattr(args, name) for name in ("loss", *CHOICES)})
    out.mkdir(parents=True, exist_ok=True)
    training = train_learned(args.filter, model, parts, settings, Checkpoints(out / CHECKPOINTS))
    comparison = _beside(args, training, model, parts)
    console.print("\nOn the validation part, on which the parameters were chosen:")
    console.print(comparison)
    about = _about(args, training, comparison)
    save_trained(out, args.filter, training.params, parts, about, _picture(args, training))
    console.print(
        f"\nWrote {out}; use it with `kfjax compare --load {out}` or `kfjax filter --load {out}`."
    )


def _beside(
    args: Namespace, training: Training, model: StateSpaceModel, parts: Parts
) -> Comparison:
    """Compare with the extended Kalman filter of the design model, as it is and tuned.

    The comparison is on the validation part.
    """
    entries: dict[str, Any] = {"extended": (extended(), model)}
    objective = "likelihood" if training.loss == "innovation" else "mse"
    options: dict[str, Any] = {
        "structure": "diagonal",
        "objective": objective,
        "skip": parts.skip[:2],
        "validation": parts.validation,
        "key": jax.random.key(args.seed),
    }
    try:
        tuned = tune(extended(), model, parts.train, **options)
        entries["extended, tuned"] = (extended(), tuned.params)
    except ValueError as error:
        warnings.warn(f"the extended Kalman filter could not be tuned: {error}", stacklevel=1)
    entries[args.filter] = (training.filter, training.params)
    return compare(entries, parts.validation, key=jax.random.key(args.seed), skip=parts.skip[1])


def _about(args: Namespace, training: Training, comparison: Comparison) -> dict[str, Any]:
    """Return the description of the training, in addition to that of the filter itself."""
    told = ("data", "model", *CHOICES)
    fitted = training.fitted
    document = comparison.to_dict()
    rows = {row.name: row for row in comparison.rows}
    return {
        "loss": training.loss,
        **{name: getattr(args, name) for name in told},
        "columns": table_columns(args),
        "validation_db": {
            name: None if row.mse_db is None else row.mse_db.value for name, row in rows.items()
        },
        "prediction_db": {
            name: row.prediction_db.value
            for name, row in rows.items()
            if row.prediction_db is not None
        },
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
