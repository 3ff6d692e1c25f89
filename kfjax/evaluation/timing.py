"""Timing on a shared machine: one core, calls in turn, medians and quartiles."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

__all__ = ["clocks", "environment", "first_call", "in_turn", "pin", "quartiles"]

PACKAGES = ("kfjax", "jax", "jaxlib", "numpy", "flax", "optax")
LEAST = 0.01  # seconds; shorter calls are repeated until a sample lasts this long


def pin(core: int | None = None) -> int | None:
    """Keep the process on one core from now on; existing threads stay where they are.

    Call it before JAX starts its threads, and before numpy is imported if numpy is timed, too.

    Args:
        core: number of the core, by default the last one that the process may use.

    Returns:
        The number of the core, or None where the system does not support this.

    Raises:
        ValueError: if the process may not use the core.
    """
    if not hasattr(os, "sched_setaffinity"):
        return None
    allowed = os.sched_getaffinity(0)
    core = max(allowed) if core is None else core
    if core not in allowed:
        raise ValueError(f"got core {core}; expected one of {sorted(allowed)}.")
    os.sched_setaffinity(0, {core})
    return core


def clocks() -> np.ndarray:
    """Read the wall clock and the processor time of all threads, in seconds.

    Differences of the two agree on a quiet core. On a busy one, compare processor times.

    Returns:
        An array [wall, processor].
    """
    return np.array([time.perf_counter(), time.process_time()])


def first_call(call: Callable[[], Any]) -> tuple[Any, np.ndarray]:
    """Call a function once and time the call, compilation included if it is the first.

    Args:
        call: a function without arguments.

    Returns:
        The outputs, once they are computed, and the seconds by both `clocks`.
    """
    begin = clocks()
    outputs = jax.block_until_ready(call())
    return outputs, clocks() - begin


def in_turn(
    calls: Mapping[str, Callable[[], Any]], rounds: int, *, budget: float = float("inf")
) -> dict[str, np.ndarray]:
    """Time functions in turn, so that other load on the machine affects all of them alike.

    Args:
        calls: functions without arguments, by name, which are compiled already.
        rounds: number of samples of each function.
        budget: seconds that each function may take in all; after that it is left out of the
            remaining rounds. Every function has at least one sample.

    Returns:
        Seconds per call of every sample by both `clocks`, [samples, 2], by name.

    Example:
        >>> import jax, jax.numpy as jnp, kfjax as kf
        >>> x = jnp.ones((100, 100))
        >>> square, add = jax.jit(lambda a: a @ a), jax.jit(lambda a: a + a)
        >>> times = kf.evaluation.in_turn({"@": lambda: square(x), "+": lambda: add(x)}, rounds=3)
        >>> times["@"].shape
        (3, 2)
        >>> milliseconds = kf.evaluation.quartiles(times["@"][:, 1])["median"]
    """
    counts = {
        name: max(1, round(LEAST / first_call(call)[1].max())) for name, call in calls.items()
    }
    seconds: dict[str, list[np.ndarray]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            count, taken = counts[name], seconds[name]
            if not taken or count * sum(sample[0] for sample in taken) < budget:
                taken.append(first_call(functools.partial(_repeat, call, count))[1] / count)
    return {name: np.array(taken) for name, taken in seconds.items()}


def _repeat(call: Callable[[], Any], count: int) -> Any:
    """Call a function `count` times, each time after the last call has ended."""
    for _ in range(count):
        outputs = jax.block_until_ready(call())
    return outputs


def quartiles(seconds: np.ndarray) -> dict[str, float]:
    """Summarise times.

    Args:
        seconds: samples [S].

    Returns:
        Milliseconds under the names "minimum", "lower" (quartile), "median" and "upper".
    """
    values = 1e3 * np.percentile(seconds, [0, 25, 50, 75])
    return dict(zip(("minimum", "lower", "median", "upper"), values.round(5).tolist(), strict=True))


def environment(packages: tuple[str, ...] = PACKAGES) -> dict[str, Any]:
    """Describe what timings depend on.

    Args:
        packages: names of the packages whose versions are wanted.

    Returns:
        "versions" of Python and of the packages (None if not installed), "device", "platform" and
        "precision" of JAX, "xla_flags", and the git "commit" of kfjax, if it is a checkout.
    """
    device = jax.devices()[0]
    return {
        "versions": {"python": platform.python_version()}
        | {name: _version(name) for name in packages},
        "device": device.device_kind if device.platform != "cpu" else _processor(),
        "platform": device.platform,
        "precision": "float64" if jax.config.jax_enable_x64 else "float32",  # type: ignore[attr-defined]
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "commit": _commit(),
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    """Return the name of the processor as Linux reports it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    found = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return found[0] if found else platform.processor() or platform.machine()


def _commit() -> str | None:
    """Return the commit of the checkout that kfjax is imported from, with + for changed files."""
    command = [
        "git",
        "-C",
        str(Path(__file__).parent),
        "describe",
        "--always",
        "--dirty=+",
        "--exclude=*",
    ]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
