"""Filters as ONNX models, through jax2onnx."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
from jax.extend.core import Jaxpr, jaxpr_as_fun

from kfjax.exporting.flattening import Flat
from kfjax.exporting.plain_jaxprs import plain, primitives

__all__: list[str] = []


def write_onnx(path: Path, flat: Flat) -> Path:
    """Write the function as an ONNX model; the state before the first step is in its metadata."""
    try:
        import jax2onnx
        import onnx
    except ImportError as error:
        raise ImportError(
            f"export: ONNX needs jax2onnx ({error}). Install it with pip install 'kfjax[onnx]', or"
            " choose a path that"
            " does not end in .onnx."
        ) from error
    if named := sorted(
        {size for entry in flat.inputs for size in entry.shape if isinstance(size, str)}
    ):
        raise ValueError(
            f"export: the sizes {named} may be anything; expected numbers for an ONNX model. Pass"
            " numbers for batch and"
            " steps."
        )
    arguments = [jax.ShapeDtypeStruct(entry.shape, entry.dtype) for entry in flat.inputs]
    # traced here, since jax2onnx changes the functions of jax.numpy while it traces
    jaxpr = plain(jax.make_jaxpr(flat.fn)(*arguments))
    if drawn := sorted(
        name for name in primitives(jaxpr.jaxpr) if name.startswith(("random_", "threefry"))
    ):
        raise ValueError(
            f"export: the filter draws random numbers ({', '.join(drawn)}), which jax2onnx does not"
            " know; expected one"
            " that does not. Choose a path that does not end in .onnx."
        )
    names = [*(f"new_{entry.name}" for entry in flat.inputs[: len(flat.initial)]), *flat.outputs]
    sources = _sources(jaxpr.jaxpr, [entry.name for entry in flat.inputs], names)
    kept = [k for k, name in enumerate(names) if sources[k] == name]

    def call(*arrays: Any) -> list[Any]:
        results = jaxpr_as_fun(jaxpr)(*arrays)
        return [results[k] for k in kept]

    try:
        model = jax2onnx.to_onnx(
            call,
            arguments,
            model_name=f"kfjax_{flat.kind}",
            enable_double_precision=any(entry.dtype == "float64" for entry in flat.inputs),
            input_names=[entry.name for entry in flat.inputs],
            output_names=[names[k] for k in kept],
        )
    except (NotImplementedError, TypeError, KeyError, ValueError) as error:
        raise ValueError(
            f"export: jax2onnx cannot express this filter ({error}); expected operations that it"
            " knows. Another filter"
            " may do, or a path that does not end in .onnx."
        ) from error
    for name, source in zip(names, sources, strict=True):
        if name != source:
            _add_copy(model.graph, source, name)
    _describe(model, flat)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def _sources(jaxpr: Jaxpr, inputs: list[str], outputs: list[str]) -> list[str]:
    """For every output, the input or output that is the same value and stands first.

    Jax2onnx has one name for each.
    """
    known = list(zip([*inputs, *outputs], [*jaxpr.invars, *jaxpr.outvars], strict=True))
    return [next(name for name, value in known if value is output) for output in jaxpr.outvars]


def _add_copy(graph: Any, source: str, name: str) -> None:
    """Give out an input or a result under another name, too."""
    from onnx import helper

    graph.node.append(helper.make_node("Identity", [source], [name]))
    copy = next(value for value in (*graph.input, *graph.output) if value.name == source)
    graph.output.add().CopyFrom(copy)
    graph.output[-1].name = name


def _describe(model: Any, flat: Flat) -> None:
    """Put the state before the first step beside the model."""
    initial = {
        entry.name: array.tolist() for entry, array in zip(flat.inputs, flat.initial, strict=False)
    }
    entry = model.metadata_props.add()
    entry.key, entry.value = "initial_state", json.dumps(initial)
