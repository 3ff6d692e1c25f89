"""Measure Monte Carlo studies of growing size, a million trajectories with an interruption, and data from disk.

python -m benchmarks.scale [--quick] [--out DIR]

It writes scale.json and RESULTS.md. A million takes minutes; if this command is killed, the next
one goes on.
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

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SIZES = (10_000, 30_000, 100_000)
MILLION = 1_000_000
DISK = 1024  # MiB


def child(*arguments):
    """Start a measurement."""
    command = [sys.executable, "-m", "benchmarks.scale.child", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def result(run):
    """Wait for a measurement."""
    text, _ = run.communicate()
    if run.returncode:
        sys.exit(f"a measurement failed with code {run.returncode}")
    return json.loads(text.splitlines()[-1])


def done(folder):
    """How many trials are in a folder of partial results."""
    return sum(int(path.stem.split("_")[2]) for path in folder.glob("trials_*.npz"))


def interrupted(count, folder):
    """Run a study, kill it when a third is done, and go on."""
    begin, run = time.perf_counter(), child("trials", count, folder)
    while run.poll() is None and done(folder) < count / 3:
        time.sleep(0.2)
    if run.poll() is None:
        run.send_signal(signal.SIGKILL)
        run.wait()
    killed = {"killed_after": done(folder), "seconds_before": time.perf_counter() - begin}
    size = sum(path.stat().st_size for path in folder.iterdir()) / 2**20
    return (
        killed
        | result(child("trials", count, folder))
        | {"files": size * count / killed["killed_after"]}
    )


def measure(out, quick):
    """All measurements, each in its own process."""
    sizes = SIZES[:1] if quick else SIZES
    work = out / "work"
    work.mkdir(parents=True, exist_ok=True)
    growing = []
    for size in sizes:
        growing.append(result(child("trials", size)))
        print(growing[-1], flush=True)
    million = interrupted(20_000 if quick else MILLION, work / "trials")
    print(million, flush=True)
    shutil.rmtree(work / "disk", ignore_errors=True)
    disk = result(child("disk", 64 if quick else DISK, work / "disk"))
    print(disk, flush=True)
    shutil.rmtree(work)
    versions = {name: importlib.metadata.version(name) for name in ("jax", "numpy")}
    about = {
        "machine": f"{os.cpu_count()} shared {platform.machine()} cores",
        "quick": quick,
        "versions": versions,
    }
    return about | {"growing": growing, "million": million, "disk": disk}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the results")
    parser.add_argument("--quick", action="store_true", help="few trajectories: does it run at all")
    arguments = parser.parse_args()
    out = arguments.out.absolute()
    results = measure(out, arguments.quick)
    files.write(out / "scale.json", results, rows="growing")
    (out / "RESULTS.md").write_text(page(results))


if __name__ == "__main__":
    main()
