"""Filters outside of kfjax: as programs of JAX in a file, or as ONNX models."""

from kfjax.exporting.files import export_run, export_step
from kfjax.exporting.program import Program, load

__all__ = ["Program", "export_run", "export_step", "load"]
