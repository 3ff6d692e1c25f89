"""Partial results of a long study: a file per chunk, from which an interrupted study resumes.

A file appears whole or not at all. It holds the sums of its trajectories, in the precision in which
they were computed, and digests of everything in the study, functions included. Changes that digests
cannot see, such as a table that a function reads, show in the first chunk, which is always run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import jax
import numpy as np

from kfjax._support.files import write_file
from kfjax._support.fingerprints import differences
from kfjax._support.persistence import read_arrays
from kfjax._support.saving import npz_bytes
from kfjax.evaluation.chunks import Chunk, Part

__all__: list[str] = []

NAME = "trials_{:010d}_{}.npz"  # number of the first trajectory, and number of trajectories
PATTERN = re.compile(r"trials_(\d{10})_(\d+)\.npz")
ROUNDING = 1e-3  # relative tolerance of a chunk that is run again on other devices
IDENTITY = "identity"


def stored_chunk(folder: Path, wanted: int | None) -> int | None:
    """Return the number of trajectories per chunk in a folder, or None if there are no chunks.

    Raises:
        ValueError: if a different number is wanted.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(
            f"monte_carlo: resume is the file {folder}; expected a folder, or the name of a new"
            " one."
        )
    # the first chunk is whole, the last one may have fewer trajectories
    sizes = [count for first, count in _stored(folder) if first == 0]
    if not sizes:
        return None
    size = max(sizes)
    if wanted not in (None, size):
        raise ValueError(
            f"monte_carlo: {folder} holds chunks of {size} trials, got chunk={wanted};"
            " expected the same. Leave chunk out, or choose another folder."
        )
    return size


def resumed(
    folder: Path, told: dict[str, str], chunks: Iterable[Chunk], run: Callable[[Chunk], Part]
) -> Iterator[Part]:
    """Yield the part of every chunk, read from the folder or else run and written.

    The first chunk is always run: it shows what the others must look like.

    Raises:
        ValueError: if a file is damaged or of another study.
    """
    first: Part | None = None
    for chunk in chunks:
        path = folder / NAME.format(int(chunk.rows[0]), chunk.valid)
        if first is None:
            first = part = run(chunk)
            if path.exists():
                _check_same(path, part, _read(path, told, like=part))
            elif chunk.valid:
                _write(path, told, part)
        elif path.exists():
            part = _read(path, told, like=first)
        else:
            part = run(chunk)
            if chunk.valid:
                _write(path, told, part)
        yield part


def _stored(folder: Path) -> list[tuple[int, int]]:
    """Return the number of the first trajectory and the number of trajectories, for each file."""
    if not folder.is_dir():
        return []
    names = [path.name for path in folder.glob("trials_*.npz")]
    found = [match.groups() for name in names for match in PATTERN.finditer(name)]
    return [(int(first), int(count)) for first, count in found]


def _write(path: Path, told: dict[str, str], part: Part) -> None:
    """Write a part with the identity of its study."""
    write_file(path, npz_bytes({IDENTITY: np.array(json.dumps(told)), **_named(part)}))


def _read(path: Path, told: dict[str, str], *, like: Part) -> Part:
    """Read a part that has the fields of another one."""
    try:
        with path.open("rb") as file:
            arrays = read_arrays(file)
        stored = json.loads(str(arrays.pop(IDENTITY)))
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"monte_carlo: {path} is damaged ({error}); expected a complete file. Delete it, and"
            " its trials are run again."
        ) from error
    expected = _named(like)
    if stored != told:
        raise _of_another_study(path, f"it differs in {differences(stored, told)}")
    if arrays.keys() != expected.keys():
        raise _of_another_study(path, "it has other sums")
    return jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in expected])


def _check_same(path: Path, run: Part, stored: Part) -> None:
    """Raise if a part was stored by another filter or another version of the model's functions."""
    for ours, theirs in zip(jax.tree.leaves(run), jax.tree.leaves(stored), strict=True):
        if ours.shape != theirs.shape or not _close(ours, theirs):
            raise _of_another_study(path, "its first chunk has other sums")


def _close(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Return whether arrays are equal up to rounding, relative to entries or to their typical size.

    The latter is for sums of terms that cancel each other.
    """
    finite = np.abs(ours[np.isfinite(ours)].astype(np.float64))
    size = float(finite.mean()) if finite.size else 0.0
    return np.allclose(ours, theirs, rtol=ROUNDING, atol=ROUNDING * size, equal_nan=True)


def _of_another_study(path: Path, reason: str) -> ValueError:
    """Return the error of a file that belongs to another study."""
    return ValueError(
        f"monte_carlo: {path} is of another study: {reason}; expected the same. Choose another"
        " folder."
    )


def _named(part: Part) -> dict[str, np.ndarray]:
    """Return the arrays by their place in the part."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(part)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}
