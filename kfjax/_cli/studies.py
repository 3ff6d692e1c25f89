"""The studies of the command line: simulated systems, and users' data."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array
from jax.tree_util import Partial

from kfjax import systems
from kfjax._cli.output import later_steps
from kfjax.base import Inputs
from kfjax.data import Dataset, Labels, Parts, read_data, read_parts
from kfjax.data.counting import counted_steps
from kfjax.data.reading import parts_in
from kfjax.models.simulation import simulate
from kfjax.models.state_space import StateSpaceModel

__all__: list[str] = []

DAY = 86400.0  # s
RHO = 24.0  # rho in the wrong model of the Lorenz attractor


class Study(NamedTuple):
    """Data, and the models to filter them with.

    Attributes:
        text: a description in a sentence or two.
        designs: the models by title, one table each.
        data: the data that are reported on.
        skip: number of leading steps of `data` that are filtered but not reported.
        parts: the data to tune on, or None.
        part: the part of the data that is reported on, or None for all of them.
    """

    text: str
    designs: dict[str, StateSpaceModel]
    data: Dataset
    skip: int = 0
    parts: Parts | Any = None
    part: str | None = None

    @property
    def sections(self) -> dict[str, int] | None:
        """The first steps of the parts, if a record was split in time."""
        if not self.skip:
            return None
        _, validation, test = self.parts.skip
        return {"training": 1, "validation": validation + 1, "test": test + 1}


def simulated_study(
    name: str,
    truth: StateSpaceModel,
    us: Inputs = None,
    *,
    seed: int = 0,
    trajectories: int = 300,
    steps: int = 100,
    tuning: bool = False,
) -> Study:
    """Return trajectories drawn from a model.

    With `tuning`, as many again are drawn for training and again for validation.
    """
    test, *others = (
        _draw(key, truth, us, trajectories, steps)
        for key in jax.random.split(jax.random.key(seed), 3 if tuning else 1)
    )
    text = f"{name}, simulated: {trajectories} trajectories of {steps} steps, seed {seed}."
    parts = Parts(others[0], others[1], test) if tuning else None
    return Study(text, {f"{name}, the model that made the data": truth}, test, 0, parts)


def _draw(key: Array, truth: StateSpaceModel, us: Inputs, trajectories: int, steps: int) -> Dataset:
    keys = jax.random.split(key, trajectories)
    try:
        xs, ys = jax.vmap(lambda k: simulate(k, truth, steps, us=us))(keys)
    except Exception as error:  # a user's functions may raise any error
        raise ValueError(
            f"the model cannot be simulated ({type(error).__name__}: {error}); expected one that"
            " runs without inputs. Pass --data otherwise."
        ) from error
    if not (np.isfinite(xs).all() and np.isfinite(ys).all()):
        raise ValueError(
            f"simulated trajectories are not finite within {steps} steps; expected a model that"
            " stays finite. Use fewer --steps, or another model."
        )
    return Dataset(
        ys, xs, jax.tree.map(lambda a: np.repeat(np.asarray(a)[None], trajectories, axis=0), us)
    )


def lorenz_study(*, quick: bool = False, **sizes: Any) -> Study:
    """Return the Lorenz study: the attractor observed in spherical coordinates.

    Its design models are the true one and two mismatched ones.
    """
    truth = systems.lorenz(observation="spherical", q_std=1.0, r_std=0.2)
    study = simulated_study("Lorenz attractor", truth, **sizes)
    slow = truth.f.args[0]._replace(rho=RHO)
    # they differ only in numbers, so that every filter is compiled once
    designs = {
        "Matched: the model that made the data": truth,
        f"Wrong dynamics: rho is {RHO:g}, in truth 28": truth.replace(
            f=Partial(truth.f.func, slow)
        ),
        "Wrong noise: Q is ten times too small": truth.replace(Q=truth.Q / 10),
    }
    text = (
        f"{study.text} Taylor order 5, dt 0.02 s, observed in spherical coordinates; standard"
        " deviations 1 of the process per step, 0.2 of each measured coordinate (length, rad, rad);"
        " x_0 ~ N((1, 1, 1), 0.01 I)."
    )
    return study._replace(text=text, designs=dict(list(designs.items())[: 1 if quick else None]))


def system_study(name: str, *, steps: int = 100, **sizes: Any) -> Study:
    """Return the study of a system of `kfjax.systems` with its defaults."""
    truth = systems.get(name)()
    return simulated_study(name, truth, systems.example_inputs(name, steps), steps=steps, **sizes)


def data_study(
    path: str | Path,
    name: str,
    model: StateSpaceModel,
    *,
    split: str | None,
    tuning: bool,
    columns: dict[str, Any],
) -> Study:
    """Return the study of a user's data; with `tuning`, the last of three parts is reported."""
    if not tuning:
        data = read_data(path, split, **columns)
        part = split
        if part is None and parts_in(Path(path)):
            part = "test"
        named = None if part is None else f"{part} part"
        text = ", ".join(text for text in (str(path), named) if text)
        return Study(f"{text}: {size_in_words(data)}.", {name: model}, data, part=named)
    if split is not None:
        raise ValueError(
            f"got --split {split} where there is tuning or training; expected none, since all parts"
            " are used and the test part is reported. Leave --split out."
        )
    parts = read_parts(path, **columns)
    train, validation, test = (
        size_in_words(part, skip) for part, skip in zip(parts[:3], parts.skip, strict=True)
    )
    how = ", split in time" if any(parts.skip) else ""
    text = f"{path}{how}: training part {train}; validation part {validation}; test part {test}."
    return Study(text, {name: model}, parts.test, parts.skip[2], parts, "test part")


def size_in_words(data: Dataset, skip: int = 0) -> str:
    """Return the size of the data as text."""
    few = data.lengths.min()
    many = data.lengths.max()
    trajectories = "one trajectory" if data.size == 1 else f"{data.size} trajectories"
    text = f"{trajectories} of {many if few == many else f'{few} to {many}'} steps"
    if data.labels is not None and data.labels.times is not None:
        text += f", {_span(data, data.labels)}"
    if data.missing:
        text += f", {100 * data.missing:.1f} % missing"
    return f"{text}, from step {skip + 1} on" if skip else text


def _span(data: Dataset, labels: Labels) -> str:
    """The times of data and their steps, which show whether they were read as intended."""
    times = labels.times[counted_steps(data)]
    first, last = times.min(), times.max()
    unit = ""
    if times.dtype.kind == "f":
        first, last = (f"{time:.6g}" for time in (first, last))
    if times.dtype.kind == "M":
        first, last = (np.datetime_as_string(time, unit="s") for time in (first, last))
    if times.dtype.kind == "m":
        first, last = (timedelta(seconds=time / np.timedelta64(1, "s")) for time in (first, last))
    if times.dtype.kind in "mM":
        unit = " s"
    text = f"{first} to {last}"
    if labels.zone is not None:
        text += " UTC"
    dt = later_steps(data) if isinstance(data.us, dict) and "dt" in data.us else np.zeros(0)
    if dt.size:
        text += f", dt {dt.min():.6g} to {dt.max():.6g}{unit}"
        if unit and dt.min() >= DAY:
            text += f" ({dt.min() / DAY:.4g} to {dt.max() / DAY:.4g} days)"
    return text


def keep_components(study: Study, components: tuple[int, ...] | None) -> Study:
    """Count errors of these state components only: the truth of the others becomes unknown."""
    if components is None:
        return study
    parts = study.parts
    if parts is not None:
        train, validation, test = (_only(part, components) for part in parts[:3])
        parts = Parts(train, validation, test, parts.skip)
    return study._replace(data=_only(study.data, components), parts=parts)


def _only(data: Dataset, components: tuple[int, ...]) -> Dataset:
    if data.xs is None:
        raise ValueError(
            f"got components {components}, but the data have no true states; expected state [N, T,"
            " n]."
        )
    n = data.xs.shape[2]
    if not all(0 <= i < n for i in components):
        raise ValueError(
            f"got components {components}; expected numbers from 0 to {n - 1}, the true state has"
            f" {n}."
        )
    unknown = ~np.isin(np.arange(n), components)
    return dataclasses.replace(data, xs=np.where(unknown, np.nan, data.xs))
