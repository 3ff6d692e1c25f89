"""Results of many series in chunks, kept in a folder so that an interrupted study can continue."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from kfjax._support.arguments import as_path
from kfjax._support.files import locked, remove_unfinished, write_file
from kfjax._support.fingerprints import differences, identity
from kfjax._support.persistence import read_arrays
from kfjax._support.progress import progress_bar
from kfjax._support.saving import npz_bytes

__all__: list[str] = []

NAME = "series_{:010d}_{}.npz"  # number of the first series, and number of series

Results: TypeAlias = dict[str, np.ndarray]  # arrays [series, ...] by name
Fit: TypeAlias = Callable[[np.ndarray], Results]  # from the numbers of series


def in_chunks(
    who: str,
    fit: Fit,
    size: int,
    chunk: int,
    *,
    resume: str | Path | None,
    study: Mapping[str, Any],
    progress: bool | None,
) -> Results:
    """Return the results of all series, computed chunk by chunk.

    Args:
        who: the function in error messages.
        fit: what computes the results of some series.
        size: number of series.
        chunk: number of series whose results are computed, and written, together.
        resume: a folder for the results of every chunk, or None.
        study: what the results depend on, by name.
        progress: whether to show progress; by default if it takes long.
    """
    chunks = _shown(_chunks(size, chunk), size, progress)
    if resume is None:
        return _joined([fit(rows) for rows in chunks])
    folder = as_path(f"{who}: resume", resume)
    told = identity(**study)
    with locked(folder, who):
        remove_unfinished(folder)
        results = [_resumed(who, folder, told, rows, fit) for rows in chunks]
    return _joined(results)


def _chunks(size: int, chunk: int) -> Iterator[np.ndarray]:
    """Yield the numbers of the series of every chunk."""
    for first in range(0, size, chunk):
        last = min(first + chunk, size)
        yield np.arange(first, last)


def _shown(chunks: Iterator[np.ndarray], size: int, progress: bool | None) -> Iterator[np.ndarray]:
    """Yield the chunks, and show how many series are done."""
    with progress_bar("series", size, progress) as advance_bar:
        for rows in chunks:
            yield rows
            advance_bar(len(rows))


def _joined(results: list[Results]) -> Results:
    """Return the results of all chunks one after another."""
    joined = {}
    for name in results[0]:
        parts = [part[name] for part in results]
        joined[name] = np.concatenate(parts)
    return joined


def _resumed(who: str, folder: Path, told: dict[str, str], rows: np.ndarray, fit: Fit) -> Results:
    """Return the results of a chunk, from the folder or computed and written."""
    first = int(rows[0])
    path = folder / NAME.format(first, len(rows))
    if path.exists():
        return _read(who, path, told)
    results = fit(rows)
    stamp = np.array(json.dumps(told))
    content = npz_bytes({"identity": stamp, **results})
    write_file(path, content)
    return results


def _read(who: str, path: Path, told: dict[str, str]) -> Results:
    """Return the results of a chunk from its file, which has to be of the same study."""
    try:
        with path.open("rb") as file:
            arrays = read_arrays(file)
        stamp = str(arrays.pop("identity"))
        stored = json.loads(stamp)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"{who}: {path} is damaged ({error}); expected a complete file. Delete it, and its"
            " series are fitted again."
        ) from error
    if stored != told:
        raise ValueError(
            f"{who}: {path} is of another study: it differs in {differences(stored, told)};"
            " expected the same. Choose another folder."
        )
    return arrays
