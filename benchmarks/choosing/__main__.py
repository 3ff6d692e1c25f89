"""Run every filter on ten problems, and write the page and the picture of the results.

    python -m benchmarks.choosing [--problem NAME] [--again] [--out DIR]
    python -m benchmarks.choosing --quick [--out DIR]   small sizes: only show that it runs
    python -m benchmarks.choosing --page                only the page and the picture

Results are saved after every problem, so that an interrupted run can continue.
"""

import argparse
import tempfile
import time
from pathlib import Path

import jax

from benchmarks import files, reporting
from benchmarks.choosing import published, study
from benchmarks.choosing.page import write_page
from benchmarks.choosing.problems import problems

HERE = Path(__file__).parent
NAME = "choosing.json"
TABLES = ("problems", "published", "rows")


def say(text):
    """Print a progress line."""
    print(text, flush=True)


def add(path, about, seconds, **more):
    """Add rows to the stored results, which are read again, since others may have added some."""
    results = read(path) | about
    for key, rows in more.items():
        new = {row["problem"] for row in rows}
        kept = [row for row in results.get(key, []) if row["problem"] not in new]
        results[key] = kept + list(rows)
    results["processor_seconds"] = round(results.get("processor_seconds", 0) + seconds)
    flat = [{"table": key} | row for key in TABLES for row in results.get(key, [])]
    head = {key: value for key, value in results.items() if key not in TABLES}
    files.write(path, head | {"rows": flat}, rows="rows")


def read(path):
    """Return the stored results, {} without any."""
    stored = files.read(path)
    if stored is None:
        return {}
    rows = stored.pop("rows")
    for row in rows:
        stored.setdefault(row.pop("table"), []).append(row)
    return stored


def measure(path, size, *, only="", again=False):
    """Measure the problems that are not stored yet."""
    results = read(path)
    if results.get("size") not in (None, list(size)):
        raise SystemExit(f"{path} has results of another size; remove it, or use --out")
    about = {
        "size": list(size),
        "machine": reporting.machine(),
        "versions": reporting.versions(),
    }
    done = {row["problem"] for row in results.get("problems", [])}
    for name, problem in problems().items():
        if only not in name or (name in done and not again):
            continue
        begin = time.process_time()
        description, rows = study.measured(problem, size, say)
        seconds = time.process_time() - begin
        say(f"{name}: {seconds:.0f} s of processor time")
        add(path, about, seconds, problems=[description], rows=rows)
    if "published" not in results or (again and not only):
        begin = time.process_time()
        rows = list(published.rows(min(size.tests, 100), size.steps))
        add(path, about, time.process_time() - begin, published=rows)


def main():
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, into a new folder")
    parser.add_argument("--page", action="store_true", help="only write the page")
    parser.add_argument("--again", action="store_true", help="also measure what is stored")
    parser.add_argument("--problem", default="", help="only problems whose name contains this")
    parser.add_argument("--out", type=Path, help="folder of the results")
    arguments = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    out = arguments.out or HERE
    if arguments.quick and arguments.out is None:
        out = Path(tempfile.mkdtemp(prefix="choosing_"))
    size = study.QUICK if arguments.quick else study.FULL
    if not arguments.page:
        measure(out / NAME, size, only=arguments.problem, again=arguments.again)
    write_page(out, read(out / NAME))
    say(f"wrote {out / 'RESULTS.md'}")


if __name__ == "__main__":
    main()
