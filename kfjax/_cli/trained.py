"""The folder of a training: parameters as arrays, their description as JSON, and no code."""

from __future__ import annotations

import json
import warnings
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from kfjax._cli.classical import FILE, Classical, load_classical, save_classical
from kfjax._cli.loading import learned_kind
from kfjax._support.files import write_file
from kfjax._support.saving import write_json
from kfjax.base import Filter
from kfjax.data import Parts, read_parts
from kfjax.learned.params import Learned, in_precision, init_params
from kfjax.learned.registry import LEARNED_FILTERS
from kfjax.models.state_space import StateSpaceModel
from kfjax.training import load_params, save_params

__all__: list[str] = []

CHECKPOINTS = "checkpoints"
PARAMS = "params.npz"
DESCRIPTION = "training.json"
PICTURE = "history.png"


class Trained(NamedTuple):
    """A trained filter, as loaded.

    Attributes:
        name: the name of the filter and of its folder.
        filter: the `Filter`.
        params: `Learned`, or the model of a classical filter.
    """

    name: str
    filter: Filter
    params: Any


def save_trained(
    directory: Path,
    name: str,
    params: Learned,
    parts: Parts,
    about: dict[str, Any],
    picture: bytes,
    beside: Classical | None = None,
) -> None:
    """Write the network, the figure, and last the description, which marks a finished training.

    Args:
        directory: the folder, which must exist.
        name: name of the filter, see `kfjax.learned.registry`.
        params: the trained parameters, of which only the network is kept.
        parts: the data.
        about: other entries of the description.
        picture: a PNG file.
        beside: the tuned classical filter of the same model, or None.
    """
    if beside is not None:
        save_classical(directory, beside)
        about = {**about, "classical": beside.about}
    description = {
        "filter": name,
        "n": params.model.n,
        "m": parts.train.ys.shape[2],
        "features": learned_kind(name).features,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(params.network)),
        "dtype": str(params.model.dtype),
        "model_mark": _model_mark(params.model),
        "data_mark": data_mark(parts),
        "constants": jax.tree.map(np.asarray, params.constants),
        **about,
    }
    save_params(directory / PARAMS, params.network)
    write_file(directory / PICTURE, picture)
    describe(directory, description)


def save_only_classical(
    directory: Path, classical: Classical, design: StateSpaceModel, parts: Parts, about: Any
) -> None:
    """Write a classical filter without a network, and last the description."""
    save_classical(directory, classical)
    description = {
        "filter": classical.name,
        "n": design.n,
        "m": parts.train.ys.shape[2],
        "dtype": str(design.dtype),
        "model_mark": _model_mark(design),
        "data_mark": data_mark(parts),
        "constants": None,
        "classical": classical.about,
        **about,
    }
    describe(directory, description)


def describe(directory: Path, about: dict[str, Any]) -> None:
    """Write the description of a training, with checksums of the parameters beside it."""
    marks = {name: _file_mark(directory / name) for name in (PARAMS, FILE)}
    write_json(directory / DESCRIPTION, {**about, "file_marks": marks})


def check_files(directory: Path, about: dict[str, Any]) -> None:
    """Raise unless the parameters are those of which the description speaks."""
    for name, mark in about["file_marks"].items():
        if mark is not None and _file_mark(directory / name) != mark:
            raise ValueError(
                f"--load {directory}: {name} is damaged, or not of the training that {DESCRIPTION}"
                " describes; expected both of one training, which may have been interrupted. Run"
                " its command again."
            )


def _file_mark(path: Path) -> int | None:
    """Return the checksum of a file, or None if the file does not exist."""
    return zlib.crc32(path.read_bytes()) if path.is_file() else None


def check_own(directory: Path) -> None:
    """Raise if the folder has files that a training would replace and that no training wrote."""
    found = [name for name in (PARAMS, PICTURE, FILE, DESCRIPTION) if (directory / name).exists()]
    begun = (directory / CHECKPOINTS).is_dir()
    if found and not begun and not _is_description(directory / DESCRIPTION):
        raise ValueError(
            f"--out {directory}: {', '.join(found)} in it would be replaced, and are not of a"
            " `kfjax train`; expected a new folder, or that of an earlier training."
        )


def _is_description(file: Path) -> bool:
    """Return whether a file is the description of a training."""
    try:
        return "model_mark" in json.loads(file.read_bytes())
    except (OSError, ValueError, TypeError):
        return False


def load_trained(directory: str | Path, model: StateSpaceModel, m: int) -> Trained:
    """Load a trained filter, in the precision of the model.

    Args:
        directory: the folder that `kfjax train --out` wrote.
        model: the design model; there is a warning if it is not the one of the training.
        m: dimension of the observations in the data.

    Raises:
        ValueError: if no training was finished there, or the dimensions differ.
    """
    directory = Path(directory)
    about = _describe(directory)
    _check_marks(directory, about, model, m)
    if not is_learned(about):
        return _classical(directory, about, model)
    name = about["filter"]
    n = model.n
    chosen = learned_kind(name).build(n, m)
    constants = jax.tree.map(
        np.asarray, about["constants"], is_leaf=lambda value: isinstance(value, list)
    )
    params = init_params(jax.random.key(0), chosen, model, constants)
    like = jax.tree.map(lambda a: np.zeros(a.shape, about["dtype"]), params.network)
    network = in_precision(model.dtype, load_params(directory / PARAMS, like))
    return Trained(
        f"{name} ({directory.name or directory})", chosen, params._replace(network=network)
    )


def load_both(directory: str | Path, model: StateSpaceModel, m: int) -> list[Trained]:
    """Load a trained filter, and the tuned classical one beside it, if there is one."""
    found = [load_trained(directory, model, m)]
    directory = Path(directory)
    about = _describe(directory)
    if is_learned(about) and about.get("classical"):
        found.append(_classical(directory, about, model))
    return found


def is_learned(about: dict[str, Any]) -> bool:
    """Return whether a description is that of a network, and not of a classical filter alone."""
    return about["filter"] in LEARNED_FILTERS or ":" in about["filter"]


def _classical(directory: Path, about: dict[str, Any], model: StateSpaceModel) -> Trained:
    """Load the classical filter of a folder."""
    told = about["classical"]
    chosen, params = load_classical(directory, told, about["dtype"], model)
    learned = "tuned" if told["learn"] == "noise" else f"learned {told['learn']}"
    return Trained(f"{told['filter']}, {learned} ({directory.name or directory})", chosen, params)


def _check_marks(directory: Path, about: dict[str, Any], model: StateSpaceModel, m: int) -> None:
    """Raise unless a filter fits model and data; warn if the model is another one."""
    n = model.n
    if (n, m) != (about["n"], about["m"]):
        raise ValueError(
            f"--load {directory}: the filter was trained for n = {about['n']} and m ="
            f" {about['m']}, the model and the data have n = {n} and m = {m}; expected the same."
            f" Give the model it was trained with ({about.get('model')}) and such data, or train"
            " again with `kfjax train`."
        )
    if about["model_mark"] != _model_mark(model):
        warnings.warn(
            f"{directory} was trained with another design model than this one"
            f" ({about.get('model')}).",
            stacklevel=3,
        )


def trained_on(directory: str | Path, path: str | Path, columns: dict[str, Any]) -> bool:
    """Return whether the training used the training part of these data.

    If it did, only the other parts may be reported.
    """
    about = _describe(Path(directory))
    try:
        return about["data_mark"] == data_mark(read_parts(path, **columns))
    except ValueError:  # too small to be split, so it was never trained on
        return False


def data_mark(parts: Parts) -> int:
    """Return a checksum of the training part."""
    return zlib.crc32(np.asarray(parts.train.ys, np.float32).tobytes())


def _describe(directory: Path) -> dict[str, Any]:
    """Read the description, or raise."""
    file = directory / DESCRIPTION
    if not file.is_file():
        begun = (directory / CHECKPOINTS).is_dir()
        remedy = (
            "Finish it with the same `kfjax train` command."
            if begun
            else "Name its --out folder, or train one."
        )
        raise ValueError(
            f"--load {directory}: there is no {DESCRIPTION} in it; expected the folder of a"
            f" finished `kfjax train`. {remedy}"
        )
    try:
        about = json.loads(file.read_bytes())
    except ValueError as error:
        raise ValueError(
            f"--load {directory}: {DESCRIPTION} is damaged ({error}); expected a complete one."
            " Train again."
        ) from error
    expected = {"filter", "n", "m", "dtype", "model_mark", "data_mark", "constants", "file_marks"}
    if not isinstance(about, dict) or (missing := expected - about.keys()):
        raise ValueError(
            f"--load {directory}: {DESCRIPTION} lacks {', '.join(sorted(missing))}; expected a"
            " complete one. Train again."
        )
    check_files(directory, about)
    return about


def _model_mark(model: StateSpaceModel) -> int:
    """Return a checksum of the numbers in a model; functions have no stable names."""
    numbers = [np.asarray(leaf, np.float32).ravel() for leaf in jax.tree.leaves(model)]
    return zlib.crc32(np.concatenate(numbers).tobytes())
