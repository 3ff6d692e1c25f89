"""Compile quickly rather than well: a test runs a small program once."""

import functools

import jax

QUICKLY = {"xla_cpu_use_fusion_emitters": False, "xla_backend_optimization_level": 0}

quick_jit = functools.partial(
    jax.jit, compiler_options=QUICKLY
)  # options reach the jitted functions inside, too
