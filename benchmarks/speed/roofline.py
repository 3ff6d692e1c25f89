"""The least time that a workload can take on this core: what has to be moved, and what has to be computed."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from kfjax.evaluation import in_turn

MEGABYTES, ORDER = 128, 768


@functools.cache
def machine():
    """Measure bytes per second of copying a large array, and operations per second of a matrix product."""
    on_cpu = jax.default_backend() == "cpu"
    source = np.zeros(MEGABYTES * 2**20 // 8)
    target, A = np.ones_like(source), jnp.ones((ORDER, ORDER))
    product, shift = jax.jit(jnp.matmul), jax.jit(lambda a: a + 1)
    there = None if on_cpu else jax.device_put(source.view(np.int32))
    # in numpy the target is there already: fresh memory would cost more than the copy
    copy = (lambda: np.copyto(target, source)) if on_cpu else (lambda: shift(there))
    times = in_turn({"copy": copy, "product": lambda: product(A, A)}, 7)
    moving, multiplying = (
        float(np.min(times[name][:, int(on_cpu)])) for name in ("copy", "product")
    )
    return {
        "bytes_per_second": 2 * source.nbytes / moving,
        "flops_per_second": 2 * ORDER**3 / multiplying,
    }


def bounds(solve, problem, steps):
    """Return the bytes and operations of a problem, and the milliseconds that each takes at least.

    Bytes are those of the inputs and outputs, once. Operations are those of one step as it is
    written, each once, times the number of steps: what a compiler that repeats nothing would do,
    and other formulas might do in fewer.
    """
    outputs = jax.eval_shape(solve, problem)
    moved = sum(
        math.prod(leaf.shape) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves((problem.ys, outputs))
    )
    # the program that is not optimised yet has each loop once
    flops = steps * jax.jit(solve).lower(problem).cost_analysis()["flops"]
    speeds = machine()
    return {
        "bytes": moved,
        "flops": flops,
        "memory_ms": round(1e3 * moved / speeds["bytes_per_second"], 4),
        "arithmetic_ms": round(1e3 * flops / speeds["flops_per_second"], 4),
        **{name: float(f"{value:.3g}") for name, value in speeds.items()},
    }
