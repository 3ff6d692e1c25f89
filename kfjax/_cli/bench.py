"""The command `kfjax bench`: time kfjax on its workloads, on one core and in turn."""

from __future__ import annotations

import functools
from argparse import Namespace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich import box
from rich.table import Table

from kfjax._cli.output import check_folder, make_console
from kfjax._cli.problems import Size
from kfjax._cli.workloads import WORKLOADS
from kfjax._support.naming import suggest
from kfjax._support.saving import write_json
from kfjax.evaluation.timing import environment, first_call, in_turn, pin, quartiles

__all__: list[str] = []

CAPTION = (
    "Milliseconds of one warm call by the wall clock: median, quartiles and least; in processor"
    " time the median. Compilation: seconds of the first call less a warm one."
)


def run_bench(args: Namespace) -> None:
    """Time the workloads; print a table, and write it as JSON if a file is named."""
    names = list(WORKLOADS) if args.workload is None else args.workload.split(",")
    for name in names:
        if name not in WORKLOADS:
            raise ValueError(f"--workload: got {name!r}; {suggest(name, WORKLOADS)}")
    if args.out:
        check_folder(Path(args.out).parent)
    core = pin(args.core)  # before JAX starts its threads
    about = environment() | {"core": core, "quick": args.quick}
    console = make_console()
    console.print(f"{about['device']}, {about['precision']}, kfjax {about['versions']['kfjax']}")
    rows = _measure(names, quick=args.quick, rounds=args.rounds)
    console.print(_table(rows))
    if args.out:
        write_json(args.out, {"about": about, "rows": rows})
        console.print(f"Wrote {args.out}.")


def _measure(names: list[str], *, quick: bool, rounds: int) -> dict[str, dict[str, Any]]:
    """Compile all workloads, then time them in turn."""
    calls = {}
    rows = {}
    first = {}
    for name in names:
        workload = WORKLOADS[name]
        size = workload.quick if quick else workload.size
        problem = jax.block_until_ready(workload.problem(size))
        calls[name] = functools.partial(jax.jit(workload.solve(size)), problem)
        first[name] = first_call(calls[name])[1]
        rows[name] = {"text": workload.text, "size": size._asdict()}
    for name, samples in in_turn(calls, rounds).items():
        wall, processor = (quartiles(clock) for clock in samples.T)
        compiling = np.maximum(first[name] - np.median(samples, axis=0), 0)
        rows[name] |= {
            "wall_ms": wall,
            "processor_ms": processor,
            "compile_s": compiling.round(3).tolist(),
        }
    return rows


def _table(rows: dict[str, dict[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.caption = CAPTION
    table.caption_justify = "left"
    for heading in ("workload", "what", "size"):
        table.add_column(heading)
    for heading in ("median", "quartiles", "least", "processor", "comp. s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, row in rows.items():
        wall = row["wall_ms"]
        spread = f"{_number(wall['lower'])} - {_number(wall['upper'])}"
        times = (
            _number(wall["median"]),
            spread,
            _number(wall["minimum"]),
            _number(row["processor_ms"]["median"]),
        )
        table.add_row(
            name, row["text"], Size(**row["size"]).text, *times, f"{row['compile_s'][0]:.1f}"
        )
    return table


def _number(milliseconds: float) -> str:
    """Return milliseconds with three digits."""
    return f"{milliseconds:#.3g}" if milliseconds < 100 else f"{milliseconds:.0f}"
