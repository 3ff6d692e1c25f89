"""Partition of params into trained and frozen leaves, made *before* the gradient.

If the gradient of a frozen leaf is set to zero afterwards, it has still been computed, and weight
decay moves the leaf.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kfjax._support.naming import described
from kfjax._support.types import PyTree
from kfjax.base import Params
from kfjax.filters.checks import check_params

__all__ = ["merge", "partition"]


def partition(params: Params, learn: PyTree = None) -> tuple[Any, Any]:
    """Split params into two pytrees of the same structure, each with None for leaves of the other.

    Args:
        params: any pytree of arrays.
        learn: which leaves are trained. A function `(path, leaf) -> bool` of a path such as
            "network/params/Dense_0/kernel"; or a pytree of booleans, a prefix of params, where None
            is False, such as `StateSpaceModel.axes(Q=True)`. By default what
            `params.learned_by_default()` returns, if there is such a method (the network, for
            `Learned`), otherwise all. Only floats are trained.

    Returns:
        (trained, frozen).

    Raises:
        ValueError: if nothing is trained, or the booleans do not fit params.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> trained, frozen = kf.training.partition(
        ...     model, kf.StateSpaceModel.axes(Q=True)
        ... )
        >>> trained.Q is model.Q, trained.R, frozen.Q
        (True, None, None)
    """
    check_params("partition", params, nan=True)
    paths, structure = jax.tree_util.tree_flatten_with_path(params)
    chosen = _chosen(params, learn, paths)
    chosen = [
        c and jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)
        for c, (_, leaf) in zip(chosen, paths, strict=True)
    ]
    if not any(chosen):
        raise ValueError(
            f"learn: got {learn!r}, which leaves no float of params to train; expected at least"
            f" one. Paths look like {', '.join(path_name(path) for path, _ in paths[:4])}."
        )
    leaves = [leaf for _, leaf in paths]
    trained = [leaf if c else None for c, leaf in zip(chosen, leaves, strict=True)]
    frozen = [None if c else leaf for c, leaf in zip(chosen, leaves, strict=True)]
    return jax.tree.unflatten(structure, trained), jax.tree.unflatten(structure, frozen)


def merge(trained: PyTree, frozen: PyTree) -> Any:
    """Merge the two parts that `partition` returned."""
    try:
        return jax.tree.map(lambda a, b: b if a is None else a, trained, frozen, is_leaf=_is_none)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"merge: trained is {described(trained)} and frozen {described(frozen)}; expected the"
            f" two parts that kfjax.training.partition returned ({error})."
        ) from error


def _chosen(params: Params, learn: PyTree, paths: list) -> list[bool]:
    """Return one boolean per leaf."""
    if callable(learn) and jax.tree_util.all_leaves([learn]):
        return [bool(learn(path_name(path), leaf)) for path, leaf in paths]
    if learn is None:
        by_default = getattr(params, "learned_by_default", None)
        learn = True if by_default is None else by_default()
    flags: list[bool] = []

    def spread(flag: Any, part: PyTree) -> None:
        if not (flag is None or isinstance(flag, (bool, np.bool_))):
            raise TypeError(f"{flag!r:.80} is no boolean")
        flags.extend([bool(flag)] * len(jax.tree.leaves(part)))

    try:
        jax.tree.map(spread, learn, params, is_leaf=_is_none)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"learn: got {learn!r:.80}, which does not fit the params; expected booleans in their"
            " structure, such as kf.StateSpaceModel.axes(Q=True), or a function (path, leaf) ->"
            " bool."
        ) from error
    return flags


def path_name(path: Any) -> str:
    """Return the path of a leaf as text, such as network/params/Dense_0/kernel."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _is_none(x: object) -> bool:
    return x is None
