"""One trajectory of a data set on pages: every state and every channel, with names and times."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kfjax._support.arguments import check_count, check_kind, check_mapping, items_of
from kfjax._support.naming import described, suggest
from kfjax.base import Info
from kfjax.data import Dataset, Labels
from kfjax.data.labels import without_unit
from kfjax.plotting.checks import check_texts
from kfjax.plotting.components import plot_trajectory
from kfjax.plotting.limits import View
from kfjax.plotting.observations import plot_observations
from kfjax.plotting.style import colours_of, ink, points, share_x
from kfjax.plotting.times import Clock, clock_of, clock_of_labels
from kfjax.plotting.wraps import turn_and_wraps

__all__ = ["plot_record"]

PANEL = 1.5  # height of a panel in inches
PER_INCH = 13  # characters of a title
MANY = 5000  # steps above which curves are pixels in a PDF file, which would be large otherwise


def plot_record(
    data: Dataset,
    estimates: Mapping[str, Any],
    info: Info | None = None,
    *,
    states: Iterable[int | str] | None = None,
    parts: Mapping[str, int] | None = None,
    title: str | None = None,
    rows: int = 6,
) -> list[Figure]:
    """Draw one trajectory on pages: all of its states, then all of its channels.

    Names, units and times are those of `data.labels`. A state that has the name of a channel is
    drawn with its observations. Panels of channels are those of `plot_observations`.

    Args:
        data: a `Dataset` of one trajectory, such as data[0]; its xs are drawn as the truth.
        estimates: estimates by name, mean [T, n] and cov [T, n, n] or None each, such as
            {"kalman": est, "smoothed": smoothed}.
        info: the filter's `Info` of every step, as from `emit=kf.estimate_and_info`, or None.
        states: names or indices of the states to draw; default all of them.
        parts: the number of the first step of every part of the record by name, such as
            {"training": 1, "test": 81}; their boundaries are drawn.
        title: what is shown, such as the file, the model and the filter.
        rows: number of panels on a page.

    Returns:
        The figures, one for each page.

    Raises:
        ValueError: if there are several trajectories, a state is not known, or shapes differ.

    Example:
        >>> from kfjax.plotting import plot_record
        >>> model = kf.systems.constant_velocity().replace(
        ...     names=["position [m]", "speed [m/s]"]
        ... )
        >>> _, ys = kf.simulate(jax.random.key(0), model, steps=50)
        >>> est, info = kf.run(
        ...     kf.kalman(), model, ys, emit=kf.estimate_and_info
        ... ).outputs
        >>> labels = kf.data.Labels(ys=["gps"], xs=model.names)
        >>> (page,) = plot_record(
        ...     kf.Dataset(ys[None], labels=labels), {"kalman": est}, info
        ... )
        >>> [ax.get_ylabel() for ax in page.axes]
        ['position [m]', 'speed [m/s]', 'gps']
    """
    who = "plot_record"
    check_kind(f"{who}: data", data, Dataset)
    check_texts(who, title=title)
    if data.size != 1:
        raise ValueError(
            f"{who}: data has {data.size} trajectories; expected one. Select it with data[0]."
        )
    check_mapping(f"{who}: estimates", estimates, "estimates by name, such as {'kalman': est}")
    if not estimates:
        raise ValueError(f"{who}: estimates is empty; expected at least one by name.")
    if info is not None:
        check_kind(f"{who}: info", info, Info)
    check_count(f"{who}: rows", rows)
    record = Record(data, parts)
    for name, estimate in estimates.items():
        mean = getattr(estimate, "mean", None)
        if mean is None or np.ndim(mean) != 2:
            raise ValueError(
                f"{who}: estimates[{name!r}] is {described(estimate)}; expected an estimate with a"
                " mean [T, n], such as the outputs of kf.run on one trajectory."
            )
    first = next(iter(estimates))
    colours = colours_of(estimates)
    n = estimates[first].mean.shape[1]
    chosen = record.chosen_states(states, n)
    count = len(chosen) + data.ys.shape[2]
    pages = [range(start, min(start + rows, count)) for start in range(0, count, rows)]
    figures = []
    for number, page in enumerate(pages, 1):
        height = 1.4 + PANEL * len(page)
        figure = Figure(figsize=(9, height), layout="constrained")
        panels = figure.subplots(len(page), 1, squeeze=False)
        axes = list(panels[:, 0])
        of_page = [chosen[k] for k in page if k < len(chosen)]
        channels = [k - len(chosen) for k in page if k >= len(chosen)]
        record.draw_states(axes[: len(of_page)], of_page, estimates, colours)
        record.draw_channels(axes[len(of_page) :], channels, info, colours[first])
        record.draw_times(axes)
        shown = [title] if title else []
        if len(pages) > 1:
            shown.append(f"page {number} of {len(pages)}")
        finish(figure, " - ".join(shown), axes)
        figures.append(figure)
    return figures


class Record:
    """One trajectory up to its length, with names and times for its panels.

    Attributes:
        length: number of its steps.
        labels: names, units and times.
        clock: times of its steps.
        name: name of the trajectory, or None.
    """

    def __init__(self, data: Dataset, parts: Mapping[str, int] | None = None) -> None:
        self.length = int(data.lengths[0])
        self.labels = data.labels or Labels()
        self.clock: Clock = clock_of_labels(data.labels, self.length) or clock_of(
            "plot_record", self.length, None
        )
        self.name = None if self.labels.series is None else str(self.labels.series[0])
        self._data = data
        self._parts = {} if parts is None else parts
        check_mapping("plot_record: parts", self._parts, "first steps by the names of parts")
        for name, first in self._parts.items():
            check_count(f"plot_record: parts[{name!r}]", first)

    def chosen_states(self, states: Iterable[int | str] | None, n: int) -> list[int]:
        """Return the indices of states that are given by name or index; all of n by default."""
        if states is None:
            return list(range(n))
        known = list(self.labels.xs or ())
        given = items_of("plot_record: states", states, "names or indices of states")
        return [index_of("plot_record: states", state, known, n) for state in given]

    def draw_states(
        self,
        axes: Sequence[Axes],
        chosen: Sequence[int],
        estimates: Mapping[str, Any],
        colours: Mapping[str, str],
    ) -> None:
        """Draw components of the state, with the observations that have their names."""
        if not chosen:
            return
        names = self._names(self.labels.xs)
        channels = list(self.labels.ys or ())
        for ax, j in zip(axes, chosen, strict=True):
            if self.labels.xs is not None and self.labels.xs[j] in channels:
                means = [np.asarray(one.mean)[: self.length, j] for one in estimates.values()]
                self._draw_measured(ax, channels.index(self.labels.xs[j]), means)
        truth = None if self._data.xs is None else self._data.xs[0, : self.length]
        for name, estimate in estimates.items():
            mean = np.asarray(estimate.mean)[: self.length]
            plot_trajectory(
                mean,
                _of_components(mean, estimate.cov),
                truth,
                components=chosen,
                names=names,
                times=self.clock,
                label=name,
                colour=colours[name],
                axes=axes,
            )
            truth = None

    def _draw_measured(self, ax: Axes, channel: int, means: Sequence[np.ndarray]) -> None:
        """Draw observations, those of an angle near the first estimate, with triangles beyond."""
        view = View.of(means)
        values = np.array(self._data.ys[0, : self.length, channel])
        if self._data.observed is not None:
            seen = self._data.observed[0, : self.length, channel]
            values[~seen] = np.nan
        turn, wraps = turn_and_wraps(values)
        if wraps.size:
            values -= turn * np.round((values - means[0]) / turn)
        is_inside = view.clip(values) == values
        inside = np.where(is_inside, values, np.nan)
        ax.plot(self.clock.values, inside, ls="none", label="measured", **points(ax, len(values)))
        view.mark(ax, self.clock.values, values, ink(ax))

    def draw_channels(
        self, axes: Sequence[Axes], chosen: Sequence[int], info: Info | None, colour: str
    ) -> None:
        """Draw channels with their predictions."""
        if not chosen:
            return
        observed = self._data.observed
        plot_observations(
            self._data.ys[0, : self.length],
            None if info is None else _first_steps(info, self.length),
            observed=None if observed is None else observed[0, : self.length],
            components=chosen,
            names=self._names(self.labels.ys),
            times=self.clock,
            colour=colour,
            axes=axes,
        )

    def draw_times(self, axes: Sequence[Axes]) -> None:
        """Share the axis of time, and draw where parts begin, with names above the first axes."""
        times = self.clock.values
        for ax in axes:
            self.clock.prepare(ax)
        share_x(axes)
        for number, (name, first) in enumerate(self._parts.items()):
            if first > len(times):
                continue
            at = float(times[first - 1])
            if number:
                for ax in axes:
                    ax.axvline(at, color=ink(ax), lw=0.8, ls=":")
            place = axes[0].get_xaxis_transform()
            axes[0].text(at, 1.02, f" {name}", transform=place, fontsize="small", va="bottom")

    def _names(self, names: Sequence[str] | None) -> list[str] | None:
        """Return names with their units."""
        return None if names is None else [self.labels.with_unit(name) for name in names]


def finish(figure: Figure, title: str, axes: Sequence[Axes]) -> None:
    """Write the title above a figure, and one legend of all axes below it."""
    width = figure.get_figwidth()
    if title:
        plain = title.replace("$", r"\$")
        text = textwrap.fill(plain, int(PER_INCH * width))
        figure.suptitle(text, x=0.01, ha="left", fontsize="medium")
    entries: dict[str, Any] = {}
    for ax in axes:
        if any(np.size(line.get_xdata()) > MANY for line in ax.lines):
            ax.set_rasterization_zorder(2.5)  # curves and bands, not the axes
        for handle, name in zip(*ax.get_legend_handles_labels(), strict=True):
            entries.setdefault(str(name), handle)
    longest = max(map(len, entries), default=1) + 6  # with the line before it
    fitting = int(PER_INCH * width) // longest
    columns = max(1, min(len(entries), fitting))
    figure.legend(
        list(entries.values()),
        list(entries),
        loc="outside lower center",
        ncols=columns,
        frameon=False,
    )


def _of_components(mean: np.ndarray, cov: Any) -> np.ndarray | None:
    """Return covariances of the components of the mean; a tangent space has others, or none."""
    if cov is None or cov.shape[-1] != mean.shape[1]:
        return None
    return np.asarray(cov)[: len(mean)]


def _first_steps(info: Info, steps: int) -> Info:
    """Return the fields of an Info that are drawn, up to a number of steps."""
    given = info.extra or {}
    extra = {name: value for name, value in given.items() if name == "accepted"}
    drawn = Info(info.innovation, info.innovation_cov, extra=extra)
    return jax.tree.map(lambda a: a[:steps], drawn)


def index_of(who: str, state: object, names: Sequence[str], n: int) -> int:
    """Return the index of a state that is given by name or index."""
    if isinstance(state, str):
        name, _ = without_unit(state)
        if name in names:
            return names.index(name)
    if isinstance(state, (int, np.integer)) and not isinstance(state, bool) and 0 <= state < n:
        return int(state)
    if isinstance(state, str) and names:
        raise ValueError(f"{who}: there is no state {state!r}; {suggest(state, names)}")
    raise ValueError(
        f"{who}: got {described(state)}; expected indices from 0 to {n - 1}, or names if the model"
        " has them."
    )
