"""Runs a filter that `kfjax.exporting` wrote, with jax and numpy only.

A copy of this is in every such file.

import sys
sys.path.insert(0, "tracker.zip")
from kfjax_program import load

program = load("tracker.zip")
state = program.initial()
state, outputs = program(state, y=[0.3])
outputs["mean"]
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

__all__ = ["Program", "load"]

FORMAT = 1  # of the files


class Program:
    """A filter step or a run, compiled for the machine it is called on, of flat lists of arrays.

    Attributes:
        signature: what the file says of itself: kind ("step" or "run"), platforms, versions, and
            the inputs and outputs by name, shape and dtype. Names in a shape are sizes that may be
            anything.
    """

    def __init__(self, signature: dict[str, Any], state: list[np.ndarray], program: bytes) -> None:
        self.signature = signature
        self._initial = state
        self._call = jax.jit(jax.export.deserialize(bytearray(program)).call)

    @property
    def state_names(self) -> list[str]:
        """The names of the arrays of the state."""
        return [entry["name"] for entry in self._state]

    @property
    def input_names(self) -> list[str]:
        """The names of the other inputs."""
        return [entry["name"] for entry in self._inputs]

    def initial(self, batch: int | None = None) -> list[np.ndarray]:
        """Return the state before the first step, as a list of arrays.

        For a batch, `batch` copies of it.
        """
        batched = self.signature["batch"] is not None
        if batched == (batch is None):
            expected = "a number of trajectories" if batched else "None"
            raise ValueError(
                f"initial: batch is {batch}; expected {expected}, as the file was exported."
            )
        if batch is None:
            return list(self._initial)
        return [np.repeat(array[None], batch, axis=0) for array in self._initial]

    def __call__(self, state: list[Any], **inputs: Any) -> tuple[list[Any], dict[str, Any]]:
        """Take one step, or run over all steps.

        Args:
            state: list of arrays, from `initial` or an earlier call.
            **inputs: arrays by name, such as y, observed, u. Names with a dot are written
                `**{"u.dt": 0.1}`.

        Returns:
            The new state, and the outputs by name.

        Raises:
            ValueError: if something is missing, has another shape or dtype, or is NaN where it
                counts.
        """
        if len(state) != len(self._state):
            raise ValueError(
                f"the state has {len(state)} arrays; expected {len(self._state)}:"
                f" {self.state_names}."
            )
        if set(inputs) != set(self.input_names):
            raise ValueError(
                f"got the inputs {sorted(inputs)}; expected {sorted(self.input_names)}."
            )
        values = [*state, *(inputs[name] for name in self.input_names)]
        arrays = [
            _fitted(entry, value)
            for entry, value in zip(self.signature["inputs"], values, strict=True)
        ]
        _check_numbers(inputs)
        results = self._call(*arrays)
        names = [entry["name"] for entry in self.signature["outputs"][len(state) :]]
        return list(results[: len(state)]), dict(zip(names, results[len(state) :], strict=True))

    @property
    def _state(self) -> list[dict[str, Any]]:
        return self.signature["inputs"][: self.signature["state"]]

    @property
    def _inputs(self) -> list[dict[str, Any]]:
        return self.signature["inputs"][self.signature["state"] :]


def load(path: str | Path) -> Program:
    """Read a file that `kfjax.exporting` wrote.

    Args:
        path: the file.

    Returns:
        The `Program`.

    Raises:
        ValueError: if it is no such file, is damaged, or needs double precision that is not
            enabled.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            signature = json.loads(archive.read("signature.json"))
            if signature["format"] != FORMAT:
                raise ValueError(f"format {signature['format']}, not {FORMAT}")
            program = archive.read("program.bin")
            with np.load(io.BytesIO(archive.read("initial.npz")), allow_pickle=False) as arrays:
                state = [arrays[name] for name in arrays.files]
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} cannot be read ({error}); expected a file that kfjax.exporting wrote."
        ) from error
    double = any(entry["dtype"].endswith("64") for entry in signature["inputs"])
    if double and not jax.config.jax_enable_x64:  # type: ignore[attr-defined]
        raise ValueError(
            f"{path} is in double precision; expected jax_enable_x64 to be set. Set it before"
            " loading."
        )
    return Program(signature, state, program)


def _fitted(entry: dict[str, Any], value: Any) -> Any:
    """Return an array of the dtype and shape that the program takes.

    Symbolic sizes may be anything.
    """
    dtype = np.dtype(entry["dtype"])
    array = value if isinstance(value, jax.Array) else np.asarray(value)
    sizes = zip(array.shape, entry["shape"], strict=False)
    fits = array.ndim == len(entry["shape"]) and all(isinstance(b, str) or a == b for a, b in sizes)
    if not fits or not np.can_cast(array.dtype, dtype, "same_kind"):
        raise ValueError(
            f"{entry['name']} is {array.dtype} of shape {array.shape}; expected {dtype} of shape"
            f" {tuple(entry['shape'])}."
        )
    return jnp.asarray(array, dtype)


def _check_numbers(inputs: dict[str, Any]) -> None:
    """Refuse NaN that counts, where it can be seen at no cost (in arrays of numpy and lists)."""
    for name, value in inputs.items():
        if isinstance(value, jax.Array) or np.asarray(value).dtype.kind != "f":
            continue
        kind, _, part = name.partition(".")
        missing = np.isnan(np.asarray(value))
        mask = inputs.get(".".join(filter(None, ("observed", part)))) if kind == "y" else None
        if (missing if mask is None else missing & np.asarray(mask, bool)).any():
            raise ValueError(
                f"{name} has NaN where it counts; expected numbers. For missing data export with"
                " masked=True, and pass"
                " observed=~np.isnan(y)."
            )
