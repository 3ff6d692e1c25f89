"""Partial results of a long study: a file per chunk in a folder, from which a killed study goes on.

A file appears whole or not at all. It holds the sums of its trajectories, in the precision in which
they were computed, and a mark of the numbers that the study is made of. Functions have no stable
names: that the filter is the same is seen from the first chunk, which is always run.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kfjax._support.persistence import read_arrays
from kfjax._support.saving import write_whole
from kfjax.evaluation.engine import Part

__all__: list[str] = []

NAME = "trials_{:010d}_{}.npz"  # number of the first trajectory, and how many there are
PATTERN = re.compile(r"trials_(\d{10})_(\d+)\.npz")
ROUNDING = 1e-3  # a chunk that is run on other devices is the same within this
MARK = "mark"


def stored_chunk(folder: Path, wanted: int | None) -> int | None:
    """Return how many trajectories the chunks in a folder have, None if there are none.

    Raises:
        ValueError: if another number is wanted.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(
            f"monte_carlo: resume is the file {folder}; expected a folder, or a name for a new one."
        )
    sizes = [
        int(count)
        for name in _names(folder)
        for first, count in PATTERN.findall(name)
        if int(first) == 0
    ]
    if not sizes:
        return None
    if wanted not in (None, max(sizes)):
        raise ValueError(
            f"monte_carlo: {folder} holds chunks of {max(sizes)} trials, got chunk={wanted};"
            " expected the same. Leave"
            " chunk out, or choose another folder."
        )
    return max(sizes)


def resumed(
    folder: Path,
    mark: np.ndarray,
    jobs: Iterable[tuple[np.ndarray, int]],
    run: Callable[[np.ndarray, int], Part],
) -> Iterator[Part]:
    """Yield the part of every job, from the folder where it is there; what has to be run is written there.

    The first job is run in any case: from it follows what the others have to look like.

    Raises:
        ValueError: if what is there is of another study, or damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    like: Any = None  # the first part
    for index, count in jobs:
        path = folder / NAME.format(int(index[0]), count)
        stored = like is not None and path.exists()
        part = _read(path, mark, like) if stored else run(index, count)
        if like is None and path.exists():
            _check_same(path, part, _read(path, mark, part))
        elif not stored and count:
            _write(path, mark, part)
        like = part
        yield part


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("trials_*.npz")] if folder.is_dir() else []


def _write(path: Path, mark: np.ndarray, part: Part) -> None:
    content = io.BytesIO()
    arrays: dict[str, Any] = {MARK: mark, **_named(part)}
    np.savez(content, **arrays)
    write_whole(path, content.getvalue())


def _read(path: Path, mark: np.ndarray, like: Part) -> Part:
    """Read a part that has the fields of another one."""
    try:
        with path.open("rb") as file:
            arrays = read_arrays(file)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"monte_carlo: {path} is damaged ({error}); delete it, and it is run again."
        ) from error
    expected = _named(like)
    if arrays.keys() - {MARK} != expected.keys() or not np.array_equal(arrays[MARK], mark):
        raise _of_another_study(path)
    return jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in expected])


def _check_same(path: Path, run: Part, stored: Part) -> None:
    """Refuse what was stored by another filter, or another version of the model's functions."""
    for ours, theirs in zip(jax.tree.leaves(run), jax.tree.leaves(stored), strict=True):
        if ours.shape != theirs.shape or not np.allclose(
            ours, theirs, ROUNDING, _size(ours), equal_nan=True
        ):
            raise _of_another_study(path)


def _size(values: np.ndarray) -> float:
    """The rounding of what cancels, from the typical size."""
    finite = np.abs(values[np.isfinite(values)].astype(np.float64))
    return ROUNDING * float(finite.mean()) if finite.size else 0.0


def _of_another_study(path: Path) -> ValueError:
    return ValueError(
        f"monte_carlo: {path} is of another study (another key, filter, model, or number of steps);"
        " expected the same."
        " Choose another folder, or delete this one to start again."
    )


def _named(part: Part) -> dict[str, np.ndarray]:
    """The arrays by their place in the part."""
    return {
        jax.tree_util.keystr(path): leaf
        for path, leaf in jax.tree_util.tree_flatten_with_path(part)[0]
    }
