"""How long all studies take at full size, estimated from the stored rows of the reduced size.

Every row is walked through at both sizes, with stand-ins for simulation, training, tuning and
judging that only count the steps that filters make. The time of a row is taken to grow with its
steps. Compilation time does not grow, so the estimate errs on the long side.
"""

import contextlib
import itertools
from types import SimpleNamespace
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

import kfjax as kf
from benchmarks import files
from benchmarks.kalmannet import judging, lorenz, store
from benchmarks.kalmannet.study import SIZES, Cell

FILE = "estimate.json"
GRADIENT = 3  # costs as many steps as a step without one
COARSE = 9  # points of the grid that tuning begins with
BATCH = 64  # trajectories per update of tuning
# the other studies have more seeds, but no more levels or data
COUNTED = (
    "table1",
    "fig7a",
    "fig7b",
    "fig8",
    "fig9",
    "fig10",
    "fig11",
    "fig12",
    "table3",
)


class Steps:
    """Stand-ins with the names of what they replace, which count the steps of filters."""

    def __init__(self):
        self.count = 0

    def train(self, filter, model, parts, budget, constants=None):
        """Count the steps of a training."""
        del filter, constants
        steps = parts.train.steps
        whole = min(budget.window or steps, steps) * (budget.updates + budget.likelihood)
        each = whole + budget.piece * budget.split
        self.count += GRADIENT * each * budget.batch_size * budget.seeds
        none = np.zeros(budget.seeds, int)
        history = SimpleNamespace(update=[0], validation=none)
        params = kf.learned.Learned(model, None)
        return SimpleNamespace(params=params, update=none, refused=none, history=history)

    def tune(self, filter, model, parts, *, seeds, updates, **options):
        """Count the steps of tuning."""
        del filter, options
        batch = min(BATCH, parts.train.size) * parts.train.steps
        self.count += seeds * batch * (GRADIENT * updates + COARSE)
        return jax.tree.map(lambda leaf: jnp.stack([leaf] * seeds), model), {}

    def judged(self, filter, params, data, *, seeds=None, chunk=None):
        """Count the steps of a filter over test data."""
        del filter, params, chunk
        seeds = seeds or 1
        self.count += seeds * data.size * data.steps
        return Cell([0.0] * seeds)

    def particle_floor(self, model, data):
        """Count the steps of one particle filter: their number is the same at all sizes."""
        return self.judged(None, model, data), 0

    def errors(self, means, data):
        """Count the steps of estimates that do not come from a filter."""
        del means
        return self.judged(None, None, data)

    def means(self, filter, params, data):
        """Return estimates, which only pictures need."""
        del filter, params
        return np.asarray(data.xs)

    def on_grid(self, truth, series):
        """Return estimates of scalar series."""
        del truth
        return series

    def along_truth(self, model, starts, states):
        """Return variances."""
        del model, starts
        return np.ones(len(states))

    def simulated(self, key, model, trajectories, steps, std=0.0):
        """Return random data of the right shapes."""
        del key, std
        return data_of(trajectories, steps, model.n, model.R.shape[0])

    def drawn(self, seed, model, counts, steps):
        """Return random parts of the right shapes."""
        del seed
        return kf.data.Parts(*(self.simulated(None, model, count, steps) for count in counts))

    def dense(self, seed, trajectories, steps):
        """Return random data of the attractor's shapes."""
        del seed
        return data_of(trajectories, steps, 3, 3)


def data_of(trajectories, steps, n, m):
    """Return random trajectories with n states and m channels, from the known x_0 = 1."""
    rng = np.random.default_rng(0)
    ys, xs = (rng.normal(size=(trajectories, steps, k)).astype(np.float32) for k in (m, n))
    return kf.Dataset(ys, xs, prior_mean=np.ones((trajectories, n), np.float32))


@contextlib.contextmanager
def counting(module):
    """Replace the work of a study, and of what it shares, by counting steps; yield the `Steps`."""
    steps = Steps()
    names = [name for name in vars(Steps) if not name.startswith("_")]
    _forget(module)
    with contextlib.ExitStack() as stack:
        for place, name in itertools.product((module, judging, lorenz), names):
            if hasattr(place, name):
                stack.enter_context(mock.patch.object(place, name, getattr(steps, name)))
        yield steps
    _forget(module)


def _forget(module):
    """Forget the data that a study keeps."""
    for found in vars(module).values():
        if hasattr(found, "cache_clear"):
            found.cache_clear()


def work(module, size):
    """Return the number of steps and of conditions of every row of a study."""
    found = {}
    with counting(module) as steps:
        for name, make in module.STUDY.rows(size).items():
            before = steps.count
            cells = make().cells
            found[name] = steps.count - before, len(cells)
    return found


def longer(name, stored):
    """Return how many times longer than its stored part each row takes at full size."""
    if name not in COUNTED:
        ratio = SIZES["full"].seeds / SIZES["reduced"].seeds
        return {row: ratio if seeds_of(found) > 1 else 1.0 for row, found in stored.items()}
    module = store.study_of(name)
    reduced, full = (work(module, SIZES[size]) for size in ("reduced", "full"))
    found = {}
    for row, (steps, conditions) in reduced.items():
        if row in stored:
            share = len(stored[row]["cells"]) / conditions
            found[row] = full[row][0] / steps / share if steps else 1.0
    return found


def seeds_of(row):
    """Return how many seeds a stored row has."""
    return max(len(cell["value"]) for cell in row["cells"].values())


def estimate(name, folder, elsewhere):
    """Return minutes of a study by size, and how many of its rows the estimate leaves out.

    Args:
        name: the study.
        folder: the folder of the reduced results.
        elsewhere: the folder of results at full size, whose finished rows are not counted.
    """
    stored = (store.load(folder, name) or {"rows": {}})["rows"]
    module = store.study_of(name)
    done = store.finished(elsewhere, name, SIZES["full"], store.code_of(module))
    ratios = longer(name, stored)
    rest = {row: stored[row]["seconds"] * ratio for row, ratio in ratios.items() if row not in done}
    left_out = set(module.STUDY.rows(SIZES["full"])) - set(ratios)
    return {
        "reduced": round(sum(row["seconds"] for row in stored.values()) / 60, 1),
        "full": round(sum(rest.values()) / 60, 1),
        "rows left out": len(left_out),
    }


def write(folder, elsewhere, names):
    """Estimate the studies, print and store what is found."""
    found = files.read(folder / FILE) or {}
    for name in names:
        found[name] = estimate(name, folder, elsewhere)
        print(f"{name}: {told(found[name])}", flush=True)
    files.write(folder / FILE, found)
    print(f"together: {told(together(found))}")


def together(found):
    """Return the sums over studies."""
    keys = ("reduced", "full", "rows left out")
    return {key: sum(one[key] for one in found.values()) for key in keys}


def told(minutes):
    """Return an estimate in words."""
    without = minutes["rows left out"]
    rest = f", without {without} rows that are not measured at the reduced size" if without else ""
    return (
        f"{minutes['reduced']:.0f} minutes at the reduced size, about"
        f" {minutes['full'] / 60:.1f} hours left at full size{rest}"
    )
