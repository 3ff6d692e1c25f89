"""dynamax: filters and smoothers of Gaussian models in JAX; its prior is about x_1."""

import jax.numpy as jnp
from dynamax.linear_gaussian_ssm import (
    ParamsLGSSM,
    ParamsLGSSMDynamics,
    ParamsLGSSMEmissions,
    ParamsLGSSMInitial,
    lgssm_filter,
    lgssm_smoother,
)
from dynamax.nonlinear_gaussian_ssm import (
    ParamsNLGSSM,
    UKFHyperParams,
    extended_kalman_filter,
    unscented_kalman_filter,
)

import kfjax as kf
from benchmarks.speed.peers.common import BOTH, each, first, matrices, predicted, slopes
from kfjax._cli.workloads import Outputs

PACKAGE = "dynamax"
PRECISIONS = BOTH
FIELDS = ["filtered_means", "filtered_covariances"]


def linear(problem, mean, cov):
    return parameters(matrices(problem), mean, cov)


def parameters(model, mean, cov):
    F, H, Q, R = (jnp.asarray(a) for a in model)
    n, m = H.shape[1], H.shape[0]
    return ParamsLGSSM(
        ParamsLGSSMInitial(mean, cov),
        ParamsLGSSMDynamics(F, jnp.zeros(n), jnp.zeros((n, 0)), Q),
        ParamsLGSSMEmissions(H, jnp.zeros(m), jnp.zeros((m, 0)), R),
    )


def kalman(problem, size):
    del size

    def one(ys, mean, cov):
        post = lgssm_filter(linear(problem, mean, cov), ys)
        return Outputs(post.filtered_means, post.filtered_covariances, post.marginal_loglik)

    return each(problem, first(problem), one)


def gradient(problem, size):
    del size

    def log_likelihood(model, belief, ys):
        return lgssm_filter(parameters(model, *predicted(model, belief)), ys).marginal_loglik

    return slopes(problem, log_likelihood)


def smoother(problem, size):
    del size

    def one(ys, mean, cov):
        post = lgssm_smoother(linear(problem, mean, cov), ys)
        filtered = post.filtered_means, post.filtered_covariances, post.marginal_loglik
        return Outputs(*filtered, post.smoothed_means, post.smoothed_covariances)

    return each(problem, first(problem), one)


def nonlinear(problem, mean, cov):
    model = problem.params
    return ParamsNLGSSM(
        mean, cov, lambda x: model.f(x, None), model.Q, lambda x: model.h(x, None), model.R
    )


def extended(problem, size):
    del size

    def one(ys, mean, cov):
        post = extended_kalman_filter(nonlinear(problem, mean, cov), ys, output_fields=FIELDS)
        return Outputs(post.filtered_means, post.filtered_covariances, post.marginal_loglik)

    return each(problem, first(problem, kf.extended()), one)


def unscented(problem, size):
    del size

    def one(ys, mean, cov):
        rule = UKFHyperParams(alpha=1.0, beta=2, kappa=0)
        post = unscented_kalman_filter(
            nonlinear(problem, mean, cov), ys, rule, output_fields=FIELDS
        )
        return Outputs(post.filtered_means, post.filtered_covariances, post.marginal_loglik)

    return each(problem, first(problem, kf.unscented()), one)


CONTENDERS = {
    "kalman": kalman,
    "gradient": gradient,
    "smoother": smoother,
    "extended": extended,
    "unscented": unscented,
}
