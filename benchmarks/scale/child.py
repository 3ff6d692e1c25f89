"""One measurement in its own process, whose peak memory is then that of the measurement.

python -m benchmarks.scale.child trials COUNT [FOLDER]   Monte Carlo: EKF, Lorenz attractor
python -m benchmarks.scale.child disk MIB FOLDER         training and evaluation on data on disk

The last line of the output is the result in JSON.
"""

import json
import sys
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
    """Return the current and the peak memory of this process, MiB."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return [int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM")]


def since(begin):
    """Return the wall and processor seconds since a reading of the clocks."""
    return (kf.evaluation.clocks() - begin).tolist()


def trials(count, folder=None):
    """Measure a study of `count` trials, after a study of a single chunk, which compiles."""
    begin = kf.evaluation.clocks()
    base, _ = resident()

    def study(trials, **options):
        options |= {"trials": trials, "steps": STEPS, "chunk": CHUNK}
        return kf.monte_carlo(jax.random.key(0), MODEL, kf.extended(), MODEL, **options)

    study(CHUNK)
    start, _ = since(begin)
    begin = kf.evaluation.clocks()
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
    """Measure training and evaluation on data on disk.

    Growth of memory is relative to the peak of the same work on a small part of the data.
    """
    begin = kf.evaluation.clocks()
    part = PART * STEPS * 3 * 4 / 2**20  # MiB
    kf.data.write_folder(folder, (noise(seed) for seed in range(round(size / part))))
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
    """Train for an epoch in batches of 100, evaluate, and return the seconds of each."""
    begin = kf.evaluation.clocks()
    options = {
        "key": jax.random.key(0),
        "updates": data.size // 100,
        "batch_size": 100,
        "reports": 4,
        "learn": kf.ConstantGainParams(False, True),
    }
    kf.training.fit(kf.training.state_mse(kf.constant_gain()), GAIN, data, **options)
    training, _ = since(begin)
    begin = kf.evaluation.clocks()
    kf.compare({"gain": (kf.constant_gain(), GAIN)}, data, chunk=1000, repeats=1)
    evaluation, _ = since(begin)
    return training, evaluation


def noise(seed):
    """Return a part of a data set whose values do not matter."""
    draw = np.random.default_rng(seed).normal(size=(PART, STEPS, 3)).astype(np.float32)
    return kf.Dataset(draw[..., :1], draw[..., 1:])


def main():
    """Run the measurement that the command line names."""
    kind, size, *rest = sys.argv[1:]
    measure = {"trials": trials, "disk": disk}[kind]
    print(json.dumps(measure(int(size), *rest)), flush=True)


if __name__ == "__main__":
    main()
