"""cuthbert: filters in JAX that carry factors of covariances; its time includes their products."""

import cuthbert
import jax
import jax.numpy as jnp
from cuthbert.gaussian import kalman as exact
from cuthbert.gaussian import moments
from cuthbert.smc import particle_filter
from cuthbertlib.resampling import adaptive, systematic

from benchmarks.speed.peers.common import BOTH, drawn, each, matrices, prior
from kfjax._cli.workloads import Outputs

PACKAGE = "cuthbert"
PRECISIONS = BOTH


def squared(factors):
    return factors @ factors.swapaxes(-1, -2)


def outputs(states):
    covs = squared(states.chol_cov[1:])
    return Outputs(states.mean[1:], covs, states.log_normalizing_constant[-1])


def kalman(problem, size, smoothing=False):
    del size
    F, H, Q, R = (jnp.asarray(a) for a in matrices(problem))
    noise, sensor = jnp.linalg.cholesky(Q), jnp.linalg.cholesky(R)

    def dynamics(y):
        del y
        return F, jnp.zeros(F.shape[0]), noise

    def one(ys, mean, cov):
        method = exact.build_filter(
            mean,
            jnp.linalg.cholesky(cov),
            dynamics,
            lambda y: (H, jnp.zeros(H.shape[0]), sensor, y),
        )
        states = cuthbert.filter(method, ys, method.init_prepare())
        if not smoothing:
            return outputs(states)
        smoothed = cuthbert.smoother(exact.build_smoother(dynamics), states)
        return Outputs(*outputs(states)[:3], smoothed.mean[1:], squared(smoothed.chol_cov[1:]))

    return each(problem, prior(problem), one)


def smoother(problem, size):
    return kalman(problem, size, smoothing=True)


def extended(problem, size):
    del size
    model = problem.params
    noise, sensor = jnp.linalg.cholesky(model.Q), jnp.linalg.cholesky(model.R)

    def dynamics(state, y):
        del y
        return lambda x: (model.f(x, None), noise), state.mean

    def observation(state, y):
        return lambda x: (model.h(x, None), sensor), state.mean, y

    def one(ys, mean, cov):
        method = moments.build_filter(mean, jnp.linalg.cholesky(cov), dynamics, observation)
        return outputs(cuthbert.filter(method, ys, method.init_prepare()))

    return each(problem, prior(problem), one)


def particle(problem, size):
    model = problem.params
    start, noise, sensor = (jnp.linalg.cholesky(a) for a in (model.prior.cov, model.Q, model.R))

    def draw(key, x, scale):
        return x + scale @ jax.random.normal(key, x.shape, x.dtype)

    def log_potential(before, x, y):
        del before
        z = jax.scipy.linalg.solve_triangular(sensor, y - model.h(x, None), lower=True)
        return -0.5 * z @ z - jnp.log(jnp.diag(sensor)).sum() - 0.5 * y.size * jnp.log(2 * jnp.pi)

    method = particle_filter.build_filter(
        lambda key: draw(key, model.prior.mean, start),
        lambda key, x, y: draw(key, model.f(x, None), noise),  # noqa: ARG005
        log_potential,
        size.particles,
        adaptive.ess_decorator(systematic.resampling, 0.5),
    )

    def one(ys, key):
        before, after = jax.random.split(key)
        states = cuthbert.filter(method, ys, method.init_prepare(key=before), key=after)
        particles = states.particles[1:]
        weights = jax.nn.softmax(states.log_weights[1:])
        mean = jnp.einsum("tp,tpi->ti", weights, particles)
        spread = particles - mean[:, None]
        cov = jnp.einsum("tp,tpi,tpj->tij", weights, spread, spread)
        return Outputs(mean, cov, states.log_normalizing_constant[-1])

    return drawn(problem, one)


CONTENDERS = {"kalman": kalman, "smoother": smoother, "extended": extended, "particle": particle}
