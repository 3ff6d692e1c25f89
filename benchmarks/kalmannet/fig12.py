"""Fig. 12: the Lorenz attractor seen in spherical coordinates, by filters that know f, h and the noise."""

import functools

import jax
import jax.numpy as jnp

import kfjax as kf
from benchmarks.kalmannet.data import drawn, published
from benchmarks.kalmannet.figures import against_noise, panels
from benchmarks.kalmannet.judging import judged, particle_floor, tune
from benchmarks.kalmannet.study import Row, Study, Target
from benchmarks.training import Budget, train

STEPS, PARTICLES = 20, 100
OFFICIAL = {
    "official, 0 dB": ("lorenz_spherical_v0_r0_T20", 0),
    "official, 20 dB": ("lorenz_spherical_v0_r20_T20", 20),
}
NETWORK = kf.learned.RecurrentStack(3, (48,), encode=48)
LONG = Budget(2000, batch_size=128, learning_rate=4e-3)
EKF, WRAPPED, TUNED, UKF, WRAPPED_UKF = (
    "EKF",
    "EKF, phi wrapped",
    "OKF: EKF, Q and R tuned",
    "UKF",
    "UKF, phi wrapped",
)
PF, SOFT, KALMAN_NET, RECURRENT, ANEW, FLOOR = (
    f"PF, {PARTICLES} particles",
    f"differentiable PF, {PARTICLES} particles, Q and R tuned",
    "KalmanNet C4",
    "MB RNN, scaled",
    "MB RNN, scaled, noise drawn anew",
    "floor: PF, doubled",
)


@functools.cache
def model(level, *, wrap=False):
    std = 10 ** (-level / 20)
    start = kf.systems.known(jnp.ones(3))
    return kf.systems.lorenz(observation="spherical", wrap=wrap, q_std=std, r_std=std, prior=start)


@functools.cache
def parts(size):
    """Return the level and the parts of every condition: the authors' sets are tested on only, with their own parts."""
    counts = size.choose((100, 50, 20), (1000, 100, 500), (1000, 100, 1000))
    ours = {
        f"{level} dB": (level, drawn(200 + level, model(level), counts, STEPS))
        for level in size.levels
    }
    theirs = {
        name: (level, found)
        for name, (file, level) in OFFICIAL.items()
        if (found := published(file))
    }
    return ours | theirs if size.name != "quick" else ours


def noise(model, data):
    """Return the noise of all labelled steps, what labels leave of f and what observations leave of h."""
    start = jnp.broadcast_to(model.prior.mean, (data.size, 1, model.n))
    before = jnp.concatenate([start, data.xs[:, :-1]], axis=1).reshape(-1, model.n)
    after, obs = data.xs.reshape(-1, model.n), data.ys.reshape(-1, data.ys.shape[-1])
    return after - jax.vmap(lambda x: model.f(x, None))(before), obs - jax.vmap(
        lambda x: model.h(x, None)
    )(after)


def drawn_anew(model, data, count):
    """Return trajectories of f and h from x_0 whose noise is drawn among that of the data, each by itself."""
    process, sensor = noise(model, data)
    picks = jax.random.randint(jax.random.key(0), (count, data.steps, 2), 0, len(process))

    def step(x, pick):
        x = model.f(x, None) + process[pick[0]]
        return x, (x, model.h(x, None) + sensor[pick[1]])

    states, obs = jax.vmap(lambda picked: jax.lax.scan(step, model.prior.mean, picked)[1])(picks)
    return kf.Dataset(obs, states)


def more(size, model, data):
    """Return parts to train and choose on of which there are many, each from the noise of its own labels."""
    counts = size.choose((200, 50), (20_000, 1000), (50_000, 2000))
    train, validation = (
        drawn_anew(model, part, count) for part, count in zip(data[:2], counts, strict=True)
    )
    return data._replace(train=train, validation=validation)


def rows(size):
    def each(make, *, ours=False, most=None):
        """Return a row; `make(level, parts) -> (Cell, settings)` under every condition, our data or levels only."""
        conditions = {
            name: pair
            for name, pair in parts(size).items()
            if not (ours and name in OFFICIAL) and (most is None or pair[0] <= most)
        }
        found = {name: make(*pair) for name, pair in conditions.items()}
        return Row(
            {name: cell for name, (cell, _) in found.items()},
            {name: told for name, (_, told) in found.items()},
        )

    def plain(method, *, wrap=False):
        return each(
            lambda level, data: (judged(method, model(level, wrap=wrap), data.test, chunk=100), {})
        )

    def tuned(method, updates):
        def make(level, data):
            found, settings = tune(method, model(level), data, updates=size.choose(10, updates, 150))
            return judged(method, found, data.test, chunk=100), settings

        return make

    def network(method, budget, constants=None):
        def make(level, data):
            asked = size.budget(
                budget._replace(updates=4 * budget.updates) if size.name == "full" else budget
            )
            design = model(level)
            fitted = train(method, design, data, asked, constants and constants(design, data.train))
            cell = judged(method, fitted.params, data.test, seeds=asked.seeds)
            return cell, asked._asdict() | {
                "best_steps": fitted.update.tolist(),
                "refused": fitted.refused.tolist(),
            }

        return make

    def anew(level, data):
        return network(recurrent, LONG, kf.learned.series_scales)(
            level, more(size, model(level), data)
        )

    def floor(level, data):
        cell, particles = particle_floor(model(level), data.test)
        return cell, {"particles": particles}

    soft = kf.particle(PARTICLES, resampling=kf.filters.Soft())
    recurrent = kf.learned.recurrent(NETWORK, 3, ("y", "prediction"), "update")
    return {
        EKF: lambda: plain(kf.extended()),
        WRAPPED: lambda: plain(kf.extended(), wrap=True),
        TUNED: lambda: each(tuned(kf.extended(), 60)),
        UKF: lambda: plain(kf.unscented()),
        WRAPPED_UKF: lambda: plain(kf.unscented(), wrap=True),
        PF: lambda: plain(kf.particle(PARTICLES)),
        SOFT: lambda: each(tuned(soft, 20), ours=True),
        RECURRENT: lambda: each(
            network(recurrent, Budget(800, batch_size=64), kf.learned.series_scales)
        ),
        KALMAN_NET: lambda: each(
            network(
                kf.learned.published("C4", n=3, m=3), Budget(250, split=300, learning_rate=1e-3)
            ),
            ours=True,
        ),
        ANEW: lambda: each(
            anew, most=max(0, size.levels[0])
        ),  # where noise is smaller there is nothing to gain
        FLOOR: lambda: each(floor),
    }


REFERENCE = {
    EKF: {"official, 0 dB": 12.197, "official, 20 dB": -15.574},
    WRAPPED: {"official, 0 dB": 16.168, "official, 20 dB": -16.423},
    FLOOR: {"official, 0 dB": 3.6, "official, 20 dB": -16.4},
    KALMAN_NET: {"30 dB": -26.07},  # the authors' code, retrained
}


NO_PARTICLES = (EKF, WRAPPED, TUNED, UKF, WRAPPED_UKF, RECURRENT, ANEW, KALMAN_NET)


def best(results, name):
    """Return the best estimator under a condition that is no particle filter."""
    measured = [row for row in NO_PARTICLES if row in results.rows]
    return results.best(name, [row for row in measured if name in results.rows[row]["cells"]])


def above(results, row, name):
    """Return how far a row is above the floor under a condition."""
    return results(row, name) - results(FLOOR, name)


def verdict(results):
    told = []
    for name in (name for name in results.conditions if name not in OFFICIAL):
        gaps = [
            above(results, row, name) for row in (best(results, name), KALMAN_NET, EKF, WRAPPED)
        ]
        told.append(
            f"at {name} the {best(results, name)} is best, {gaps[0]:.2f} dB above the floor"
            f" (KalmanNet {gaps[1]:.2f},"
            f" the EKF {gaps[2]:.2f} as it is, {gaps[3]:.2f} with phi wrapped)"
        )
    return (
        "How far the paper's claim of a substantial gain on the EKF goes depends on the noise: "
        + "; ".join(told)
        + "."
    )


def draw(results):
    figure, axes = panels(1, width=7, height=4.5)
    against_noise(
        axes[0],
        results,
        list(results.rows),
        lambda level: f"{level} dB",
        "Fig. 12: spherical observations",
    )
    return figure


STUDY = Study(
    "Fig. 12: the Lorenz attractor in spherical coordinates",
    "Observations are rho, theta and phi with noise that is added without wrapping phi; J = 5, T ="
    " 20, nu = 0 dB, x_0 ="
    " (1, 1, 1), known. Our data (1000 trajectories to train on, 100 to choose on, 500 to test on,"
    " each level its own"
    " training), and the authors' sets. KalmanNet: 300 batches of pieces of 5 steps, then 250 of 20"
    " steps; the"
    " recurrent network (48 units, sees y and f(x), corrects the latter): 800 batches of 64. With"
    " noise drawn anew, at"
    " 0 dB and below: the same network, 2000 batches of 128 from 20,000 trajectories that f and h"
    " make of the noise of"
    " the labelled ones, x_t - f(x_{t-1}) and y_t - h(x_t) drawn with replacement, and chosen on"
    " 1000 made likewise of"
    " the validation part; nothing beyond f, h and labels is used. The floor is a particle filter,"
    " its particles"
    " doubled until it moves less than 0.05 dB.",
    rows,
    verdict,
    reference=REFERENCE,
    floor=FLOOR,
    targets=(
        Target(
            "Best estimator (no particle filter) within 0.3 dB of the floor at every level",
            lambda r: max(
                above(r, best(r, name), name) for name in r.conditions if name not in OFFICIAL
            ),
            0.3,
        ),
        Target(
            "EKFs within 0.05 dB of the reference",
            lambda r: max(r.off(row, REFERENCE) for row in (EKF, WRAPPED)),
            0.05,
        ),
        Target(
            "KalmanNet above the authors' code, retrained on data of its own",
            lambda r: r.above(KALMAN_NET, REFERENCE),
            0.3,
        ),
    ),
    notes=(
        "The paper's figure has no numbers to read off.",
        (
            "At -10 dB a few trajectories that leave the attractor, where f stretches most, make up"
            " most of the MSE:"
            " 1000 labelled ones hold too few of them, and the network that saw no more was 0.8 dB"
            " above the floor."
            " With noise drawn anew its figure is below that of the particle filter, which every"
            " doubling up to 32,000"
            " particles moved by more than 0.05 dB: on 500 trajectories the two cannot be told"
            " apart. Settings were"
            " chosen on the validation part before the test part was run. What the network costs"
            " beside the EKF is"
            " in Table IV (MB RNN, 48 units)."
        ),
    ),
    draw=draw,
)
