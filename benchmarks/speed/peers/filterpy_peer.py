"""filterpy: Kalman filters in numpy, one step at a time."""

import numpy as np
from filterpy.kalman import KalmanFilter

from benchmarks.speed.peers.common import matrices, prior, singly
from kfjax._cli.workloads import Outputs

PACKAGE = "filterpy"
PRECISIONS = ("float64",)
MOST = 20


def kalman(problem, size, smoothing=False):
    del size
    F, H, Q, R = matrices(problem)

    def one(ys, mean, cov):
        method = KalmanFilter(F.shape[0], H.shape[0])
        method.F = F
        method.H = H
        method.Q = Q
        method.R = R
        method.x = mean.copy()
        method.P = cov.copy()
        means = []
        covs = []
        likelihoods = []
        for y in ys:
            method.predict()
            method.update(y)
            means.append(method.x)
            covs.append(method.P)
            likelihoods.append(method.log_likelihood)
        filtered = Outputs(np.stack(means), np.stack(covs), np.array(likelihoods))
        if not smoothing:
            return filtered
        smoothed = method.rts_smoother(filtered.mean, filtered.cov)
        return filtered._replace(smoothed_mean=smoothed[0], smoothed_cov=smoothed[1])

    return singly(problem, prior(problem), one, MOST)


def smoother(problem, size):
    return kalman(problem, size, smoothing=True)


CONTENDERS = {"kalman": kalman, "smoother": smoother}
