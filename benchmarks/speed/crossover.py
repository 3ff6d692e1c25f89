"""Up to what size small algebra is better written out: the choice that `UNROLL` in kfjax.linalg stands for.

A process of its own, like `benchmarks.speed.measuring`: `python -m benchmarks.speed crossover`.
"""

import argparse
import functools
import json
import time

import jax
import jax.numpy as jnp
import numpy as np

from kfjax import linalg
from kfjax.evaluation.timing import environment, in_turn, quartiles

SIZES, BATCH, STEPS = (2, 4, 6, 8, 10, 12, 16), 1000, 20
ALWAYS, NEVER = 2 * max(SIZES), 0
WAYS = {"written out": ALWAYS, "library": NEVER}


def product(A, B):
    """A <- A B, whose size stays."""
    return linalg.matmul(A, B)


def solution(S, B):
    """Factor S and solve for B; S changes by next to nothing, so that it has to be factored again."""
    return S + 1e-12 * linalg.factorise(S).solve(B)


def riccati(P, F):
    """Predict and update a covariance, with half as many channels as states."""
    n = P.shape[-1]
    identity, m = jnp.eye(n, dtype=P.dtype), n // 2
    P = linalg.quadratic(F, P) + identity
    K = linalg.factorise(P[:m, :m] + identity[:m, :m]).solve(P[:m]).T
    return linalg.quadratic(identity - linalg.matmul(K, identity[:m]), P) + linalg.matmul(K, K.T)


OPERATIONS = {
    "product": product,
    "factorisation and solution": solution,
    "step of a covariance, half as many channels": riccati,
}


def loop(operation, A, B):
    """Apply an operation to a batch of matrices in a loop, where they stay in the layout that suits it."""
    return jax.lax.scan(lambda a, _: (jax.vmap(operation)(a, B), None), A, length=STEPS)[0]


def matrices(n):
    """Return well-conditioned matrices, and orthogonal ones."""
    rng = np.random.default_rng(n)
    G = rng.normal(size=(BATCH, n, n))
    return jnp.asarray(G @ G.swapaxes(1, 2) / n + np.eye(n)), jnp.asarray(np.linalg.qr(G)[0])


def compiled(operation, n, unroll):
    """Return the compiled loop with matrices up to so many rows written out, and the seconds that it took."""
    usual, linalg.UNROLL = linalg.UNROLL, unroll
    try:
        arguments = matrices(n)
        fresh = jax.jit(lambda A, B: loop(operation, A, B))  # not the trace of the other way
        begin = time.process_time()
        program = fresh.lower(*arguments).compile()
        return functools.partial(program, *arguments), time.process_time() - begin
    finally:
        linalg.UNROLL = usual


def measure(name, n, rounds):
    """Return the milliseconds of one operation on the batch, and the seconds of compilation, by way."""
    found = {way: compiled(OPERATIONS[name], n, unroll) for way, unroll in WAYS.items()}
    samples = in_turn({way: call for way, (call, _) in found.items()}, rounds)
    return {
        way: {"ms": quartiles(samples[way][:, 1] / STEPS), "compile_s": round(seconds, 2)}
        for way, (_, seconds) in found.items()
    }


def crossover_tables(rows):
    """Return the table, in markdown."""
    for row in (row for row in rows.values() if "crossover" in row):
        yield f"{row['precision']}, {BATCH} matrices at once; `UNROLL` is {row['unroll']}.\n"
        yield "| | rows | written out, ms | library, ms | ratio | compilation, s |\n|---|---|---|---|---|---|"
        for name, sizes in row["crossover"].items():
            for n, ways in sorted(sizes.items(), key=lambda pair: int(pair[0])):
                out, library = (ways[way] for way in WAYS)
                medians = out["ms"]["median"], library["ms"]["median"]
                times = f"{medians[0]:.3g} | {medians[1]:.3g} | {medians[1] / medians[0]:.2f}"
                yield f"| {name} | {n} | {times} | {out['compile_s']:.1f}, {library['compile_s']:.1f} |"
        yield ""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--to", required=True, help="the file to write")
    arguments = parser.parse_args()
    sizes = SIZES[:2] if arguments.quick else SIZES
    found = {name: {str(n): measure(name, n, arguments.rounds) for n in sizes} for name in OPERATIONS}
    row = {"crossover": found, "unroll": linalg.UNROLL, "time": time.strftime("%Y-%m-%d %H:%M"), **environment()}
    with open(arguments.to, "w") as file:
        json.dump(row, file)


if __name__ == "__main__":
    main()
