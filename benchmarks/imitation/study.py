"""Run the experiments step by step, and store every curve."""

import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import files
from benchmarks.imitation.experiments import Group
from benchmarks.imitation.network import Shape
from benchmarks.imitation.problem import receiver, recorded, scaled, streams
from benchmarks.imitation.training import (
    EVERY,
    Data,
    Options,
    Setting,
    begin,
    dependence,
    options_of,
    test,
    train,
)
from benchmarks.reporting import versions

POINT = 2  # tests that are averaged into one point of a curve
LAGS = 40
WITH_DEPENDENCE = ("tiny", "base", "dropout", "3 layers", "asked, 3 layers")
TEST_ROWS, TEST_STEPS = 32, 120


def data_of(steps, rows=TEST_ROWS, test_steps=TEST_STEPS):
    """Return the training record and the test record of the receiver."""
    model = receiver()
    record = jax.jit(lambda key: recorded(key, model, steps))(jax.random.key(0))
    held_out = jax.jit(lambda key: streams(key, model, rows, test_steps))(jax.random.key(1))
    scales = [scaled(record, kind) for kind in ("standard", "unit")]
    return Data(record, held_out, jax.tree.map(lambda *a: jnp.stack(a), *scales))


def rehearse(path):
    """Train a tiny network for a few updates, to show that everything runs."""
    setting = Setting(Shape((4,)), rows=2)
    tiny = Group(setting, {"tiny": Options(feedback=1.0, increment=1.0, batches=10)}, (1,))
    data = data_of(200, rows=2, test_steps=LAGS + 20)
    extend(path, Path(path).parent, "tiny", tiny, data, POINT * EVERY)


def extend(path, states, name, group, data, updates):
    """Train a group up to a number of updates, from where it stopped, and store its curves.

    Args:
        path: the file of results.
        states: the folder of unfinished trainings.
        name: the name of the group.
        group: the `Group`.
        data: the `Data`.
        updates: the number of updates to reach.
    """
    setting, variants, seeds = group
    options = options_of(variants.values(), seeds)
    lanes = begin(setting, seeds * len(variants))
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds * len(variants)))
    curves = {"error": [], "loss": [], "gradients": []}
    left = Path(states) / f"{name.replace(' ', '_')}.npz"
    if left.exists():
        lanes, curves = _read(left, lanes)
    done = EVERY * len(curves["error"])
    began = time.process_time()
    while done < updates:
        lanes, loss, norms = train(setting, lanes, options, keys, data, done, EVERY)
        found = test(setting.shape, lanes, options, data)
        for key, value in (("error", found.error), ("loss", loss), ("gradients", norms)):
            curves[key].append(np.asarray(value))
        done += EVERY
        if done % (10 * EVERY) == 0 or done >= updates:
            _write(left, lanes, curves)
    seconds = time.process_time() - began
    slopes = None
    if name in WITH_DEPENDENCE:
        few = data._replace(test=jax.tree.map(lambda a: a[:8, : LAGS + 10], data.test))
        slopes = np.asarray(dependence(setting.shape, lanes, options, few))[:, :LAGS]
    rows = _rows(group, curves, test(setting.shape, lanes, options, data), slopes)
    _keep(path, name, rows, done, seconds)


def _write(path, lanes, curves):
    path.parent.mkdir(parents=True, exist_ok=True)
    leaves = {f"lanes{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(lanes))}
    unfinished = path.with_suffix(".new.npz")
    np.savez(unfinished, **leaves, **{key: np.stack(value) for key, value in curves.items()})
    unfinished.replace(path)


def _read(path, lanes):
    kept = np.load(path)
    leaves, structure = jax.tree.flatten(lanes)
    lanes = structure.unflatten([jnp.asarray(kept[f"lanes{i}"]) for i in range(len(leaves))])
    return lanes, {key: list(kept[key]) for key in ("error", "loss", "gradients")}


def _rows(group, curves, final, slopes):
    """Return one row per variant: curves of all seeds, and the results of the final test."""
    seeds = len(group.seeds)
    found = {}
    for number, name in enumerate(group.variants):
        lanes = slice(number * seeds, (number + 1) * seeds)
        error = np.stack(curves["error"])[:, lanes].T  # [seeds, tests]
        row = {
            "error": _points(error),
            "loss": _points(np.stack(curves["loss"])[:, lanes].T),
            "to_truth": final.to_truth[lanes],
            "held_out_loss": final.loss[lanes],
            "gradients": np.median(np.stack(curves["gradients"])[:, lanes], axis=(1)).T[:, ::10],
        }
        if slopes is not None:
            row["dependence"] = np.median(slopes[lanes], axis=0)
        found[name] = {key: rounded(value) for key, value in row.items()}
    return found


def _points(curve):
    """Return a curve [seeds, tests] with the means of neighbours."""
    tests = curve.shape[1] // POINT * POINT
    return curve[:, :tests].reshape(len(curve), -1, POINT).mean(axis=2)


def rounded(value):
    """Return numbers with three digits."""
    return [
        rounded(item) if np.ndim(item) else (float(f"{item:.3g}") if np.isfinite(item) else None)
        for item in np.asarray(value)
    ]


def _keep(path, name, rows, updates, seconds):
    """Add the rows of a group to the file."""
    kept = files.read(path) or {"study": "imitation", "point": POINT * EVERY, "rows": {}}
    for variant, row in rows.items():
        about = {"group": name, "updates": updates, "seconds": round(seconds, 1)}
        kept["rows"][variant] = about | row
    kept["versions"] = versions()
    files.write(path, kept, rows="rows")
