"""Checksums that tell one run from another."""

from __future__ import annotations

import zlib
from typing import Any

import jax
import numpy as np

from kfjax._support.persistence import as_words

__all__: list[str] = []


def fingerprint(*parts: Any) -> np.ndarray:
    """Return checksums of pytrees of arrays and of texts: what tells a run from others."""
    sums = []
    for part in parts:
        names = named(part) if not isinstance(part, str) else {part: np.zeros(0)}
        checksum = 0
        for name, array in names.items():
            text = f"{name} {array.shape} {array.dtype}".encode()
            checksum = zlib.crc32(np.ascontiguousarray(array).tobytes(), zlib.crc32(text, checksum))
        sums.append(checksum)
    return np.asarray(sums, np.uint32)


def named(tree: Any) -> dict[str, np.ndarray]:
    """The leaves by number and path: no type of kfjax has to be known to read them."""
    paths = jax.tree_util.tree_flatten_with_path(tree)[0]
    names = [
        f"{i:04d} {jax.tree_util.keystr(path, simple=True, separator='.')}"
        for i, (path, _) in enumerate(paths)
    ]
    return {name: np.asarray(as_words(leaf)) for name, (_, leaf) in zip(names, paths, strict=True)}
