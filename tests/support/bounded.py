"""Memory of training and evaluation on data from disk; test_folder runs this in its own process.

python tests/support/bounded.py FOLDER   prints the growth of the resident memory in MiB, and the
sizes of the files
"""

import sys
from pathlib import Path

import jax
import numpy as np

import kfjax as kf

MODEL = kf.systems.constant_velocity()
PARAMS = kf.ConstantGainParams(MODEL, np.array([[0.5], [0.3]], np.float32))
PART, STEPS = 2000, 400


def part(seed):
    """Part of a data set of noise."""
    draw = np.random.default_rng(seed).normal(size=(PART, STEPS, 3)).astype(np.float32)
    return kf.Dataset(draw[..., :1], draw[..., 1:])


def resident():
    """The present and the peak memory of this process in MiB."""
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return [int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM")]


def study(data):
    """Train, and evaluate."""
    loss, options = (
        kf.training.state_mse(kf.constant_gain()),
        {"key": jax.random.key(0), "batch_size": 100, "reports": 2},
    )
    kf.training.fit(
        loss,
        PARAMS,
        data,
        updates=data.size // 100,
        learn=kf.ConstantGainParams(False, True),
        **options,
    )
    return kf.compare({"gain": (kf.constant_gain(), PARAMS)}, data, chunk=500, repeats=1)


def main():
    folder, parts = sys.argv[1], int(sys.argv[2])
    kf.data.write_folder(folder, (part(seed) for seed in range(parts)))
    study(part(0)[:1000])  # compiles, and allocates the memory that this needs
    data = kf.data.read_folder(folder)
    before, _ = resident()
    study(data)
    print(
        resident()[1] - before, sum(file.stat().st_size for file in Path(folder).iterdir()) / 2**20
    )


if __name__ == "__main__":
    main()
