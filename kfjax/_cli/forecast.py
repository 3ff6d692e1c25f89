"""The command `kfjax forecast`."""

from __future__ import annotations

import math
from argparse import Namespace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from kfjax._cli.columns import name_of_time, table_columns
from kfjax._cli.estimate_files import TABLES, write_table
from kfjax._cli.forecast_auto import choose_model
from kfjax._cli.forecast_cycle import CORRELATED
from kfjax._cli.loading import Parametric, load_model, load_parametric
from kfjax._cli.output import check_fit, check_folder, check_model
from kfjax._cli.pictures import in_style, index_of_series, name_of_series, picture_bytes
from kfjax._cli.studies import size_in_words
from kfjax._support.files import write_file
from kfjax._support.naming import suggest
from kfjax._support.saving import json_text
from kfjax.base import Filter, Params
from kfjax.data import Dataset, read_data, split_future, split_time
from kfjax.data.counting import counted_observations
from kfjax.evaluation import ResidualChecks, SeriesForecast, forecast_series, residual_checks
from kfjax.filters import by_name, exact_diffuse
from kfjax.models.state_space import StateSpaceModel, is_linear
from kfjax.plotting import plot_forecast
from kfjax.structural import Structural
from kfjax.training import COVARIANCES, MaximumLikelihood, maximum_likelihood

__all__: list[str] = []

SHOWN = 12  # rows of the table that are printed
DRAWN = 10  # the picture shows this many past steps for each future one,
AT_LEAST = 120  # and at least this many
AUTO = "auto"
STEPS = 12  # ahead, with --model auto


class _Errors(NamedTuple):
    """Errors of the forecasts of one channel in the held-out steps.

    Attributes:
        name: name of the channel.
        rmse: root of the mean squared error.
        mae: mean absolute error.
        naive_mae: that of the last observation as a forecast of all steps.
        covered: share of the observations within their interval.
        observations: their number.
    """

    name: str
    rmse: float
    mae: float
    naive_mae: float
    covered: float
    observations: int


def run_forecast(args: Namespace) -> None:
    """Fit a model if that is wanted, check it, forecast, and write a table, a picture and JSON."""
    out = Path(args.out)
    if out.suffix not in TABLES:
        raise ValueError(f"--out is {out}; expected a file that ends in .csv or .parquet.")
    check_folder(out.parent)
    data_file = _file(args)
    model = None if args.model == AUTO else load_model(args.model)
    data = read_data(data_file, args.split, **table_columns(args))
    if out.exists() and out.samefile(data_file):
        raise ValueError(f"--out {out} is the file of the data; expected another one.")
    if model is None:
        _check_automatic(args)
    else:
        chosen = _filter(args, model, data)
    series = index_of_series(args, data)
    known, later = _kept_back(args, data)
    print(f"{data_file}: {size_in_words(data)}.")
    if later is not None:
        print(f"Fitted and forecast without the last {args.holdout} steps.")
    past = _past(known)
    if model is None:
        best = choose_model(args, past)
        chosen = exact_diffuse()
        fit: MaximumLikelihood | None = best
    else:
        fit = _fitted(args, chosen, model, known)
    params = model if fit is None else fit.params
    checks = residual_checks(chosen, params, past, skip=args.skip)
    print()
    print(checks if fit is None else fit.summary(checks))
    for note in _missing_in(checks):
        print(f"Note: {note}")
    steps = args.steps or args.holdout
    if model is None and past is known:
        steps = steps or STEPS
    ahead = forecast_series(chosen, params, known, steps=steps, level=args.level)
    frame = ahead.to_pandas(time=name_of_time(args), series=args.by or "series")
    print(f"\nForecast, {100 * args.level:g} % intervals; times: {ahead.future.spacing}:")
    print(frame.head(SHOWN).to_string(index=False))
    if len(frame) > SHOWN:
        print(f"... {len(frame) - SHOWN} more rows")
    errors = [] if later is None else _errors(past, later, ahead)
    for channel in errors:
        print(_in_words(channel, args.level, args.holdout, steps or ahead.future.steps))
    with in_style(args):
        picture = _picture(past, ahead, later, series, Path(data_file).name)
    document = _document(args, fit, checks, ahead, errors)
    table = write_table(out, frame)
    write_file(out.with_suffix(".png"), picture)
    write_file(out.with_suffix(".json"), document.encode())
    print(f"\nWrote {out}: {table}; and {out.with_suffix('.png')}, {out.with_suffix('.json')}.")


def _file(args: Namespace) -> str:
    """Return the file of the data, which is given with or without --data."""
    given = [file for file in (args.data, args.data_file) if file is not None]
    if len(given) != 1:
        raise ValueError(
            f"got {' and '.join(given) or 'no file'} as data; expected one file, as in kfjax"
            " forecast sales.csv, or --data sales.csv."
        )
    return given[0]


def _filter(args: Namespace, model: StateSpaceModel, data: Dataset) -> Filter:
    """Return the filter of a user's model, which runs it on the data."""
    check_model(model, data)
    chosen = by_name(args.filter or ("kalman" if is_linear(model) else "extended"))
    # a sum without a variance of its diffuse states has no other start
    is_open = isinstance(model, Structural) and model.diffuse_variance is None
    if args.diffuse is not None or is_open:
        by_itself = args.filter is None and is_linear(model)
        chosen = exact_diffuse(None if by_itself else chosen, args.diffuse or None)
    check_fit(chosen, model, data)
    return chosen


def _check_automatic(args: Namespace) -> None:
    """Raise if arguments of the filter or of a fit are given with --model auto."""
    for option in ("fit", "filter", "diffuse"):
        if getattr(args, option) is not None:
            raise ValueError(
                f"got --model auto and --{option}; expected one of them: its sums are fitted, start"
                " exactly diffuse, and have a filter of their own."
            )


def _kept_back(args: Namespace, data: Dataset) -> tuple[Dataset, Dataset | None]:
    """Return the data to forecast from, and the observations held out, if any."""
    if args.holdout is None:
        return data, None
    shortest = int(data.lengths.min())
    if data.lengths.max() != shortest or args.holdout >= shortest:
        raise ValueError(
            f"got --holdout {args.holdout} for series of {shortest} to {data.lengths.max()} steps;"
            " expected fewer steps than there are, and series of one length."
        )
    known, later = split_time(data, shortest - args.holdout, args.holdout)
    return known, later


def _past(data: Dataset) -> Dataset:
    """Return the data up to the last observation."""
    try:
        return split_future(data)[0]
    except ValueError:  # they end with one
        return data


def _fitted(
    args: Namespace, chosen: Filter, model: StateSpaceModel, data: Dataset
) -> MaximumLikelihood | None:
    """Return the fit that was asked for, or None."""
    if args.fit is None:
        return None
    settings: dict[str, Any] = {
        "skip": args.skip,
        "starts": args.starts,
        "level": args.level,
        "key": jax.random.key(args.seed),
    }
    past = _past(data)
    if args.fit in COVARIANCES:
        learn = dict.fromkeys(("Q", "R"), args.fit)
        return maximum_likelihood(chosen, model, past, learn=learn, **settings)
    parametric = load_parametric(args.model)
    if parametric is None:
        if args.fit:
            raise ValueError(
                f"got --fit {args.fit}, but {args.model} is not a function of numbers;"
                f" {suggest(args.fit, COVARIANCES)} Or write a function whose arguments have"
                " numbers as defaults."
            )
        return maximum_likelihood(chosen, model, past, **settings)
    values, held = _arguments(args.fit, parametric)

    def build(values: dict[str, Any]) -> Params:
        return parametric.build(**held, **values)

    return maximum_likelihood(chosen, values, past, transform=build, **settings)


def _arguments(text: str, parametric: Parametric) -> tuple[dict[str, float], dict[str, float]]:
    """Return the arguments of a model that are fitted, and those that are not."""
    names = text.split(",") if text else list(parametric.defaults)
    for name in names:
        if name not in parametric.defaults:
            known = [*parametric.defaults, *COVARIANCES]
            raise ValueError(
                f"got --fit {text}, but {name!r} cannot be fitted; {suggest(name, known)}"
            )
    fitted = {name: parametric.defaults[name] for name in names}
    held = {name: value for name, value in parametric.defaults.items() if name not in fitted}
    return fitted, held


def _errors(past: Dataset, later: Dataset, ahead: SeriesForecast) -> list[_Errors]:
    """Return the errors of the forecasts of every channel that was observed."""
    steps = min(ahead.future.steps, later.steps)
    truth = np.array(later.ys[:, :steps], np.float64)
    if later.observed is not None:
        truth[~np.asarray(later.observed)[:, :steps]] = np.nan
    error = truth - ahead.mean[:, :steps]
    inside = (truth >= ahead.low[:, :steps]) & (truth <= ahead.high[:, :steps])
    seen = ~np.isnan(truth)
    naive = np.abs(truth - _last_observed(past)[:, None])
    return [
        _Errors(
            name=name,
            rmse=float(np.sqrt(np.mean(error[seen[..., j], j] ** 2))),
            mae=float(np.mean(np.abs(error[seen[..., j], j]))),
            naive_mae=float(np.mean(naive[seen[..., j], j])),
            covered=float(inside[seen[..., j], j].mean()),
            observations=int(seen[..., j].sum()),
        )
        for j, name in enumerate(ahead.channels)
        if seen[..., j].any()
    ]


def _last_observed(data: Dataset) -> np.ndarray:
    """Return the last observation of every channel [N, m]."""
    steps = np.arange(data.steps)[:, None]
    last = np.where(counted_observations(data), steps, -1).max(axis=1)
    values = np.take_along_axis(np.asarray(data.ys, np.float64), np.maximum(last, 0)[:, None], 1)
    return np.where(last >= 0, values[:, 0], math.nan)


def _missing_in(checks: ResidualChecks) -> list[str]:
    """Return for every channel whose residuals are correlated that the model leaves something."""
    return [
        f"residuals of {one.name} are correlated in time (Prob(Q) {one.ljung_box_p:.2g}): the model"
        " leaves out something that helps to forecast, such as a season (--season S) or a cycle"
        " (kf.structural.cycle)."
        for one in checks.channels
        if one.ljung_box_p < CORRELATED
    ]


def _in_words(errors: _Errors, level: float, kept_back: int, steps: int) -> str:
    """Return the errors as a sentence."""
    covered = f"{100 * errors.covered:.0f} % lie in their {100 * level:g} % interval"
    part = "kept back"
    if steps < kept_back:
        part = f"in the first {steps} of the {kept_back} steps kept back"
    return (
        f"{errors.name}: of {errors.observations} observations {part}, {covered}."
        f" RMSE {errors.rmse:.4g}, MAE {errors.mae:.4g}"
        f" (the last observation as a forecast: MAE {errors.naive_mae:.4g})."
    )


def _picture(
    past: Dataset, ahead: SeriesForecast, later: Dataset | None, series: int, title: str
) -> bytes:
    """Return the figure of a series as a PNG file."""
    last = max(AT_LEAST, DRAWN * ahead.future.steps)
    axes = plot_forecast(past, ahead, actual=later, trajectory=series, last=last)
    if past.size > 1:
        title = f"{title}, {name_of_series(past, series)}"
    axes[0].set_title(title, loc="left", fontsize="medium")
    return picture_bytes(axes[0].figure)


def _document(
    args: Namespace,
    fit: MaximumLikelihood | None,
    checks: ResidualChecks,
    ahead: SeriesForecast,
    errors: list[_Errors],
) -> str:
    """Return all results but the table as JSON."""
    arguments = {name: value for name, value in vars(args).items() if name != "run"}
    results = {
        "arguments": arguments,
        "fit": None if fit is None else fit.to_dict(),
        "residuals": checks.to_dict(),
        "spacing": ahead.future.spacing,
        "holdout": errors,
    }
    return json_text(results)
