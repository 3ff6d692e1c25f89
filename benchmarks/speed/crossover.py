"""Small algebra by size, written out or by library calls: the basis of `UNROLL` and `SCALARS`.

These are constants of `kfjax.linalg.sizes`. It is a separate process, like
`benchmarks.speed.measuring`: `python -m benchmarks.speed crossover`.
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
from kfjax.linalg import sizes as limits

SIZES = (2, 4, 6, 8, 10, 12, 16)
BATCH = 1000
STEPS = 20
ALWAYS, NEVER = 2 * max(SIZES), 0
WAYS = {"written out": {"UNROLL": ALWAYS}, "library": {"UNROLL": NEVER}}
FACTORS = {
    "by scalars": {"UNROLL": ALWAYS, "SCALARS": ALWAYS},
    "by columns": {"UNROLL": ALWAYS, "SCALARS": NEVER},
}
FACTOR_SIZES = (4, 6, 8, 12, 16)  # of the state; half as many rows are factored


def product(A, B):
    """Return A B, whose size stays the same."""
    return linalg.matmul(A, B)


def solution(S, B):
    """Factor S and solve for B; S changes slightly, so that it has to be factored again."""
    return S + 1e-12 * linalg.factorise(S).solve(B)


def riccati(P, F):
    """Predict and update a covariance, with half as many channels as states."""
    n = P.shape[-1]
    m = n // 2
    identity = jnp.eye(n, dtype=P.dtype)
    P = linalg.quadratic(F, P) + identity
    K = linalg.factorise(P[:m, :m] + identity[:m, :m]).solve(P[:m]).T
    remaining = identity - linalg.matmul(K, identity[:m])
    return linalg.quadratic(remaining, P) + linalg.matmul(K, K.T)


OPERATIONS = {
    "product": product,
    "factorisation and solution": solution,
    "step of a covariance, half as many channels": riccati,
}
STEP = "step of a covariance, half as many channels"


def loop(operation, A, B):
    """Apply an operation in a loop, in which matrices keep the memory layout that suits it."""
    step = operation if A.ndim == 2 else jax.vmap(operation)
    return jax.lax.scan(lambda a, _: (step(a, B), None), A, length=STEPS)[0]


def matrices(n, batch):
    """Return well-conditioned and orthogonal matrices; one of each if the batch is None."""
    rng = np.random.default_rng(n)
    G = rng.normal(size=(n, n) if batch is None else (batch, n, n))
    positive = G @ G.swapaxes(-1, -2) / n + np.eye(n)
    return jnp.asarray(positive), jnp.asarray(np.linalg.qr(G)[0])


def compiled(operation, arguments, way):
    """Return the loop compiled with these limits, and the seconds of compilation."""
    usual = {name: getattr(limits, name) for name in way}
    try:
        settle(way)
        fresh = jax.jit(lambda A, B: loop(operation, A, B))  # not the trace of the other way
        begin = time.process_time()
        program = fresh.lower(*arguments).compile()
        return functools.partial(program, *arguments), time.process_time() - begin
    finally:
        settle(usual)


def settle(settings):
    """Set the limits of `kfjax.linalg.sizes`."""
    for name, value in settings.items():
        setattr(limits, name, value)


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
    """Yield the lines of the tables, in markdown."""
    for row in rows.values():
        if "crossover" not in row:
            continue
        precision = row["precision"]
        unroll = row["unroll"]
        scalars = row["scalars"]
        yield f"{precision}, {BATCH} matrices at once; `UNROLL` is {unroll}.\n"
        yield from table(row["crossover"], WAYS)
        yield (
            f"Two ways to write out a factor, {precision}: by scalars up to `SCALARS` = {scalars}"
            " rows.\n"
        )
        yield from table(row["factors"], FACTORS)


def table(found, ways):
    """Yield the lines of the table of two ways, in markdown."""
    first, second = ways
    yield f"| | rows | {first}, ms | {second}, ms | ratio | compilation, s |"
    yield "|---|---|---|---|---|---|"
    for name, sizes in found.items():
        for n, by_way in sorted(sizes.items(), key=lambda pair: int(pair[0])):
            one, other = by_way[first], by_way[second]
            a, b = one["ms"]["median"], other["ms"]["median"]
            seconds = f"{one['compile_s']:.1f}, {other['compile_s']:.1f}"
            yield f"| {name} | {n} | {a:.3g} | {b:.3g} | {b / a:.2f} | {seconds} |"
    yield ""


def measured(quick, rounds):
    """Return the times of all operations, and of the two ways to write out a factor."""
    sizes = SIZES[:2] if quick else SIZES
    factor_sizes = FACTOR_SIZES[:1] if quick else FACTOR_SIZES
    found = {name: {str(n): measure(name, n, rounds) for n in sizes} for name in OPERATIONS}
    factors = {}
    for told, batch in (("one matrix", None), (f"{BATCH} at once", BATCH)):
        by_size = {str(n): measure(STEP, n, rounds, FACTORS, batch) for n in factor_sizes}
        factors[f"{STEP}, {told}"] = by_size
    return {"crossover": found, "factors": factors}


def main():
    """Measure everything and write its row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--to", required=True, help="the file to write")
    arguments = parser.parse_args()
    row = measured(arguments.quick, arguments.rounds)
    row |= {"unroll": limits.UNROLL, "scalars": limits.SCALARS}
    row |= {"time": time.strftime("%Y-%m-%d %H:%M"), **environment()}
    with open(arguments.to, "w") as file:
        json.dump(row, file)


if __name__ == "__main__":
    main()
