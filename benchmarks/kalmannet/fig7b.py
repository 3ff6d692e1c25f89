"""Fig. 7b: a linear system whose F, or H, is rotated against the design model's."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

import kfjax as kf
from benchmarks.kalmannet.data import drawn, published
from benchmarks.kalmannet.figures import against_noise, one_legend, panels
from benchmarks.kalmannet.judging import judged, shifted, tune
from benchmarks.kalmannet.study import Row, Study, Target
from benchmarks.training import Budget, train
from benchmarks.trajectories import shortened, simulated

STEPS = 20
TRUE, WRONG, TUNED, OKF = (
    "floor: KF, true model",
    "KF, design model",
    "KF, Q tuned",
    "OKF: all of Q and R tuned",
)
LEAST, RESIDUAL, KALMAN_NET = "KF, least squares", "KF, learned residual", "KalmanNet C2"


class Case(NamedTuple):
    """A mismatch, at 1 / r^2 = 0 dB; every other level is the same problem in other units.

    Attributes:
        part: "f" or "h", which is rotated.
        degrees: by how much.
        order: "left" is R F, "right" F R.
        nu: q^2 / r^2 in dB.
        data: the published set, None to simulate.
    """

    part: str
    degrees: int
    order: str
    nu: int
    data: str | None = None

    @property
    def design(self):
        """What filters are told."""
        return kf.systems.canonical(
            2, q_std=10 ** (self.nu / 20), r_std=1.0, prior=kf.systems.known(jnp.zeros(2))
        )

    @property
    def truth(self):
        """What the data come from."""
        matrix = getattr(self.design, self.part).A
        return self.design.replace(
            **{self.part: kf.Linear(kf.systems.rotate(matrix, self.degrees, self.order))}
        )


CASES = {
    f"{name}, {degrees} degrees": Case("f", degrees, order, 0)
    for name, order in (("R F", "left"), ("F R", "right"))
    for degrees in (10, 20)
} | {
    "R H, 10 degrees": Case("h", 10, "left", 0),
    "official F R, 10 degrees": Case("f", 10, "right", -20, "lin2x2_Frot10_r0_T20"),
    "official R H, 10 degrees": Case("h", 10, "left", -20, "lin2x2_Hrot10_r0_T100"),
}


@functools.cache
def parts(name):
    """Return the parts of a case, all from x_0 = 0."""
    case = CASES[name]
    if case.data is not None:
        return published(case.data)
    return drawn(list(CASES).index(name), case.truth, (1000, 100, 10), STEPS)


def tests(name, size):
    """Return test data by condition, in units of r, and the level by which their errors are to be lowered."""
    if CASES[name].data is not None:
        return {name: (parts(name).test, 0)}
    keys = {level: jax.random.key(1000 + level) for level in size.levels}
    data = {level: simulated(key, CASES[name].truth, 1000, STEPS) for level, key in keys.items()}
    return {f"{name}, {level} dB": (data[level], level) for level in size.levels}


def rows(size):
    return {name: functools.partial(each, size, make) for name, make in MAKERS.items()}


def each(size, make):
    """Return a row over all cases; `make(size, case, parts) -> (filter, params, settings, seeds)`."""
    cells, told = {}, {}
    cases = [name for name in CASES if parts(name) is not None]
    for name in cases[: size.choose(1, None, None)]:
        method, params, told[name], seeds = make(size, CASES[name], parts(name))
        for condition, (data, level) in tests(name, size).items():
            cells[condition] = shifted(judged(method, params, data, seeds=seeds), -level)
    return Row(cells, told)


def known(which):
    """Return what makes a KF of a model that is known."""
    return lambda size, case, data: (kf.kalman(), getattr(case, which), {}, None)  # noqa: ARG005


def tuned(**options):
    """Return what tunes the KF of the design model."""

    def make(size, case, data):
        model, settings = tune(
            kf.kalman(), case.design, data, updates=size.choose(10, 60, 100), **options
        )
        return kf.kalman(), model, settings, None

    return make


def noise_of(case):
    """The covariance that goes with what is rotated."""
    return {"f": "Q", "h": "R"}[case.part]


def least_squares(size, case, data):
    """Fit the rotated matrix, and its noise, to the labels."""
    del size
    fitted = kf.learned.fit_labelled(case.design, data.train, (case.part, noise_of(case)))
    return kf.kalman(), fitted, {case.part: getattr(fitted, case.part).A}, None


def residual(size, case, data):
    """Fit an affine function that is added to what the design model says, and its noise."""
    del size
    model = kf.learned.residual_model(case.design, case.part, kf.learned.Polynomial(1))
    model = kf.learned.fit_residual(model, data.train)
    return (
        kf.extended(),
        kf.learned.fit_labelled(model, data.train, (noise_of(case),)),
        {"degree": 1},
        None,
    )


def network(size, case, data):
    """Train KalmanNet."""
    budget = size.budget(Budget(size.choose(400, 2200, 8000), split=size.choose(0, 800, 2000)))
    method = kf.learned.published("C2", n=2, m=2)
    fitted = train(method, case.design, shortened(data, STEPS), budget)
    return method, fitted.params, budget._asdict() | {"best_steps": fitted.update}, budget.seeds


MAKERS = {
    WRONG: known("design"),
    TUNED: tuned(structure="scalar"),
    OKF: tuned(),
    KALMAN_NET: network,
    RESIDUAL: residual,
    LEAST: least_squares,
    TRUE: known("truth"),
}
OFFICIAL_F, OFFICIAL_H = "official F R, 10 degrees", "official R H, 10 degrees"
REFERENCE = {
    WRONG: {OFFICIAL_F: 23.833, OFFICIAL_H: 0.926},
    TRUE: {OFFICIAL_F: -6.594, OFFICIAL_H: -7.394},
}


def verdict(results):
    tuned = [-gap for gap in results.gaps(KALMAN_NET, TUNED).values()]
    of_F = [name for name in results.conditions if name.startswith(("R F", "F R"))]
    gains = {
        row: [results(WRONG, name) - results(row, name) for name in of_F]
        for row in (TUNED, OKF, KALMAN_NET)
    }
    low, high = ({row: f(values) for row, values in gains.items()} for f in (min, max))
    return (
        "Least squares for the rotated matrix and a plain KF are best, at most"
        f" {results.gap(LEAST, TRUE):.3f} dB above"
        f" the KF that knows it; with F rotated KalmanNet gains {low[KALMAN_NET]:.1f} to"
        f" {high[KALMAN_NET]:.1f} dB on"
        f" the KF with the wrong F (the paper: 3 dB), tuning Q alone {low[TUNED]:.1f} to"
        f" {high[TUNED]:.1f}, and"
        f" KalmanNet is {results.gap(KALMAN_NET, LEAST):.1f} dB above least squares at worst, and"
        " between"
        f" {max(tuned):.1f} below and {-min(tuned):.1f} above the KF with Q tuned: the claim stands"
        " against a KF that"
        " nobody tuned, not against one whose F is fitted to the same labels."
    )


def draw(results):
    names = [name for name, case in CASES.items() if case.data is None]
    figure, axes = panels(len(names), width=3.6)
    for ax, name in zip(axes, names, strict=True):
        rows = (WRONG, TUNED, OKF, KALMAN_NET, LEAST, TRUE)
        against_noise(ax, results, rows, lambda level, name=name: f"{name}, {level} dB", name)
    one_legend(figure, axes)
    return figure


STUDY = Study(
    "Fig. 7b: a rotated evolution matrix",
    "2 x 2, F = [[1, 1], [0, 1]], H = I, T = 20, nu = 0 dB, x_0 = 0; filters are told the F that is"
    " not rotated. The"
    " paper prints R F, its published data are F R: both are here, as well as a rotated H (ours,"
    " not the paper's) and"
    " the published sets, which have nu = -20 dB (for the rotated H T = 100; networks are trained"
    " on the first 20)."
    " 1000 trajectories to train on, 100 to choose on, 1000 others to test on at each level."
    " **Scale-equivariance is"
    " used**: with x_0 = 0 and nu fixed, noise of another level is the same problem in other units,"
    " so that every"
    " estimator is trained or tuned at 1/r² = 0 dB and run at the others in units of r, on"
    " trajectories drawn anew."
    " Our choices: 800 batches of pieces of 5 steps, then 2200 of 20 steps, 32 each (full size:"
    " 2000 and 8000), Adam at"
    " 2e-3 falling as a cosine in each.",
    rows,
    verdict,
    reference=REFERENCE,
    floor=TRUE,
    targets=(
        Target(
            "Best estimator within 0.1 dB of the KF that knows the truth",
            lambda r: r.gap(LEAST, TRUE),
            0.1,
        ),
        Target(
            "Reference filters within 0.05 dB on the official sets",
            lambda r: r.off_any(REFERENCE),
            0.05,
        ),
    ),
    notes=(
        "The paper's figure has no numbers to read off, but for the gain of 3 dB that its text"
        " claims.",
        (
            "Where F is rotated in our data, KalmanNet's validation loss still fell near the last"
            " of the 2200 batches"
            " (best_steps in the JSON file): longer training brings it closer. What is hard at 20"
            " degrees is to hold a"
            " gain: the wrong F is off by many r there, and a gain that is off by a twentieth hands"
            " as much of that on"
            " as the noise is."
        ),
    ),
    draw=draw,
)
