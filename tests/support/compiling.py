"""Quick compilation, since a test runs a small program once, and compilation as users have it.

Nearly all the time of the tests is compilation. `XLA_FLAGS= pytest ...`, or any other
flags, leave JAX its own options: rounding, fusion and the layout of arrays are then those of users.
"""

import functools
import os

import jax

OPTIONS = {"xla_backend_optimization_level": 0}
if jax.__version_info__ < (0, 11):  # the older code generator, which later versions lack
    OPTIONS["xla_cpu_use_fusion_emitters"] = False

QUICK_FLAGS = " ".join(
    f"--{name}={str(value).lower()}"
    for name, value in (OPTIONS | {"xla_cpu_parallel_codegen_split_count": 1}).items()
)
QUICKLY = os.environ.setdefault("XLA_FLAGS", QUICK_FLAGS) == QUICK_FLAGS  # read when JAX starts
UNOPTIMISED = "--xla_backend_optimization_level=0" in os.environ["XLA_FLAGS"].split()

# options reach the jitted functions inside, too
quick_jit = functools.partial(jax.jit, compiler_options=OPTIONS if QUICKLY else None)

# whatever the flags: the options that JAX has by itself
USUAL = {"xla_cpu_use_fusion_emitters": True, "xla_backend_optimization_level": 3}
jit_as_users = functools.partial(jax.jit, compiler_options=USUAL)


def finished(outputs):
    """Wait for the outputs of a compiled function, and for its callbacks, which may raise."""
    jax.block_until_ready(outputs)
    jax.effects_barrier()
