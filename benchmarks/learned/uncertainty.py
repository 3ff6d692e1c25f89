"""Consistency of every learned filter with a covariance, on the problems of the recipe."""

import functools

import jax
import numpy as np

import kfjax as kf
from benchmarks.learned import recipe
from benchmarks.learned.calibration import (
    OF_ANEES,
    OF_COVERAGE,
    by_thirds,
    calibration_targets,
)
from benchmarks.learned.recipe import HORIZON, LONGER, RECIPE, guessed
from benchmarks.learned.recipe_problems import PROBLEMS, records
from benchmarks.learned.results import Measured, Study

LATER = f"ANEES, {LONGER} horizons"
LATER_COVERAGE = f"coverage, {LONGER} horizons"
COLUMNS = (*OF_ANEES, LATER, *OF_COVERAGE, LATER_COVERAGE)
UPDATES = 150  # by the likelihood of true states, after as many by squared error
SEEDS = 2
GUESSED, TUNED = "EKF, guessed noise", "EKF, two factors tuned"
TEACHER = "EKF, noise of the data"


@functools.cache
def drawn(name):
    """Return training, validation and test records with true states; the test is unseen."""
    problem = PROBLEMS[name]()
    sizes = (RECIPE.trajectories, HORIZON), (64, HORIZON), (200, LONGER * HORIZON)
    return [records(problem, jax.random.key(10 + i), *size) for i, size in enumerate(sizes)]


def calibrated(name, filter, params):
    """Return ANEES and coverage: within the horizon by thirds, and up to ten times it."""
    space = PROBLEMS[name]().model.state_space
    test = drawn(name)[2]
    errors, within = _consistency(filter, space, params, test)
    values = {}
    for names, later, sums in (
        (OF_ANEES, LATER, errors),
        (OF_COVERAGE, LATER_COVERAGE, within),
    ):
        total, count = (np.asarray(a, np.float64) for a in sums)
        inside = total[:, :HORIZON], count[:, :HORIZON]
        values |= by_thirds(names, inside)
        values[later] = round(float(total.sum() / count.sum()), 4)
    return {column: values[column] for column in COLUMNS}


@functools.partial(jax.jit, static_argnums=0)
def _consistency(filter, space, params, data):
    """Return sums of normalised errors, and of states within 90 % intervals, [N, T]."""

    def one(trajectory):
        return kf.data.run_trajectory(filter, params, trajectory).outputs

    estimate = jax.vmap(one)(data)
    given = (data.xs, estimate.mean, estimate.cov)
    errors = kf.evaluation.nees(*given, difference=space.difference)
    within = kf.evaluation.coverage(*given, probability=0.9, difference=space.difference)
    return errors, kf.evaluation.Sums(within.total.sum(-1), within.count.sum(-1))


def classical(name, tune, quick):
    """Return the row of the extended Kalman filter with the guessed noise, or tuned from there."""
    model = guessed(PROBLEMS[name]().model)
    if tune:
        train, validation, _ = drawn(name)
        options = {"validation": validation, "key": jax.random.key(0)}
        updates = 10 if quick else 60
        model = kf.training.tune(kf.extended(), model, train, updates=updates, **options).params
    return Measured(calibrated(name, kf.extended(), model))


def teacher(name):
    """Return the row of the filter that the recipe imitates."""
    return Measured(calibrated(name, kf.extended(), PROBLEMS[name]().model))


def network(name, make, quick):
    """Return the row of a filter with a network, trained by error and then by likelihood."""
    train, validation, _ = drawn(name)
    model = guessed(PROBLEMS[name]().model)
    method = make(model)
    keys = jax.random.split(jax.random.key(1), SEEDS)
    params = jax.vmap(lambda key: kf.learned.init_params(key, method, model))(keys)
    updates = 5 if quick else UPDATES
    scale = recipe.lessons(name, RECIPE.trajectories).scale
    shared = {"data": train, "validation": validation, "updates": updates}
    shared["optimizer"] = kf.training.clipped_adam(
        kf.training.Cosine(RECIPE.learning_rate / 2, updates, warmup=0.1)
    )
    losses = kf.training.state_mse(method, scale=scale), kf.training.nll(method)
    fitted = kf.training.fit_stages(
        None,
        params,
        [shared | {"loss": loss} for loss in losses],
        key=keys,
        batch_size=RECIPE.batch_size,
        reports=20,
    )
    return _of_seeds(name, method, fitted)


def in_the_model(name, make, quick):
    """Return the row of an extended Kalman filter whose model has learned parts."""
    train, validation, _ = drawn(name)
    updates = 5 if quick else UPDATES
    schedule = kf.training.Cosine(RECIPE.learning_rate, updates, warmup=0.1)
    found = []
    for key in jax.random.split(jax.random.key(1), SEEDS):
        model, learn = make(guessed(PROBLEMS[name]().model), train, key)
        fitted = kf.learned.refine(
            kf.extended(),
            model,
            train,
            key=key,
            learn=learn,
            updates=updates,
            validation=validation,
            batch_size=RECIPE.batch_size,
            optimizer=kf.training.clipped_adam(schedule),
            reports=20,
        )
        found.append((fitted.params, fitted.history, fitted.update))
    each = [calibrated(name, kf.extended(), params) for params, _, _ in found]
    told = {
        "last_tenth": [recipe.ended(history) for _, history, _ in found],
        "best_steps": [int(update) for _, _, update in found],
    }
    return Measured(_joined(each), {"updates": updates} | told)


def distilled(name, quick):
    """Return the row of the corrected gain of the recipe, which never saw a true state."""
    settings = recipe.QUICK if quick else RECIPE
    student, fitted = recipe.trained(name, "f, h and their derivatives", settings)
    return _of_seeds(name, student.filter, fitted)


def _of_seeds(name, filter, fitted):
    runs = [fitted.run(seed) for seed in range(len(fitted.update))]
    each = [calibrated(name, filter, run.params) for run in runs]
    told = {
        "last_tenth": [recipe.ended(run.history) for run in runs],
        "best_steps": [int(run.update) for run in runs],
    }
    return Measured(_joined(each), told)


def _joined(each):
    """Return the values of all seeds by column; "infinite" where a seed broke down."""
    values = {column: [one[column] for one in each] for column in COLUMNS}
    return {
        column: found if np.isfinite(found).all() else "infinite"
        for column, found in values.items()
    }


def recursive(model):
    """Return the Recursive KalmanNet with a network of moderate size."""
    n, m = model.n, model.R.shape[-1]
    gain = kf.learned.Architecture2(n, m, in_mult=2, out_mult=2)
    scale = float(np.sqrt(np.diag(model.Q)).mean())
    return kf.learned.recursive_kalman_net(gain, scale=scale)


def split(model):
    """Return the Split-KalmanNet."""
    return kf.learned.split_kalman_net(model.n, model.R.shape[-1], hidden=16)


def corrected(model):
    """Return the gain that starts at the extended Kalman filter."""
    return kf.learned.corrected_gain(model.n, model.R.shape[-1], hidden=16)


def noisy(model, train, key):
    """Return a model whose Q and R are networks of the state."""
    centre, spread = (np.asarray(fn(train.xs, axis=(0, 1))) for fn in (np.mean, np.std))
    options = {"context": kf.learned.state_context, "size": model.n, "key": key}
    return kf.learned.context_noise(model, centre=centre, spread=spread, **options), ()


def residual(model, train, key):
    """Return a model with a linear correction of f, whose Q and R are learned beside it."""
    del key
    p = 0 if train.us is None else int(np.prod(train.us.shape[2:]))
    model = kf.learned.residual_model(model, "f", kf.learned.Polynomial(1), inputs=p)
    return kf.learned.fit_residual(model, train), ("Q", "R")


LEARNED = {
    "distilled, without true states": distilled,
    "gain that starts at the EKF": functools.partial(network, make=corrected),
    "Split-KalmanNet": functools.partial(network, make=split),
    "learned noise": functools.partial(in_the_model, make=noisy),
    "residual of f, Q and R": functools.partial(in_the_model, make=residual),
    "Recursive KalmanNet": functools.partial(network, make=recursive),
}


def rows(quick):
    """Return the rows of the study."""
    table = {}
    for name in PROBLEMS:
        table[f"{name}: {TEACHER}"] = functools.partial(teacher, name)
        table[f"{name}: {GUESSED}"] = functools.partial(classical, name, False, quick)
        table[f"{name}: {TUNED}"] = functools.partial(classical, name, True, quick)
        for row, make in LEARNED.items():
            table[f"{name}: {row}"] = functools.partial(make, name, quick=quick)
    return table


def not_measured(values):
    """Return how many rows are missing."""
    wanted = rows(quick=False)
    missing = len(wanted.keys() - values.rows.keys())
    if not missing:
        return ""
    return (
        f"{missing} of {len(wanted)} rows are not measured yet; the command above goes on with"
        " them."
    )


def of_the_satellite(values):
    """Return what the teacher's own consistency on the satellite means for its student."""
    overall, first = (values(f"satellite: {TEACHER}", column) for column in OF_ANEES[:2])
    student = values("satellite: distilled, without true states", OF_ANEES[0])
    assert first > overall > 1.1
    assert abs(student - overall) < 0.1
    return (
        f"The teacher itself is overconfident on the satellite (ANEES {overall:.2f}), most of all"
        f" in the first third ({first:.2f}), and its student has the same fault ({student:.2f})."
    )


def of_the_recursive_net(values):
    """Return what is known of the Recursive KalmanNet where it broke down."""
    found = [values.rows.get(f"{name}: Recursive KalmanNet", {}) for name in PROBLEMS]
    if "infinite" not in [row.get(LATER) for row in found]:
        return ""
    return (
        "The Recursive KalmanNet broke down beyond the horizon. It starts from a gain of zero and"
        " in the units of the data; whether more updates would help was not tried."
    )


STUDY = Study(
    "Uncertainty of learned filters on the problems of the recipe",
    f"""\
Every learned filter with a covariance starts from a model whose Q is ten times too large and \
whose R is ten times too small, and is chosen on validation records alone. Networks have {UPDATES} \
updates by squared error and {UPDATES} by the likelihood of the true states, learned noise and \
residuals {UPDATES} by the latter, with {SEEDS} seeds; the distilled filter is that of the recipe. \
Tests are {HORIZON} steps, in thirds, and {LONGER} times as many. An ANEES of 1 and a coverage of \
0.9 are right; an ANEES above 1 means that errors are larger than the filter says, an infinite one \
that it broke down.""",
    COLUMNS,
    rows,
    targets=calibration_targets(lambda row: "EKF, " not in row),
    notes=(not_measured, of_the_satellite, of_the_recursive_net),
    digits=2,
)
