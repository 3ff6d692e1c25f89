"""Saving and loading trained parameters, and trainings that survive being killed.

What is written are arrays and nothing else, through orbax: a new checkpoint appears whole or not at
all, and loading one runs no code that is stored in it; the structure comes from the program that
loads.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

from kfjax._support.arguments import check_count
from kfjax._support.persistence import is_key, named_leaves

__all__ = ["Checkpoints", "load_params", "save_params"]

Tree = TypeVar("Tree")
KEPT = 2  # the last one, and one more for whoever reads while it is replaced


def save_params(directory: str | Path, params: Any) -> None:
    """Write a pytree of arrays into a new directory, or in place of what was saved there.

    Args:
        directory: where; it appears whole or not at all.
        params: any pytree of arrays: a model, `Learned`, a dict.

    Example:
        >>> import tempfile
        >>> model = kf.systems.constant_velocity()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     kf.training.save_params(f"{folder}/tuned", model.replace(R=4 * model.R))
        ...     tuned = kf.training.load_params(f"{folder}/tuned", model)
        >>> tuned.R.tolist() == (4 * model.R).tolist()
        True
    """
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as writer:
        writer.save(Path(directory).absolute(), named_leaves(params), force=True)


def load_params(directory: str | Path, like: Tree) -> Tree:
    """Read what `save_params` wrote.

    Args:
        directory: where it was saved.
        like: a pytree of the same structure, shapes and dtypes, such as the parameters before
            training; its functions are those of the result.

    Returns:
        A pytree like `like`.

    Raises:
        ValueError: if nothing is saved there, or what is saved has other names, shapes or dtypes.
    """
    import orbax.checkpoint as ocp

    directory = Path(directory).absolute()
    if not directory.is_dir():
        raise ValueError(
            f"load_params: there is no directory {directory}; expected one that save_params wrote."
        )
    with ocp.StandardCheckpointer() as reader:
        wanted = {name: (tuple(a.shape), str(a.dtype)) for name, a in named_leaves(like).items()}
        stored = reader.metadata(directory).item_metadata.tree
        found = {name: (tuple(a.shape), str(np.dtype(a.dtype))) for name, a in stored.items()}
        if wanted != found:
            raise ValueError(
                f"load_params: {directory} holds other parameters than `like`:"
                f" {_difference(found, wanted)}."
            )
        return _unnamed(reader.restore(directory, named_leaves(like)), like)


@dataclasses.dataclass(frozen=True)
class Checkpoints:
    """Checkpoints of `fit`, from which a run that was killed continues when started again.

    Attributes:
        directory: of this run alone.
        every: reports between two checkpoints.

    Example:
        >>> checkpoints = kf.training.Checkpoints("runs/kalman_net_seed_0", every=5)
    """

    directory: str | Path
    every: int = 1

    def __post_init__(self) -> None:
        check_count("Checkpoints: every", self.every)

    def below(self, name: str) -> Checkpoints:
        """Return the checkpoints of a part of the run, in a directory below."""
        return dataclasses.replace(self, directory=Path(self.directory) / name)

    def manager(self) -> Any:
        """Return the orbax manager; use it in a `with` statement."""
        import orbax.checkpoint as ocp

        options = ocp.CheckpointManagerOptions(
            max_to_keep=KEPT, create=True, enable_async_checkpointing=False
        )
        return ocp.CheckpointManager(Path(self.directory).absolute(), options=options)

    def save(self, manager: Any, report: int, state: Any, fingerprint: np.ndarray) -> None:
        """Save the state after a report, with what tells this run from others."""
        import orbax.checkpoint as ocp

        manager.save(report, args=ocp.args.StandardSave(named_leaves((fingerprint, state))))

    def latest(self, manager: Any, state: Any, fingerprint: np.ndarray) -> tuple[int, Any]:
        """Return the last report and the state after it, or (-1, state) if there is none."""
        import orbax.checkpoint as ocp

        if (report := manager.latest_step()) is None:
            return -1, state
        like = (fingerprint, state)
        try:
            stored = manager.restore(report, args=ocp.args.StandardRestore(named_leaves(like)))
            known, restored = _unnamed(stored, like)
        except (ValueError, KeyError) as error:
            raise self._of_another_run() from error
        if not np.array_equal(known, fingerprint):
            raise self._of_another_run()
        return report, restored

    def _of_another_run(self) -> ValueError:
        return ValueError(
            f"fit: {self.directory} holds checkpoints of another run (other data, parameters, key,"
            " number of updates or options); expected its own. Choose another directory, or delete"
            " it to start again."
        )


def _unnamed(stored: dict[str, Any], like: Any) -> Any:
    """Put stored leaves into the structure of `like`."""
    leaves, structure = jax.tree.flatten(like)
    arrays = [jax.numpy.asarray(stored[name]) for name in named_leaves(like)]
    keyed = [
        jax.random.wrap_key_data(a) if is_key(leaf) else a
        for a, leaf in zip(arrays, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, keyed)


def _difference(found: dict, wanted: dict) -> str:
    """The first entry in which two descriptions differ, in words."""
    name = next(name for name in sorted(found | wanted) if found.get(name) != wanted.get(name))
    return f"got {found.get(name, 'nothing')} at {name!r}, expected {wanted.get(name, 'nothing')}"
