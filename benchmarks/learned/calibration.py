"""Whether learned covariances say how large the errors are: overall, and in each third of the horizon."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import kfjax as kf
from benchmarks.estimates import decibels
from benchmarks.learned.lorenz_spherical import MODEL as SPHERICAL
from benchmarks.learned.results import Measured, Study
from benchmarks.learned.rotated_h import lorenz
from benchmarks.learned.table1 import MODEL
from benchmarks.training import Budget, train
from benchmarks.trajectories import official, shortened

THIRDS = ("first third", "second third", "last third")
COLUMNS = ("MSE, dB", "ANEES", *(f"ANEES, {name}" for name in THIRDS), "coverage")
COLUMNS = (*COLUMNS, *(f"coverage, {name}" for name in THIRDS))


UNCOUNTED = 5  # steps after a wrong start
SPHERICAL_SET, FRESH = (
    "lorenz_spherical_v0_r0_T20",
    "1000 trajectories like lorenz_spherical_v0_r0_T20",
)


class Setting(NamedTuple):
    """A data set, and how filters are trained on it.

    Attributes:
        model: the design model.
        budget: of the training.
        steps: training and validation trajectories are cut to so many.
        context: whether the gain that starts at the EKF sees where the state is.
        copies: how many times trajectories are repeated with noise drawn anew, see
            `with_new_noise`.
        wrong_start: if above 0, half of all copies start lost, see `half_lost`.
        published: whether the Recursive KalmanNet's covariance is the published one, which has no Q
            of the model.
    """

    model: kf.StateSpaceModel
    budget: Budget
    steps: int
    context: bool = True
    copies: int = 0
    wrong_start: float = 0.0
    published: bool = False


planned = functools.partial(Budget, learning_rate=1e-3)
SETS = {
    "lin2x2_v0_r20_T100": Setting(MODEL, planned(800, likelihood=800), 30, context=False),
    SPHERICAL_SET: Setting(
        SPHERICAL,
        planned(300, split=400, likelihood=700),
        20,
        copies=7,
        wrong_start=3.0,
        published=True,
    ),
    "lorenz_Hrot1_v-20_r0_T100": Setting(
        lorenz(), planned(0, split=300, likelihood=500, window=25), 100
    ),
}


@functools.partial(jax.jit, static_argnums=0)
def consistency(method, params, data):
    """Return the sums of squared normalised errors and of states within 90 % intervals, by trajectory and step."""
    _, est = jax.vmap(lambda one: kf.data.run_trajectory(method, params, one))(data)
    within = kf.evaluation.coverage(data.xs, est.mean, est.cov, probability=0.9)
    return kf.evaluation.nees(data.xs, est.mean, est.cov), kf.evaluation.Sums(
        *(a.sum(-1) for a in within)
    )


def calibration(method, params, data):
    """Return ANEES and coverage, overall and by thirds."""
    values = {}
    for name, sums in zip(("ANEES", "coverage"), consistency(method, params, data), strict=True):
        total, count = (np.asarray(a, np.float64).sum(axis=0) for a in sums)
        values[name] = total.sum() / count.sum()
        for third, a, b in zip(
            THIRDS, np.array_split(total, 3), np.array_split(count, 3), strict=True
        ):
            values[f"{name}, {third}"] = a.sum() / b.sum()
    return {name: round(float(value), 4) for name, value in values.items()}


def rows(quick):
    def plain(name, data=None):
        model, data = SETS[name].model, official(name).test if data is None else data()
        return Measured(
            {COLUMNS[0]: decibels(kf.extended(), model, data)}
            | calibration(kf.extended(), model, data)
        )

    def network(name, make, data=None):
        method, fitted, told = trained(name, make, quick)
        return Measured(
            by_seed(method, fitted, official(name).test if data is None else data()), told
        )

    table = {}
    for name, of, data in [*((name, name, None) for name in SETS), (SPHERICAL_SET, FRESH, afresh)]:
        table[f"EKF with the design model, {of}"] = functools.partial(plain, name, data)
        table[f"Recursive KalmanNet, {of}"] = functools.partial(network, name, recursive, data)
        table[f"gain that starts at the EKF, {of}"] = functools.partial(
            network, name, corrected, data
        )
    return table


@functools.cache  # one training, tested on several sets
def trained(name, make, quick):
    """Return the filter, what was fitted, and what is to be said of it."""
    setting, parts = SETS[name], official(name)
    short = shortened(parts, setting.steps)
    train_on = with_new_noise(short.train, setting)
    ready = short._replace(
        train=half_lost(train_on, setting.wrong_start) if setting.wrong_start else train_on,
        validation=with_new_noise(short.validation, setting),  # what is rare shows in many only
    )
    model = without_q(setting.model) if setting.published and make is recursive else setting.model
    budget, method = setting.budget.quick() if quick else setting.budget, make(setting)
    told = {
        "training_steps_in_time": setting.steps,
        "copies": setting.copies,
        "wrong_start": setting.wrong_start,
    }
    told |= {"Q_in_covariance": model is setting.model}
    fitted = train(
        method, model, ready, budget, constants(setting, parts.train), pieces_of=train_on
    )
    return (
        method,
        fitted,
        budget._asdict() | told | {"validation": by_seed(method, fitted, parts.validation)},
    )


def afresh():
    """Return trajectories that nobody had seen when the settings were fixed."""
    keys = jax.random.split(jax.random.key(23), 1000)
    states, obs = jax.jit(jax.vmap(lambda key: kf.simulate(key, SPHERICAL, steps=20)))(keys)
    return kf.Dataset(obs, states)


def by_seed(method, fitted, data):
    """Return the values of all seeds, by column."""
    each = [calibration(method, fitted.run(k).params, data) for k in range(len(fitted.update))]
    errors = {COLUMNS[0]: decibels(method, fitted.params, data, many=True)}
    return errors | {column: [one[column] for one in each] for column in COLUMNS[1:]}


def with_new_noise(data, setting):
    """Return data with copies of them, whose noise is drawn among all the y - h(x) of the data."""
    if not setting.copies:
        return data
    rng, sizes, count = np.random.default_rng(0), data.ys.shape, setting.copies + 1
    predicted = np.asarray(jax.vmap(jax.vmap(lambda x: setting.model.h(x, None)))(data.xs))
    noise = (data.ys - predicted).reshape(-1, sizes[-1])
    drawn = rng.integers(len(noise), size=(setting.copies, *sizes[:2]))
    obs = np.concatenate([data.ys, (predicted[None] + noise[drawn]).reshape(-1, *sizes[1:])])
    start = np.tile(setting.model.prior.mean, (count * sizes[0], 1))
    return kf.Dataset(obs, np.concatenate([data.xs] * count), prior_mean=start)


def half_lost(data, std):
    """Return data of which a quarter starts off by std, and a quarter on the way, at the state of another trajectory.

    Their first steps are not counted: what is to be learned is to come back, and not to start
    unsure.
    """
    rng = np.random.default_rng(7)
    obs, state, start = (np.array(a) for a in (data.ys, data.xs, data.prior_mean))
    count, steps = obs.shape[:2]
    length = np.full(count, steps)
    near, elsewhere = np.array_split(np.arange(count // 2, count), 2)
    start[near] += std * rng.normal(size=start[near].shape)
    for i, skipped in zip(
        elsewhere, rng.integers(1, steps // 2 + 1, size=len(elsewhere)), strict=True
    ):
        start[i] = data.xs[rng.integers(count), skipped - 1]
        obs[i], state[i] = (np.roll(a[i], -skipped, axis=0) for a in (obs, state))
        length[i] -= skipped
    state[near[0] :, :UNCOUNTED] = np.nan
    return kf.Dataset(obs, state, prior_mean=start, length=length)


def constants(setting, data):
    """Return the scales of features, and of states where the network sees them."""
    scales = kf.learned.measure_scales(setting.model, data.ys)
    return scales | (kf.learned.state_scales(setting.model, data.xs) if setting.context else {})


def without_q(model):
    """Return the model as the Recursive KalmanNet was published with it; the scales of features stay those with Q."""
    return model.replace(Q=0 * model.Q)


def recursive(setting):
    n, scale = setting.model.n, float(jnp.sqrt(jnp.mean(jnp.diag(setting.model.Q))))
    return kf.learned.recursive_kalman_net(kf.learned.Architecture2(n, n), scale=scale)


def corrected(setting):
    return kf.learned.corrected_gain(setting.model.n, setting.model.n, context=setting.context)


NOTES = (
    (
        "Spherical, the gain that starts at the EKF, has not the standing of a first attempt."
        " Without copies: 3.77 dB"
        " and ANEES 0.98 on validation data, but 7.64 dB and 3.5 (6.4 in the last third) on the"
        " test set. With"
        " copies, and x_0 off by 3 (standard deviation) in one of eight: 4.12 dB and 1.01 with"
        " three seeds, but 5.05"
        " dB (4.21 .. 7.51) and 1.15 (1.03 .. 2.77) with five. What is lost is a single trajectory"
        " of 200: the gain"
        " locks on to the mirror image (x, y) -> (-x, -y), from which the Lorenz attractor does not"
        " lead back."
        " The Recursive KalmanNet lost none there, but some of 1000 simulated ones (ANEES 1.17"
        " (1.01 .. 1.48))."
        " Half of the copies off by 3 lost it as often. What helped: a quarter off by 3 and a"
        " quarter that starts on"
        " the way at the state of another trajectory, with their first five steps not counted."
        " Copies of validation"
        " trajectories, started off by 3 or not, were no longer lost then."
    ),
    (
        "Since the test set had been looked at, the last three rows are of trajectories simulated"
        " afresh after all"
        " settings were fixed, with a new seed after every change of a setting: this is the fourth."
    ),
    (
        "Spherical, the Recursive KalmanNet with Q in its covariance: too cautious in the last"
        " third, ANEES 0.894 after"
        " 500 steps by likelihood without copies, 0.895 after 700 with them; 0.918 on validation"
        " data both times; the"
        " rest within the limits. (I - K H)(F P F' + Q)(I - K H)' is the least that its covariance"
        " can be, which called"
        " for the published form, without Q: the row above."
    ),
    (
        "Spherical, both filters above: ANEES in the first third is 0.88 to 0.94 on validation"
        " data, 0.96 to 1.08 on"
        " test and fresh data, and two seeds of the gain have 1.14 and 1.18 in the last third of"
        " validation data. A"
        " third of 100 trajectories of 20 steps does not say it more exactly."
    ),
)

STUDY = Study(
    "Calibration",
    "Trained on the official training data by squared error, then by the likelihood of the true"
    " states; chosen by that"
    " on validation data; tested on the official test sets, five seeds. The linear set is cut to 30"
    " steps in training;"
    " the rotated one is trained through in windows of 25; the spherical one has 7 copies of every"
    " trajectory whose"
    " noise is drawn anew among all the y - h(x) of the labels, and half of those trained on start"
    " lost. Wanted: ANEES"
    " within 0.9 and 1.1, and 90 %"
    " coverage within 0.87 and 0.93, overall and in each third.",
    COLUMNS,
    rows,
    NOTES,
)
