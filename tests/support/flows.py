"""Trajectories of models without noise, beside those computed by scipy."""

import functools

import jax
import jax.numpy as jnp
from scipy.integrate import solve_ivp
from support.compiling import quick_jit


def exact_flow(drift, x, dt):
    return solve_ivp(drift, (0, dt), x, rtol=1e-12, atol=1e-12).y[:, -1]


@quick_jit
def evolve(model, x):
    """One step of f without inputs."""
    return model.f(jnp.asarray(x), None)


@functools.partial(quick_jit, static_argnums=1)
def path(model, steps, us=None):
    """x_1..x_T without noise, from the mean of the prior."""

    def body(x, u):
        x = model.f(x, u)
        return x, x

    return jax.lax.scan(body, model.prior.mean, us, length=steps)[1]
