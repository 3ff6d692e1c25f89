"""What the studies of the Lorenz attractor share: a q that is searched for, and the rows of a mismatch."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

import kfjax as kf
from benchmarks.kalmannet.judging import judged, tune
from benchmarks.kalmannet.study import Row
from benchmarks.training import Budget, train

GRID = tuple(10.0 ** (k / 2) for k in range(-14, 3))  # q^2 / r^2
EKF, SEARCHED, OEKF, TRUTH = (
    "EKF, q of the truth",
    "EKF, q searched",
    "OEKF: Q and R tuned",
    "EKF, true model",
)
KALMAN_NET, LEARNED = "KalmanNet", "EKF, learned {}, q searched"
PIECE, LONGEST = (
    50,
    500,
)  # steps that the OEKF is tuned on, and of the trajectories that networks go through


def windowed(size):
    """Return the budget of networks that go through long trajectories, one step of training per window of 50 steps."""
    return Budget(
        size.choose(40, 600, 3000), split=size.choose(40, 150, 1000), learning_rate=1e-3, window=50
    )


def with_q(model, q2):
    """Return the model with Q = q^2 I."""
    return model.replace(Q=jnp.asarray(q2, model.dtype) * jnp.eye(model.n, dtype=model.dtype))


def searched(method, model, validation, grid=GRID):
    """Return the model with the q that does best on validation data, and the settings to report."""
    r2 = float(model.R[0, 0])

    def error(q2):
        return np.nan_to_num(judged(method, with_q(model, q2), validation).value[0], nan=np.inf)

    best = min((r2 * ratio for ratio in grid), key=error)
    return with_q(model, best), {"q^2": best}


class Case(NamedTuple):
    """What networks are trained and filters tuned on once, for one condition or more.

    Attributes:
        truth: what the data come from.
        design: what filters are told.
        parts: data to train and choose on, whose x_0 is known.
        tests: test data by condition.
    """

    truth: Any
    design: Any
    parts: Any
    tests: dict[str, Any]


class Made(NamedTuple):
    """A filter that was found for a case: what runs it, what is told of it, and how many seeds its params have."""

    filter: Any
    params: Any
    settings: dict[str, Any] | None = None
    seeds: int | None = None


def start(level, nu, **options):
    """Return the attractor at 1 / r^2 and nu in dB, with x_0 = (1, 1, 1), known."""
    r_std = 10 ** (-level / 20)
    prior = kf.systems.known(jnp.ones(3))
    return kf.systems.lorenz(q_std=r_std * 10 ** (nu / 20), r_std=r_std, prior=prior, **options)


def each(cases: list[Case], make: Callable[[Case], Made]):
    """Return a row over all cases: what is found for each, on all of its tests; second tests come after first ones."""
    cells, told, place = {}, {}, {}
    for case in cases:
        made = make(case)
        for k, (name, data) in enumerate(case.tests.items()):
            cells[name] = judged(made.filter, made.params, data, seeds=made.seeds)
            told[name], place[name] = made.settings, k
    return Row({name: cells[name] for name in sorted(cells, key=place.get)}, told)


def trained(network, parts, case, budget):
    """Train KalmanNet, a configuration of it, on parts."""
    method = kf.learned.configuration(network, n=3, m=3)
    fitted = train(method, case.design, parts, budget)
    settings = budget._asdict() | {
        "best_steps": fitted.step.tolist(),
        "refused": fitted.refused.tolist(),
    }
    return Made(method, fitted.params, settings, budget.seeds)


def rows(
    size,
    cases: Callable[[], list[Case]],
    *,
    network: str,
    budget: Budget,
    learns: str | None = None,
):
    """Return the rows of a study of EKFs and KalmanNet.

    Args:
        size: of the study.
        cases: makes the `Case`s.
        network: the configuration of KalmanNet.
        budget: of its training, on trajectories of 500 steps at most.
        learns: "f" or "h", what a cubic is added to and fitted by labels; None leaves such a row
            out.
    """

    def pieces(case, steps):
        return kf.data.pieces(case.parts.train, steps, prior_mean=case.design.prior.mean)

    def search(case):
        return Made(kf.extended(), *searched(kf.extended(), case.design, case.parts.validation))

    def optimised(case):
        short = case.parts._replace(train=pieces(case, PIECE))
        return Made(
            kf.extended(), *tune(kf.extended(), case.design, short, steps=size.choose(10, 40, 150))
        )

    def corrected(case):
        model = kf.learned.residual_model(
            case.design, learns, kf.learned.Polynomial(3 if learns == "f" else 1)
        )
        return search(case._replace(design=kf.learned.fit_residual(model, case.parts.train)))

    def kalman_net(case):
        validation = kf.data.first_steps(case.parts.validation, 300)
        return trained(
            network,
            kf.data.Parts(pieces(case, LONGEST), validation, None),
            case,
            size.budget(budget),
        )

    found = {
        EKF: lambda case: Made(kf.extended(), case.design),
        SEARCHED: search,
        OEKF: optimised,
        KALMAN_NET: kalman_net,
    }
    if learns:
        found |= {
            LEARNED.format(learns): corrected,
            TRUTH: lambda case: Made(kf.extended(), case.truth),
        }
    return {name: lambda make=make: each(cases(), make) for name, make in found.items()}


def against_searched(results):
    """Say where KalmanNet is better than an EKF whose q is searched, and by how much."""
    gains = [-gap for gap in results.gaps(KALMAN_NET, SEARCHED).values()]
    better = sum(gain > 0 for gain in gains)
    return (
        f"KalmanNet is better than an EKF whose q is searched under {better} of {len(gains)}"
        " conditions, by up to"
        f" {max(gains):.2f} dB, and behind by up to {-min(gains):.2f}."
    )
