"""Table III, Fig. 13: decimated data, for which the step of every filter is too coarse."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import kfjax as kf
from benchmarks.decimation import FLOWS, START, dense
from benchmarks.estimates import means
from benchmarks.kalmannet import paper
from benchmarks.kalmannet.data import published
from benchmarks.kalmannet.figures import finish, panels
from benchmarks.kalmannet.judging import fixed, judged, trained
from benchmarks.kalmannet.lorenz import searched
from benchmarks.kalmannet.study import Cell, Row, Study, Target, Verdict
from benchmarks.kalmannet.unfinished import LENGTHS
from benchmarks.training import Budget
from benchmarks.trajectories import official_file
from kfjax.plotting import COLOURS

OFFICIAL, OWN = "the authors' trajectory", "independent trajectories"
J2 = "J = 2"
HALF = "J = 2 in two half-steps"
J5 = "J = 5"
RK4 = "Runge-Kutta"
FINE = "Runge-Kutta in two half-steps"
F = {
    J2: FLOWS[J2],
    HALF: FLOWS[HALF],
    J5: {"taylor_order": 5},
    RK4: {"integrator": "rk4"},
    FINE: {"integrator": "rk4", "substeps": 2},
}
CUBIC = "J = 5 + learned cubic"
COARSE = (J2, HALF, J5)  # the authors' f
ACCURATE = (RK4, CUBIC)
EKF = {name: f"EKF, {name}, q searched" for name in (*F, CUBIC)}
PF = {name: f"PF, {name}, q searched" for name in (J5, RK4)}
NETWORK = {name: f"KalmanNet C4, {name}" for name in (*COARSE, *ACCURATE)}
AUTHORS = "EKF, J = 2, q² = 0.15, the authors' form"
AUTHORS_RK4 = "EKF, Runge-Kutta, q² = 0.001, the authors' form"
OTHER_Q = "EKF, Runge-Kutta, q of independent trajectories"
WEIGHTS = "KalmanNet C4, the authors' weights and form"
FLOOR = "floor: Cramér-Rao"
DRAWN = (EKF[J5], EKF[RK4], EKF[CUBIC])  # rows of the figure
SET = "lorenz_decimated_size10_T3000"
LONGEST = 500
PARTICLES = 500
PARTICLE_GRID = (0.01, 0.03, 0.1, 0.3)
EXACT = 20  # Runge-Kutta steps in a step of the floor's exact flow
BUDGET = Budget(600, split=150, learning_rate=1e-3, window=50)


def design(name, **options):
    """Return the model with a flow; its prior is about x_0, or about the state of y_1."""
    defaults = {"prior": START, "q_std": 0.1, "r_std": 1.0}
    return kf.systems.lorenz(**defaults | F[name] | options)


@functools.cache
def data(size):
    """Return validation and test data by condition, and training data; x_0 is known everywhere."""
    steps = size.choose(100, 3000, 3000)
    counts = size.choose((4, 2, 2), (8, 4, 10), (16, 8, 10))
    train, validation, test = dense(1, sum(counts), steps).split(*counts)
    found = {OWN: (validation, test)}
    if parts := published(SET):
        theirs = _aligned(parts.validation, steps), _aligned(parts.test, steps)
        found = {OFFICIAL: theirs} | found
    return found, train


def _aligned(part, steps):
    """Use the first stored state, 1e-5 s after (1, 1, 1), as the start, not the first step."""
    return kf.Dataset(part.ys[:, 1:steps], part.xs[:, 1:steps], prior_mean=part.xs[:, 0])


def misaligned(name, q2):
    """Return the row of an EKF in the authors' form, on their set.

    (1, 1, 1) is known, and a prediction comes before y_1.
    """
    model = design(name, prior=kf.systems.known(jnp.ones(3)), q_std=q2**0.5)
    parts = published(SET)
    tests = {OFFICIAL: (model, parts.test)} if parts else {}
    return fixed(kf.extended(), tests, {"q^2": q2})


def tuned(method, model, size, *, drawn=False, **options):
    """Return the row of a filter whose q is searched on the validation data of every condition.

    If `drawn`, the row includes the path of the first independent test trajectory.
    """
    cells = {}
    told = {}
    curves = None
    for name, (validation, test) in data(size)[0].items():
        found, told[name] = searched(method, model, validation, **options)
        cells[name] = judged(method, found, test)
        if drawn and name == OWN:
            curves = {name: path(method, found, test)}
    return Row(cells, told, curves)


def extended(name, size):
    """Return the row of an EKF with a flow."""
    return tuned(kf.extended(), known(name, size), size, drawn=EKF[name] in DRAWN)


def with_other_q(size):
    """Return the row of the EKF with RK4 on the authors' set, with the q of the other column."""
    found = data(size)[0]
    model, settings = searched(kf.extended(), design(RK4), found[OWN][0])
    tests = {OFFICIAL: (model, found[OFFICIAL][1])} if OFFICIAL in found else {}
    return fixed(kf.extended(), tests, settings)


def path(method, params, test):
    """Return x and z of the first estimates of the first test trajectory."""
    at = np.asarray(means(method, params, test[:1]))[0, :500]
    return {"x": at[:, 0], "y": at[:, 2]}


@functools.cache
def known(name, size):
    """Return the model with a flow, or with J = 5 and a cubic fitted to one-step differences."""
    if name != CUBIC:
        return design(name)
    model = kf.learned.residual_model(design(J5), "f", kf.learned.Polynomial(3))
    return kf.learned.fit_residual(model, data(size)[1])


def network(name, size):
    """Return the row of KalmanNet with a flow, trained on windows of the training trajectories."""
    found, train = data(size)
    validation = kf.data.first_steps(found[OWN][0], 300)
    parts = kf.data.Parts(kf.data.pieces(train, LONGEST), validation, None)
    model = known(name, size)
    method = kf.learned.published("C4", n=3, m=3)
    tests = {condition: (model, test) for condition, (_, test) in found.items()}
    return trained(method, model, parts, tests, size.budget(BUDGET))


def authors_weights():
    """Return the row of the authors' trained network in their form.

    Its f takes two half-steps, and a prediction comes before y_1.
    """
    file = official_file("weights_arch2_lorenz_decimated")
    if not file.exists():
        return Row({})
    with np.load(file, allow_pickle=False) as weights:
        loaded = kf.learned.from_torch(dict(weights), wiring="original")
    model = design(HALF, prior=kf.systems.known(jnp.ones(3)))
    params = kf.learned.Learned(model, loaded.variables, loaded.constants)
    method = kf.learned.kalman_net(loaded.network)
    return fixed(method, {OFFICIAL: (params, published(SET).test)})


def cramer_rao(size):
    """Return the floor: the covariance of a filter with the true flow, linearised at the truth."""
    cells = {}
    for name, (_, test) in data(size)[0].items():
        with jax.enable_x64(True):
            exact = kf.systems.lorenz(
                integrator="rk4", substeps=EXACT, q_std=1e-9, r_std=1.0, prior=START
            )
            states = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), (test.prior_mean, test.xs))
            variances = np.asarray(along_truth(exact, *states))
        cells[name] = Cell([float(10 * np.log10(variances.mean()))])
    return Row(cells)


@jax.jit
def along_truth(model, starts, states):
    """Return mean variances [N] of filters whose mean is the truth.

    Args:
        model: the model.
        starts: x_0 of every trajectory, [N, n].
        states: x_1..x_T, [N, T, n].
    """

    def one(start, xs):
        at = model.replace(prior=kf.Gaussian(start, model.prior.cov))

        def step(P, pair):
            before, x = pair
            belief = kf.extended().predict(at, kf.Gaussian(before, P))
            after, _ = kf.extended().update(at, kf.Gaussian(x, belief.cov), x)
            return after.cov, jnp.trace(after.cov) / 3

        before = jnp.concatenate([start[None], xs[:-1]])
        _, variances = jax.lax.scan(step, at.prior.cov, (before, xs))
        return variances.mean()

    return jax.vmap(one)(starts, states)


def rows(size):
    """Return the rows of the study."""
    found = {AUTHORS: lambda: misaligned(J2, 0.15), AUTHORS_RK4: lambda: misaligned(RK4, 1e-3)}
    for name, row in EKF.items():
        found[row] = functools.partial(extended, name, size)
    found[OTHER_Q] = lambda: with_other_q(size)
    particles = kf.particle(size.choose(50, PARTICLES, PARTICLES))
    for name, row in PF.items():
        options = {"grid": PARTICLE_GRID}
        found[row] = functools.partial(tuned, particles, design(name), size, **options)
    found[WEIGHTS] = authors_weights
    for name, row in NETWORK.items():
        found[row] = functools.partial(network, name, size)
    found[FLOOR] = lambda: cramer_rao(size)
    return found


PAPER = {
    AUTHORS: {OFFICIAL: paper.DECIMATED["EKF"]},
    PF[J5]: {OFFICIAL: paper.DECIMATED["PF"]},
    WEIGHTS: {OFFICIAL: paper.DECIMATED["KalmanNet"]},
    NETWORK[HALF]: {OFFICIAL: paper.DECIMATED["KalmanNet"]},
}
REFERENCE = {
    AUTHORS: {OFFICIAL: -6.323},
    AUTHORS_RK4: {OFFICIAL: -15.06},
    EKF[RK4]: {OFFICIAL: -18.07},
}
CLAIMED = paper.DECIMATED["EKF"] - paper.DECIMATED["KalmanNet"]  # dB that KalmanNet gains


def gains(results, condition, flows):
    """Return the gain of KalmanNet over the EKF with the same f, by f."""
    return {f: results(EKF[f], condition) - results(NETWORK[f], condition) for f in flows}


def behind_rk4(results, condition):
    """Return the best KalmanNet with the authors' f, and how far the EKF with RK4 is below it."""
    row = results.best(condition, [NETWORK[f] for f in COARSE])
    return row, results(row, condition) - results(EKF[RK4], condition)


def verdicts(results):
    """Compare KalmanNet with EKFs that have its own f, and an accurate one."""
    claim = "With the same f, KalmanNet is better than the EKF, where f is"
    kinds = {"coarse": COARSE, "accurate": [f for f in ACCURATE if NETWORK[f] in results.rows]}
    found = []
    for kind, flows in kinds.items():
        same = gains(results, OWN, flows)
        told = ", ".join(f"{gain:.2f} dB ({f})" for f, gain in same.items())
        if flows:
            found.append(Verdict(f"{claim} {kind}", told, min(same.values()) > 0))
    _, gap = behind_rk4(results, OWN)
    other = Verdict(
        "KalmanNet with the authors' f is better than an EKF with a Runge-Kutta step",
        f"{gap:+.2f} dB (the best such KalmanNet)",
        gap < 0,
    )
    return (*found, other)


def details(results):
    """Describe the errors with different f, on independent trajectories."""
    told = {
        "with a Runge-Kutta step": EKF[RK4],
        "with the authors' f and a cubic learned from labels": EKF[CUBIC],
        "with the authors' f, J = 5": EKF[J5],
        "with the authors' f, J = 2": EKF[J2],
        "with the two half-steps of the authors' network": EKF[HALF],
    }
    errors = "; ".join(f"{results(row, OWN):.2f} dB {what}" for what, row in told.items())
    best, gap = behind_rk4(results, OWN)
    of_f = results(EKF[HALF], OWN) - results(EKF[RK4], OWN)
    accurate = {f: NETWORK[f] for f in ACCURATE if NETWORK[f] in results.rows}
    of_networks = ", ".join(
        f"{results(row, OWN):.2f} dB ({f}, best updates {_best(results, row)})"
        for f, row in accurate.items()
    )
    return (
        (
            f"On independent trajectories the EKF has {errors}. The floor is"
            f" {results(FLOOR, OWN):.2f} dB."
        ),
        (
            f'The best KalmanNet with the authors\' f is "{best}", {gap:+.2f} dB from the EKF with'
            " a Runge-Kutta step. That compares different f: the EKF with the two half-steps is"
            f" itself {of_f:+.2f} dB from the EKF with a Runge-Kutta step."
        ),
        f"KalmanNet with an accurate f has {of_networks or 'not been measured yet'}.",
        *of_q(results),
        (
            f"The gain of KalmanNet in the paper's table {paper.quoted(CLAIMED)} is that of a"
            " network of two half-steps over filters of one step."
        ),
    )


def _best(results, row):
    """Return in words which updates of a training run were best."""
    settings = results.rows[row]["settings"]
    found = sorted(settings["best_steps"])
    length = next(settings[name] for name in LENGTHS if name in settings)
    return f"{found[0]} to {found[-1]} of {length}"


def of_q(results):
    """Describe what choosing q on data that share the true trajectory of the test data gains."""
    if not {EKF[RK4], OTHER_Q} <= set(results.rows):
        return ()
    own, other = results(EKF[RK4], OFFICIAL), results(OTHER_Q, OFFICIAL)
    chosen = results.rows[EKF[RK4]]["settings"]
    q2, other_q2 = (chosen[name]["q^2"] for name in (OFFICIAL, OWN))
    told = (
        f"On the authors' trajectory the EKF with a Runge-Kutta step has {own:.2f} dB with q² ="
        f" {q2:.1e}, chosen on their validation data, which share the true trajectory of their test"
        f" data, and {other:.2f} dB with q² = {other_q2:.1e}, chosen on independent trajectories."
        " [benchmarks/learned](../../learned/RESULTS.md#decimated-lorenz-attractor) tunes q on such"
        " trajectories, too, so that its figure belongs beside the latter."
    )
    return (told,)


def draw(results):
    """Draw the first estimates of three EKFs."""
    figure, axes = panels(len(DRAWN), width=4)
    for number, (ax, row) in enumerate(zip(axes, DRAWN, strict=True)):
        curve = results.rows[row]["curves"][OWN]
        ax.plot(curve["x"], curve["y"], color=COLOURS[number], lw=0.8, label=row)
        ax.set(xlabel="x", ylabel="z")
        finish(ax)
    axes[0].set_title("Fig. 13: 10 s of estimates")
    return figure


STUDY = Study(
    "Table III, Fig. 13: the Lorenz attractor, sampled densely and decimated",
    """\
The truth moves in steps of 1e-5 s and is decimated to 0.02 s; T = 3000, h = I, 1/r² = 0 dB. Our \
trajectories start anywhere on the attractor, and training, validation and test parts have \
different starts; in the authors' set all parts share one true trajectory.

Filters start at the known x_0, and their first update uses the next sample. In the authors' form \
the first stored state is x_0 itself, and a prediction precedes its observation. q is searched on \
the validation data of each column, in steps of half a decade.

KalmanNet is trained on our trajectories, in pieces of 5 steps (150 batches of 32), then in 600 \
windows of 50 steps that continue through 500. The cubic (60 coefficients) is fitted to one-step \
differences of the same trajectories.""",
    rows,
    verdicts,
    details,
    paper=PAPER,
    reference=REFERENCE,
    floor=FLOOR,
    why={PF[J5]: "q is searched here; the paper does not say which q it used."},
    targets=(
        Target(
            "EKF with Runge-Kutta, the authors' trajectory, as good as the paper's KalmanNet",
            lambda r: r.interval(EKF[RK4], OFFICIAL),
            at_most=paper.DECIMATED["KalmanNet"],
        ),
        Target(
            "EKF with the authors' f and a learned cubic, there, as good as the paper's KalmanNet",
            lambda r: r.interval(EKF[CUBIC], OFFICIAL),
            at_most=paper.DECIMATED["KalmanNet"],
        ),
        Target(
            "EKFs within 0.05 dB of reference filters on the authors' trajectory",
            lambda r: max(r.off(k, REFERENCE) for k in REFERENCE),
            at_most=0.05,
        ),
        Target(
            "KalmanNet (the authors' weights) within 0.3 dB of the paper on the same data",
            lambda r: r.off(WEIGHTS, PAPER),
            at_most=0.3,
        ),
        Target(
            "KalmanNet trained here within 0.3 dB of the paper on the same data, every seed",
            lambda r: r.off_every_seed(NETWORK[HALF], PAPER),
            at_most=0.3,
        ),
    ),
    form="""\
The paper's Fig. 13 shows a trajectory of the attractor as each filter estimates it, one picture \
beside the other. Ours shows the first 10 s of three EKFs in the plane of x and z.""",
    draw=draw,
)
