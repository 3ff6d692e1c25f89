"""Filters as files: `jax.export` programs for any machine that has JAX, or ONNX models."""

from __future__ import annotations

import importlib.metadata
import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.export

from kfjax._support.arguments import as_path, check_flag, choose_some
from kfjax._support.files import write_file
from kfjax._support.saving import npz_bytes
from kfjax._support.types import Key
from kfjax.base import Emit, Filter, Inputs, Observations, Params, PyTree, State, estimate
from kfjax.exporting import program
from kfjax.exporting.flattening import Examples, Flat, Size, flat_run, flat_step
from kfjax.exporting.onnx_files import write_onnx

__all__ = ["export_run", "export_step"]

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")  # as jax.export names them


def export_step(
    path: str | Path,
    filter: Filter,
    params: Params,
    *,
    y: Observations | None = None,
    u: Inputs = None,
    masked: bool = False,
    batch: Size | None = None,
    key: Key | None = None,
    state: State | None = None,
    platforms: Sequence[str] | None = None,
) -> Path:
    """Write one predict and update to a file that runs without kfjax.

    The params become constants of the program. A path that ends in .onnx gives an ONNX model, with
    the operations that jax2onnx knows. Any other path gives a zip archive with a `jax.export`
    program, a JSON description of its inputs and outputs, the state before the first step, and a
    loader that needs only JAX, `kfjax_program.py`.

    Args:
        path: path of the file; an earlier file is replaced when the new one is complete.
        filter: any `Filter`.
        params: its parameters.
        y: an example of one observation; default what h of the model returns.
        u: an example of the input of one step, or None for no inputs.
        masked: whether the program takes `observed`, booleans like y, for missing data.
        batch: number of trajectories, or a name such as "b" for any number; None for one trajectory
            without a batch axis.
        key: random key for filters that draw.
        state: a state to continue from; default the start of a record.
        platforms: platforms for which the program can be compiled when it is called, such as
            ("cpu", "cuda", "tpu"); default the current one.

    Returns:
        The path. `kfjax.exporting.load(path)` reads an archive.

    Raises:
        ValueError: if a size that may be anything, an operation or a platform is not supported, or
            an example is missing.
        ImportError: if the packages that ONNX needs are not installed.

    Example:
        >>> import pathlib, tempfile
        >>> model = kf.systems.constant_velocity()
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "tracker.zip"
        >>> program = kf.exporting.load(
        ...     kf.exporting.export_step(path, kf.kalman(), model)
        ... )
        >>> state, outputs = program(program.initial(), y=[0.3])
        >>> outputs["mean"].shape, outputs["dof"].item()
        ((2,), 1)
    """
    path = as_path("export_step: path", path)
    check_flag("export_step: masked", masked)
    flat = flat_step(filter, params, Examples(y, u, masked, key, state), batch=batch)
    return _write(path, flat, platforms)


def export_run(
    path: str | Path,
    filter: Filter,
    params: Params,
    *,
    steps: Size = "t",
    y: Observations | None = None,
    u: Inputs = None,
    masked: bool = False,
    batch: Size | None = None,
    key: Key | None = None,
    state: State | None = None,
    emit: Emit[PyTree] = estimate,
    platforms: Sequence[str] | None = None,
) -> Path:
    """Write a whole run over time to a file that runs without kfjax; see `export_step`.

    Args:
        path: path of the file.
        filter: any `Filter`.
        params: its parameters.
        steps: number of steps, or a name such as "t" for any number.
        y: an example of one observation [m], without the axis of time; default what h of the model
            returns.
        u: an example of the input of one step, or None for no inputs.
        masked: whether the program takes `observed`, booleans like y.
        batch: number of trajectories, or a name for any number, or None.
        key: random key for filters that draw.
        state: a state to continue from; default the start of a record.
        emit: `(state, info) -> anything`: what is kept of every step, as in `kfjax.run`.
        platforms: platforms for which the program can be compiled, as in `export_step`.

    Returns:
        The path. The program returns the final state, from which it can continue, and by name what
        `emit` keeps.

    Raises:
        ValueError: if a size that may be anything, an operation or a platform is not supported, or
            an example is missing.
        ImportError: if the packages that ONNX needs are not installed.

    Example:
        >>> import pathlib, tempfile
        >>> model = kf.systems.constant_velocity()
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "tracks.zip"
        >>> kf.exporting.export_run(path, kf.kalman(), model, batch="b").name
        'tracks.zip'
        >>> program = kf.exporting.load(path)
        >>> final, outputs = program(
        ...     program.initial(batch=3), y=np.zeros((3, 50, 1), np.float32)
        ... )
        >>> outputs["mean"].shape
        (3, 50, 2)
    """
    path = as_path("export_run: path", path)
    check_flag("export_run: masked", masked)
    examples = Examples(y, u, masked, key, state)
    flat = flat_run(filter, params, examples, steps=steps, batch=batch, emit=emit)
    return _write(path, flat, platforms)


def _write(path: Path, flat: Flat, platforms: Sequence[str] | None) -> Path:
    """Write a file of the kind given by the suffix of its path."""
    if platforms is not None:
        choose_some("export: platforms", platforms, PLATFORMS)
    if path.suffix == ".onnx":
        if platforms is not None:
            raise ValueError(
                f"export: platforms are {platforms}; expected None, since an ONNX model has no"
                " platforms. Leave it out."
            )
        return write_onnx(path, flat)
    exported = _exported(flat, platforms)
    contents = {
        "program.bin": bytes(exported.serialize()),
        "signature.json": json.dumps(_signature(flat, exported), indent=1).encode(),
        "initial.npz": _initial(flat),
        "kfjax_program.py": Path(program.__file__).read_bytes(),
    }
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    write_file(path, whole.getvalue())
    return path


def _exported(flat: Flat, platforms: Sequence[str] | None) -> jax.export.Exported:
    """Lower the function, with symbols for named sizes."""
    named = {size for entry in flat.inputs for size in entry.shape if isinstance(size, str)}
    names = sorted(named)
    # symbols of one scope, so that sizes of the same name are equal
    symbols = jax.export.symbolic_shape(", ".join(names)) if names else ()
    sizes: dict[Any, Any] = dict(zip(names, symbols, strict=True))
    arguments = []
    for entry in flat.inputs:
        shape = [sizes.get(size, size) for size in entry.shape]
        arguments.append(jax.ShapeDtypeStruct(shape, entry.dtype))
    try:
        return jax.export.export(jax.jit(flat.fn), platforms=platforms)(*arguments)
    except jax.errors.InconclusiveDimensionOperation as error:
        raise ValueError(
            f"export: the filter does not work with the named sizes {names} ({error}); expected"
            " numbers for batch and steps."
        ) from error


def _initial(flat: Flat) -> bytes:
    """Return the state before the first step as the content of an npz file."""
    names = [entry.name for entry in flat.inputs[: len(flat.initial)]]
    arrays: dict[str, Any] = dict(zip(names, flat.initial, strict=True))
    return npz_bytes(arrays)


def _signature(flat: Flat, exported: jax.export.Exported) -> dict[str, Any]:
    """Return the description of a program."""
    state = [entry.name for entry in flat.inputs[: len(flat.initial)]]
    outputs = []
    for name, aval in zip([*state, *flat.outputs], exported.out_avals, strict=True):
        shape = [size if isinstance(size, int) else str(size) for size in aval.shape]
        outputs.append({"name": name, "shape": shape, "dtype": str(aval.dtype)})
    return {
        "format": program.FORMAT,
        "kind": flat.kind,
        "batch": flat.batch,
        "platforms": list(exported.platforms),
        "versions": {name: importlib.metadata.version(name) for name in ("kfjax", "jax")},
        "state": len(state),
        "inputs": [entry._asdict() for entry in flat.inputs],
        "outputs": outputs,
    }
