"""Smoothing with a rotated sensor: RTSNet and DANSE against tuned classical smoothers."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

import kfjax as kf
from benchmarks.estimates import decibels
from benchmarks.learned.results import Measured, Study, Target
from benchmarks.training import Budget, optimizer, train
from benchmarks.trajectories import official

FILTERED, SMOOTHED = "filtered, dB", "smoothed, dB"
TUNED = "RTS, h = I, Q and R tuned"
LEAST_SQUARES = "RTS, h by least squares"
TRUE = "RTS, true h"
ONE, TWO = "RTSNet, h = I", "RTSNet, h = I, two passes"
UNLABELLED = "DANSE, true h, without true states"
BUDGET = Budget(600, split=300, piece=20, learning_rate=1e-3, seeds=2)
WITHOUT_STATES = Budget(1000, learning_rate=2e-3, seeds=2)
ATTRACTOR = kf.Gaussian(np.array([0.0, 0.0, 23.5]), np.diag([63.0, 81.0, 75.0]))
lorenz = functools.partial(
    kf.systems.lorenz, q_std=0.1, r_std=1.0, prior=kf.systems.known(jnp.ones(3))
)
rotated = functools.partial(lorenz, observation="rotated", rotation_degrees=1.0)


def rts(params, ys, *, us=None, observed=None, length=None):
    """Return the extended Rauch-Tung-Striebel smoother's result of a record."""
    run = kf.run(kf.extended(), params, ys, us=us, observed=observed, length=length)
    return kf.smooth(kf.extended(), params, run.outputs, us=us, length=length)


def classical(model, test):
    """Return the row of the extended Kalman filter and its smoother."""
    return Measured(
        {
            FILTERED: decibels(kf.extended(), model, test),
            SMOOTHED: smoothed_decibels(rts, model, test),
        }
    )


def smoothed_decibels(smoother, params, data, *, many=False):
    """Return the MSE in dB of smoothed states; a list with one figure per seed if `many`."""
    loss = kf.training.smoothed_mse(smoother)
    of_one = jax.jit(lambda one: loss(one, data, jax.random.key(0)))
    values = np.asarray(jax.lax.map(of_one, params) if many else of_one(params), np.float64)
    return (10 * np.log10(values)).round(4).tolist()


def learned_smoother(smoother, model, parts, budget):
    """Return the row of a learned smoother, trained from all seeds at once."""
    keys = jax.random.split(jax.random.key(1), budget.seeds)
    params = jax.vmap(lambda key: kf.learned.init_params(key, smoother, model))(keys)
    pieces = kf.data.pieces(parts.train, budget.piece, prior_mean=model.prior.mean)
    stages = [
        {"data": pieces, "updates": budget.split},
        {"data": parts.train, "updates": budget.updates},
    ]
    loss = kf.training.smoothed_mse(smoother)
    given = [
        stage | {"loss": loss, "optimizer": optimizer(budget, stage["updates"])} for stage in stages
    ]
    fitted = kf.training.fit_stages(
        None,
        params,
        given,
        key=keys,
        batch_size=budget.batch_size,
        validation=parts.validation,
        ema=budget.ema,
    )
    values = smoothed_decibels(smoother, fitted.params, parts.test, many=True)
    return Measured({SMOOTHED: values}, budget._asdict() | _chosen(fitted))


def learned_filter(filter, model, parts, budget):
    """Return the row of a learned filter, which does not smooth."""
    fitted = train(filter, model, parts, budget)
    values = decibels(filter, fitted.params, parts.test, many=True)
    return Measured({FILTERED: values}, budget._asdict() | _chosen(fitted))


def without_states(filter, model, parts, budget):
    """Return the row of a filter that learns from observations alone."""
    keys = jax.random.split(jax.random.key(1), budget.seeds)
    params = jax.vmap(lambda key: kf.learned.init_params(key, filter, model))(keys)
    fitted = kf.training.fit(
        kf.training.innovation_nll(filter),
        params,
        dataclasses.replace(parts.train, xs=None),
        key=keys,
        updates=budget.updates,
        batch_size=budget.batch_size,
        optimizer=optimizer(budget, budget.updates),
        validation=dataclasses.replace(parts.validation, xs=None),
        ema=budget.ema,
    )
    values = decibels(filter, fitted.params, parts.test, many=True)
    return Measured({FILTERED: values}, budget._asdict() | _chosen(fitted))


def _chosen(fitted):
    """Return what was chosen in training, to be stored."""
    return {
        "best_steps": np.asarray(fitted.update).tolist(),
        "refused_steps": np.asarray(fitted.refused).tolist(),
    }


def rows(quick):
    """Return the rows of the study."""
    parts = functools.partial(official, "lorenz_Hrot1_v-20_r0_T100")
    budget = BUDGET.quick() if quick else BUDGET
    long = WITHOUT_STATES.quick() if quick else WITHOUT_STATES

    def tuned():
        options = {"structure": "diagonal", "objective": "mse", "updates": 20 if quick else 80}
        given = {"validation": parts().validation, "key": jax.random.key(0)}
        found = kf.training.tune(kf.extended(), lorenz(), parts().train, **given, **options)
        return classical(found.params, parts().test)

    def least_squares():
        polynomial = kf.learned.Polynomial(1)
        model = kf.learned.residual_model(lorenz(), "h", polynomial, full=True)
        return classical(kf.learned.fit_residual(model, parts().train), parts().test)

    def rts_net(*refining):
        forward = kf.learned.Architecture2(3, 3)
        backward = kf.learned.BackwardArchitecture(3)
        smoother = kf.learned.rts_net(forward, backward, refining=refining)
        return learned_smoother(smoother, lorenz(), parts(), budget)

    def danse(model):
        return without_states(kf.learned.danse(3, 3), model(prior=ATTRACTOR), parts(), long)

    return {
        TUNED: tuned,
        LEAST_SQUARES: least_squares,
        TRUE: lambda: classical(rotated(), parts().test),
        ONE: rts_net,
        TWO: lambda: rts_net(kf.learned.Architecture2(3, 3)),
        "KalmanNet #2 (C4), h = I": lambda: learned_filter(
            kf.learned.published("C4", n=3, m=3), lorenz(), parts(), budget
        ),
        UNLABELLED: lambda: danse(rotated),
        "DANSE, h = I, without true states": lambda: danse(lorenz),
    }


def beats_tuned(values):
    """Return whether RTSNet beats the tuned smoother with the same h."""
    return values(ONE, SMOOTHED) < values(TUNED, SMOOTHED)


def passes_help(values):
    """Return whether the second pass lowers the error."""
    return values(TWO, SMOOTHED) < values(ONE, SMOOTHED)


def learns_the_motion(values):
    """Return whether DANSE, without f, is below the error of the observations."""
    return values(UNLABELLED, FILTERED) < 0


STUDY = Study(
    "Smoothing with a rotated sensor, and filtering without a motion model",
    """\
Official set lorenz_Hrot1_v-20_r0_T100, as in the study of a rotated sensor: h is the identity \
rotated by 1 degree about each axis, and R = I, so that an observation alone has an error of 0 dB. \
RTS is the Rauch-Tung-Striebel smoother of the EKF; with the true h it is the nearest thing to a \
floor. RTSNet and KalmanNet know f and h = I. DANSE knows h and R but not f, and is trained on \
observations alone.""",
    (FILTERED, SMOOTHED),
    rows,
    targets=(
        Target("RTSNet beats the tuned smoother that has the same h", beats_tuned),
        Target("A second pass of RTSNet lowers its error", passes_help),
        Target("DANSE is better than the observation alone (0 dB)", learns_the_motion),
    ),
    notes=(
        """\
The validation loss of DANSE was lowest at the last of its updates, so that it would fall further; \
that of the other networks was not.""",
    ),
    digits=2,
)
