"""Which leaves of a pytree are trained: they are taken apart *before* the gradient, so that nothing moves the rest.

A frozen leaf whose gradient is set to zero afterwards still costs its gradient, and weight decay
moves it.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["learned_part", "merge", "partition"]


def learned_part(params: Any) -> Any:
    """Return what is learned by default: the network of a NamedTuple with fields model and network, else everything."""
    return params.network if _is_learned(params) else params


def partition(params: Any, trainable: Any = None) -> tuple[Any, Any]:
    """Take params apart into two pytrees of the same structure, with None where a leaf is in the other.

    Args:
        params: any pytree of arrays.
        trainable: which leaves are trained: None, the network of a NamedTuple with fields model and
            network, else all; a function `(path, leaf) -> bool` of a path such as
            "network/params/Dense_0/kernel"; or a pytree of booleans, a prefix of params, where None
            is False, such as `StateSpaceModel.axes(Q=True)`. Only floats are trained.

    Returns:
        (trained, frozen).

    Raises:
        ValueError: if nothing is trained, or the booleans do not fit params.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> trained, frozen = kf.training.partition(model, kf.StateSpaceModel.axes(Q=True))
        >>> trained.Q is model.Q, trained.R, frozen.Q
        (True, None, None)
    """
    paths, structure = jax.tree_util.tree_flatten_with_path(params)
    chosen = _chosen(params, trainable, paths)
    chosen = [
        c and jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)
        for c, (_, leaf) in zip(chosen, paths, strict=True)
    ]
    if not any(chosen):
        raise ValueError(
            f"trainable: got {trainable!r}, which leaves no float of params to train; expected"
            " some. Paths are such as"
            f" {', '.join(_name(path) for path, _ in paths[:4])}."
        )
    leaves = [leaf for _, leaf in paths]
    trained = [leaf if c else None for c, leaf in zip(chosen, leaves, strict=True)]
    frozen = [None if c else leaf for c, leaf in zip(chosen, leaves, strict=True)]
    return jax.tree.unflatten(structure, trained), jax.tree.unflatten(structure, frozen)


def merge(trained: Any, frozen: Any) -> Any:
    """Put together what `partition` took apart."""
    return jax.tree.map(lambda a, b: b if a is None else a, trained, frozen, is_leaf=_is_none)


def _chosen(params: Any, trainable: Any, paths: list) -> list[bool]:
    """One boolean per leaf."""
    if callable(trainable) and jax.tree_util.all_leaves([trainable]):
        return [bool(trainable(_name(path), leaf)) for path, leaf in paths]
    if trainable is None:
        names = getattr(params, "_fields", ())
        trainable = (
            type(params)(*(name == "network" for name in names)) if _is_learned(params) else True
        )
    flags: list[bool] = []
    try:
        jax.tree.map(
            lambda flag, part: flags.extend([bool(flag)] * len(jax.tree.leaves(part))),
            trainable,
            params,
            is_leaf=_is_none,
        )
    except ValueError as error:
        raise ValueError(
            f"trainable: got {trainable!r}, which is no prefix of params: {error}"
        ) from error
    return flags


def _is_learned(params: Any) -> bool:
    return {"model", "network"} <= set(getattr(params, "_fields", ()))


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _is_none(x: Any) -> bool:
    return x is None
