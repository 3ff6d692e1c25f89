"""A recursion over time in blocks of steps that run side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Generic, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax._support.pytrees import at, prepended

__all__: list[str] = []

Belief = TypeVar("Belief")
Element = TypeVar("Element")
Step = TypeVar("Step")
Output = TypeVar("Output")
Tree = TypeVar("Tree")

BLOCK = 16  # steps that are taken one after the other


@dataclasses.dataclass(frozen=True)
class Stretches(Generic[Element, Step, Belief]):
    """Functions that summarise stretches of time.

    Attributes:
        add: (stretch, step) -> the stretch longer by a step.
        join: (early, late) -> both, associative; it includes the start if `early` does.
        start: a stretch of no steps that ends in the belief before the first step.
        nothing: a stretch of no steps, from an unknown start.
        end: stretch -> the belief in which it ends, if it includes the start.
    """

    add: Callable[[Element, Step], Element]
    join: Callable[[Element, Element], Element]
    start: Element
    nothing: Element
    end: Callable[[Element], Belief]


def run_in_blocks(
    move: Callable[[Belief, Step], tuple[Belief, Output]],
    start: Belief,
    steps: Step,
    stretches: Stretches[Element, Step, Belief],
) -> Output:
    """Return what `move` puts out at every step, as `jax.lax.scan` of it does.

    Args:
        move: (belief, step) -> (belief after it, output).
        start: the belief before the first step.
        steps: [T, ...].
        stretches: how to find the belief after many steps without those between.
    """
    # The steps of each block are added up from an unknown start, side by side. The stretches are
    # joined over the blocks, which gives the belief that each block starts from, and all blocks
    # move by their steps. Each operation is in the program once, in a loop of BLOCK or
    # log2(T / BLOCK) rounds. `jax.lax.associative_scan` is no less deep, but writes the operation
    # out 2 log2(T) times, which takes minutes to compile.
    length = jax.tree.leaves(steps)[0].shape[0]
    rows = _in_blocks(steps)
    starts = jax.tree.map(lambda a: a[None], start)
    if length > BLOCK:
        # the last block needs no sum
        blocks = -(-length // BLOCK) - 1
        unknown = jax.tree.map(
            lambda a: jnp.broadcast_to(a, (blocks - 1, *a.shape)), stretches.nothing
        )
        sums = _summed(
            stretches.add, prepended(stretches.start, unknown), at(rows, np.s_[:, :blocks])
        )
        starts = prepended(start, stretches.end(_prefixes(stretches.join, sums)))
    outputs = jax.lax.scan(jax.vmap(move), starts, rows)[1]

    def in_a_row(a: Array) -> Array:
        return a.swapaxes(0, 1).reshape(-1, *a.shape[2:])[:length]

    return jax.tree.map(in_a_row, outputs)


def _summed(add: Callable[[Element, Step], Element], starts: Element, rows: Step) -> Element:
    """Return all stretches longer by the steps of their block."""

    def grow(stretches: Element, row: Step) -> tuple[Element, None]:
        return jax.vmap(add)(stretches, row), None

    return jax.lax.scan(grow, starts, rows)[0]


def _in_blocks(steps: Tree) -> Tree:
    """Return [T, ...] as [BLOCK, number of blocks, ...]; the last step fills the last block."""

    def cut(a: Array) -> Array:
        length = a.shape[0]
        blocks = -(-length // BLOCK)
        rest = jnp.broadcast_to(a[-1:], (blocks * BLOCK - length, *a.shape[1:]))
        return jnp.concatenate([a, rest]).reshape(blocks, BLOCK, *a.shape[1:]).swapaxes(0, 1)

    return jax.tree.map(cut, steps)


def _prefixes(join: Callable[[Element, Element], Element], stretches: Element) -> Element:
    """Return the first k stretches joined, for every k; the first of them includes the start."""
    # After a round each total covers twice as many stretches: it is joined with the one that ends
    # where it begins, `shift` places before.
    count = jax.tree.leaves(stretches)[0].shape[0]
    place = np.arange(count)

    def double(totals: Element, shift: Array) -> tuple[Element, None]:
        def before(a: Array) -> Array:
            # the first total fills the places before it, which must be finite but are never used
            padded = jnp.concatenate([jnp.broadcast_to(a[:1], a.shape), a])
            return jax.lax.dynamic_slice_in_dim(padded, count - shift, count)

        def choose(joined: Array, whole: Array) -> Array:
            known = (place < shift).reshape(-1, *[1] * (whole.ndim - 1))
            return jnp.where(known, whole, joined)

        joined = jax.vmap(join)(jax.tree.map(before, totals), totals)
        return jax.tree.map(choose, joined, totals), None

    shifts = jnp.asarray([2**k for k in range((count - 1).bit_length())], jnp.int32)
    return jax.lax.scan(double, stretches, shifts)[0]
