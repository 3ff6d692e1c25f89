"""Timing on a machine that is not quiet: one core, contenders in turn, medians and quartiles."""

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

__all__ = ["PACKAGES", "clocks", "environment", "first_call", "in_turn", "pin", "quartiles"]

PACKAGES = ("kfjax", "jax", "jaxlib", "numpy", "flax", "optax")
LEAST = 0.01  # seconds that one sample lasts at least: shorter calls are repeated


def pin(core: int | None = None) -> int | None:
    """Keep the process on one core from now on; threads that exist already stay where they are.

    Call it before JAX starts its threads, and before numpy is imported if its products are timed,
    too.

    Args:
        core: which one, default the last that is allowed.

    Returns:
        The core, or None where the system cannot do it.

    Raises:
        ValueError: if the core is not allowed.
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
    """Return the wall time and the processor time of all threads, in seconds.

    On a quiet core they are the same, and on a busy one the processor time is what can be compared.
    """
    return np.array([time.perf_counter(), time.process_time()])


def first_call(call: Callable[[], Any]) -> tuple[Any, np.ndarray]:
    """Return what a call gives, and its seconds by both `clocks`; the first one compiles."""
    begin = clocks()
    outputs = jax.block_until_ready(call())
    return outputs, clocks() - begin


def in_turn(
    calls: Mapping[str, Callable[[], Any]], rounds: int, *, budget: float = float("inf")
) -> dict[str, np.ndarray]:
    """Time calls in turn, so that what else the machine does falls on all of them.

    Args:
        calls: what is timed, by name; everything is compiled already.
        rounds: samples of each.
        budget: seconds that each may take in all; slow ones sit rounds out, but for one.

    Returns:
        Seconds per call of every sample by both `clocks`, [samples, 2], by name.
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
    """Call so many times, each after the one before has ended."""
    for _ in range(count):
        outputs = jax.block_until_ready(call())
    return outputs


def quartiles(seconds: np.ndarray) -> dict[str, float]:
    """Return the milliseconds of samples as their minimum, median and quartiles."""
    values = 1e3 * np.percentile(seconds, [0, 25, 50, 75])
    return dict(zip(("minimum", "lower", "median", "upper"), values.round(5).tolist(), strict=True))


def environment(packages: tuple[str, ...] = PACKAGES) -> dict[str, Any]:
    """Return what timings depend on: versions, device, options, and the commit if this is a checkout."""
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
    """The name of the processor, as Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    found = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return found[0] if found else platform.processor() or platform.machine()


def _commit() -> str | None:
    """The commit of the checkout that kfjax is imported from, with + where files differ from it."""
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
