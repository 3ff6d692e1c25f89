"""Classical models fitted to labelled trajectories by least squares, in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kfjax._support.arguments import check_flag, choose_some
from kfjax.data import Dataset
from kfjax.learned.models.labels import Pairs, check_flat, residuals_of, sightings, transitions
from kfjax.learned.models.regressors import ridge_regression
from kfjax.models.functions import Linear
from kfjax.models.state_space import StateSpaceModel

__all__ = ["fit_labelled"]

PARTS = ("f", "h", "Q", "R")


def fit_labelled(
    model: StateSpaceModel,
    data: Dataset,
    *,
    learn: Sequence[str] = PARTS,
    inputs: bool = False,
    offsets: bool = False,
) -> StateSpaceModel:
    """Fit linear functions and noise covariances to labelled states.

    The fit is in closed form.

    F, B, b = argmin sum_t |x_t - F x_{t-1} - B u_t - b|^2,
    Q = 1/(K - p) sum_t e_t e_t',   e_t = x_t - f(x_{t-1}, u_t)

    and likewise H from x_t to y_t, and R. K is the number of pairs and p the number of coefficients
    fitted per row, so that Q and R are unbiased (p = 0 if f or h is kept). Pairs with an unknown
    state are left out. Every channel of y is fitted on the rows where it was observed, and a
    covariance of two channels on the rows where both were (0 if there are none). Everything is
    computed in double precision.

    Args:
        model: the model that gives everything that is not fitted; for fitted noise, its f and h may
            be any functions.
        data: trajectories with true states.
        learn: names among "f", "h", "Q" and "R".
        inputs: whether to fit B (of f) for the inputs of the data, an array [N, T, p].
        offsets: whether to fit constants b in f and h.

    Returns:
        A `StateSpaceModel` with the prior of `model`.

    Raises:
        ValueError: for an unknown part, no labelled pairs or fewer than are needed, states that do
            not vary in all directions, or a linear f or h of angles.

    Example:
        >>> truth = kf.systems.constant_velocity()
        >>> keys = jax.random.split(jax.random.key(0), 100)
        >>> xs, ys = jax.vmap(lambda key: kf.simulate(key, truth, 50))(keys)
        >>> start = truth.replace(
        ...     f=kf.Linear(jnp.eye(2)), Q=jnp.eye(2), R=jnp.eye(1)
        ... )
        >>> model = kf.learned.fit_labelled(start, kf.Dataset(ys, xs))
        >>> ratio = model.R / truth.R
        >>> bool(jnp.abs(model.f.A - truth.f.A).max() < 0.01)
        True
        >>> bool(jnp.abs(ratio - 1).max() < 0.1)
        True
    """
    choose_some("fit_labelled: learn", learn, PARTS)
    check_flag("fit_labelled: inputs", inputs)
    check_flag("fit_labelled: offsets", offsets)
    changes: dict[str, Any] = {}
    for fn, noise, pairs_of in (("f", "Q", transitions), ("h", "R", sightings)):
        if not {fn, noise} & set(learn):
            continue
        pairs = pairs_of("fit_labelled", model, data)
        if fn in learn:
            check_flat("fit_labelled", "states", model.state_space)
            if fn == "h":
                check_flat("fit_labelled", "observations", model.observation_space)
            changes[fn], residuals, fitted = _linear(fn, pairs, inputs and fn == "f", offsets)
        else:
            residuals = residuals_of(fn, model, pairs)
            fitted = 0
        if noise in learn:
            changes[noise] = _covariance(noise, residuals, pairs.seen, fitted)
    return model.replace(
        **{
            name: jax.tree.map(lambda a: jnp.asarray(a, model.dtype), v)
            for name, v in changes.items()
        }
    )


def _linear(fn: str, pairs: Pairs, inputs: bool, offsets: bool) -> tuple[Linear, np.ndarray, int]:
    """Return the least-squares fit, its residuals, and the number of coefficients per row."""
    x = np.asarray(pairs.x, np.float64)
    if inputs and getattr(pairs.u, "ndim", 0) != 2:
        raise ValueError(
            "fit_labelled: got inputs=True and data whose us is not an array; expected [N, T, p]."
            " Concatenate the inputs to one array."
        )
    columns = [
        x,
        *([np.asarray(pairs.u, np.float64)] if inputs else []),
        *([np.ones((len(x), 1))] if offsets else []),
    ]
    X = np.concatenate(columns, axis=1)
    for channel, seen in enumerate(pairs.seen.T):
        _check_rank(f"{fn}, row {channel}", X[seen])
    W = ridge_regression(X, pairs.target, pairs.seen)
    A, B, b = np.split(W, [x.shape[1], X.shape[1] - offsets], axis=1)
    residuals = np.asarray(pairs.target, np.float64) - X @ W.T
    return Linear(A, B if inputs else None, b[:, 0] if offsets else None), residuals, X.shape[1]


def _check_rank(what: str, X: np.ndarray) -> None:
    """Raise unless the data determine the least-squares fit."""
    scale = np.abs(X).max(axis=0, initial=0)
    rank = np.linalg.matrix_rank(X / np.where(scale > 0, scale, 1)) if len(X) else 0
    if rank < X.shape[1]:
        raise ValueError(
            f"fit_labelled: the {len(X)} pairs for {what} have rank {rank}; expected {X.shape[1]},"
            " which needs states (and inputs) that vary in all directions. Leave this part out of"
            " learn, or use more varied data."
        )


def _covariance(name: str, residuals: np.ndarray, seen: np.ndarray, fitted: int) -> np.ndarray:
    """Return the unbiased covariance of residuals with gaps.

    It is made positive semidefinite if gaps make it indefinite.
    """
    e = np.where(seen, residuals, 0)
    seen = seen.astype(float)
    counts = seen.T @ seen
    if np.diag(counts).min() <= fitted:
        raise ValueError(
            f"fit_labelled: {name} has {int(np.diag(counts).min())} residuals in some row;"
            f" expected more than the {fitted} numbers fitted to them."
        )
    degrees = np.maximum(counts - fitted, 1)
    C = np.where(counts > fitted, e.T @ e / degrees, 0)
    values, vectors = np.linalg.eigh(C)
    return C if values[0] >= 0 else (vectors * np.maximum(values, 0)) @ vectors.T
