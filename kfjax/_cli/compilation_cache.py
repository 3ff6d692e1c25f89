"""Compiled programs, kept in the user's cache folder: the next command need not compile them."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from kfjax._support.files import trim_folder

__all__: list[str] = []

MOST_BYTES = 256 * 2**20  # that a command finds there; what was used least recently is deleted


def keep_compiled() -> None:
    """Let JAX keep in the user's cache folder what it compiles, for later processes.

    Nothing changes where the user has set JAX's own cache, or turned it off, or where there is no
    folder that can be written.
    """
    config: Any = jax.config
    if config.jax_compilation_cache_dir is not None or not config.jax_enable_compilation_cache:
        return
    folder = cache_folder(os.environ)
    if folder is None or not _made(folder):
        return
    trim_folder(folder, MOST_BYTES)
    # another process may write or delete at the same time, or the disk be full: JAX then compiles
    message = "Error (reading|writing) persistent compilation cache"
    warnings.filterwarnings("ignore", message, UserWarning)
    config.update("jax_compilation_cache_dir", str(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        # a command compiles hundreds of programs, nearly all of them in less than JAX's limit
        config.update("jax_persistent_cache_min_compile_time_secs", 0)


def cache_folder(environment: Mapping[str, str]) -> Path | None:
    """Return the folder of compiled programs for this kind of processor, or None without a home."""
    home = _user_cache(environment)
    return home and home / "kfjax" / "compiled" / _processor()


def _user_cache(environment: Mapping[str, str]) -> Path | None:
    """Return where the platform wants caches to be."""
    given = environment.get("XDG_CACHE_HOME", "")
    if os.path.isabs(given):  # relative paths are ignored, as the standard requires
        return Path(given)
    if sys.platform == "win32":
        local = environment.get("LOCALAPPDATA")
        return Path(local) if local else None
    try:
        home = Path.home()
    except RuntimeError:
        return None
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache")


def _processor() -> str:
    """Return a mark of this processor's instructions, since computers may share a home."""
    text = f"{platform.machine()} {platform.processor()}"
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        # x86 has flags and ARM has Features, the same for every core
        text += next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{zlib.crc32(text.encode()):08x}"


def _made(folder: Path) -> bool:
    """Make the folder, for this user alone; return whether it can be written."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.R_OK | os.W_OK | os.X_OK)
