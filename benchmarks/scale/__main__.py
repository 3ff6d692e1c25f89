"""Measure Monte Carlo studies of growing size, an interrupted one, and training on data on disk.

    python -m benchmarks.scale [--quick] [--out DIR]
    python -m benchmarks.scale --page                 only the page

It writes scale.json and RESULTS.md. A million trajectories take minutes; if this command is killed,
the next run continues.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import files
from benchmarks.scale.page import page
from benchmarks.scale.plotting import draw

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SIZES = (10_000, 30_000, 100_000)
MILLION = 1_000_000
DISK = 1024  # MiB


def child(*arguments):
    """Start a measurement in its own process."""
    command = [sys.executable, "-m", "benchmarks.scale.child", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def result(run):
    """Wait for a measurement and return its result."""
    text, _ = run.communicate()
    if run.returncode:
        sys.exit(f"a measurement failed with code {run.returncode}")
    return json.loads(text.splitlines()[-1])


def done(folder):
    """Return the number of trials in a folder of partial results."""
    return sum(int(path.stem.split("_")[2]) for path in folder.glob("trials_*.npz"))


def interrupted(count, folder):
    """Run a study, kill it when a third is done, and run it again to the end."""
    begin = time.perf_counter()
    run = child("trials", count, folder)
    while run.poll() is None and done(folder) < count / 3:
        time.sleep(0.2)
    if run.poll() is None:
        run.send_signal(signal.SIGKILL)
        run.wait()
    killed_after = done(folder)
    seconds = time.perf_counter() - begin
    size = sum(path.stat().st_size for path in folder.iterdir()) / 2**20
    rest = result(child("trials", count, folder))
    interruption = {"killed_after": killed_after, "seconds_before": seconds}
    return interruption | rest | {"files": size * count / killed_after}


def measure(out, quick):
    """Run all measurements, each in its own process."""
    work = out / "unfinished_scale"  # of this command alone, and removed at the end
    work.mkdir(parents=True, exist_ok=True)
    growing = []
    for size in SIZES[:1] if quick else SIZES:
        growing.append(result(child("trials", size)))
        print(growing[-1], flush=True)
    million = interrupted(20_000 if quick else MILLION, work / "trials")
    print(million, flush=True)
    shutil.rmtree(work / "disk", ignore_errors=True)
    disk = result(child("disk", 64 if quick else DISK, work / "disk"))
    print(disk, flush=True)
    shutil.rmtree(work)
    return {
        "machine": f"{os.cpu_count()} shared {platform.machine()} cores",
        "quick": quick,
        "versions": {name: importlib.metadata.version(name) for name in ("jax", "numpy")},
        "growing": growing,
        "million": million,
        "disk": disk,
    }


def main():
    """Measure, or only write the page of stored results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the results")
    quick = "few trajectories: only show that everything runs"
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--page", action="store_true", help="only write the page again")
    arguments = parser.parse_args()
    out = arguments.out.absolute()
    if not arguments.page:
        results = measure(out, arguments.quick)
        files.write(out / "scale.json", results, rows="growing")
    results = files.read(out / "scale.json")
    draw(out, results)
    (out / "RESULTS.md").write_text(page(results))


if __name__ == "__main__":
    main()
