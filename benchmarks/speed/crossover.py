"""Up to what size small algebra is better written out, and how: what `UNROLL` and `SCALARS` in kfjax.linalg stand for.

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
from kfjax.evaluation import environment, in_turn, quartiles

SIZES, BATCH, STEPS = (2, 4, 6, 8, 10, 12, 16), 1000, 20
ALWAYS, NEVER = 2 * max(SIZES), 0
WAYS = {"written out": {"UNROLL": ALWAYS}, "library": {"UNROLL": NEVER}}
FACTORS = {
    "by scalars": {"UNROLL": ALWAYS, "SCALARS": ALWAYS},
    "by columns": {"UNROLL": ALWAYS, "SCALARS": NEVER},
}
FACTOR_SIZES = (4, 6, 8, 12, 16)  # states; half as many rows are factored


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
    """Apply an operation in a loop, to a batch of matrices or to one, where they stay in the layout that suits it."""
    step = operation if A.ndim == 2 else jax.vmap(operation)
    return jax.lax.scan(lambda a, _: (step(a, B), None), A, length=STEPS)[0]


def matrices(n, batch):
    """Return well-conditioned matrices, and orthogonal ones; a batch of None is one of each."""
    rng = np.random.default_rng(n)
    G = rng.normal(size=(n, n) if batch is None else (batch, n, n))
    return jnp.asarray(G @ G.swapaxes(-1, -2) / n + np.eye(n)), jnp.asarray(np.linalg.qr(G)[0])


def compiled(operation, arguments, way):
    """Return the compiled loop with these settings of `kfjax.linalg`, and the seconds that it took."""
    usual = {name: getattr(linalg, name) for name in way}
    try:
        settle(way)
        fresh = jax.jit(lambda A, B: loop(operation, A, B))  # not the trace of the other way
        begin = time.process_time()
        program = fresh.lower(*arguments).compile()
        return functools.partial(program, *arguments), time.process_time() - begin
    finally:
        settle(usual)


def settle(settings):
    for name, value in settings.items():
        setattr(linalg, name, value)


def measure(name, n, rounds, ways=WAYS, batch=BATCH):
    """Return the milliseconds of one operation, and the seconds of compilation, by way."""
    arguments = matrices(n, batch)
    found = {way: compiled(OPERATIONS[name], arguments, settings) for way, settings in ways.items()}
    samples = in_turn({way: call for way, (call, _) in found.items()}, rounds)
    return {
        way: {"ms": quartiles(samples[way][:, 1] / STEPS), "compile_s": round(seconds, 2)}
        for way, (_, seconds) in found.items()
    }


def crossover_tables(rows):
    """Return the tables, in markdown."""
    for row in (row for row in rows.values() if "crossover" in row):
        yield f"{row['precision']}, {BATCH} matrices at once; `UNROLL` is {row['unroll']}.\n"
        yield from table(row["crossover"], WAYS)
        yield f"How a factor is written out, {row['precision']}: by scalars up to `SCALARS` = {row['scalars']} rows.\n"
        yield from table(row["factors"], FACTORS)


def table(found, ways):
    """Return the table of two ways, in markdown."""
    first, second = ways
    yield f"| | rows | {first}, ms | {second}, ms | ratio | compilation, s |\n|---|---|---|---|---|---|"
    for name, sizes in found.items():
        for n, by_way in sorted(sizes.items(), key=lambda pair: int(pair[0])):
            one, other = (by_way[way] for way in ways)
            medians = one["ms"]["median"], other["ms"]["median"]
            times = f"{medians[0]:.3g} | {medians[1]:.3g} | {medians[1] / medians[0]:.2f}"
            yield f"| {name} | {n} | {times} | {one['compile_s']:.1f}, {other['compile_s']:.1f} |"
    yield ""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--to", required=True, help="the file to write")
    arguments = parser.parse_args()
    sizes = SIZES[:2] if arguments.quick else SIZES
    found = {
        name: {str(n): measure(name, n, arguments.rounds) for n in sizes} for name in OPERATIONS
    }
    step, sizes = list(OPERATIONS)[-1], FACTOR_SIZES[:1] if arguments.quick else FACTOR_SIZES
    factors = {
        f"{step}, {told}": {
            str(n): measure(step, n, arguments.rounds, FACTORS, batch) for n in sizes
        }
        for told, batch in (("one matrix", None), (f"{BATCH} at once", BATCH))
    }
    row = {
        "crossover": found,
        "factors": factors,
        "unroll": linalg.UNROLL,
        "scalars": linalg.SCALARS,
    }
    row |= {"time": time.strftime("%Y-%m-%d %H:%M"), **environment()}
    with open(arguments.to, "w") as file:
        json.dump(row, file)


if __name__ == "__main__":
    main()
