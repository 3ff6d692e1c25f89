"""Pictures of estimates and of evaluations.

Every function draws into the axes it is given, or makes a figure, and returns the axes; `axes.figure.savefig(path)`
writes it. No window is opened and no global state of matplotlib is touched, so that all of it works without a display.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kfjax.evaluation.intervals import Interval

__all__ = ["comparison_figure", "plot_consistency", "plot_errors", "plot_history", "plot_trajectory"]

TRUTH = "#222222"
COLOURS = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"),  # distinct for all kinds of colour vision
    *("#7f3c8d", "#80ba5a", "#a5694f", "#666666"),
)
SPAN_DB = 40.0  # what a plot of errors shows above the best filter; a diverged one leaves through the top


def plot_trajectory(
    mean: Any,
    cov: Any = None,
    truth: Any = None,
    *,
    components: Iterable[int] | None = None,
    times: Any = None,
    label: str = "estimate",
    colour: str = COLOURS[0],
    axes: Iterable[Axes] | None = None,
) -> list[Axes]:
    """Draw an estimated trajectory with its 2-sigma band, and the true one, one component below the other.

    Args:
        mean: estimates [T, n].
        cov: their covariances [T, n, n], or None for no band.
        truth: true states [T, n] (NaN where not known), or None.
        components: which components; default the first three.
        times: [T]; default 1..T.
        label: name of the estimate in the legend.
        colour: of the estimate.
        axes: one per component; default a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: if the shapes differ, or there are fewer axes than components.

    Example:
        >>> from kfjax.plotting import plot_trajectory
        >>> model = kf.systems.constant_velocity()
        >>> xs, ys = kf.simulate(jax.random.key(0), model, steps=50)
        >>> estimate = kf.run(kf.kalman(), model, ys)[1]
        >>> axes = plot_trajectory(estimate.mean, estimate.cov, xs)
        >>> len(axes)
        2
    """
    mean = np.asarray(mean)
    if mean.ndim != 2 or (truth is not None and np.shape(truth) != mean.shape):
        raise ValueError(
            f"plot_trajectory: mean has shape {mean.shape} and truth {np.shape(truth)}; expected one trajectory [T, n]"
            " both. Take one of a batch with mean[0]."
        )
    chosen = list(range(min(3, mean.shape[1]))) if components is None else list(components)
    axes = _column(len(chosen)) if axes is None else list(axes)
    if len(axes) < len(chosen):
        raise ValueError(f"plot_trajectory: got {len(axes)} axes; expected {len(chosen)}, one per component.")
    times = np.arange(1, mean.shape[0] + 1) if times is None else np.asarray(times)
    for ax, j in zip(axes, chosen, strict=False):
        if cov is not None:
            spread = 2 * np.sqrt(np.maximum(np.asarray(cov)[:, j, j], 0))
            low, high = mean[:, j] - spread, mean[:, j] + spread
            ax.fill_between(times, low, high, color=colour, alpha=0.25, lw=0, label="± 2 sigma")
        if truth is not None:
            ax.plot(times, np.asarray(truth)[:, j], color=TRUTH, lw=1.6, label="true")
        ax.plot(times, mean[:, j], color=colour, lw=1.2, ls="-" if truth is None else (0, (4, 1.5)), label=label)
        _style(ax, ylabel=f"$x_{{{j + 1}}}$")
    axes[len(chosen) - 1].set_xlabel("step")
    return axes


def plot_errors(
    curves: Mapping[str, Any],
    *,
    floor: float | Any = None,
    first: int = 1,
    ylabel: str = "MSE [dB]",
    colours: Mapping[str, str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw errors over time in decibels, one line per filter.

    Args:
        curves: error in dB of every step [T] by name, as from `Evaluation.error_over_time`.
        floor: a bound in dB to draw as a dashed line, one number or [T], or None.
        first: the number of the first step.
        ylabel: of the axis.
        colours: by name; default one after the other.
        ax: axes to draw into; default a new figure.

    Returns:
        The axes, which show at most 40 dB above the best filter; names of filters that are off scale say so.
    """
    ax = _column(1)[0] if ax is None else ax
    colours = _colours(curves) if colours is None else colours
    curves = {name: np.asarray(curve, np.float64) for name, curve in curves.items()}
    top = min((_median(curve) for curve in curves.values()), default=0.0) + SPAN_DB
    for name, curve in curves.items():
        off = not np.any(curve < top)
        ax.plot(_steps(curve, first), curve, color=colours[name], lw=1.4, label=f"{name} (off scale)" if off else name)
    if floor is not None:
        steps = _steps(next(iter(curves.values())), first)
        ax.plot(steps, np.broadcast_to(floor, steps.shape), color=TRUTH, lw=1, ls="--", label="floor")
    _style(ax, xlabel="step", ylabel=ylabel)
    if ax.get_ylim()[1] > top:
        ax.set_ylim(top=top)
    return ax


def plot_consistency(
    curves: Mapping[str, Interval],
    *,
    first: int = 1,
    ylabel: str = "ANEES",
    level: float = 0.95,
    colours: Mapping[str, str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw normalised errors over time against the interval where a consistent filter's lie, one line per filter.

    Args:
        curves: value, low and high of every step, each [T], by name, as from `Evaluation.nees_over_time`.
        first: the number of the first step.
        ylabel: of the axis.
        level: probability of the intervals, for the legend.
        colours: by name; default one after the other.
        ax: axes to draw into; default a new figure.

    Returns:
        The axes; the scale is logarithmic and shows at most 0.05 to 100.
    """
    ax = _column(1)[0] if ax is None else ax
    colours = _colours(curves) if colours is None else colours
    if curves:
        # filters differ only where one fails, and then its own interval says nothing
        usual = min(curves.values(), key=lambda curve: _median(curve.high))
        steps = _steps(usual.value, first)
        band = f"{100 * level:g} % if consistent"
        ax.fill_between(steps, usual.low, usual.high, color="#999999", alpha=0.3, lw=0, label=band)
    ax.axhline(1, color=TRUTH, lw=0.8)
    for name, curve in curves.items():
        ax.plot(_steps(curve.value, first), curve.value, color=colours[name], lw=1.2, label=name)
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    ax.set_ylim(max(min(low, 0.5), 0.05), min(max(high, 2.0), 1e2))
    _style(ax, xlabel="step", ylabel=ylabel)
    return ax


def plot_history(history: Any, *, ylabel: str = "loss", ax: Axes | None = None) -> Axes:
    """Draw how a training went: the training and the validation loss, of several runs one faint line each.

    Args:
        history: a `kfjax.training.History`, as in `Fitted.history`.
        ylabel: of the axis; logarithmic if all losses are positive.
        ax: axes to draw into; default a new figure.

    Returns:
        The axes.

    Example:
        >>> from kfjax.plotting import plot_history
        >>> steps, nothing = np.array([0, 10, 20]), np.full(3, np.nan)
        >>> history = kf.training.History(steps, np.array([np.nan, 2.0, 1.0]), nothing, nothing, 0 * steps)
        >>> [line.get_label() for line in plot_history(history).lines]
        ['training']
    """
    ax = _column(1)[0] if ax is None else ax
    steps = np.atleast_2d(history.step)
    for label, losses, colour in (
        ("training", history.loss, COLOURS[0]),
        ("validation", history.validation, COLOURS[1]),
    ):
        rows = np.atleast_2d(losses)
        rows = rows[np.isfinite(rows).any(-1)]
        for number, (x, y) in enumerate(zip(steps, rows, strict=False)):
            ax.plot(x, y, color=colour, lw=1.2, alpha=1 if len(rows) == 1 else 0.5, label="_" * (number > 0) + label)
    drawn = np.concatenate([line.get_ydata() for line in ax.lines]) if ax.lines else np.zeros(1)
    if np.nanmin(drawn) > 0:
        ax.set_yscale("log")
    ax.legend(loc="best")
    _style(ax, xlabel="step of the optimiser", ylabel=ylabel)
    return ax


def comparison_figure(comparison: Any) -> Figure:
    """Compose the picture of a `Comparison`: the first trajectory, error over time, consistency over time.

    The trajectory is that of the best filter. Without true states, errors are those of predicting y, and consistency is
    that of the innovations.

    Args:
        comparison: the `Comparison`.

    Returns:
        The figure.
    """
    best = comparison.best or comparison.rows[0].name
    truth = comparison.example.state is not None
    estimate, steps = comparison.estimates[best], comparison.example.lengths[0]
    figure = Figure(figsize=(13, 7.5), layout="constrained")
    left, upper, lower = _panels(figure, min(3, estimate.mean.shape[1]))
    plot_trajectory(
        estimate.mean[:steps],
        None if estimate.cov is None else estimate.cov[:steps],
        comparison.example.state[0, :steps] if truth else None,
        label=best,
        colour=_colours(comparison.evaluations)[best],
        axes=left,
    )
    left[0].legend(loc="best", ncols=3)
    left[0].set_title(f"First trajectory, {best}", loc="left")
    _draw_curves(comparison, truth, upper, lower)
    _share_x(left)
    _share_x([upper, lower])
    handles, names = upper.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(6, len(names)), frameon=False)
    figure.suptitle(_title(comparison), x=0.01, ha="left", fontsize="medium")
    return figure


def _panels(figure: Figure, components: int) -> tuple[list[Axes], Axes, Axes]:
    """Components on the left, errors above consistency on the right."""
    grid = figure.add_gridspec(2 * components, 2, width_ratios=(1.15, 1))
    left = [figure.add_subplot(grid[2 * j : 2 * j + 2, 0]) for j in range(components)]
    right = (figure.add_subplot(grid[rows, 1]) for rows in (slice(0, components), slice(components, None)))
    return left, *right


def _draw_curves(comparison: Any, truth: bool, upper: Axes, lower: Axes) -> None:
    """The curves over time of a comparison."""
    names = {row.name: f"{row.name} (failed {row.failed})" if row.failed else row.name for row in comparison.rows}
    evaluations = {names[name]: evaluation for name, evaluation in comparison.evaluations.items()}
    options = {"first": comparison.settings["skip"] + 1, "colours": _colours(evaluations)}
    level = comparison.settings["level"]
    if truth:
        errors = {name: e.error_over_time() for name, e in evaluations.items()}
        ratios = {name: e.nees_over_time(level) for name, e in evaluations.items()}
    else:
        errors = {name: e.prediction_over_time() for name, e in evaluations.items()}
        ratios = {name: e.nis_over_time(level) for name, e in evaluations.items()}
    plot_errors(_given(errors), ax=upper, **options)
    upper.set_title("Error over time" if truth else "Error of y, one step ahead, over time", loc="left")
    plot_consistency(_given(ratios), ylabel="ANEES" if truth else "NIS per channel", level=level, ax=lower, **options)
    lower.set_title("Consistency over time", loc="left")
    lower.legend(lower.collections, [c.get_label() for c in lower.collections], loc="best")


def _title(comparison: Any) -> str:
    settings = comparison.settings
    sizes = ", ".join(f"{name} = {settings[name]}" for name in ("n", "m") if settings[name] is not None)
    return f"{settings['trajectories']} trajectories of {settings['steps']} steps, {sizes}"


def _column(rows: int) -> list[Axes]:
    """Axes below each other in a new figure."""
    figure = Figure(figsize=(8, 1 + 2.2 * rows), layout="constrained")
    return list(figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0])


def _colours(names: Iterable[str]) -> dict[str, str]:
    return dict(zip(names, itertools.cycle(COLOURS), strict=False))


def _given(curves: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what a filter does not have."""
    return {name: curve for name, curve in curves.items() if curve is not None}


def _steps(curve: Any, first: int) -> np.ndarray:
    return np.arange(first, first + len(curve))


def _median(curve: Any) -> float:
    """The median of what is finite, inf if nothing is."""
    finite = np.asarray(curve)[np.isfinite(curve)]
    return float(np.median(finite)) if finite.size else np.inf


def _share_x(axes: list[Axes]) -> None:
    """One step axis for axes below each other."""
    for ax in axes[1:]:
        ax.sharex(axes[0])
    for ax in axes[:-1]:
        ax.set_xlabel("")
        ax.tick_params(labelbottom=False)
    axes[0].margins(x=0.01)


def _style(ax: Axes, *, xlabel: str | None = None, ylabel: str | None = None) -> None:
    """Few lines, light grid."""
    ax.set(**{name: text for name, text in (("xlabel", xlabel), ("ylabel", ylabel)) if text is not None})
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color="#dddddd", lw=0.6)
    ax.set_axisbelow(True)
