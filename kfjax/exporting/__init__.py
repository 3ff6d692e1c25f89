"""Filters outside kfjax: JAX programs in files, or ONNX models."""

from kfjax.exporting.files import export_run, export_step
from kfjax.exporting.program import Program, load

__all__ = ["Program", "export_run", "export_step", "load"]
