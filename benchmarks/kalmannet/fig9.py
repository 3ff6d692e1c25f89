"""Fig. 9: the Lorenz attractor with h = I, short trajectories and networks that run for 2000 steps."""

import functools

import jax
import numpy as np

import kfjax as kf
from benchmarks.kalmannet import lorenz
from benchmarks.kalmannet.data import drawn, published
from benchmarks.kalmannet.figures import against_noise, panels
from benchmarks.kalmannet.lorenz import EKF, KALMAN_NET, OEKF, SEARCHED
from benchmarks.kalmannet.study import Study, Target
from benchmarks.training import Budget
from benchmarks.trajectories import shortened, simulated

SHORT, LONG = 30, 2000
NAMES = {0: "T = 30, nu = 0 dB", -20: "T = 30, nu = -20 dB"}
LONG_NAME = "trained at 30, run at 2000"
SHORT_NET, ROBUST = "KalmanNet C2", "KalmanNet, half of the starts off"
BUDGET = Budget(150, split=150, learning_rate=1e-3)
OFFICIAL = {
    "official, T = 20, nu = 0, 0 dB": ("lorenz_id_v0_r0_T20", 0, 0),
    "official, T = 20, nu = 0, 20 dB": ("lorenz_id_v0_r20_T20", 20, 0),
    "official, T = 100, nu = -20, 0 dB": ("lorenz_id_v-20_r0_T100", 0, -20),
}


@functools.cache
def cases(size):
    """Return the cases; what is trained at nu = -20 dB runs on long ones, too. The authors' sets have other lengths."""
    counts = size.choose((50, 10, 10), (1000, 100, 500), (1000, 100, 1000))

    def case(level, nu):
        model = lorenz.start(level, nu)
        parts = drawn(400 + level + nu, model, counts, SHORT)
        tests = {f"{NAMES[nu]}, {level} dB": parts.test}
        if nu == -20:
            long = simulated(jax.random.key(450 + level), model, 10, size.choose(100, LONG, LONG))
            tests[f"{LONG_NAME}, {level} dB"] = long
        return lorenz.Case(model, model, parts, tests)

    def theirs(name, file, level, nu):
        model, parts = lorenz.start(level, nu), published(file)
        return lorenz.Case(model, model, shortened(parts, SHORT), {name: parts.test})

    ours = [case(level, nu) for nu in NAMES for level in size.levels]
    there = {name: which for name, which in OFFICIAL.items() if published(which[0])}
    return (
        ours + [theirs(name, *which) for name, which in there.items()]
        if size.name != "quick"
        else ours
    )


def half_off(model, data):
    """Return data twice, the second time with starts that are off by the noise of an observation."""
    start = np.broadcast_to(np.asarray(model.prior.mean), (data.size, model.n))
    std = float(model.R[0, 0]) ** 0.5
    off = start + std * np.asarray(jax.random.normal(jax.random.key(data.size), start.shape))
    twice = (np.concatenate([array, array]) for array in (data.ys, data.xs))
    return kf.Dataset(*twice, prior_mean=np.concatenate([start, off]))


def whole(size, budget):
    """Return the row of KalmanNet C2, which sees whole trajectories (V1), on the short ones of ours."""
    budget = size.budget(budget._replace(split=0))
    short = [
        case._replace(
            tests={name: test for name, test in case.tests.items() if name.startswith("T = ")}
        )
        for case in cases(size)
        if next(iter(case.tests)) not in OFFICIAL
    ]
    return lorenz.each(short, lambda case: lorenz.trained("C2", case.parts, case, budget))


def robust(size, budget):
    """Return the row of KalmanNet that has learned to find back."""

    def make(case):
        train, validation = (half_off(case.design, part) for part in case.parts[:2])
        return lorenz.trained(
            "C3", kf.data.Parts(train, validation, None), case, size.budget(budget)
        )

    return lorenz.each([case for case in cases(size) if len(case.tests) > 1], make)


def rows(size):
    budget = BUDGET._replace(steps=1500, split=1000) if size.name == "full" else BUDGET
    found = lorenz.rows(size, lambda: cases(size), network="C3", budget=budget)
    return found | {SHORT_NET: lambda: whole(size, budget), ROBUST: lambda: robust(size, budget)}


REFERENCE = {EKF: dict(zip(OFFICIAL, (-2.138, -22.176, -10.26), strict=True))}


def verdict(results):
    long = [name for name in results.conditions if name.startswith(LONG_NAME)]
    worst = max(results(EKF, name) for name in long)
    gaps = {
        row: max(results(row, name) - results(SEARCHED, name) for name in long)
        for row in (KALMAN_NET, ROBUST, OEKF)
    }
    return (
        f"Run for 2000 steps, the EKF with the q of the truth is at {worst:.1f} dB at worst: the"
        " paper's EKF above 30"
        f" dB {'is seen here, too' if worst > 30 else 'is none with true Jacobians'}. KalmanNet,"
        " trained at 30 steps,"
        f" is {gaps[KALMAN_NET]:+.2f} dB from the EKF with q searched at worst, {gaps[ROBUST]:+.2f}"
        " where half of the"
        f" starts were off in training, the OEKF {gaps[OEKF]:+.2f}."
    )


def draw(results):
    names = [*NAMES.values(), LONG_NAME]
    figure, axes = panels(len(names), width=4.6)
    for ax, name in zip(axes, names, strict=True):
        against_noise(
            ax, results, list(results.rows), lambda level, name=name: f"{name}, {level} dB", name
        )
    return figure


STUDY = Study(
    "Fig. 9: the Lorenz attractor, h = I",
    "J = 5 and dt = 0.02 in data and filters, x_0 = (1, 1, 1), known. 1000 trajectories of 30 steps"
    " to train on, 100 to"
    " choose on, 500 to test on (Fig. 9a), and 10 of 2000 steps for the networks and the q of nu ="
    " -20 dB (Fig. 9b)."
    " KalmanNet C3 is trained on pieces of 5 steps (150 batches of 32), then on the 30 (as many;"
    " full size: 1000 and"
    " 1500), C2 on the 30 alone (150; full size: 1500), and run on 30. Our addition: C3, but half"
    " of the trajectories"
    " of the second part and of the validation data start off by the noise of an observation, so"
    " that the network"
    " learns to find back.",
    rows,
    verdict,
    reference=REFERENCE,
    targets=(
        Target("EKFs within 0.05 dB of the reference", lambda r: r.off(EKF, REFERENCE), 0.05),
    ),
    notes=(
        "The paper's figure has no numbers to read off.",
        (
            "Thirty steps from one known state show a network neither most of the attractor nor an"
            " error that it made"
            " long before: more batches on them did not bring it closer over 2000 steps, starts"
            " that are off did."
        ),
    ),
    draw=draw,
)
