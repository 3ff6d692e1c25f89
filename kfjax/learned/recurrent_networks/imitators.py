"""Sequence models for recorded series, which need no model of the system."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax._support.arguments import check_kind
from kfjax.base import Filter, Gaussian
from kfjax.data import Dataset
from kfjax.learned.params import Learned, in_precision, init_params
from kfjax.learned.recurrent_networks.sequence_models import (
    all_inputs,
    sequence_regressor,
    series_scales,
)
from kfjax.models.functions import Linear
from kfjax.models.state_space import StateSpaceModel

__all__ = ["imitator"]


def imitator(
    key: Array, data: Dataset, hidden: tuple[int, ...] = (64,), **options: Any
) -> tuple[Filter, Learned]:
    """Return a sequence regressor for recorded series, with drawn params: no model is needed.

    It sees the observations of the data, which of them are missing, and all entries of the inputs,
    each in units of its spread in these data. Before the first step its estimate is the mean of the
    recorded ones.

    Args:
        key: a random key.
        data: training data, whose xs are recorded estimates, such as those of somebody else's
            filter; NaN where not known.
        hidden: size of every layer, from the bottom up.
        **options: other arguments of `sequence_regressor`: cell, feedback, output, dropout, ...

    Returns:
        (filter, params), the student in `kfjax.training.distil`. The model in the params has the
        sizes and the start alone: its f stands still, and its h is zero.

    Raises:
        ValueError: if there are no estimates, one of them or a channel does not vary, and as in
            `sequence_regressor`.

    Example:
        >>> sensor = np.random.default_rng(0).normal(size=(8, 30, 2)).cumsum(axis=1)
        >>> recorded = kf.Dataset(sensor, xs=sensor[..., :1])
        >>> student, params = kf.learned.imitator(jax.random.key(0), recorded, (16,))
        >>> kf.run(student, params, sensor[0]).outputs.mean.shape
        (30, 1)
    """
    check_kind("imitator: data", data, Dataset)
    if data.xs is None:
        raise ValueError(
            "imitator: the data have no xs; expected the recorded estimates. Build them with"
            " kf.Dataset(inputs, xs=estimates)."
        )
    student, params = blank_imitator(
        key,
        data.xs.shape[2],
        data.ys.shape[2],
        all_inputs(data).shape[2],
        hidden,
        dtype=data.dtype,
        **options,
    )
    active = np.arange(data.steps) < data.lengths[:, None]
    middle = jnp.asarray(np.nanmean(np.asarray(data.xs)[active], axis=0), data.dtype)
    names = None if data.labels is None else data.labels.xs
    model = params.model.replace(prior=params.model.prior._replace(mean=middle), names=names)
    scales = in_precision(data.dtype, series_scales(model, data))
    return student, params._replace(model=model, constants=scales)


def blank_imitator(
    key: Array,
    n: int,
    m: int,
    inputs: int,
    hidden: tuple[int, ...],
    *,
    dtype: Any,
    **options: Any,
) -> tuple[Filter, Learned]:
    """Return an imitator of the given sizes, whose series have the centre 0 and the spread 1."""
    eye = jnp.eye(n, dtype=dtype)
    model = StateSpaceModel(
        f=Linear(eye),
        h=Linear(jnp.zeros((m, n), dtype)),
        Q=eye,
        R=jnp.eye(m, dtype=dtype),
        prior=Gaussian(jnp.zeros(n, dtype), eye),
    )
    student = sequence_regressor(n, m, hidden, inputs=inputs, **options)
    sizes = {"x": n, "y": m} | ({"u": inputs} if inputs else {})
    scales = {
        name: {"centre": np.zeros(size), "spread": np.ones(size)} for name, size in sizes.items()
    }
    return student, init_params(key, student, model, scales)
