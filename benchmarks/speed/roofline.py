"""Lower bounds on the time of a workload on this core: data to move, and operations to compute."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from kfjax.evaluation import in_turn

MEGABYTES = 128
ORDER = 768


@functools.cache
def machine():
    """Measure bytes per second of a large copy, and operations per second of a matrix product."""
    on_cpu = jax.default_backend() == "cpu"
    source = np.zeros(MEGABYTES * 2**20 // 8)
    A = jnp.ones((ORDER, ORDER))
    product = jax.jit(jnp.matmul)
    copy = _copy_in_numpy(source) if on_cpu else _copy_in_jax(source)
    times = in_turn({"copy": copy, "product": lambda: product(A, A)}, 7)
    clock = int(on_cpu)  # processor time, or wall time on another device
    moving, multiplying = (float(np.min(times[name][:, clock])) for name in ("copy", "product"))
    return {
        "bytes_per_second": 2 * source.nbytes / moving,
        "flops_per_second": 2 * ORDER**3 / multiplying,
    }


def _copy_in_numpy(source):
    """Return a copy into existing memory; fresh memory would cost more than the copy."""
    target = np.ones_like(source)
    return lambda: np.copyto(target, source)


def _copy_in_jax(source):
    """Return a copy on the device."""
    there = jax.device_put(source.view(np.int32))
    shift = jax.jit(lambda a: a + 1)
    return lambda: shift(there)


def bounds(solve, problem, steps):
    """Return the bytes and operations of a problem, and the minimum of milliseconds for each.

    Inputs and outputs are counted once. Operations are those of one step as it is written, times
    the number of steps, as if the compiler repeated nothing; other formulas might need fewer.
    """
    outputs = jax.eval_shape(solve, problem)
    leaves = jax.tree.leaves((problem.ys, outputs))
    moved = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)
    # the program has each loop once, before it is optimised
    flops = steps * jax.jit(solve).lower(problem).cost_analysis()["flops"]
    speeds = machine()
    return {
        "bytes": moved,
        "flops": flops,
        "memory_ms": round(1e3 * moved / speeds["bytes_per_second"], 4),
        "arithmetic_ms": round(1e3 * flops / speeds["flops_per_second"], 4),
        **{name: float(f"{value:.3g}") for name, value in speeds.items()},
    }
