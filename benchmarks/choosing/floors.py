"""The lowest possible error: exact on a grid for one state, a bound for Gaussian noise."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm

import kfjax as kf
from benchmarks.choosing.problems import first_steps

POINTS = 1200
TRUTHS = 2000  # trajectories over which the bound takes its expectations


def exact_means(problem, data):
    """Return the means [N, T, 1] of the exact filter of one state, on a grid of points."""
    low, high = problem.grid
    grid = jnp.linspace(low, high, POINTS)
    model = problem.model
    prior = norm.pdf(grid, model.prior.mean[0], jnp.sqrt(model.prior.cov[0, 0]))
    std = jnp.sqrt(model.Q[0, 0])

    def log_density(x, y, u):
        if problem.density is not None:
            return problem.density(x[None], y, u, None)
        return norm.logpdf(y[0], model.h(x[None], u)[0], jnp.sqrt(model.R[0, 0]))

    def step(weights, row):
        ys, u = row
        moved = jax.vmap(lambda x: model.f(x[None], u)[0])(grid)
        # a column is the density of the next state, given a point of the grid
        kernel = norm.pdf(grid[:, None], moved[None, :], std)
        kernel = kernel / jnp.maximum(kernel.sum(0, keepdims=True), 1e-300)
        predicted = weights @ kernel.T
        logs = jax.vmap(lambda y: jax.vmap(lambda x: log_density(x, y, u))(grid))(ys)
        weights = predicted * jnp.exp(logs - logs.max(1, keepdims=True))
        weights = weights / weights.sum(1, keepdims=True)
        return weights, weights @ grid

    start = jnp.broadcast_to(prior / prior.sum(), (data.size, POINTS))
    us = first_steps(problem.us, data.steps)
    _, means = jax.jit(lambda ys: jax.lax.scan(step, start, (ys, us)))(
        jnp.swapaxes(jnp.asarray(data.ys), 0, 1)
    )
    return np.swapaxes(np.asarray(means), 0, 1)[..., None]


def bound(problem, steps, key):
    """Return the posterior Cramer-Rao bound of the scored squared error, the mean over time.

    Tichavsky, Muravchik, Nehorai, IEEE Trans. Signal Process. 46 (1998), equations (21)-(24), for
    additive Gaussian noise, with expectations over drawn trajectories.
    """
    model = problem.model
    us = first_steps(problem.us, steps)
    start, key = jax.random.split(key)
    keys = jax.random.split(key, TRUTHS)
    starts = jax.random.multivariate_normal(start, model.prior.mean, model.prior.cov, (TRUTHS,))
    simulated = jax.vmap(lambda key, x0: kf.simulate(key, model, steps, us=us, x0=x0))
    xs, _ = jax.jit(simulated)(keys, starts)
    xs = jnp.concatenate([starts[:, None], xs], axis=1)
    inverse_Q = jnp.linalg.inv(model.Q)
    inverse_R = jnp.linalg.inv(model.R)
    F_of = jax.vmap(jax.jacfwd(model.f), (0, None))
    H_of = jax.vmap(jax.jacfwd(model.h), (0, None))

    def step(J, row):
        x, x_next, u = row
        F = F_of(x, u)
        H = H_of(x_next, u)
        D11 = jnp.einsum("kji,jl,klm->im", F, inverse_Q, F) / TRUTHS
        D12 = -F.mean(0).T @ inverse_Q
        seen = jnp.einsum("kji,jl,klm->im", H, inverse_R, H) / TRUTHS
        J = inverse_Q + seen - D12.T @ jnp.linalg.solve(J + D11, D12)
        return J, jnp.diagonal(jnp.linalg.inv(J))[jnp.array(problem.scored)].sum()

    time_first = jnp.swapaxes(xs, 0, 1)
    rows = (time_first[:-1], time_first[1:], us)
    _, floors = jax.jit(lambda rows: jax.lax.scan(step, jnp.linalg.inv(model.prior.cov), rows))(
        rows
    )
    return float(floors.mean())
