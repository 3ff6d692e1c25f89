"""A filter written by `kfjax.exporting`, run with only jax and numpy.

A copy of this module is in every such file:

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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import jax
import jax.export
import jax.numpy as jnp
import jax.typing
import numpy as np

__all__ = ["Program", "load"]

FORMAT = 1  # of the files

Numbers: TypeAlias = jax.typing.ArrayLike | Sequence[Any]
"""An array, a number, or nested lists of numbers."""


class Program:
    """A filter step or run on flat lists of arrays, compiled for the machine it is called on.

    Attributes:
        signature: description of the program: kind ("step" or "run"), platforms, versions, and the
            inputs and outputs by name, shape and dtype. Names in a shape stand for any size.
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

        Args:
            batch: number of trajectories, each of which starts from a copy of the state; None for a
                program of one trajectory.

        Returns:
            The arrays, with a leading axis for the batch.

        Raises:
            ValueError: if the program has a batch and no number is given, or the reverse.
        """
        batched = self.signature["batch"] is not None
        if batched == (batch is None):
            expected = "a number of trajectories" if batched else "None"
            raise ValueError(f"initial: batch is {batch}; expected {expected}, as in the export.")
        if batch is None:
            return list(self._initial)
        return [np.repeat(array[None], batch, axis=0) for array in self._initial]

    def __call__(
        self, state: Sequence[Numbers], **inputs: Numbers
    ) -> tuple[list[jax.Array], dict[str, jax.Array]]:
        """Take one step, or run over all steps.

        Args:
            state: arrays of the state, from `initial` or an earlier call.
            **inputs: arrays by name, such as y, observed, u. Names with a dot are written
                `**{"u.dt": 0.1}`.

        Returns:
            The new state, and the outputs by name.

        Raises:
            ValueError: if something is missing, has another shape or dtype, or is NaN where it
                counts as observed.
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
        arrays = list(map(_fitted, self.signature["inputs"], values))
        _check_numbers(inputs)
        results = self._call(*arrays)
        after = list(results[: len(state)])
        outputs = results[len(state) :]
        names = [entry["name"] for entry in self.signature["outputs"][len(state) :]]
        return after, dict(zip(names, outputs, strict=True))

    @property
    def _state(self) -> list[dict[str, Any]]:
        """The entries of the signature for the state."""
        return self.signature["inputs"][: self.signature["state"]]

    @property
    def _inputs(self) -> list[dict[str, Any]]:
        """The entries of the signature for the other inputs."""
        return self.signature["inputs"][self.signature["state"] :]


def load(path: str | Path) -> Program:
    """Read a file that `kfjax.exporting` wrote.

    Args:
        path: path of the file.

    Returns:
        The `Program`.

    Raises:
        ValueError: if the file is of another kind, is damaged, or needs double precision that is
            not enabled.

    Example:
        >>> import pathlib, tempfile
        >>> model = kf.systems.constant_velocity()
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "tracker.zip"
        >>> program = kf.exporting.load(
        ...     kf.exporting.export_step(path, kf.kalman(), model)
        ... )
        >>> program.state_names, program.input_names
        (['state.mean', 'state.cov'], ['y'])
    """
    try:
        with zipfile.ZipFile(path) as archive:
            signature = json.loads(archive.read("signature.json"))
            if signature["format"] != FORMAT:
                raise ValueError(f"format {signature['format']}, not {FORMAT}")
            program = archive.read("program.bin")
            with np.load(io.BytesIO(archive.read("initial.npz")), allow_pickle=False) as arrays:
                state = [arrays[name] for name in arrays.files]
        double = any(entry["dtype"].endswith("64") for entry in signature["inputs"])
        loaded = Program(signature, state, program)
    except Exception as error:  # for a damaged file, readers raise nearly any error
        raise ValueError(
            f"{path} cannot be read ({str(error) or type(error).__name__}); expected an undamaged"
            " file written by kfjax.exporting, with a version of jax that this one can read."
        ) from error
    if double and not jax.config.jax_enable_x64:  # type: ignore[attr-defined]
        raise ValueError(
            f"{path} is in double precision; expected jax_enable_x64 to be set. Set it before"
            " loading."
        )
    return loaded


def _fitted(entry: Mapping[str, Any], value: Numbers) -> jax.Array:
    """Return a value as an array of the dtype and shape that the program takes.

    A name stands for any size.
    """
    dtype = np.dtype(entry["dtype"])
    array = value if isinstance(value, jax.Array) else np.asarray(value)
    if not _fits(array.shape, entry["shape"]) or not np.can_cast(array.dtype, dtype, "same_kind"):
        raise ValueError(
            f"{entry['name']} is {array.dtype} of shape {array.shape}; expected {dtype} of shape"
            f" {tuple(entry['shape'])}."
        )
    return jnp.asarray(array, dtype)


def _fits(shape: tuple[int, ...], expected: Sequence[int | str]) -> bool:
    """Return whether the sizes are as expected; a name stands for any number."""
    if len(shape) != len(expected):
        return False
    pairs = zip(shape, expected, strict=True)
    return all(isinstance(wanted, str) or size == wanted for size, wanted in pairs)


def _check_numbers(inputs: Mapping[str, Numbers]) -> None:
    """Raise on unmasked NaN in host arrays and lists; checking device arrays would cost a copy."""
    for name, value in inputs.items():
        if isinstance(value, jax.Array) or np.asarray(value).dtype.kind != "f":
            continue
        counted = np.isnan(np.asarray(value))
        mask = inputs.get(_mask_of(name))
        if mask is not None:
            counted = counted & np.asarray(mask, bool)
        if counted.any():
            raise ValueError(
                f"{name} has NaN where it counts; expected numbers. For missing data export with"
                " masked=True, and pass observed=~np.isnan(y)."
            )


def _mask_of(name: str) -> str:
    """Return the name of the mask of an observation ("observed.gps" for "y.gps"), or ""."""
    kind, _, part = name.partition(".")
    if kind != "y":
        return ""
    return f"observed.{part}" if part else "observed"
