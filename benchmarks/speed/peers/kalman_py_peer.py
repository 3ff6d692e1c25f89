"""kalman-py: its filters on JAX, one trajectory at a time."""

import kalman_py

from benchmarks.speed.peers.common import BOTH, matrices, prior, singly
from kfjax._cli.workloads import Outputs

PACKAGE = "kalman-py"
PRECISIONS = BOTH


def kalman(problem, size, smoothing=False):
    del size
    F, H, Q, R = matrices(problem)

    def one(ys, mean, cov):
        method = kalman_py.KalmanFilter(F, H, Q, R, mean, cov)
        result = method.filter(ys, backend="jax")
        filtered = Outputs(result.means, result.covs, result.log_likelihood)
        if not smoothing:
            return filtered
        smoothed = method.smooth(result)
        return filtered._replace(smoothed_mean=smoothed.means, smoothed_cov=smoothed.covs)

    return singly(problem, prior(problem), one)


def smoother(problem, size):
    return kalman(problem, size, smoothing=True)


def nonlinear(kind, problem):
    model = problem.params

    def f(x, dt):
        del dt
        return model.f(x, None)

    def h(x):
        return model.h(x, None)

    def one(ys, mean, cov):
        result = kind(f, h, model.Q, model.R, mean, cov).filter(ys, 1.0, backend="jax")
        return Outputs(result.means, result.covs, result.log_likelihood)

    return singly(problem, prior(problem), one)


def extended(problem, size):
    del size
    return nonlinear(kalman_py.ExtendedKalmanFilter, problem)


def unscented(problem, size):
    del size
    return nonlinear(kalman_py.UnscentedKalmanFilter, problem)


CONTENDERS = {"kalman": kalman, "smoother": smoother, "extended": extended, "unscented": unscented}
