"""The recurrent baselines of the KalmanNet paper, and LSTM and GRU regressors."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from kfjax._support.arguments import check_count, check_kind, choose
from kfjax.base import Filter
from kfjax.data import Dataset
from kfjax.data.counting import counted_observations, counted_steps
from kfjax.learned.gains.corrections import state_scales
from kfjax.learned.gains.feature_maps import NORMALISED
from kfjax.learned.recurrent_networks.cells import RecurrentStack
from kfjax.learned.recurrent_networks.recurrent_filter import recurrent
from kfjax.models.averages import centre_and_spread
from kfjax.models.state_space import StateSpaceModel

__all__ = ["recurrent_baseline", "sequence_regressor", "series_scales"]

BASELINES = {
    "vanilla": (("y",), "level"),
    "model_based": (("y", "prediction"), "update"),
    "differences": (("F2", "F4"), "update"),
}


def recurrent_baseline(kind: str, n: int, m: int) -> Filter:
    """Return a recurrent baseline of the KalmanNet paper.

    Its layers are those of KalmanNet's architecture #1.

    Dense 80 (n + m), ReLU, GRU 10 (n^2 + m^2), dense 4 n m, ReLU, dense n. "vanilla": y_t ->
    x_{t|t}. "model_based": y_t and f(x_{t-1|t-1}) -> the correction of the latter. "differences":
    likewise from F2 and F4, as normalised in KalmanNet. The last layer starts at zero.

    Args:
        kind: "vanilla", "model_based" or "differences".
        n: dimension of the state.
        m: dimension of the observation.

    Returns:
        A `Filter`, see `recurrent`.

    Raises:
        ValueError: for an unknown kind, or sizes below 1.

    Example:
        >>> model = kf.systems.lorenz()
        >>> filter = kf.learned.recurrent_baseline("differences", 3, 3)
        >>> params = kf.learned.init_params(jax.random.key(0), filter, model)
        >>> sum(leaf.size for leaf in jax.tree.leaves(params.network))
        367107

    References:
        G. Revach et al., KalmanNet: neural network aided Kalman filtering for partially known
        dynamics, IEEE Trans. Signal Process. 70 (2022), section IV-A.
    """
    choose("recurrent_baseline: kind", kind, BASELINES)
    for name, size in (("n", n), ("m", m)):
        check_count(f"recurrent_baseline: {name}", size)
    sizes = (10 * (n * n + m * m),)
    network = RecurrentStack(n, sizes, encode=80 * (n + m), mix=4 * n * m)
    return recurrent(network, m, *BASELINES[kind], feature_map=NORMALISED)


def sequence_regressor(
    n: int,
    m: int,
    hidden: tuple[int, ...] = (64,),
    *,
    cell: str = "lstm",
    feedback: bool = True,
    output: str = "increment",
    layer_norm: bool = False,
    dropout: float = 0.0,
    learned_start: bool = True,
    inputs: int = 0,
) -> Filter:
    """Return an LSTM or GRU that maps observations to states.

    It uses only the prior of the model, and h for its Info.

    States that integrate (positions, growing angles) need `output="increment"`, and feedback if the
    network is to see drift: a bounded memory cannot hold them outside the range it was trained on.
    Recurrent matrices start orthogonal and the forget bias at 1.

    Args:
        n: dimension of the state.
        m: dimension of the observation.
        hidden: size of every layer, from the bottom up.
        cell: "lstm", "gru" or "rnn".
        feedback: whether the network sees its last estimate.
        output: "level", "increment", or "recursion", see `recurrent`.
        layer_norm: see `RecurrentStack`.
        dropout: likewise; it acts only in `kfjax.learned.with_dropout(filter)`.
        learned_start: likewise.
        inputs: number of entries of u that the network sees.

    Returns:
        A `Filter`, see `recurrent`.

    Raises:
        ValueError: as in `recurrent`, or for output "update", which needs a model.

    Example:
        >>> filter = kf.learned.sequence_regressor(2, 1, (16,), dropout=0.2)
        >>> model = kf.systems.constant_velocity()
        >>> keys = jax.random.split(jax.random.key(0), 16)
        >>> xs, ys = jax.vmap(lambda key: kf.simulate(key, model, 20))(keys)
        >>> data = kf.Dataset(ys, xs)
        >>> scales = kf.learned.series_scales(model, data)
        >>> params = kf.learned.init_params(
        ...     jax.random.key(1), filter, model, scales
        ... )
        >>> fitted = kf.training.fit(
        ...     kf.training.state_mse(kf.learned.with_dropout(filter)),
        ...     params,
        ...     data,
        ...     key=jax.random.key(2),
        ...     updates=5,
        ...     validation=data,
        ...     validation_loss=kf.training.state_mse(filter),
        ... )
    """
    choose("sequence_regressor: output", output, ("level", "increment", "recursion"))
    network = RecurrentStack(
        n, hidden, cell, layer_norm=layer_norm, dropout=dropout, learned_start=learned_start
    )
    return recurrent(
        network, m, ("y", "mask", *(("feedback",) if feedback else ())), output, inputs=inputs
    )


def series_scales(
    model: StateSpaceModel, data: Dataset
) -> dict[str, dict[str, Float[Array, " _"]]]:
    """Return the centres and spreads of states, observations and inputs in training data.

    Args:
        model: the design model.
        data: trajectories with true states; inputs, if any, are an array or a pytree of arrays,
            whose p entries are taken in JAX's order.

    Returns:
        {"x": {"centre": [N], "spread": [n]}, "y": ..., "u": ...}, for
        `kfjax.learned.init_params(..., constants=...)`.

    Raises:
        ValueError: if there are no states, or a state or channel does not vary.
    """
    check_kind("series_scales: model", model, StateSpaceModel)
    check_kind("series_scales: data", data, Dataset)
    if data.xs is None:
        raise ValueError(
            "series_scales: the data have no true states; expected xs. Pass xs= to the Dataset."
        )
    active = counted_steps(data)[..., None]
    ys = np.where(counted_observations(data), data.ys, np.nan).astype(model.dtype)
    centre, spread = centre_and_spread(model.observation_space, ys, np.zeros(ys.shape[-1]))
    scales: dict[str, dict[str, Any]] = {
        "x": state_scales(model, np.where(active, data.xs, np.nan)),
        "y": {
            "centre": jnp.asarray(centre, model.dtype),
            "spread": jnp.asarray(spread, model.dtype),
        },
    }
    if not (spread > 0).all():
        raise ValueError(
            "series_scales: a channel of the observations does not vary; expected every channel"
            " to vary. Leave it out."
        )
    if jax.tree.leaves(data.us):
        u = all_inputs(data)[active[..., 0]]
        spread = u.std(axis=0)
        scales["u"] = {"centre": u.mean(axis=0), "spread": np.where(spread > 0, spread, 1)}
    return scales


def all_inputs(data: Dataset) -> np.ndarray:
    """Return all entries of the inputs, [N, T, p]."""
    leaves = [np.asarray(u, np.float64) for u in jax.tree.leaves(data.us)]
    rows = [u.reshape(data.size, data.steps, -1) for u in leaves]
    return np.concatenate([np.zeros((data.size, data.steps, 0)), *rows], axis=-1)
