"""Saving and loading of trained parameters, and of trainings that can be interrupted.

All files are npz files of plain arrays: each appears whole or not at all, and
loading one runs no stored code; the structure comes from the program that loads it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

from kfjax._support.arguments import as_path, check_count
from kfjax._support.files import locked, remove_unfinished, write_file
from kfjax._support.fingerprints import differences
from kfjax._support.persistence import is_key, named_leaves, read_arrays
from kfjax._support.saving import npz_bytes
from kfjax._support.types import PyTree
from kfjax.base import Params

__all__ = ["Checkpoints", "load_params", "save_params"]

Tree = TypeVar("Tree")
KIND = "kfjax"  # the key of the description of a file's contents
PARAMS = "params 1"  # with the number of the format
RUN = "checkpoint 1"
IDENTITY = "identity"
NAME = "report_{:08d}.npz"
PATTERN = re.compile(r"report_(\d{8})\.npz")


def save_params(path: str | Path, params: Params) -> None:
    """Write a pytree of arrays to a file, replacing an earlier one.

    Args:
        path: path of the file; it appears whole or not at all. Only a file that this function wrote
            is replaced.
        params: any pytree of arrays: a model, `Learned`, a dict.

    Raises:
        ValueError: if another kind of file is there.
        OSError: if the file cannot be written; an earlier one stays as it was.

    Example:
        >>> import tempfile
        >>> model = kf.systems.constant_velocity()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     kf.training.save_params(
        ...         f"{folder}/tuned.npz", model.replace(R=4 * model.R)
        ...     )
        ...     tuned = kf.training.load_params(f"{folder}/tuned.npz", model)
        >>> tuned.R.tolist() == (4 * model.R).tolist()
        True
    """
    path = as_path("save_params: path", path)
    if path.exists():
        try:
            _read(path, PARAMS)
        except ValueError as error:
            raise ValueError(
                f"save_params: {path} exists and is damaged or was not written by save_params"
                f" ({error}); expected a new name. Choose another one, or delete the file"
                " yourself."
            ) from error
    write_file(path, _file(PARAMS, params))


def load_params(path: str | Path, like: Tree) -> Tree:
    """Read a pytree of arrays that `save_params` wrote.

    Args:
        path: where it was saved.
        like: a pytree of the same structure, shapes and dtypes, such as the parameters before
            training; its functions become those of the result.

    Returns:
        A pytree like `like`.

    Raises:
        ValueError: if nothing is saved there, the file is damaged, or the arrays have other names,
            shapes or dtypes.
    """
    path = as_path("load_params: path", path)
    if not path.exists():
        raise ValueError(
            f"load_params: there is no file {path}; expected one written by save_params."
        )
    try:
        stored = _read(path, PARAMS)
    except ValueError as error:
        raise ValueError(
            f"load_params: {path} cannot be read ({error}); expected an undamaged file written by"
            " save_params. Restore a copy of it, or save the params again."
        ) from error
    wanted = _described(_leaves(like))
    found = _described(stored)
    if wanted != found:
        raise ValueError(
            f"load_params: {path} holds other parameters than `like`: {_difference(found, wanted)};"
            " expected the same. Pass the params that were saved, as they were before training."
        )
    return _unnamed(stored, like)


@dataclasses.dataclass(frozen=True)
class Checkpoints:
    """Checkpoints of `fit`, from which an interrupted run continues when it is started again.

    A directory belongs to one run: `fit` raises an error if another run saved there, that is, a run
    with other data, params, functions, optimiser or settings. The last two checkpoints are kept; if
    the last one is damaged, the run continues from the one before, with a warning.

    Attributes:
        directory: a directory for this run alone.
        every: number of reports between two checkpoints; the last report is always saved.

    Example:
        >>> checkpoints = kf.training.Checkpoints("runs/kalman_net_seed_0", every=5)
    """

    directory: str | Path
    every: int = 1

    def __post_init__(self) -> None:
        check_count("Checkpoints: every", self.every)

    def below(self, name: str) -> Checkpoints:
        """Return the checkpoints of a part of the run, in a subdirectory."""
        return dataclasses.replace(self, directory=Path(self.directory) / name)

    @contextlib.contextmanager
    def kept_alone(self) -> Iterator[None]:
        """Keep other runs out of the directory; with several processes, the first one does."""
        if not _first_process():
            yield
            return
        with locked(self.directory, "fit"):
            remove_unfinished(Path(self.directory))
            yield

    def save(self, report: int, state: PyTree, identity: dict[str, str]) -> None:
        """Save the state after a report, with the identity of this run."""
        named = {IDENTITY: np.array(json.dumps(identity))}
        content = _file(RUN, state, named)
        if not _first_process():
            return
        write_file(self._file(report), content)
        older = [number for number in self.reports() if number < report]
        for number in self.reports():
            # a later one must be damaged, or it would have been the latest
            if number > report or number in older[:-1]:
                self._file(number).unlink(missing_ok=True)

    def latest(self, state: PyTree, identity: dict[str, str]) -> tuple[int, Any]:
        """Return the last report and the state after it, or (-1, state) if there is none.

        Raises:
            ValueError: if all checkpoints are damaged, or they belong to another run.
        """
        damaged: dict[Path, ValueError] = {}
        for report in reversed(self.reports()):
            path = self._file(report)
            try:
                stored = _read(path, RUN)
                known = json.loads(str(stored.pop(IDENTITY)))
            except (ValueError, KeyError) as error:
                damaged[path] = ValueError(str(error))
                continue
            self._check_same(known, identity)
            here = _described(stored)
            wanted = _described(_leaves(state))
            if here != wanted:
                raise ValueError(
                    f"fit: {path} was written by another version of kfjax:"
                    f" {_difference(here, wanted)}; expected files of this version. Choose another"
                    " directory."
                )
            if damaged:
                names = ", ".join(map(str, damaged))
                warnings.warn(
                    f"fit: {names} cannot be read; the run continues from {path}.", stacklevel=2
                )
            return report, _unnamed(stored, state)
        if damaged:
            found = "; ".join(f"{path}: {error}" for path, error in damaged.items())
            raise ValueError(
                f"fit: no checkpoint in {self.directory} can be read ({found}); expected undamaged"
                " files. Restore copies of them, or choose another directory to start again."
            )
        return -1, state

    def reports(self) -> list[int]:
        """Return the numbers of the saved reports, in order."""
        names = (path.name for path in Path(self.directory).glob("report_*.npz"))
        return sorted(int(match[1]) for name in names if (match := PATTERN.fullmatch(name)))

    def _file(self, report: int) -> Path:
        return Path(self.directory) / NAME.format(report)

    def _check_same(self, known: dict[str, str], identity: dict[str, str]) -> None:
        """Raise unless the checkpoints belong to this run."""
        if known != identity:
            raise ValueError(
                f"fit: {self.directory} holds checkpoints of another run, which differs in"
                f" {differences(known, identity)}; expected its own. Choose another directory."
            )


def _first_process() -> bool:
    """Return whether this is the process that writes."""
    return jax.process_index() == 0


def _file(kind: str, tree: PyTree, more: dict[str, np.ndarray] | None = None) -> bytes:
    """Return the content of a file of one kind."""
    return npz_bytes({KIND: np.array(kind), **(more or {}), **_leaves(tree)})


def _read(path: Path, kind: str) -> dict[str, np.ndarray]:
    """Return the arrays of a file of one kind; raise a ValueError if it cannot be read."""
    try:
        with path.open("rb") as file:
            arrays = read_arrays(file)
    except OSError as error:
        raise ValueError(str(error)) from error
    found = str(arrays.pop(KIND, "of another program"))
    if found != kind:
        raise ValueError(f"the file is {found}, not {kind}")
    return arrays


def _leaves(tree: PyTree) -> dict[str, np.ndarray]:
    """Return the leaves by name; dtypes that numpy cannot save, such as bfloat16, as bytes."""
    named = {}
    for name, array in named_leaves(tree).items():
        if array.dtype.kind in "biufc":
            named[name] = array
        elif array.dtype.kind == "V":
            named[f"{name} {array.dtype}"] = array.view(f"u{array.dtype.itemsize}")
        else:
            raise ValueError(
                f"save_params: {name} is {array.dtype}; expected an array of numbers. Leave it out"
                " of the params."
            )
    return named


def _described(arrays: dict[str, np.ndarray]) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return the shape and dtype of arrays by name."""
    return {name: (array.shape, str(array.dtype)) for name, array in arrays.items()}


def _unnamed(stored: dict[str, np.ndarray], like: PyTree) -> Any:
    """Put stored leaves into the structure of `like`."""
    leaves, structure = jax.tree.flatten(like)
    names = zip(leaves, _leaves(like), strict=True)
    return jax.tree.unflatten(structure, [_restored(stored[name], leaf) for leaf, name in names])


def _restored(array: np.ndarray, like: PyTree) -> Any:
    """Return a stored array as the leaf it was."""
    if is_key(like):
        words = jax.numpy.asarray(array)
        return jax.random.wrap_key_data(words, impl=jax.random.key_impl(like))
    dtype = jax.numpy.result_type(like) if not hasattr(like, "dtype") else like.dtype
    if np.dtype(dtype).kind == "V":
        array = array.view(dtype)
    return jax.numpy.asarray(array)


def _difference(found: dict, wanted: dict) -> str:
    """Describe the first entry in which two descriptions differ."""
    name = next(name for name in sorted(found | wanted) if found.get(name) != wanted.get(name))
    return f"got {found.get(name, 'nothing')} at {name!r}, expected {wanted.get(name, 'nothing')}"
