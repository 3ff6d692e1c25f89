"""Conversion of the authors' PyTorch weights of KalmanNet, as arrays by name, to our networks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from flax import linen as nn

from kfjax._support.arguments import check_count, check_mapping, choose, real_numbers
from kfjax.learned.gains.networks import Architecture1, Architecture2
from kfjax.learned.gains.sizes import dimensions

__all__ = ["Pretrained", "from_torch"]


class Pretrained(NamedTuple):
    """A network with weights.

    Attributes:
        network: the Flax module, for `kfjax.learned.kalman_net`.
        variables: its weights, for `Learned.network`.
        constants: its initial hidden states, for `Learned.constants`, or None.
    """

    network: nn.Module
    variables: Any
    constants: Any = None


def from_torch(
    state_dict: Mapping[str, Any], *, wiring: str = "corrected", n: int | None = None
) -> Pretrained:
    """Return the network of a PyTorch state dictionary of KalmanNet.

    The names of layers are those of the authors' code.

    PyTorch has two biases for the reset and update gates of a GRU, and Flax their sum. Read a torch
    file with `torch.load(path, weights_only=True)` and a numpy file with `np.load(path,
    allow_pickle=False)`: neither runs stored code.

    Args:
        state_dict: name -> array. Architecture #1 has KG_l1, rnn_GRU, KG_l2, KG_l3; #2 has GRU_Q,
            GRU_Sigma, GRU_S, FC1 .. FC7, and optionally the initial hidden states _prior_Q [n, n],
            _prior_Sigma [n, n], _prior_S [m, m].
        wiring: "corrected" or "original": which feature goes where in architecture #2; see
            `Architecture2`. Names and shapes are the same for both, so the wiring must be known.
        n: dimension of the state; needed for architecture #1 if n differs from m.

    Returns:
        `Pretrained(network, variables, constants)`.

    Raises:
        ValueError: if names are missing or unknown, or shapes do not fit one another.

    Example:
        >>> sizes = {"KG_l1": (320, 4), "KG_l2": (16, 80), "KG_l3": (4, 16)}
        >>> weights = {
        ...     f"{name}.weight": np.zeros(shape) for name, shape in sizes.items()
        ... }
        >>> weights |= {
        ...     f"{name}.bias": np.zeros(shape[0]) for name, shape in sizes.items()
        ... }
        >>> gru = {"weight_ih": (240, 320), "weight_hh": (240, 80)}
        >>> gru |= {"bias_ih": (240,), "bias_hh": (240,)}
        >>> weights |= {
        ...     f"rnn_GRU.{name}_l0": np.zeros(shape) for name, shape in gru.items()
        ... }
        >>> kf.learned.from_torch(weights).network
        Architecture1(
            # attributes
            n = 2
            m = 2
            layers = 1
            zero_gain = True
        )
    """
    check_mapping("from_torch: state_dict", state_dict, "arrays by name, as model.state_dict()")
    if n is not None:
        check_count("from_torch: n", n)
    choose("from_torch: wiring", wiring, ("corrected", "original"))
    weights = {name: _numbers(name, value) for name, value in state_dict.items()}
    first = any(name.startswith("KG_") for name in weights)
    network, layers = _first(weights, n) if first else _second(weights, wiring)
    constants = None
    if not first and any(name.startswith("_prior_") for name in weights):
        states, channels = dimensions(network)
        priors = {
            name: (size, size) for name, size in (("Q", states), ("Sigma", states), ("S", channels))
        }
        constants = {
            "prior": {
                name: _take(weights, f"_prior_{name}", shape) for name, shape in priors.items()
            }
        }
    params = {ours: convert(weights, *arguments) for ours, (convert, *arguments) in layers.items()}
    if weights:
        raise ValueError(
            f"from_torch: got unknown {', '.join(sorted(weights))}; expected only the names of"
            f" {type(network).__name__}. Leave out entries of other modules."
        )
    return Pretrained(network, {"params": params}, constants)


def _numbers(name: str, value: object) -> np.ndarray:
    """Return the numbers of an array, or of a tensor of PyTorch."""
    array = np.asarray(value) if hasattr(value, "__array__") else value
    return real_numbers(f"from_torch: {name}", array).astype(np.asarray(array).dtype)


def _first(weights: dict[str, np.ndarray], n: int | None) -> tuple[Architecture1, dict[str, Any]]:
    """Return architecture #1 with its table of layers: our name -> (conversion, theirs, sizes)."""
    wide, inputs = _shape(weights, "KG_l1.weight")
    gains = _shape(weights, "KG_l3.weight")[0]
    n, m = _split(gains, wide // 80, n)
    layers = 1
    while f"rnn_GRU.weight_ih_l{layers}" in weights:
        layers += 1
    hidden = 10 * (n * n + m * m)
    table: dict[str, Any] = {"input": (_dense, "KG_l1", 80 * (n + m), inputs)}
    for k in range(layers):
        table[f"gru_{k}"] = (_gru, "rnn_GRU", k, hidden, hidden if k else wide)
    table |= {
        "hidden": (_dense, "KG_l2", 4 * n * m, hidden),
        "gain": (_dense, "KG_l3", n * m, 4 * n * m),
    }
    return Architecture1(n, m, layers), table


def _split(product: int, total: int, n: int | None) -> tuple[int, int]:
    """Return (n, m) from n m and n + m."""
    if n is None:
        # n and m are the roots of z^2 - (n + m) z + n m, which do not tell which of them is n.
        root = math.isqrt(product)
        if root * root != product or 2 * root != total:
            raise ValueError(
                f"from_torch: the gain has {product} entries and n + m = {total}; expected n = m."
                " Otherwise pass the dimension of the state as n=."
            )
        return root, root
    if n * (total - n) != product:
        raise ValueError(
            f"from_torch: n is {n}, but the gain has {product} entries and n + m = {total};"
            " expected n m entries. Pass the dimension of the state as n=."
        )
    return n, total - n


def _second(weights: dict[str, np.ndarray], wiring: str) -> tuple[Architecture2, dict[str, Any]]:
    """Return architecture #2 with its table of layers."""
    wide, n = _shape(weights, "FC5.0.weight")
    m = _shape(weights, "FC7.0.weight")[1] // 2
    hidden = _shape(weights, "FC2.0.weight")[0]
    Q = n * n
    S = m * m
    in_mult = wide // n
    table = {
        "GRU_Q": (_gru, "GRU_Q", 0, Q, in_mult * n),
        "GRU_Sigma": (_gru, "GRU_Sigma", 0, Q, Q + in_mult * n),
        "GRU_S": (_gru, "GRU_S", 0, S, S + 2 * in_mult * m),
        "FC1": (_dense, "FC1.0", S, Q),
        "FC2": (_dense, "FC2.0", hidden, Q + S),
        "gain": (_dense, "FC2.2", n * m, hidden),
        "FC3": (_dense, "FC3.0", Q, S + n * m),
        "FC4": (_dense, "FC4.0", Q, 2 * Q),
        "FC5": (_dense, "FC5.0", in_mult * n, n),
        "FC6": (_dense, "FC6.0", in_mult * n, n),
        "FC7": (_dense, "FC7.0", 2 * in_mult * m, 2 * m),
    }
    return Architecture2(n, m, in_mult, hidden // (Q + S), wiring), table


def _dense(
    weights: dict[str, np.ndarray], name: str, size: int, inputs: int
) -> dict[str, np.ndarray]:
    """Take a linear layer."""
    return {
        "kernel": _take(weights, f"{name}.weight", (size, inputs)).T,
        "bias": _take(weights, f"{name}.bias", (size,)),
    }


def _gru(
    weights: dict[str, np.ndarray], name: str, layer: int, size: int, inputs: int
) -> dict[str, np.ndarray]:
    """Take a recurrent layer; gates in the order reset, update, candidate in both libraries."""
    # PyTorch has two biases for each gate. Those of the reset and the update gate are added before
    # the gate, and one is enough; that of the candidate from h is multiplied by the reset gate, and
    # stays apart.
    from_x = _take(weights, f"{name}.bias_ih_l{layer}", (3 * size,))
    from_h = _take(weights, f"{name}.bias_hh_l{layer}", (3 * size,))
    of_candidate = from_h[2 * size :]
    added = np.concatenate([from_h[: 2 * size], np.zeros_like(of_candidate)])
    return {
        "input_kernel": _take(weights, f"{name}.weight_ih_l{layer}", (3 * size, inputs)).T,
        "hidden_kernel": _take(weights, f"{name}.weight_hh_l{layer}", (3 * size, size)).T,
        "bias": from_x + added,
        "candidate_bias": of_candidate,
    }


def _shape(weights: dict[str, np.ndarray], name: str) -> tuple[int, int]:
    """Return the shape of a matrix, which must be present."""
    if name not in weights or weights[name].ndim != 2:
        got = (
            f"shape {weights[name].shape}"
            if name in weights
            else f"no {name} among {', '.join(sorted(weights))}"
        )
        raise ValueError(
            f"from_torch: got {got}; expected {name} as a matrix, as the authors' networks have it."
        )
    return weights[name].shape


def _take(weights: dict[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Remove and return an array of known shape."""
    if name not in weights:
        raise ValueError(f"from_torch: {name} is missing; expected it with shape {shape}.")
    value = weights.pop(name)
    if value.shape != shape:
        raise ValueError(
            f"from_torch: {name} has shape {value.shape}; expected {shape}, given the other layers."
        )
    return value
