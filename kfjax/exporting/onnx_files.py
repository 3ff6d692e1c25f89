"""Filters as ONNX models, through jax2onnx."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
from jax import Array
from jax.extend.core import ClosedJaxpr, Jaxpr, jaxpr_as_fun

from kfjax._support.files import write_file
from kfjax.exporting.flattening import Flat
from kfjax.exporting.plain_jaxprs import plain, primitives

__all__: list[str] = []

DRAWING = ("random_", "threefry")  # prefixes of the names of primitives that draw


def write_onnx(path: Path, flat: Flat) -> Path:
    """Write the function as an ONNX model; the state before the first step is in its metadata."""
    jax2onnx = _jax2onnx()
    _check_sizes(flat)
    jaxpr = _traced(flat)
    inputs = [entry.name for entry in flat.inputs]
    outputs = [*(f"new_{name}" for name in inputs[: len(flat.initial)]), *flat.outputs]
    # jax2onnx has one name per value: a second output of the same value, or an input that is passed
    # on, is left out here and added as a copy
    sources = _sources(jaxpr.jaxpr, inputs, outputs)
    kept = [k for k, name in enumerate(outputs) if sources[k] == name]
    model = _converted(jax2onnx, flat, jaxpr, inputs, outputs, kept)
    for name, source in zip(outputs, sources, strict=True):
        if name != source:
            _add_copy(model.graph, source, name)
    _describe(model, flat)
    _check_model(model)
    write_file(path, model.SerializeToString())
    return path


def _jax2onnx() -> ModuleType:
    """Import the packages that ONNX needs, which are optional."""
    try:
        import jax2onnx
        import onnx  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"export: ONNX needs jax2onnx ({error}). Install it with pip install 'kfjax[onnx]', or"
            " choose a path that does not end in .onnx."
        ) from error
    return jax2onnx


def _check_sizes(flat: Flat) -> None:
    """Raise unless all sizes are numbers."""
    named = {size for entry in flat.inputs for size in entry.shape if isinstance(size, str)}
    if named:
        raise ValueError(
            f"export: the sizes {sorted(named)} are names; expected numbers for an ONNX model."
            " Pass numbers for batch and steps."
        )


def _arguments(flat: Flat) -> list[jax.ShapeDtypeStruct]:
    """Return the shapes and dtypes of the arguments."""
    return [jax.ShapeDtypeStruct(entry.shape, entry.dtype) for entry in flat.inputs]


def _traced(flat: Flat) -> ClosedJaxpr:
    """Trace the function into a plain program; raise if it draws random numbers.

    It is not traced by jax2onnx, which patches the functions of jax.numpy while it traces.
    """
    jaxpr = plain(jax.make_jaxpr(flat.fn)(*_arguments(flat)))
    drawing = sorted(name for name in primitives(jaxpr.jaxpr) if name.startswith(DRAWING))
    if drawing:
        raise ValueError(
            f"export: the filter draws random numbers ({', '.join(drawing)}), which jax2onnx does"
            " not know; expected one that does not. Choose a path that does not end in .onnx."
        )
    return jaxpr


def _converted(
    jax2onnx: ModuleType,
    flat: Flat,
    jaxpr: ClosedJaxpr,
    inputs: list[str],
    outputs: list[str],
    kept: list[int],
) -> Any:
    """Return the ONNX model of a program with the outputs at these positions."""

    def call(*arrays: Array) -> list[Array]:
        results = jaxpr_as_fun(jaxpr)(*arrays)
        return [results[k] for k in kept]

    try:
        return jax2onnx.to_onnx(
            call,
            _arguments(flat),
            model_name=f"kfjax_{flat.kind}",
            enable_double_precision=any(entry.dtype == "float64" for entry in flat.inputs),
            input_names=inputs,
            output_names=[outputs[k] for k in kept],
        )
    except (NotImplementedError, TypeError, KeyError, ValueError) as error:
        raise ValueError(
            f"export: jax2onnx cannot express this filter ({error}); expected operations that it"
            " knows. Choose another filter, or a path that does not end in .onnx."
        ) from error


def _sources(jaxpr: Jaxpr, inputs: list[str], outputs: list[str]) -> list[str]:
    """Return, for every output, the first input or output that is the same value."""
    names = [*inputs, *outputs]
    variables = [*jaxpr.invars, *jaxpr.outvars]
    known = list(zip(names, variables, strict=True))
    return [next(name for name, value in known if value is output) for output in jaxpr.outvars]


def _add_copy(graph: Any, source: str, name: str) -> None:
    """Output an input or a result under a second name."""
    from onnx import helper

    graph.node.append(helper.make_node("Identity", [source], [name]))
    like = next(value for value in (*graph.input, *graph.output) if value.name == source)
    graph.output.add().CopyFrom(like)
    graph.output[-1].name = name


def _describe(model: Any, flat: Flat) -> None:
    """Put the state before the first step into the metadata of the model."""
    names = [entry.name for entry in flat.inputs[: len(flat.initial)]]
    initial = {name: array.tolist() for name, array in zip(names, flat.initial, strict=True)}
    entry = model.metadata_props.add()
    entry.key = "initial_state"
    entry.value = json.dumps(initial)


def _check_model(model: Any) -> None:
    """Raise if the model is not valid."""
    import onnx

    onnx.checker.check_model(model)
