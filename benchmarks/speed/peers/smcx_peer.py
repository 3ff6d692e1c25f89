"""smcx: Gaussian and particle filters in JAX; its prior is about x_1."""

import jax
import jax.numpy as jnp
import smcx

import kfjax as kf
from benchmarks.speed.peers.common import BOTH, drawn, each, first, matrices, predicted, slopes
from kfjax._cli.workloads import Outputs

PACKAGE = "smcx"
PRECISIONS = BOTH


def outputs(post, *more):
    return Outputs(
        post.filtered_means, post.filtered_covariances, post.log_evidence_increments, *more
    )


def kalman(problem, size):
    del size
    F, H, Q, R = (jnp.asarray(a) for a in matrices(problem))
    return each(
        problem,
        first(problem),
        lambda ys, mean, cov: outputs(smcx.kalman_filter(mean, cov, F, Q, H, R, ys)),
    )


def gradient(problem, size):
    del size

    def log_likelihood(model, belief, ys):
        F, H, Q, R = (jnp.asarray(a) for a in model)
        post = smcx.kalman_filter(*predicted(model, belief), F, Q, H, R, ys)
        return post.log_evidence_increments.sum()

    return slopes(problem, log_likelihood)


def smoother(problem, size):
    del size
    F, H, Q, R = (jnp.asarray(a) for a in matrices(problem))

    def one(ys, mean, cov):
        post = smcx.rts_smoother(smcx.kalman_filter(mean, cov, F, Q, H, R, ys), F)
        return outputs(post, post.smoothed_means, post.smoothed_covariances)

    return each(problem, first(problem), one)


def functions(problem):
    model = problem.params
    return lambda x: model.f(x, None), lambda x: model.h(x, None)


def extended(problem, size):
    del size
    f, h = functions(problem)
    Q, R = problem.params.Q, problem.params.R

    def one(ys, mean, cov):
        return outputs(
            smcx.extended_kalman_filter(mean, cov, f, jax.jacfwd(f), Q, h, jax.jacfwd(h), R, ys)
        )

    return each(problem, first(problem, kf.extended()), one)


def unscented(problem, size):
    del size
    f, h = functions(problem)
    Q, R = problem.params.Q, problem.params.R
    belief = first(problem, kf.unscented())
    return each(
        problem,
        belief,
        lambda ys, mean, cov: outputs(smcx.unscented_kalman_filter(mean, cov, f, Q, h, R, ys)),
    )


def particle(problem, size):
    model = problem.params
    f, h = functions(problem)
    start, noise, sensor = (jnp.linalg.cholesky(a) for a in (model.prior.cov, model.Q, model.R))

    def draw(key, x, scale):
        return x + scale @ jax.random.normal(key, x.shape, x.dtype)

    def initial(key, count):
        def one(key):
            before, after = jax.random.split(key)
            return draw(after, f(draw(before, model.prior.mean, start)), noise)

        return jax.vmap(one)(jax.random.split(key, count))

    def log_observation(y, x):
        z = jax.scipy.linalg.solve_triangular(sensor, y - h(x), lower=True)
        return -0.5 * z @ z - jnp.log(jnp.diag(sensor)).sum() - 0.5 * y.size * jnp.log(2 * jnp.pi)

    def one(ys, key):
        post = smcx.bootstrap_filter(
            key, initial, lambda key, x: draw(key, f(x), noise), log_observation, ys, size.particles
        )
        mean = smcx.weighted_mean(post)
        weights = jnp.exp(post.filtered_log_weights)
        spread = post.filtered_particles - mean[:, None]
        cov = jnp.einsum("tp,tpi,tpj->tij", weights, spread, spread)
        return Outputs(mean, cov, post.log_evidence_increments)

    return drawn(problem, one)


CONTENDERS = {
    "kalman": kalman,
    "gradient": gradient,
    "smoother": smoother,
    "extended": extended,
    "unscented": unscented,
    "particle": particle,
}
