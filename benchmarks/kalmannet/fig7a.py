"""Fig. 7a: KalmanNet and the Kalman filter on linear systems that both know."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import kfjax as kf
from benchmarks.estimates import floor_db
from benchmarks.kalmannet.data import drawn, published
from benchmarks.kalmannet.figures import against_noise, panels
from benchmarks.kalmannet.judging import figure, judged, shifted
from benchmarks.kalmannet.study import Row, Study, Target, Verdict
from benchmarks.training import Budget, train
from benchmarks.trajectories import official_file, shortened, simulated

KALMAN_NET = "KalmanNet C2"
SHIPPED = "KalmanNet, the authors' weights"
KF = "KF"
THEORY = "floor: theory"
NEAR = 0.3  # dB; within this of the KF, KalmanNet counts as equal


class System(NamedTuple):
    """A system of the figure, at 1 / r^2 = 0 dB; other levels are the same problem in other units.

    Attributes:
        n: dimension of the state.
        m: dimension of the observation.
        form: form of H.
        lengths: lengths T of the test trajectories, at the reduced size.
        tests: number of test trajectories.
        validation: number of validation trajectories.
        cut: length of the training trajectories, at the reduced size.
        budget: `Budget` of the training, at the reduced size.
    """

    n: int
    m: int
    form: str
    lengths: tuple[int, ...]
    tests: int
    validation: int
    cut: int
    budget: Budget

    def model(self, nu=0, level=0):
        """Return the model with nu and 1 / r^2 in dB."""
        r_std = 10 ** (-level / 20)
        q_std = r_std * 10 ** (nu / 20)
        prior = kf.systems.known(jnp.zeros(self.n))
        return kf.systems.canonical(
            self.n, self.m, self.form, q_std=q_std, r_std=r_std, prior=prior
        )


SYSTEMS = {
    "2 x 2": System(
        n=2,
        m=2,
        form="identity",
        lengths=(50, 100, 150, 200),
        tests=500,
        validation=100,
        cut=50,
        budget=Budget(250),
    ),
    "5 x 5": System(
        n=5,
        m=5,
        form="inverse_canonical",
        lengths=(50, 200),
        tests=200,
        validation=30,
        cut=30,
        budget=Budget(150, batch_size=16, learning_rate=1e-3),
    ),
    "10 x 1": System(
        n=10,
        m=1,
        form="inverse_canonical",
        lengths=(50,),
        tests=100,
        validation=10,
        cut=20,
        budget=Budget(150, batch_size=8, learning_rate=1e-3),
    ),
}
ALL_LENGTHS = (50, 100, 150, 200)  # of test trajectories at the full size
STEPS = 50  # of training trajectories
OFFICIAL = {
    "official lin2x2_v0_r0_T100": ("2 x 2", 0, 0),
    "official lin2x2_v0_r20_T100": ("2 x 2", 0, 20),
    "official lin2x2_v-20_r10_T100": ("2 x 2", -20, 10),
    "official lin2x2_rq020_T20Ttest200": ("2 x 2", -20, 0),
    "official lin5x5_rq020_T20Ttest200": ("5 x 5", -20, 0),
}
AUTHORS = "official lin2x2_v-20_r10_T100"  # the set on which the authors' weights were trained


@functools.cache
def model(name, nu=0, level=0):
    """Return the model of a system."""
    return SYSTEMS[name].model(nu, level)


def test_set(name, steps, level):
    """Simulate test trajectories in units of r, different ones for every level and length."""
    key = jax.random.key(10_000 + 100 * level + steps)
    return simulated(key, model(name), SYSTEMS[name].tests, steps)


def systems(size):
    """Return the lengths of the test trajectories of each system."""
    names = size.choose(["2 x 2"], SYSTEMS, SYSTEMS)
    return {name: size.choose((50,), SYSTEMS[name].lengths, ALL_LENGTHS) for name in names}


def conditions(size, *names):
    """Yield the name of each condition of these systems, with the system, length and level."""
    for name in names:
        for level in size.levels:
            for steps in systems(size)[name]:
                yield f"{name}, T = {steps}, {level} dB", name, steps, level


def cells(size, name, method, params, seeds=None):
    """Return the cells of one system."""
    found = {}
    for condition, system, steps, level in conditions(size, name):
        cell = judged(method, params, test_set(system, steps, level), seeds=seeds)
        found[condition] = shifted(cell, -level)
    return found


def rows(size):
    """Return the rows of the study."""
    found = {
        f"{KALMAN_NET}, {name}": functools.partial(network, size, name) for name in systems(size)
    }
    if sets((AUTHORS,)):
        found[SHIPPED] = shipped
    return found | {KF: lambda: kalman(size), THEORY: lambda: theory(size)}


def kalman(size):
    """Return the row of the KF."""
    found = {}
    for name in systems(size):
        found |= cells(size, name, kf.kalman(), model(name))
    for name, (system, nu, level) in sets(OFFICIAL).items():
        test = published(name.split()[1]).test
        found[name] = judged(kf.kalman(), model(system, nu, level), test)
    return Row(found)


def network(size, name):
    """Return the row of a system's network, which is also tested on published sets."""
    system = SYSTEMS[name]
    budget = SYSTEMS[name].budget
    parts = drawn(system.n, model(name), (1000, system.validation, 10), STEPS)
    if size.name == "full":
        budget = budget._replace(updates=2000)
    else:
        parts = shortened(parts, system.cut)
    budget = size.budget(budget)
    method = kf.learned.published("C2", n=system.n, m=system.m)
    fitted = train(method, model(name), parts, budget)
    found = cells(size, name, method, fitted.params, budget.seeds)
    for official, (other, nu, level) in sets(OFFICIAL).items():
        if name == other and nu == 0:
            test = in_units(published(official.split()[1]).test, 10 ** (-level / 20))
            cell = judged(method, fitted.params, test, seeds=budget.seeds)
            found[official] = shifted(cell, -level)
    chosen = {"best_steps": fitted.update, "training_steps_in_time": parts.train.steps}
    return Row(found, budget._asdict() | chosen)


def shipped():
    """Return the row of the authors' published weights, on the set that they were trained on."""
    file = official_file("weights_arch1_lin2x2_v-20_r10")
    found = kf.learned.from_torch(np.load(file, allow_pickle=False))
    method = kf.learned.kalman_net(found.network, ("F2", "F4"))
    params = kf.learned.Learned(model(*OFFICIAL[AUTHORS]), found.variables)
    return Row({AUTHORS: judged(method, params, published(AUTHORS.split()[1]).test)})


def theory(size):
    """Return the row of the lowest possible errors."""
    at = conditions(size, *systems(size))
    return Row(
        {name: figure(floor_db(model(system), steps) - level) for name, system, steps, level in at}
    )


def sets(names):
    """Return the published sets whose files exist."""
    there = [name for name in names if published(name.split()[1]) is not None]
    return {name: OFFICIAL[name] for name in there}


def in_units(data, unit):
    """Return data divided by a unit."""
    return kf.Dataset(data.ys / unit, data.xs / unit)


REFERENCE = {
    KF: {
        "official lin2x2_v0_r0_T100": -1.827,
        "official lin2x2_v0_r20_T100": -21.903,
        "official lin2x2_v-20_r10_T100": -17.339,
        "official lin2x2_rq020_T20Ttest200": -7.273,
        "official lin5x5_rq020_T20Ttest200": -9.465,
    },
    SHIPPED: {AUTHORS: -17.171},
}


def verdicts(results):
    """Judge whether KalmanNet comes as close as the KF."""
    behind = {name: results.gap(f"{KALMAN_NET}, {name}", KF) for name in SYSTEMS}
    told = ", ".join(f"{gap:.2f} dB ({name})" for name, gap in behind.items())
    return (
        Verdict(
            "KalmanNet comes within 0.3 dB of the KF on all linear systems",
            f"at most {told} behind",
            max(behind.values()) < NEAR,
        ),
    )


def details(results):
    """Describe how far a network is below the KF, and what it was trained on."""
    gaps = [gap for name in SYSTEMS for gap in results.gaps(f"{KALMAN_NET}, {name}", KF).values()]
    trained = [system.cut for system in SYSTEMS.values()]
    tested = [steps for system in SYSTEMS.values() for steps in system.lengths]
    return (
        (
            "On average no estimator can beat a filter that knows the linear model. KalmanNet is"
            f" below the KF under {sum(gap < 0 for gap in gaps)} of {len(gaps)} conditions."
        ),
        (
            f"KalmanNet is trained on {min(trained)} to {max(trained)} steps and tested on"
            f" {min(tested)} to {max(tested)}."
        ),
    )


def draw(results):
    """Draw the errors against the noise, for the longest trajectories of each system."""
    figure, axes = panels(len(SYSTEMS))
    for ax, (name, system) in zip(axes, SYSTEMS.items(), strict=True):
        title = f"{name}, T = {max(system.lengths)}"
        names = (f"{KALMAN_NET}, {name}", KF, THEORY)
        against_noise(ax, results, names, f"{title}, {{}} dB".format)
        ax.set_title(title)
    return figure


STUDY = Study(
    "Fig. 7a: linear systems, full information",
    """\
F = I with a first row of ones; H = I (2 x 2, as in the published sets) or the inverse canonical \
form; nu = 0 dB, x_0 = 0.

**Scale equivariance.** With x_0 = 0 and a fixed nu, another noise level is the same problem in \
other units. One network per system, trained at 1/r² = 0 dB, therefore serves every level in units \
of r; each level has its own test trajectories.

Our choices: training trajectories have 50 steps (at the reduced size 30 for 5 x 5 and 20 for 10 x \
1), and tests are longer; there are 250 batches of 32, 150 of 16 and 150 of 8 (full size: 2000). \
Some states of 10 x 1 are not observable, and their errors grow with T.""",
    rows,
    verdicts,
    details,
    reference=REFERENCE,
    floor=THEORY,
    targets=(
        Target(
            "KalmanNet within 0.3 dB of the KF on all systems, as in the paper's figure",
            lambda r: max(r.widest_gap(f"{KALMAN_NET}, {name}", KF) for name in SYSTEMS),
            at_most=NEAR,
        ),
        Target(
            "KF within 0.05 dB of reference filters on the official sets",
            lambda r: r.off(KF, REFERENCE),
            at_most=0.05,
        ),
        Target(
            "The authors' weights within 0.05 dB of the same weights in the authors' code",
            lambda r: r.off(SHIPPED, REFERENCE),
            at_most=0.05,
        ),
    ),
    form="""\
The paper's figure shows the MSE in dB against 1/r² in dB, one curve for each size and length. \
Ours has a panel for each size.""",
    notes=("The paper's figure has no printed numbers.",),
    draw=draw,
)
