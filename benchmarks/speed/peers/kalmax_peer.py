"""kalmax: a Kalman filter in JAX, without the likelihood of observations given earlier ones."""

import jax.numpy as jnp
import kalmax

from benchmarks.speed.peers.common import BOTH, each, matrices, prior
from kfjax._cli.workloads import Outputs

PACKAGE = "kalmax"
PRECISIONS = BOTH
NOTE = "no likelihood"


def build(problem):
    F, H, Q, R = (jnp.asarray(a) for a in matrices(problem))
    steps, m = problem.ys.shape[-2:]
    return kalmax.KalmanFilter(F.shape[0], m, batch_size=steps, F=F, Q=Q, H=H, R=R)


def kalman(problem, size):
    del size
    method = build(problem)

    def one(ys, mean, cov):
        return Outputs(*method.filter(ys, mu0=mean, sigma0=cov))

    return each(problem, prior(problem), one)._replace(note=NOTE)


def smoother(problem, size):
    del size
    method = build(problem)

    def one(ys, mean, cov):
        filtered = method.filter(ys, mu0=mean, sigma0=cov)
        return Outputs(*filtered, None, *method.smooth(*filtered))

    return each(problem, prior(problem), one)._replace(note=NOTE)


CONTENDERS = {"kalman": kalman, "smoother": smoother}
