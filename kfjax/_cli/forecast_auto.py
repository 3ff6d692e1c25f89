"""`kfjax forecast --model auto`: a few sums of structural components, and the choice of one."""

from __future__ import annotations

import dataclasses
import sys
import warnings
from argparse import Namespace

import jax
import numpy as np

from kfjax._cli.forecast_choice import Candidate, chosen_of, remarks, table
from kfjax._cli.forecast_cycle import missing_cycle
from kfjax._support.arguments import check_count
from kfjax.data import Dataset
from kfjax.data.future import REGULAR, calendar_frequency
from kfjax.evaluation import Backtest, backtest
from kfjax.filters import exact_diffuse
from kfjax.structural import cycle, irregular, level, seasonal, trend
from kfjax.structural.sums import Structural
from kfjax.training import MaximumLikelihood, maximum_likelihood

__all__: list[str] = []

LEAST = 8  # observations that the criterion counts
WAVES = 6  # of a season of more steps than AS_STATES
AS_STATES = 12
PARTS = {"D": 7, "B": 5, "W": 52, "Q": 4, "M": 12, "BM": 12, "BQ": 4, "h": 24}
YEARS = ("Y", "A", "BY", "BA")
# of the typical change of the series: where the fits start
START = {"irregular": 0.5, "level": 0.5, "slope": 0.05, "seasonal": 0.1, "cycle": 0.5}
DAMPING = 0.9


def choose_model(args: Namespace, data: Dataset) -> MaximumLikelihood:
    """Fit the candidates to one series, print their table, and return the fit of the best one.

    Args:
        args: the arguments of the command.
        data: the series up to its last observation.
    """
    warnings.filterwarnings("ignore", "maximum_likelihood: no maximum was found", UserWarning)
    # steps of a calendar are alike for a sum
    warnings.filterwarnings("ignore", r"run: no function of the model reads u\['dt'\]", UserWarning)
    ys = observed_values(data)
    # no candidate reads dt; with its length, the data have the form that backtests give to fits
    data = dataclasses.replace(data, us=None, length=data.lengths)
    season, notes = season_of(args.season, data)
    count = int(np.isfinite(ys).sum())
    if season > 1 and (count < 2 * season or later_than_start(ys, season) < LEAST):
        notes.append(
            f"{count} observations are fewer than two seasons of {season}, or leave fewer than"
            f" {LEAST} after one: no candidate has a season."
        )
        season = 1
    if later_than_start(ys, season) < LEAST:
        raise ValueError(
            f"--model auto: {count} numbers were observed; expected at least {LEAST + 2}. Give a"
            " model, as FILE.py:NAME."
        )
    models = candidates(ys, season)
    # all diffuse states are known by then, so that likelihoods of different sums can be compared
    skip = first_steps_of(ys, season)

    def tried(name: str, model: Structural) -> Candidate:
        # each compiles a program, and people want to know that something happens
        print(f"kfjax: fitting {name}", file=sys.stderr, flush=True)
        fit = fitted(args, model, data, skip)
        test = tested(args, model, data, season) if args.choose == "backtest" else None
        return Candidate(name, model, fit, test)

    found = [tried(name, model) for name, model in models.items()]
    best = chosen_of(found, args.choose)
    period = missing_cycle(best.fit.params, data, skip, seasonal_periods(season))
    if period is not None:
        found.append(tried(*with_cycle(found, best, ys, period)))
        best = chosen_of(found, args.choose)
        notes.append(
            f"residuals of the sums without a cycle repeat after about {period:.1f} steps. If that"
            " is a season of fixed length, give it with --season."
        )
    print()
    print(table(found, best, skip, season))
    for note in [*notes, *remarks(found, best, args.choose)]:
        print(f"Note: {note}")
    return fitted(args, best.model, data, args.skip, standard_errors=True)


def observed_values(data: Dataset) -> np.ndarray:
    """Return the series [T], NaN where missing; raise unless sums can be fitted to it."""
    if data.size != 1 or data.ys.shape[2] != 1:
        raise ValueError(
            f"--model auto: got {data.size} series of {data.ys.shape[2]} channels; expected one"
            " series of one channel. Name the column with --ys, and call it for each series."
        )
    if isinstance(data.us, dict) and set(data.us) - {"dt"}:
        raise ValueError(
            "--model auto: got inputs, and none of its sums has any; leave out --us, or give a"
            " model with kf.structural.regression as FILE.py:NAME."
        )
    ys = np.array(data.ys[0, :, 0], np.float64)
    if data.observed is not None:
        ys[~np.asarray(data.observed)[0, :, 0]] = np.nan
    known = ys[np.isfinite(ys)]
    if known.size and np.ptp(known) == 0:
        raise ValueError(
            f"--model auto: the series is constant, {known[0]:g} in all {known.size} observations;"
            " expected one that varies. There is nothing to fit."
        )
    return ys


def season_of(given: int | None, data: Dataset) -> tuple[int, list[str]]:
    """Return the steps of a season, 1 for none, and notes; raise where steps are unequal."""
    times = None if data.labels is None else data.labels.times
    frequency = None
    if times is not None:
        row = times[0, : int(data.lengths[0])]
        zone = None if data.labels is None else data.labels.zone
        frequency = calendar_frequency(row, zone)
        if frequency is None:
            check_even(row)
    if given is not None:
        check_count("--season", given)
        return given, []
    season = season_by(frequency) or season_by_length(times)
    if season is None:
        return 1, ["the times do not determine a season; --season S sets one of S steps."]
    return season, []


def check_even(times: np.ndarray) -> None:
    """Raise unless times are equally spaced."""
    steps = np.diff(times)
    if steps.dtype.kind == "m":
        steps = steps / np.timedelta64(1, "s")
    if steps.size and np.ptp(steps) > REGULAR * np.median(steps):
        raise ValueError(
            f"--model auto: the steps of the times vary from {steps.min():.6g} to"
            f" {steps.max():.6g}; expected equal steps, or those of a calendar. Add rows with an"
            " empty cell where observations are missing, or give a model of irregular times, such"
            " as kf.structural.level(dt=None), as FILE.py:NAME."
        )


def season_by(frequency: str | None) -> int | None:
    """Return the steps of a season at a calendar's frequency, such as "MS" or "2h"."""
    if frequency is None:
        return None
    import pandas as pd

    offset = pd.tseries.frequencies.to_offset(frequency)
    if offset is None:
        return None
    base = offset.base.freqstr.partition("-")[0].rstrip("SE")
    if base in YEARS:
        return 1
    whole = PARTS.get(base)
    if whole is None or whole % offset.n:
        return None
    return whole // offset.n


def season_by_length(times: np.ndarray | None) -> int | None:
    """Return the steps of a season of equally spaced years."""
    if times is None or times.dtype.kind != "f" or times.shape[1] < 2:
        return None
    whole = (times % 1 == 0).all()
    years = whole and times.min() >= 1000 and times.max() <= 3000
    return 1 if years and np.diff(times[0]).min() == 1 else None


def first_steps_of(ys: np.ndarray, season: int) -> int:
    """Return after how many steps a trend and every part of the season have been observed."""
    seen = np.isfinite(ys)
    for count in range(1, ys.size):
        at = np.flatnonzero(seen[:count])
        if at.size >= season + 1 and np.unique(at % season).size == season:
            return count
    return ys.size


def later_than_start(ys: np.ndarray, season: int) -> int:
    """Return how many numbers are observed after that."""
    return int(np.isfinite(ys[first_steps_of(ys, season) :]).sum())


def candidates(ys: np.ndarray, season: int) -> dict[str, Structural]:
    """Return the sums by name, with starts in the size of the changes of a series."""
    stds = starting_stds(ys)
    noise = irregular(stds["irregular"])
    bases = {
        "level": level(stds["level"]),
        "trend": trend(stds["level"], stds["slope"]),
        "damped trend": trend(stds["level"], stds["slope"], damping=DAMPING),
    }
    if season == 1:
        return {name: base + noise for name, base in bases.items()}
    waves = waves_of(season)
    wave = seasonal(season, stds["seasonal"], harmonics=waves)
    words = f"season {season}" + (f" of {waves} waves" if waves else "")
    sums = {}
    for name, base in bases.items():
        if name != "damped trend":
            sums[name] = base + noise
        sums[f"{name} + {words}"] = base + wave + noise
    return sums


def waves_of(season: int) -> int | None:
    """Return the number of waves of a season, or None if its states are its steps."""
    return WAVES if season > AS_STATES else None


def seasonal_periods(season: int) -> list[float]:
    """Return the periods of the waves of a season in steps; a season of one step has none."""
    return [season / wave for wave in range(1, 1 + (waves_of(season) or season // 2))]


def with_cycle(
    found: list[Candidate], best: Candidate, ys: np.ndarray, period: float
) -> tuple[str, Structural]:
    """Return a name and a sum, the better of level and trend, with the season of the best sum."""
    likely = [
        one
        for one in found
        if not one.name.startswith("damped") and ("season" in one.name) == ("season" in best.name)
    ]
    base = min(likely, key=lambda one: one.fit.aic)
    wave = cycle(period, starting_stds(ys)["cycle"], damping=DAMPING)
    return f"{base.name} + cycle", base.model + wave


def starting_stds(ys: np.ndarray) -> dict[str, float]:
    """Return where standard deviations start, in the size of the changes of a series."""
    known = ys[np.isfinite(ys)]
    size = float(np.std(np.diff(known))) or float(np.std(known))
    return {name: share * size for name, share in START.items()}


def fitted(
    args: Namespace, model: Structural, data: Dataset, skip: int, *, standard_errors: bool = False
) -> MaximumLikelihood:
    """Return the fit of a sum, exactly diffuse."""
    return maximum_likelihood(
        exact_diffuse(),
        model,
        data,
        skip=skip,
        standard_errors=standard_errors,
        starts=args.starts,
        level=args.level,
        key=jax.random.key(args.seed),
    )


def tested(args: Namespace, model: Structural, data: Dataset, season: int) -> Backtest:
    """Return the backtest of a sum, fitted to what the first origin knows."""

    def fit(params: Structural, known: Dataset) -> Structural:
        return fitted(args, params, known, args.skip).params

    steps = data.steps
    horizon = min(args.steps or max(season, 4), steps // 6)
    first = max(2 * steps // 3, min(2 * season, steps - horizon))
    return backtest(
        exact_diffuse(), model, data, horizon=max(horizon, 1), first=first, season=season, fit=fit
    )
