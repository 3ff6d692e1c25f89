"""Checksums that distinguish runs."""

from __future__ import annotations

import zlib

import numpy as np

from kfjax._support.persistence import named_leaves
from kfjax._support.types import PyTree

__all__: list[str] = []


def fingerprint(*parts: PyTree) -> np.ndarray:
    """Return a checksum of each part, a text or a pytree of arrays, to recognise a run by."""
    sums = []
    for part in parts:
        named = {part: np.zeros(0)} if isinstance(part, str) else named_leaves(part)
        checksum = 0
        for name, array in named.items():
            text = f"{name} {array.shape} {array.dtype}".encode()
            checksum = zlib.crc32(text, checksum)
            checksum = zlib.crc32(np.ascontiguousarray(array).tobytes(), checksum)
        sums.append(checksum)
    return np.asarray(sums, np.uint32)
