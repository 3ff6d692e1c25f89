"""Parts that the studies of the Lorenz attractor share: a searched q, and rows of a mismatch."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

import kfjax as kf
from benchmarks.kalmannet.judging import judged, tune
from benchmarks.kalmannet.study import Row, Verdict
from benchmarks.training import Budget, train

GRID = tuple(10.0 ** (k / 2) for k in range(-14, 3))  # q^2 / r^2
EKF = "EKF, q of the truth"
SEARCHED = "EKF, q searched"
OEKF = "OEKF: Q and R tuned"
TRUTH = "EKF, true model"
KALMAN_NET = "KalmanNet"
LEARNED = "EKF, learned {}, q searched"
LEARNED_NET = "KalmanNet, learned {}"
PIECE = 50  # steps of the pieces that the OEKF is tuned on
LONGEST = 500  # steps of the trajectories that networks are trained on


def windowed(size):
    """Return the budget of networks trained on long trajectories, one update per 50 steps."""
    updates = size.choose(40, 600, 3000)
    split = size.choose(40, 150, 1000)
    return Budget(updates, split=split, learning_rate=1e-3, window=50)


def with_q(model, q2):
    """Return the model with Q = q^2 I."""
    return model.replace(Q=jnp.asarray(q2, model.dtype) * jnp.eye(model.n, dtype=model.dtype))


def searched(method, model, validation, grid=GRID):
    """Return the model with the q that is best on validation data, and the settings to report."""
    r2 = float(model.R[0, 0])

    def error(q2):
        return np.nan_to_num(judged(method, with_q(model, q2), validation).value[0], nan=np.inf)

    best = min((r2 * ratio for ratio in grid), key=error)
    return with_q(model, best), {"q^2": best}


class Case(NamedTuple):
    """A problem on which estimators are trained or tuned once, for one or more conditions.

    Attributes:
        truth: the model that the data come from.
        design: the model that filters know.
        parts: training and validation data, whose x_0 is known.
        tests: test data by condition.
    """

    truth: Any
    design: Any
    parts: Any
    tests: dict[str, Any]


class Made(NamedTuple):
    """A filter that was made for a case.

    Attributes:
        filter: the filter.
        params: its parameters.
        settings: settings to report, or None.
        seeds: size of the leading axis of the parameters, or None without one.
    """

    filter: Any
    params: Any
    settings: dict[str, Any] | None = None
    seeds: int | None = None


def start(level, nu, **options):
    """Return the attractor with 1 / r^2 and nu in dB, and the known x_0 = (1, 1, 1)."""
    r_std = 10 ** (-level / 20)
    q_std = r_std * 10 ** (nu / 20)
    prior = kf.systems.known(jnp.ones(3))
    return kf.systems.lorenz(q_std=q_std, r_std=r_std, prior=prior, **options)


def each(cases: list[Case], make: Callable[[Case], Made]):
    """Return a row over the tests of all cases, the first test of every case first."""
    cells = {}
    told = {}
    place = {}
    for case in cases:
        made = make(case)
        for number, (name, data) in enumerate(case.tests.items()):
            cells[name] = judged(made.filter, made.params, data, seeds=made.seeds)
            told[name] = made.settings
            place[name] = number
    return Row({name: cells[name] for name in sorted(cells, key=place.get)}, told)


def trained(network, parts, case, budget):
    """Train a configuration of KalmanNet on parts."""
    method = kf.learned.published(network, n=3, m=3)
    fitted = train(method, case.design, parts, budget)
    chosen = {"best_steps": fitted.update.tolist(), "refused": fitted.refused.tolist()}
    return Made(method, fitted.params, budget._asdict() | chosen, budget.seeds)


def rows(size, cases: Callable[[], list[Case]], *, network, budget, learns=None):
    """Return the rows of a study of EKFs and KalmanNet.

    Args:
        size: the `Size` of the study.
        cases: `() -> cases`.
        network: the configuration of KalmanNet.
        budget: the `Budget` of its training, on trajectories of 500 steps at most.
        learns: "f" or "h", the function that a polynomial fitted by labels corrects; None leaves
            the rows with this function and that of the true model out.
    """
    found = {
        EKF: _as_designed,
        SEARCHED: _searched,
        OEKF: lambda case: _optimised(size, case),
        KALMAN_NET: lambda case: _kalman_net(size, network, budget, case),
    }
    if learns:
        found[LEARNED.format(learns)] = lambda case: _searched(_corrected(learns, case))
        found[LEARNED_NET.format(learns)] = lambda case: _kalman_net(
            size, network, budget, _corrected(learns, case)
        )
        found[TRUTH] = lambda case: Made(kf.extended(), case.truth)
    return {name: lambda make=make: each(cases(), make) for name, make in found.items()}


def _as_designed(case):
    return Made(kf.extended(), case.design)


def _searched(case):
    """Return the EKF whose q is searched on validation data."""
    return Made(kf.extended(), *searched(kf.extended(), case.design, case.parts.validation))


def _optimised(size, case):
    """Return the EKF whose Q and R are tuned on short pieces."""
    short = case.parts._replace(train=_pieces(case, PIECE))
    options = {"updates": size.choose(10, 40, 150), "seeds": size.seeds}
    return Made(kf.extended(), *tune(kf.extended(), case.design, short, **options), size.seeds)


def _corrected(learns, case):
    """Return the case whose design model has f or h corrected by a fitted polynomial."""
    degree = 3 if learns == "f" else 1
    model = kf.learned.residual_model(case.design, learns, kf.learned.Polynomial(degree))
    return case._replace(design=kf.learned.fit_residual(model, case.parts.train))


def _kalman_net(size, network, budget, case):
    """Train KalmanNet on pieces of at most 500 steps."""
    validation = kf.data.first_steps(case.parts.validation, 300)
    parts = kf.data.Parts(_pieces(case, LONGEST), validation, None)
    return trained(network, parts, case, size.budget(budget))


def _pieces(case, steps):
    return kf.data.pieces(case.parts.train, steps, prior_mean=case.design.prior.mean)


def against_searched(results, claim):
    """Return the `Verdict` on a claim that KalmanNet is better than the EKF with searched q."""
    gaps = results.gaps(KALMAN_NET, SEARCHED).values()
    better = sum(gap < 0 for gap in gaps)
    figure = (
        f"better under {better} of {len(gaps)} conditions, from {-min(gaps):.2f} dB better"
        f" to {max(gaps):.2f} dB worse"
    )
    return Verdict(claim, figure, better == len(gaps))


def like_for_like(results, learns):
    """Return the `Verdict` on KalmanNet and the EKF with the same learned function, if stored."""
    network, other = LEARNED_NET.format(learns), LEARNED.format(learns)
    if network not in results.rows:
        return ()
    gaps = results.gaps(network, other).values()
    claim = f"With the learned {learns}, KalmanNet is better than the EKF, where both are measured"
    figure = f"{min(gaps):+.2f} to {max(gaps):+.2f} dB"
    return (Verdict(claim, figure, max(gaps) < 0),)


def from_truth(results, others):
    """Return sentences on the largest distances of rows above the EKF with the true model."""
    gaps = {row: results.gap(row, TRUTH) for row in others if row in results.rows}
    told = "; ".join(f"{row}: {gap:.2f} dB" for row, gap in gaps.items())
    return (
        f"Largest distance above the EKF with the true model: {told}.",
        f'By this measure the best is "{min(gaps, key=gaps.get)}".',
    )
