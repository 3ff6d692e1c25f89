"""Fig. 8: the nonlinear toy model, with its own parameters and with wrong ones."""

import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp

import kfjax as kf
from benchmarks.kalmannet.data import drawn
from benchmarks.kalmannet.figures import against_noise, one_legend, panels
from benchmarks.kalmannet.judging import errors, judged, tune
from benchmarks.kalmannet.study import Row, Study, Target, Verdict, worst
from benchmarks.training import Budget, train
from benchmarks.trajectories import shortened

STEPS, CUT = 100, 20  # of test and training trajectories: f forgets within a few steps
EKF = "EKF"
TUNED = "OKF: EKF, Q and R tuned"
ITERATED = "iterated EKF"
UKF = "UKF"
UKF_TUNED = "UKF, Q and R tuned"
PF = "PF, 1000 particles"
KALMAN_NET = "KalmanNet C2"
STARTED = "gain that starts at the EKF"
RECURRENT = "MB RNN, scaled"
FLOOR = "floor: exact posterior mean"
# these know f, h and labelled trajectories, and cost little
FAIR = (TUNED, UKF_TUNED, KALMAN_NET, STARTED, RECURRENT)
INFORMATION = ("full", "partial")
PARTICLES = 1000
POINTS = 1501
NETWORK = kf.learned.RecurrentStack(2, (48,), encode=48)


def levels(size):
    """Return 1 / r^2 in dB: the range of the paper's figure, which other studies do not share."""
    return size.choose((0,), (-12, 0, 20), (-12, -6, 0, 10, 20))


@functools.cache
def model(information, level):
    """Return the toy model with full or partial information."""
    std = 10 ** (-level / 20)
    return kf.systems.toy(information, q_std=std, r_std=std, prior=kf.systems.known(jnp.ones(2)))


@functools.cache
def parts(size, level):
    """Return the parts of a level; the truth has the parameters of full information."""
    counts = size.choose((100, 50, 20), (2000, 100, 100), (2000, 200, 500))
    return drawn(100 + level, model("full", level), counts, STEPS)


def rows(size):
    """Return the rows of the study."""
    return {name: functools.partial(each, size, make) for name, make in MAKERS.items()}


class Setting(NamedTuple):
    """The problem that an estimator is made for.

    Attributes:
        truth: the model that the data come from.
        design: the model that filters know.
        data: training, validation and test parts.
    """

    truth: kf.StateSpaceModel
    design: kf.StateSpaceModel
    data: kf.data.Parts


def each(size, make):
    """Return a row over all conditions; `make(size, setting) -> (Cell, settings)`."""
    cells, told = {}, {}
    for information, level in itertools.product(INFORMATION, levels(size)):
        setting = Setting(model("full", level), model(information, level), parts(size, level))
        name = f"{information}, {level} dB"
        cells[name], told[name] = make(size, setting)
    return Row(cells, told)


def plain(method):
    """Return a function that judges a filter of the design model."""
    return lambda _, at: (judged(method, at.design, at.data.test, chunk=20), {})


def tuned(method):
    """Return a function that tunes Q and R of the design model and judges the filter."""

    def make(size, at):
        found, settings = search(size, method, at, size.seeds)
        return judged(method, found, at.data.test, seeds=size.seeds), settings

    return make


def search(size, method, at, seeds):
    """Return the tuned models, with a leading axis over seeds, and the settings to report."""
    options = {"updates": size.choose(10, 60, 150), "seeds": seeds}
    return tune(method, at.design, shortened(at.data, CUT), **options)


def network(size, method, design, data, budget, constants=None):
    """Train a network from all seeds and judge it."""
    if size.name == "full":
        budget = budget._replace(updates=5 * budget.updates)
    budget = size.budget(budget)
    fitted = train(method, design, shortened(data, CUT), budget, constants)
    cell = judged(method, fitted.params, data.test, seeds=budget.seeds)
    return cell, budget._asdict() | {"best_steps": fitted.update, "refused": fitted.refused}


def kalman_net(size, at):
    """Train KalmanNet C2."""
    method = kf.learned.published("C2", n=2, m=2)
    return network(size, method, at.design, at.data, Budget(150))


def started(size, at):
    """Train a correction of the gain of the tuned EKF."""
    found, _ = search(size, kf.extended(), at, 1)
    found = jax.tree.map(lambda leaf: leaf[0], found)
    places = kf.learned.state_scales(found, at.data.train.xs)
    method = kf.learned.corrected_gain(2, 2, context=True)
    return network(size, method, found, at.data, Budget(400, batch_size=64), places)


def recurrent(size, at):
    """Train a recurrent network that sees y and f(x), and corrects the latter."""
    method = kf.learned.recurrent(NETWORK, 2, ("y", "prediction"), "update")
    scales = kf.learned.series_scales(at.design, at.data.train)
    return network(size, method, at.design, at.data, Budget(600, batch_size=64), scales)


def floor(size, at):
    """Judge the exact posterior mean under the true model.

    The components are independent, so that a grid for each of them suffices.
    """
    del size
    test = at.data.test
    series = jnp.moveaxis(jnp.asarray(test.ys), 2, 1).reshape(-1, test.steps)
    means = on_grid(at.truth, series).reshape(test.size, 2, test.steps)
    return errors(jnp.moveaxis(means, 1, 2), test), {"points": POINTS}


@jax.jit
def on_grid(truth, series):
    """Return posterior means [B, T] of scalar series [B, T], by Bayes' rule on a grid."""
    q2, r2 = truth.Q[0, 0], truth.R[0, 0]
    reach = 1 + 6 * jnp.sqrt(q2)
    grid = jnp.linspace(-reach, reach, POINTS)
    moved = truth.f(grid, None)
    transition = jax.nn.softmax(-0.5 * (grid[None, :] - moved[:, None]) ** 2 / q2, axis=1)
    start = jax.nn.softmax(-0.5 * (grid - truth.f(jnp.ones(1), None)) ** 2 / q2)

    def step(prior, y):
        likelihood = -0.5 * (y[:, None] - truth.h(grid, None)[None, :]) ** 2 / r2
        posterior = jax.nn.softmax(jnp.log(prior + 1e-30) + likelihood, axis=1)
        return kf.linalg.matmul(posterior, transition), kf.linalg.matmul(posterior, grid)

    return jax.lax.scan(step, jnp.tile(start[None], (len(series), 1)), series.T)[1].T


MAKERS = {
    EKF: plain(kf.extended()),
    TUNED: tuned(kf.extended()),
    ITERATED: plain(kf.extended(iterations=5)),
    UKF: plain(kf.unscented()),
    UKF_TUNED: tuned(kf.unscented()),
    PF: plain(kf.particle(PARTICLES)),
    KALMAN_NET: kalman_net,
    STARTED: started,
    RECURRENT: recurrent,
    FLOOR: floor,
}


def behind(results, row, information):
    """Return the largest distance of a row above the floor."""
    gaps = results.gaps(row, FLOOR)
    return worst(gap for name, gap in gaps.items() if name.startswith(information))


def where_noise_is_largest(results, other):
    """Return how far KalmanNet is above another row where the noise is largest, by information."""
    level = min(found_levels(results))
    names = {kind: f"{kind}, {level} dB" for kind in INFORMATION}
    return {kind: results(KALMAN_NET, name) - results(other, name) for kind, name in names.items()}


def verdicts(results):
    """Compare KalmanNet with the EKF where the noise is largest, untuned and tuned."""
    plain, tuned_one = (where_noise_is_largest(results, row) for row in (EKF, TUNED))
    return (
        Verdict(
            "Where the noise is largest, KalmanNet is better than the EKF",
            _gaps_told(plain),
            max(plain.values()) < 0,
        ),
        Verdict(
            "Where the noise is largest, KalmanNet is better than the EKF with tuned Q and R",
            _gaps_told(tuned_one),
            max(tuned_one.values()) < 0,
        ),
    )


def _gaps_told(gaps):
    return ", ".join(f"{gap:+.2f} dB ({kind} information)" for kind, gap in gaps.items())


def details(results):
    """Describe the distances from the floor, and which rows beat KalmanNet."""
    return tuple(_told(results, kind) for kind in INFORMATION)


def _told(results, kind):
    """Return sentences on the distances from the floor."""
    gaps = {row: behind(results, row, kind) for row in FAIR}
    told = "; ".join(f"{row}: {gap:.2f} dB" for row, gap in sorted(gaps.items(), key=_second))
    better = [f'"{row}"' for row, gap in gaps.items() if gap < gaps[KALMAN_NET]]
    return (
        f"With {kind} information the largest distances above the floor are {told}."
        f" Better than KalmanNet by this measure: {', '.join(better) or 'none'}."
    )


def _second(pair):
    return pair[1]


def found_levels(results):
    """Return the noise levels of the stored conditions."""
    return sorted({int(name.split(", ")[1].split()[0]) for name in results.conditions})


def draw(results):
    """Draw the errors, and the distances from the floor, against the noise."""
    figure, axes = panels(4, width=4)
    found = found_levels(results)
    for ax, (above, kind) in zip(axes, itertools.product((None, FLOOR), INFORMATION), strict=True):
        condition = f"{kind}, {{}} dB".format
        title = f"{kind} information"
        against_noise(ax, results, list(results.rows), condition, title, found, above)
    one_legend(figure, axes)
    return figure


STUDY = Study(
    "Fig. 8: a nonlinear toy model",
    """\
f(x) = alpha sin(beta x + phi) + delta and h(x) = a (b x + c)² by component, with the parameters \
of the paper's Table II; n = m = 2, T = 100, nu = 0 dB. With partial information, the filters have \
the wrong alpha, beta, phi and delta. Observations do not show the sign of x.

Our choices: x_0 = (1, 1) is known. There are 2000 trajectories for training (cut to 20 steps, \
since f forgets faster than that), 100 for validation and 100 for testing. Networks are trained \
for every level, since h is not linear: KalmanNet on 150 batches of 32, the gain that starts at \
the tuned EKF on 400 of 64, and the recurrent network (48 units) on 600 of 64.

The floor is the error of the exact posterior mean under the true model, by Bayes' rule on a grid \
for each of the independent components. Particle filters with up to 16,000 particles did not reach \
it at -12 dB, where the posterior has two distant modes.""",
    rows,
    verdicts,
    details,
    floor=FLOOR,
    targets=(
        Target(
            "MB RNN within 0.3 dB of the floor at every level, full information",
            lambda r: r.widest_gap(RECURRENT, FLOOR, start="full"),
            at_most=0.3,
        ),
    ),
    form="""\
The paper's figure shows the MSE in dB against 1/r² in dB, from -12 to 20 dB, in one panel for \
full and one for partial information. So do our first two panels; the other two show distances \
from the floor.""",
    notes=("The paper's figure has no printed numbers.",),
    draw=draw,
)
