"""Students of a free clock on ten times the horizon: levels, increments, feedback, innovations."""

import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import kfjax as kf
from benchmarks import files
from benchmarks.imitation.problem import SETTLE, receiver
from benchmarks.imitation.study import rounded
from benchmarks.reporting import versions

KEYS = (11, 12, 13)  # one per run
RMSPROP = optax.rmsprop(3e-3, decay=0.9, eps=1e-7)  # as in Keras, at a constant rate


class Size(NamedTuple):
    """How large the study is.

    Attributes:
        count: number of training trajectories; validation and test have half of them each.
        horizon: steps of a training trajectory.
        longer: length of a test trajectory, in horizons.
        updates: number of updates.
        hidden: units of every student.
        tuning: updates of the tuning of the teacher; 0 leaves it as it is.
    """

    count: int = 256
    horizon: int = 50
    longer: int = 10
    updates: int = 3000
    hidden: int = 16
    tuning: int = 100


FULL = Size()


class Lessons(NamedTuple):
    """The teacher, and its estimates on training, validation and test trajectories.

    Attributes:
        teacher: (filter, params).
        untuned: its params before tuning.
        train: a `Dataset` whose xs are the teacher's estimates.
        validation: likewise.
        test: trajectories with true states.
        estimates: the teacher's estimates on them.
        std: the teacher's standard deviations [6].
    """

    teacher: Any
    untuned: Any
    train: Any
    validation: Any
    test: Any
    estimates: Any
    std: Any


def lessons(size):
    """Simulate trajectories, tune the teacher on them, and record its estimates."""
    model = receiver(keep=1.0)

    def simulated(seed, count, steps):
        keys = jax.random.split(jax.random.key(seed), count)
        xs, ys = jax.vmap(lambda key: kf.simulate(key, model, steps))(keys)
        return kf.Dataset(ys, xs)

    train = simulated(20, size.count, size.horizon)
    validation = simulated(21, size.count // 2, size.horizon)
    test = simulated(22, size.count // 2, size.longer * size.horizon)
    params = model
    if size.tuning:
        options = {"structure": "diagonal", "objective": "mse", "updates": size.tuning}
        key = jax.random.key(23)
        found = kf.training.tune(
            kf.extended(), model, train, validation=validation, key=key, **options
        )
        params = found.params
    teacher = (kf.extended(), params)
    said = [kf.training.imitation_targets(teacher, data) for data in (train, validation, test)]
    variances = np.diagonal(np.asarray(said[0].cov), axis1=-2, axis2=-1)
    std = np.sqrt(variances.mean(axis=(0, 1)))
    return Lessons(
        teacher, model, said[0].data, said[1].data, test, np.asarray(said[2].data.xs), std
    )


def students(size):
    """Return the students by name, as functions of a key and the lessons."""
    hidden = (size.hidden,)

    def regressor(**options):
        def make(key, given):
            student = kf.learned.sequence_regressor(6, 7, hidden, **options)
            scales = kf.learned.series_scales(given.untuned, given.train)
            return student, kf.learned.init_params(key, student, given.untuned, scales)

        return make

    def recursion(key, given):
        return kf.learned.imitator(key, given.train, hidden, output="recursion")

    def innovations(key, given):
        network = kf.learned.RecurrentStack(6, hidden, "gru")
        student = kf.learned.recurrent(network, 7, ("F2", "F4"), "update")
        scales = kf.learned.measure_scales(given.untuned, given.train.ys)
        scales |= {"x": {"centre": jnp.zeros(6), "spread": jnp.asarray(given.std, jnp.float32)}}
        return student, kf.learned.init_params(key, student, given.untuned, scales)

    return {
        "level": regressor(feedback=False, output="level"),
        "increment, fed back": regressor(feedback=True, output="increment"),
        "correction, from innovations": innovations,
        "level, fed back": regressor(feedback=True, output="level"),
        "added to a linear recursion": recursion,
    }


def rehearse(path, student="increment, fed back"):
    """Train a tiny student for a few updates, to show that everything runs."""
    tiny = Size(count=8, horizon=30, longer=2, updates=2, hidden=4, tuning=0)
    measure(path, tiny, KEYS[:2], (student,))


def measure(path, size=FULL, keys=KEYS, only=None):
    """Train every student that is not in the file yet, and store its results on the long test."""
    given = lessons(size)
    rows = (files.read(path) or {"rows": {}})["rows"]
    if "teacher" not in rows:
        rows |= _references(size, given)
        _keep(path, rows)
    for name, make in students(size).items():
        if name not in rows and (only is None or name in only):
            rows[name] = _trained(make, size, given, keys)
            _keep(path, rows)
            print(name, rows[name]["seconds"], "s", flush=True)


def _references(size, given):
    """Return the rows of the teacher, of the same filter before tuning, and of the recursion."""
    recursion = kf.training.fit_recursion(given.train).run(given.test)
    untuned = kf.training.imitation_targets((kf.extended(), given.untuned), given.test).data.xs
    found = {
        "teacher": given.estimates,
        "EKF before tuning": np.asarray(untuned),
        "linear recursion": recursion,
    }
    return {name: _figures(size, given, values[None]) for name, values in found.items()}


def _trained(make, size, given, keys):
    """Train a student from several keys at once, and return its row."""
    began = time.process_time()
    drawn = [make(jax.random.key(key), given) for key in keys]
    student = drawn[0][0]
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(params for _, params in drawn))
    fitted = kf.training.fit(
        kf.training.state_mse(student, scale=given.std),
        params,
        given.train,
        key=jnp.stack([jax.random.key(k) for k in keys]),
        updates=size.updates,
        batch_size=min(16, size.count),
        optimizer=RMSPROP,
        validation=given.validation,
    )

    def estimates(params, ys):
        return kf.run(student, params, ys).outputs.mean

    of_all = jax.jit(jax.vmap(jax.vmap(estimates, (None, 0)), (0, None)))
    row = _figures(size, given, np.asarray(of_all(fitted.params, jnp.asarray(given.test.ys))))
    return row | {
        "updates": size.updates,
        "error": rounded(np.sqrt(np.asarray(fitted.history.validation))),
        "seconds": round(time.process_time() - began, 1),
    }


def _figures(size, given, estimates):
    """Return errors to the teacher and to the truth, over time and by part, one per run."""
    truth = np.asarray(given.test.xs)

    def over_time(values):  # [runs, N, T, 6] -> [runs, T]
        return np.mean((values / given.std) ** 2, axis=(1, 3))

    to_teacher = over_time(estimates - given.estimates)
    to_truth = over_time(estimates - truth)
    inside = slice(SETTLE, size.horizon)
    outside = slice(-size.horizon, None)
    every = max(1, size.longer * size.horizon // 100)
    points = to_teacher.reshape(len(estimates), -1, every).mean(axis=2)
    parts = {"inside": inside, "outside": outside}
    row = {
        f"{about}_{name}": rounded(np.sqrt(values[:, part].mean(axis=1)))
        for about, values in (("to_teacher", to_teacher), ("to_truth", to_truth))
        for name, part in parts.items()
    }
    return row | {"over_time": rounded(np.sqrt(np.median(points, axis=0)))}


def _keep(path, rows):
    """Write the rows into the file."""
    files.write(path, {"study": "longer", "versions": versions(), "rows": rows}, rows="rows")
