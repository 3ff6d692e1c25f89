"""What the studies of the Lorenz attractor share: a q that is searched for, and the rows of a mismatch."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

import kfjax as kf
from benchmarks.kalmannet.judging import judged, tune
from benchmarks.kalmannet.study import Row
from benchmarks.learned.running import Budget, train

GRID = tuple(10.0 ** (k / 2) for k in range(-14, 3))  # q^2 / r^2
EKF, SEARCHED, OEKF, TRUTH = "EKF, q of the truth", "EKF, q searched", "OEKF: Q and R tuned", "EKF, true model"
KALMAN_NET, LEARNED = "KalmanNet", "EKF, learned {}, q searched"
PIECE = 50  # steps that networks are trained on


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
    """One condition of a study.

    Attributes:
        truth: what the data come from.
        design: what filters are told.
        parts: data, whose x_0 is known.
    """

    truth: Any
    design: Any
    parts: Any


def start(level, nu, **options):
    """Return the attractor at 1 / r^2 and nu in dB, with x_0 = (1, 1, 1), known."""
    r_std = 10 ** (-level / 20)
    prior = kf.systems.known(jnp.ones(3))
    return kf.systems.lorenz(q_std=r_std * 10 ** (nu / 20), r_std=r_std, prior=prior, **options)


def rows(size, cases: Callable[[], dict[str, Case]], *, network: str, learns: str | None = None):
    """Return the rows of a study of EKFs and KalmanNet.

    Args:
        size: of the study.
        cases: makes the `Case`s by condition.
        network: the configuration of KalmanNet.
        learns: "f" or "h", what a cubic is added to and fitted by labels; None leaves such a row out.
    """

    def each(make):
        found = {name: make(case) for name, case in cases().items()}
        return Row({name: cell for name, (cell, _) in found.items()}, {name: told for name, (_, told) in found.items()})

    def plain(model):
        return each(lambda case: (judged(kf.extended(), getattr(case, model), case.parts.test), {}))

    def search(case):
        found, settings = searched(kf.extended(), case.design, case.parts.validation)
        return judged(kf.extended(), found, case.parts.test), settings

    def optimised(case):
        short = case.parts._replace(train=kf.data.pieces(case.parts.train, PIECE, initial=case.design.prior.mean))
        found, settings = tune(kf.extended(), case.design, short, steps=size.choose(10, 40, 150))
        return judged(kf.extended(), found, case.parts.test), settings

    def corrected(case):
        model = kf.learned.residual_model(case.design, learns, kf.learned.Polynomial(3 if learns == "f" else 1))
        return search(case._replace(design=kf.learned.fit_residual(model, case.parts.train)))

    def kalman_net(case):
        budget = size.budget(Budget(size.choose(20, 150, 1500), split=size.choose(20, 150, 1000), learning_rate=1e-3))
        pieces = kf.data.pieces(case.parts.train, PIECE, initial=case.design.prior.mean)
        short = kf.data.Parts(pieces, kf.data.first_steps(case.parts.validation, 300), None)
        method = kf.learned.configuration(network, n=3, m=3)
        fitted = train(method, case.design, short, budget)
        cell = judged(method, fitted.params, case.parts.test, seeds=budget.seeds)
        return cell, budget._asdict() | {"best_steps": fitted.step.tolist(), "refused": fitted.refused.tolist()}

    found = {
        EKF: lambda: plain("design"),
        SEARCHED: lambda: each(search),
        OEKF: lambda: each(optimised),
        KALMAN_NET: lambda: each(kalman_net),
    }
    if learns:
        found[LEARNED.format(learns)] = lambda: each(corrected)
        found[TRUTH] = lambda: plain("truth")
    return found
