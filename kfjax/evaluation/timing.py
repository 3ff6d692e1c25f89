"""Timing on a shared machine: one core, calls in turn, medians and quartiles."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import ArrayLike, Float

from kfjax._support.arguments import (
    check_count,
    check_function,
    check_mapping,
    items_of,
    real_numbers,
)
from kfjax._support.naming import described
from kfjax._support.types import PyTree
from kfjax._support.values import check_finite

__all__ = ["clocks", "environment", "first_call", "in_turn", "pin", "quartiles"]

PACKAGES = ("kfjax", "jax", "jaxlib", "numpy", "flax", "optax")
LEAST = 0.01  # seconds; shorter calls are repeated until a sample lasts this long


def pin(core: int | None = None) -> int | None:
    """Keep the process on one core from now on; existing threads stay where they are.

    Call it before JAX starts its threads, and before numpy is imported if numpy is also timed.

    Args:
        core: number of the core, by default the last one that the process may use.

    Returns:
        The number of the core, or None if the system does not support this.

    Raises:
        ValueError: if the process may not use the core.

    Example:
        >>> core = kf.evaluation.pin()  # doctest: +SKIP
    """
    if not hasattr(os, "sched_setaffinity"):
        return None
    allowed = os.sched_getaffinity(0)
    if core is None:
        core = max(allowed)
    check_count("pin: core", core, least=0)
    if core not in allowed:
        raise ValueError(f"pin: core is {core}; expected one of {sorted(allowed)}.")
    os.sched_setaffinity(0, {core})
    return core


def clocks() -> Float[np.ndarray, " 2"]:
    """Read the wall clock and the processor time of all threads, in seconds.

    Differences of the two agree on a quiet core. On a busy one, compare processor times.

    Returns:
        An array [wall, processor].

    Example:
        >>> begin = kf.evaluation.clocks()
        >>> wall, processor = kf.evaluation.clocks() - begin
    """
    return np.array([time.perf_counter(), time.process_time()])


def first_call(call: Callable[[], PyTree]) -> tuple[PyTree, Float[np.ndarray, " 2"]]:
    """Call a function once and time the call, compilation included if it is the first.

    Args:
        call: a function without arguments.

    Returns:
        The outputs, once they are computed, and the seconds on both `clocks`.

    Example:
        >>> outputs, (wall, processor) = kf.evaluation.first_call(
        ...     lambda: jnp.ones(3) + 1
        ... )
        >>> outputs.tolist()
        [2.0, 2.0, 2.0]
    """
    check_function("first_call: call", call, "a function without arguments")
    begin = clocks()
    outputs = jax.block_until_ready(call())
    return outputs, clocks() - begin


def in_turn(
    calls: Mapping[str, Callable[[], PyTree]], rounds: int, *, budget: float = float("inf")
) -> dict[str, Float[np.ndarray, "samples 2"]]:
    """Time functions in turn, so that other load on the machine affects all of them equally.

    Args:
        calls: functions without arguments, by name, already compiled.
        rounds: number of samples of each function.
        budget: seconds that each function may take in all; after that it is left out of the
            remaining rounds. Every function has at least one sample.

    Returns:
        Seconds per call of every sample on both `clocks`, [samples, 2], by name.

    Example:
        >>> import jax, jax.numpy as jnp, kfjax as kf
        >>> x = jnp.ones((100, 100))
        >>> square, add = jax.jit(lambda a: a @ a), jax.jit(lambda a: a + a)
        >>> times = kf.evaluation.in_turn(
        ...     {"@": lambda: square(x), "+": lambda: add(x)}, rounds=3
        ... )
        >>> times["@"].shape
        (3, 2)
        >>> milliseconds = kf.evaluation.quartiles(times["@"][:, 1])["median"]
    """
    check_mapping("in_turn: calls", calls, "functions without arguments by name")
    for name, call in calls.items():
        check_function(f"in_turn: calls[{name!r}]", call, "a function without arguments")
    check_count("in_turn: rounds", rounds)
    if not isinstance(budget, (int, float)) or not budget >= 0:
        raise ValueError(f"in_turn: budget is {described(budget)}; expected seconds, at least 0.")
    counts = {name: _calls_per_sample(call) for name, call in calls.items()}
    seconds: dict[str, list[np.ndarray]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            count = counts[name]
            taken = seconds[name]
            spent = count * sum(sample[0] for sample in taken)
            if not taken or spent < budget:
                _, elapsed = first_call(functools.partial(_repeat, call, count))
                taken.append(elapsed / count)
    return {name: np.array(taken) for name, taken in seconds.items()}


def _calls_per_sample(call: Callable[[], PyTree]) -> int:
    """Return the number of calls in a sample that is long enough for the clocks."""
    _, seconds = first_call(call)
    return max(1, round(LEAST / seconds.max()))


def _repeat(call: Callable[[], PyTree], count: int) -> PyTree:
    """Call a function `count` times, each time after the last call has ended."""
    for _ in range(count):
        outputs = jax.block_until_ready(call())
    return outputs


def quartiles(seconds: Float[ArrayLike, " samples"]) -> dict[str, float]:
    """Summarise times by their minimum and quartiles.

    Args:
        seconds: samples [S].

    Returns:
        Milliseconds under the names "minimum", "lower" (quartile), "median" and "upper".

    Example:
        >>> kf.evaluation.quartiles(np.array([0.1, 0.2, 0.3]))["median"]
        200.0
    """
    samples = real_numbers("quartiles: seconds", seconds)
    check_finite("quartiles: seconds", samples)
    if samples.ndim != 1 or samples.size == 0:
        raise ValueError(
            f"quartiles: seconds has shape {samples.shape}; expected [S], at least one. Of"
            " in_turn, choose a clock with [:, 0] or [:, 1]."
        )
    minimum, lower, median, upper = _milliseconds(np.percentile(samples, [0, 25, 50, 75]))
    return {"minimum": minimum, "lower": lower, "median": median, "upper": upper}


def _milliseconds(seconds: np.ndarray) -> list[float]:
    """Return times in milliseconds, rounded to ten nanoseconds."""
    return (1e3 * seconds).round(5).tolist()


def environment(packages: Iterable[str] = PACKAGES) -> dict[str, Any]:
    """Describe what timings depend on.

    Args:
        packages: names of the packages whose versions to include.

    Returns:
        "versions" of Python and of the packages (None if not installed), "device", "platform" and
        "precision" of JAX, "xla_flags", and the git "commit" of kfjax, if it is a checkout.

    Example:
        >>> kf.evaluation.environment()["precision"]
        'float32'
    """
    packages = items_of("environment: packages", packages, "names of packages, such as ('jax',)")
    for name in packages:
        if not isinstance(name, str):
            raise ValueError(f"environment: a package is {described(name)}; expected its name.")
    device = jax.devices()[0]
    on_cpu = device.platform == "cpu"
    double = jax.config.jax_enable_x64  # type: ignore[attr-defined]
    return {
        "versions": {"python": platform.python_version()} | package_versions(packages),
        "device": _processor() if on_cpu else device.device_kind,
        "platform": device.platform,
        "precision": "float64" if double else "float32",
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "commit": _commit(),
    }


def package_versions(packages: Iterable[str]) -> dict[str, str | None]:
    """Return the versions of packages by name; None for those that are not installed."""
    return {name: _version(name) for name in packages}


def _version(name: str) -> str | None:
    """Return the version of a package, None if it is not installed."""
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
    for line in lines:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _commit() -> str | None:
    """Return the commit of the checkout that kfjax is imported from, with + for changed files."""
    folder = str(Path(__file__).parent)
    command = ["git", "-C", folder, "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        described = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return described.stdout.strip()
