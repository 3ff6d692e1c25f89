"""Options of XLA that make filters faster on a CPU, and that can only be given before JAX starts."""

from __future__ import annotations

import os

from jax._src.xla_bridge import backends_are_initialized  # JAX has no public way to ask

__all__ = ["set_xla_options"]

EXTRA = "--xla_backend_extra_options"
OPTIONS = {
    "--xla_cpu_use_fusion_emitters": "false",  # the older code generator, which compiles faster
    EXTRA: "xla_cpu_small_while_loop_byte_threshold=100000",  # a loop over small arrays is one function, not a program
}


def set_xla_options() -> str:
    """Set the options of XLA that make filters faster on a CPU, for this process; call it before anything else of JAX.

    A filter of a single trajectory runs several times faster, since its loop over time is compiled
    as one function; batches are about as fast, and everything compiles faster (`python -m
    benchmarks.speed` measures both). Results differ by rounding. Without it nothing is set; the
    command line calls it for `compare`, `filter` and `train`. What `XLA_FLAGS` says already stays
    as it is, which is also the way to turn an option off. On a GPU or TPU it changes nothing but
    work on the host.

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
            " first array is"
            " made. Put it right after `import kfjax as kf`."
        )
    flags = os.environ.get("XLA_FLAGS", "").split()
    if any(flag.startswith(EXTRA) and "multi_output_fusion=true" in flag for flag in flags):
        raise ValueError(
            f"set_xla_options: XLA_FLAGS is {' '.join(flags)!r}; expected no"
            " xla_cpu_use_multi_output_fusion, which"
            " makes loops that are compiled as one function many times slower. Remove it."
        )
    given = {flag.split("=")[0] for flag in flags}
    flags += [f"{name}={value}" for name, value in OPTIONS.items() if name not in given]
    os.environ["XLA_FLAGS"] = " ".join(flags)
    return os.environ["XLA_FLAGS"]
