"""Sequence models for recorded series, which need no model of the system."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax._support.arguments import check_kind
from kfjax._support.types import Key
from kfjax.base import Filter, Gaussian
from kfjax.data import Dataset
from kfjax.data.counting import counted_steps
from kfjax.learned.params import Learned, in_precision, init_params
from kfjax.learned.recurrent_networks.sequence_models import (
    all_inputs,
    sequence_regressor,
    series_scales,
)
from kfjax.models.functions import Linear
from kfjax.models.state_space import StateSpaceModel
from kfjax.training.linear_recursion import LinearRecursion, fit_recursion

__all__ = ["imitator"]


def imitator(
    key: Key,
    data: Dataset,
    hidden: tuple[int, ...] = (64,),
    *,
    output: str | None = None,
    **options: Any,
) -> tuple[Filter, Learned]:
    """Return a sequence regressor for recorded series and its initial params; no model is needed.

    It sees the observations of the data, which of them are missing, and all entries of the inputs,
    each in units of its spread in these data. It starts as the linear recursion that
    `kfjax.training.fit_recursion` finds, and learns what to add to it:

        x_t = A x_{t-1} + B (y_t, mask_t, u_t, 1) + D z_t

    Before the first step its estimate is that of the recursion, or else the mean of the recorded
    ones.

    Args:
        key: a random key.
        data: training data, whose xs are recorded estimates, such as those of another filter; NaN
            where not known.
        hidden: size of every layer, from the bottom up.
        output: "recursion", as above; "increment" or "level", without the recursion, see
            `sequence_regressor`. Default "recursion" if a recursion, run on its own estimates, is
            better on the data than a constant, otherwise "increment".
        **options: other arguments of `sequence_regressor`: cell, feedback, dropout, ...

    Returns:
        (filter, params), the student in `kfjax.training.distil`. The model in the params only holds
        the sizes and the start: its f is the identity, and its h is zero.

    Raises:
        ValueError: if there are no estimates, one of them or a channel does not vary, no recursion
            can be fitted and output is "recursion", and as in `sequence_regressor`.

    Example:
        >>> sensor = np.random.default_rng(0).normal(size=(8, 30, 2)).cumsum(axis=1)
        >>> recorded = kf.Dataset(sensor, xs=sensor[..., :1])
        >>> student, params = kf.learned.imitator(
        ...     jax.random.key(0), recorded, (16,)
        ... )
        >>> kf.run(student, params, sensor[0]).outputs.mean.shape
        (30, 1)
    """
    check_kind("imitator: data", data, Dataset)
    if data.xs is None:
        raise ValueError(
            "imitator: the data have no xs; expected the recorded estimates. Build them with"
            " kf.Dataset(inputs, xs=estimates)."
        )
    recursion = None if output in {"increment", "level"} else _recursion(data)
    if recursion is None and output == "recursion":
        raise ValueError(
            "imitator: output is 'recursion', and no linear recursion on its own estimates is"
            " better on these data than a constant; expected output='increment' or 'level'."
        )
    student, params = blank_imitator(
        key,
        data.xs.shape[2],
        data.ys.shape[2],
        all_inputs(data).shape[2],
        hidden,
        dtype=data.dtype,
        output=output or ("increment" if recursion is None else "recursion"),
        **options,
    )
    start = np.nanmean(np.asarray(data.xs)[counted_steps(data)], axis=0)
    if recursion is not None:
        start = recursion.start
    prior = params.model.prior._replace(mean=jnp.asarray(start, data.dtype))
    names = None if data.labels is None else data.labels.xs
    model = params.model.replace(prior=prior, names=names)
    constants: dict[str, Any] = series_scales(model, data)
    if recursion is not None:
        constants["recursion"] = _scaled(recursion, constants)
    return student, params._replace(model=model, constants=in_precision(data.dtype, constants))


def _recursion(data: Dataset) -> LinearRecursion | None:
    """Return the linear recursion of recorded estimates, if it is better than a constant."""
    found = fit_recursion(data)
    if found is None:
        return None
    known = ~np.isnan(data.xs) & counted_steps(data)[..., None]
    xs = np.where(known, data.xs, np.nan)
    error = np.nanmean((found.run(data) - xs) ** 2, axis=(0, 1))
    return found if (error < np.nanvar(xs, axis=(0, 1))).all() else None


def _scaled(recursion: LinearRecursion, scales: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return a recursion in units of the spreads, with columns for the mask."""
    centres, spreads = (
        {name: np.asarray(scale[part], np.float64) for name, scale in scales.items()}
        for part in ("centre", "spread")
    )
    A, B = recursion.A, recursion.B
    m = centres["y"].size
    to_y, rest = B[:, :m], B[:, m:]
    to_mask, rest = np.split(rest, [m], axis=1) if recursion.masked else (np.zeros_like(to_y), rest)
    to_u, constant = rest[:, :-1], rest[:, -1]
    middle = A @ centres["x"] + to_y @ centres["y"] + constant - centres["x"]
    if to_u.size:
        middle = middle + to_u @ centres["u"]
        to_u = to_u * spreads["u"]
    of_v = np.column_stack([to_y * spreads["y"], to_mask, to_u, middle])
    unit = spreads["x"][:, None]
    return {"A": A * spreads["x"] / unit, "B": of_v / unit}


def blank_imitator(
    key: Array,
    n: int,
    m: int,
    inputs: int,
    hidden: tuple[int, ...],
    *,
    dtype: Any,
    output: str,
    **options: Any,
) -> tuple[Filter, Learned]:
    """Return an imitator of the given sizes, whose constants have the right shapes alone."""
    eye = jnp.eye(n, dtype=dtype)
    model = StateSpaceModel(
        f=Linear(eye),
        h=Linear(jnp.zeros((m, n), dtype)),
        Q=eye,
        R=jnp.eye(m, dtype=dtype),
        prior=Gaussian(jnp.zeros(n, dtype), eye),
    )
    student = sequence_regressor(n, m, hidden, inputs=inputs, output=output, **options)
    sizes = {"x": n, "y": m} | ({"u": inputs} if inputs else {})
    constants: dict[str, Any] = {
        name: {"centre": np.zeros(size), "spread": np.ones(size)} for name, size in sizes.items()
    }
    if output == "recursion":
        constants["recursion"] = {"A": np.zeros((n, n)), "B": np.zeros((n, 2 * m + inputs + 1))}
    return student, init_params(key, student, model, constants)
