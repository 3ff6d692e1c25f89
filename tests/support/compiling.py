"""Compile quickly rather than well, since a test runs a small program once, or as users do.

Nearly all the time of the tests is compilation. `XLA_FLAGS= pytest ...` leaves JAX its own options,
and any other flags do, too: rounding, fusion and the layout of arrays are then those of users.
"""

import functools
import os

QUICK_FLAGS = (
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
    " --xla_cpu_parallel_codegen_split_count=1"
)
QUICKLY = os.environ.setdefault("XLA_FLAGS", QUICK_FLAGS) == QUICK_FLAGS  # read when JAX starts

import jax  # noqa: E402  # after its flags

OPTIONS = {"xla_cpu_use_fusion_emitters": False, "xla_backend_optimization_level": 0}

# options reach the jitted functions inside, too
quick_jit = functools.partial(jax.jit, compiler_options=OPTIONS if QUICKLY else None)
