"""simdkalman: Kalman filters in numpy, vectorised over the batch; its prior is about x_1.

Its log-likelihoods lack the constant, which is added here after the clock has stopped.
"""

import numpy as np
import simdkalman

from benchmarks.speed.peers.common import Contender, first, matrices
from kfjax._cli.workloads import Outputs

PACKAGE = "simdkalman"
PRECISIONS = ("float64",)


def kalman(problem, size, smoothing=False):
    del size
    F, H, Q, R = matrices(problem)
    method = simdkalman.KalmanFilter(F, Q, H, R)
    single = problem.ys.ndim == 2
    ys = np.asarray(problem.ys)[None] if single else np.asarray(problem.ys)
    mean, cov = (np.asarray(a) for a in first(problem))
    options = {
        "filtered": True,
        "smoothed": smoothing,
        "observations": False,
        "log_likelihood": True,
    }

    def call():
        return method.compute(
            ys, 0, initial_value=mean[..., None], initial_covariance=cov, **options
        )

    def read(result):
        beliefs = [result.filtered.states]
        if smoothing:
            beliefs.append(result.smoothed.states)
        arrays = [a for belief in beliefs for a in (belief.mean, belief.cov)]
        constant = -0.5 * np.log(2 * np.pi) * ys.shape[1] * ys.shape[2]
        outputs = Outputs(*arrays[:2], result.log_likelihood + constant, *arrays[2:])
        if not single:
            return outputs
        return Outputs(*(None if a is None else np.asarray(a)[0] for a in outputs))

    return Contender(call, read)


def smoother(problem, size):
    return kalman(problem, size, smoothing=True)


CONTENDERS = {"kalman": kalman, "smoother": smoother}
