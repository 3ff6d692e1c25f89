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
from benchmarks.kalmannet.study import Row, Study, Target
from benchmarks.training import Budget, train
from benchmarks.trajectories import shortened

STEPS, CUT = 100, 20  # of test and training trajectories: f forgets within a few steps
EKF, TUNED, ITERATED, UKF = "EKF", "OKF: EKF, Q and R tuned", "iterated EKF", "UKF"
UKF_TUNED = "UKF, Q and R tuned"
PF, KALMAN_NET, STARTED, RECURRENT = (
    "PF, 1000 particles",
    "KalmanNet C2",
    "gain that starts at the EKF",
    "MB RNN, scaled",
)
FLOOR = "floor: exact posterior mean"
FAIR = (
    TUNED,
    UKF_TUNED,
    KALMAN_NET,
    STARTED,
    RECURRENT,
)  # know f, h and labelled trajectories, and cost little
INFORMATION = ("full", "partial")
PARTICLES, POINTS = 1000, 1501
NETWORK = kf.learned.RecurrentStack(2, (48,), encode=48)


def levels(size):
    """Return 1 / r^2 in dB; the figure's range, not that of the other studies."""
    return size.choose((0,), (-12, 0, 20), (-12, -6, 0, 10, 20))


@functools.cache
def model(information, level):
    std = 10 ** (-level / 20)
    return kf.systems.toy(information, q_std=std, r_std=std, prior=kf.systems.known(jnp.ones(2)))


@functools.cache
def parts(size, level):
    """Return the parts of a level; the truth has the parameters of full information."""
    return drawn(
        100 + level,
        model("full", level),
        size.choose((100, 50, 20), (2000, 100, 100), (2000, 200, 500)),
        STEPS,
    )


def rows(size):
    return {name: functools.partial(each, size, make) for name, make in MAKERS.items()}


class Setting(NamedTuple):
    """What an estimator is made for.

    Attributes:
        truth: what the data come from.
        design: the model that filters are told.
        data: the parts.
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
    """Return what runs a filter of the design model."""
    return lambda _, at: (judged(method, at.design, at.data.test, chunk=20), {})


def tuned(method):
    """Return what tunes Q and R of the design model."""

    def make(size, at):
        found, settings = search(size, method, at)
        return judged(method, found, at.data.test), settings

    return make


def search(size, method, at):
    """Return the tuned model, and the settings."""
    return tune(method, at.design, shortened(at.data, CUT), steps=size.choose(10, 60, 150))


def network(size, method, design, data, budget, constants=None):
    """Train all seeds of a network and judge it."""
    budget = size.budget(budget._replace(steps=5 * budget.steps) if size.name == "full" else budget)
    fitted = train(method, design, shortened(data, CUT), budget, constants)
    cell = judged(method, fitted.params, data.test, seeds=budget.seeds)
    return cell, budget._asdict() | {"best_steps": fitted.step, "refused": fitted.refused}


def kalman_net(size, at):
    return network(size, kf.learned.configuration("C2", n=2, m=2), at.design, at.data, Budget(150))


def started(size, at):
    """Train a correction of the gain of the tuned EKF."""
    found, _ = search(size, kf.extended(), at)
    places = kf.learned.state_scales(found, at.data.train.xs)
    method = kf.learned.corrected_gain(2, 2, context=True)
    return network(size, method, found, at.data, Budget(400, batch_size=64), places)


def recurrent(size, at):
    """Train a recurrent network that sees y and f(x), and corrects the latter."""
    method = kf.learned.recurrent(NETWORK, 2, ("y", "prediction"), "update")
    scales = kf.learned.series_scales(at.design, at.data.train)
    return network(size, method, at.design, at.data, Budget(600, batch_size=64), scales)


def floor(size, at):
    """Judge the exact posterior mean, whatever the design model is: components are independent, so that a grid does."""
    del size
    test = at.data.test
    series = jnp.moveaxis(jnp.asarray(test.ys), 2, 1).reshape(-1, test.steps)
    means = jnp.moveaxis(on_grid(at.truth, series).reshape(test.size, 2, test.steps), 1, 2)
    return errors(means, test), {"points": POINTS}


@jax.jit
def on_grid(truth, series):
    """Posterior means [B, T] of scalar series [B, T], by Bayes' rule on a grid."""
    q2, r2 = truth.Q[0, 0], truth.R[0, 0]
    reach = 1 + 6 * jnp.sqrt(q2)
    grid = jnp.linspace(-reach, reach, POINTS)
    transition = jax.nn.softmax(
        -0.5 * (grid[None, :] - truth.f(grid, None)[:, None]) ** 2 / q2, axis=1
    )
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
    """Return how far a row is above the floor at worst."""
    return max(
        gap for name, gap in results.gaps(row, FLOOR).items() if name.startswith(information)
    )


def verdict(results):
    best = {kind: min(FAIR, key=lambda row: behind(results, row, kind)) for kind in INFORMATION}
    told = {
        kind: f"{best[kind]} is best, at most {behind(results, best[kind], kind):.2f} dB above the floor (KalmanNet"
        f" {behind(results, KALMAN_NET, kind):.2f}, the tuned UKF"
        f" {behind(results, UKF_TUNED, kind):.2f}, the tuned EKF"
        f" {behind(results, TUNED, kind):.2f})"
        for kind in INFORMATION
    }
    lead = behind(results, KALMAN_NET, "full") - behind(results, UKF_TUNED, "full")
    return (
        f"With full information the {told['full']}; with partial information the {told['partial']}:"
        " the claim that"
        " KalmanNet beats the EKF where noise is large stands, but with full information a tuned"
        " UKF is"
        f" {abs(lead):.2f} dB {'better' if lead > 0 else 'worse'} than KalmanNet at worst, and"
        " other learned estimators"
        " are better than both."
    )


def draw(results):
    figure, axes = panels(4, width=4)
    found = sorted({int(name.split(", ")[1].split()[0]) for name in results.conditions})
    for ax, (above, kind) in zip(axes, itertools.product((None, FLOOR), INFORMATION), strict=True):
        title = f"{kind} information"
        against_noise(
            ax,
            results,
            list(results.rows),
            lambda level, k=kind: f"{k}, {level} dB",
            title,
            found,
            above,
        )
    one_legend(figure, axes)
    return figure


STUDY = Study(
    "Fig. 8: a nonlinear toy model",
    "f(x) = alpha sin(beta x + phi) + delta, h(x) = a (b x + c)² by component, Table II of the"
    " paper; n = m = 2,"
    " T = 100, nu = 0 dB. With partial information filters have the wrong alpha, beta, phi and"
    " delta. h does not tell"
    " the sign of x. Our choices: x_0 = (1, 1), known; 2000 trajectories to train on, cut to 20"
    " steps since f forgets"
    " faster, 100 to choose on, 100 to test on; one training per level, since h is not linear."
    " KalmanNet 150 batches of"
    " 32, the gain that starts at the tuned EKF 400 of 64, the recurrent network (48 units, sees y"
    " and f(x), corrects"
    " the latter) 600 of 64. The floor is the mean of the"
    " exact posterior under the truth, by Bayes' rule on a grid for each component, which are"
    " independent; particle"
    " filters with up to 16,000 particles did not reach it at -12 dB, where the posterior has two"
    " far modes.",
    rows,
    verdict,
    floor=FLOOR,
    targets=(
        Target(
            "Best estimator within 0.3 dB of the floor at every level, full information",
            lambda r: min(behind(r, row, "full") for row in FAIR),
            0.3,
        ),
    ),
    notes=("The paper's figure has no numbers to read off.",),
    draw=draw,
)
