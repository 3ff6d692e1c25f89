"""Time and memory of fits of N series, each N in a process of its own, and of one long series."""

import argparse
import json
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np

import kfjax as kf
from benchmarks.structural.series import monthly

LONG = 100_000  # steps
REPEATS = 10
CHUNK = 1000  # series that are written together
FILE = re.compile(r"series_\d+_(\d+)\.npz")


def model():
    """Return level + season of 12 + noise."""
    st = kf.structural
    return st.level(1.0) + st.seasonal(12, 1.0) + st.irregular(1.0)


def fitted(count, folder):
    """Fit count series, continuing where an earlier call ended; return time and memory."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [FILE.fullmatch(path.name) for path in folder.iterdir()]
    before = sum(int(name[1]) for name in names if name)
    data = kf.Dataset(monthly(count))
    begin = time.process_time()
    fits = kf.training.fit_many(
        kf.exact_diffuse(), model(), data, chunk=CHUNK, resume=folder, progress=False
    )
    return {
        "series": count,
        "fitted": count - before,
        "seconds": time.process_time() - begin,
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "converged": float(fits.converged.mean()),
    }


def long_series(steps=LONG):
    """Return the time of the likelihood of one long series, and how its loop is compiled."""
    ys = np.random.default_rng(0).normal(size=(steps, 1)).cumsum(0)

    def total(stds):
        values = dict(zip(model().parameters, stds, strict=True))
        return kf.log_likelihood(kf.exact_diffuse(), model().with_parameters(values), ys)

    row = {"steps": steps}
    stds = jax.numpy.ones(3)
    for name, function in (("value", total), ("gradient", jax.grad(total))):
        compiled = jax.jit(function)
        jax.block_until_ready(compiled(stds))
        begin = time.process_time()
        for _ in range(REPEATS):
            jax.block_until_ready(compiled(stds))
        row[name] = (time.process_time() - begin) / REPEATS
    row["one_kernel"] = all(loop.one_kernel for loop in kf.describe_loops(total, stds))
    return row


def of_processes(counts, folder):
    """Return the results of `fitted` for each count, each by a process of its own."""
    rows = []
    for count in counts:
        command = [sys.executable, "-m", "benchmarks.structural.scaling", str(count), str(folder)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    return rows


def main():
    """Print the results of one count."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("count", type=int)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    print(json.dumps(fitted(args.count, args.folder / str(args.count))))


if __name__ == "__main__":
    main()
