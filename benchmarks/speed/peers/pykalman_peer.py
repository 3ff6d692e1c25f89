"""pykalman: Kalman filters in numpy, one trajectory at a time; its prior is about x_1."""

import pykalman

from benchmarks.speed.peers.common import first, matrices, singly
from kfjax._cli.workloads import Outputs

PACKAGE = "pykalman"
PRECISIONS = ("float64",)
MOST = 10


def kalman(problem, size, smoothing=False):
    del size
    F, H, Q, R = matrices(problem)

    def one(ys, mean, cov):
        method = pykalman.KalmanFilter(
            F, H, Q, R, initial_state_mean=mean, initial_state_covariance=cov
        )
        filtered = Outputs(*method.filter(ys), method.loglikelihood(ys))
        return Outputs(*filtered[:3], *method.smooth(ys)) if smoothing else filtered

    return singly(problem, first(problem), one, MOST)


def smoother(problem, size):
    return kalman(problem, size, smoothing=True)


CONTENDERS = {"kalman": kalman, "smoother": smoother}
