"""One measurement in a process of its own, since the most memory it ever took is that of its whole life.

python -m benchmarks.scale.child trials COUNT [FOLDER]   Monte Carlo: EKF on the Lorenz attractor, 100 steps
python -m benchmarks.scale.child disk MIB FOLDER         training and evaluation on data that stay on disk

The result is the last line of the output, in JSON.
"""

import json
import sys
import time
from pathlib import Path

import jax
import numpy as np

import kfjax as kf

MODEL = kf.systems.lorenz(q_std=0.1, r_std=0.1)
STEPS = 100
CHUNK = 5000  # trajectories at a time
PART = 2000  # trajectories written at a time
GAIN = kf.ConstantGainParams(kf.systems.constant_velocity(), np.array([[0.5], [0.3]], np.float32))


def resident():
    """The memory of this process now, and the most it ever was, MiB."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return [int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM")]


def now():
    """Wall time and processor time of all threads, in seconds."""
    return np.array([time.perf_counter(), time.process_time()])


def since(begin):
    """What has passed since `begin`."""
    return (now() - begin).tolist()


def trials(count, folder=None):
    """A study of so many trials, after one of a single chunk, which compiles."""
    begin, (base, _) = now(), resident()

    def study(trials, **options):
        key = jax.random.key(0)
        return kf.monte_carlo(
            key, MODEL, kf.extended(), MODEL, trials=trials, steps=STEPS, chunk=CHUNK, **options
        )

    study(CHUNK)
    start, _ = since(begin)
    begin = now()
    result = study(count, resume=folder)
    wall, processor = since(begin)
    return {
        "trials": result.trajectories,
        "start": start,
        "seconds": wall,
        "processor": processor,
        "base": base,
        "peak": resident()[1],
        "mse_db": list(result.mse_db()),
        "anees": list(result.anees()),
        "failed": result.failed,
    }


def disk(size, folder):
    """What training for one epoch and evaluation add to the memory of a process that has done both on a small part."""
    begin, each = now(), PART * STEPS * 3 * 4 / 2**20
    count = round(size / each)
    kf.data.write_folder(folder, (noise(seed) for seed in range(count)))
    writing, _ = since(begin)
    data = kf.data.read_folder(folder)
    both(data[:PART])
    before, _ = resident()
    training, evaluation = both(data)
    return {
        "trials": data.size,
        "file": sum(path.stat().st_size for path in Path(folder).iterdir()) / 2**20,
        "growth": resident()[1] - before,
        "writing": writing,
        "training": training,
        "evaluation": evaluation,
    }


def both(data):
    """One epoch in batches of 100, then an evaluation; the seconds of each."""
    begin, loss = now(), kf.training.state_mse(kf.constant_gain())
    options = {"key": jax.random.key(0), "updates": data.size // 100, "batch_size": 100, "reports": 4}
    kf.training.fit(loss, GAIN, data, learn=kf.ConstantGainParams(False, True), **options)
    training, _ = since(begin)
    begin = now()
    kf.compare({"gain": (kf.constant_gain(), GAIN)}, data, chunk=1000, repeats=1)
    return training, since(begin)[0]


def noise(seed):
    """A part of a data set; it is only to be read."""
    draw = np.random.default_rng(seed).normal(size=(PART, STEPS, 3)).astype(np.float32)
    return kf.Dataset(draw[..., :1], draw[..., 1:])


def main():
    kind, size, *rest = sys.argv[1:]
    print(json.dumps({"trials": trials, "disk": disk}[kind](int(size), *rest)), flush=True)


if __name__ == "__main__":
    main()
