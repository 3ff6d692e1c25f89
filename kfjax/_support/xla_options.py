"""XLA options that make filters faster on a CPU and must be set before JAX starts."""

from __future__ import annotations

import os

import jax
from jax._src.xla_bridge import backends_are_initialized  # JAX has no public way to ask

__all__ = ["set_xla_options"]

EXTRA = "--xla_backend_extra_options"
OPTIONS = {
    # a loop over small arrays becomes one function: otherwise most of its time goes into calling
    # kernels, about 60 ns each and dozens per step
    EXTRA: "xla_cpu_small_while_loop_byte_threshold=100000",
}
if jax.__version_info__ < (0, 11):  # later versions end the process at an unknown flag
    # the older code generator, which compiles faster
    OPTIONS = {"--xla_cpu_use_fusion_emitters": "false"} | OPTIONS


def set_xla_options() -> str:
    """Set XLA options for this process that make filters faster on a CPU.

    Call it before using JAX. The loop of a single trajectory is then compiled as one
    function: 10,000 steps of a Kalman filter take 2.6 ms instead of 14.7. Batches are about as
    fast, and everything compiles faster: a batch of extended filters in 1.4 s instead of 2.4.
    `python -m benchmarks.speed W1 W2 W3` measures both. Results differ by rounding.

    Nothing is set unless this function is called; the command line calls it for `compare`, `filter`
    and `train`. An option that is already in `XLA_FLAGS` is kept, which is also the way to turn one
    off. On a GPU or TPU only work on the host is affected.

    Returns:
        The value of the environment variable `XLA_FLAGS` from now on.

    Raises:
        ValueError: if JAX has started, or XLA_FLAGS has an option that is harmful together with
            these.

    Example:
        >>> import kfjax as kf  # doctest: +SKIP
        >>> kf.set_xla_options()  # doctest: +SKIP
    """
    if backends_are_initialized():
        raise ValueError(
            "set_xla_options: JAX has started and reads no more options; expected a call before the"
            " first array is made. Put it right after `import kfjax as kf`."
        )
    flags = os.environ.get("XLA_FLAGS", "").split()
    if any(flag.startswith(EXTRA) and "multi_output_fusion=true" in flag for flag in flags):
        raise ValueError(
            f"set_xla_options: XLA_FLAGS is {' '.join(flags)!r}; expected no"
            " xla_cpu_use_multi_output_fusion, which makes loops that are compiled as one function"
            " many times slower. Remove it."
        )
    given = {flag.split("=")[0] for flag in flags}
    flags += [f"{name}={value}" for name, value in OPTIONS.items() if name not in given]
    os.environ["XLA_FLAGS"] = " ".join(flags)
    return os.environ["XLA_FLAGS"]
