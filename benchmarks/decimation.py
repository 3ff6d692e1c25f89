"""The Lorenz attractor sampled densely and decimated, and flows whose step is too coarse for it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import kfjax as kf

SETTLE = 500  # samples until a trajectory is on the attractor
START = kf.Gaussian(jnp.ones(3), 1e-6 * jnp.eye(3))
FLOWS = {
    "J = 2": {"taylor_order": 2},
    "J = 2 in two half-steps": {"taylor_order": 2, "substeps": 2},
    "J = 5, the design model": {"taylor_order": 5},
    "Runge-Kutta": {"integrator": "rk4"},
}


def dense(seed, trajectories, steps):
    """Simulate trajectories sampled every 1e-5 s and decimated to 0.02 s.

    They start at random places of the attractor. Observations are the states plus noise of
    standard deviation 1.
    """
    with jax.enable_x64(True):
        flow = kf.systems.decimated_lorenz(r_std=1.0)
        coarse = kf.systems.lorenz(integrator="rk4", q_std=0.0)
        rng = np.random.default_rng(seed)
        anywhere = jnp.asarray(rng.normal([0.0, 0.0, 25.0], 8.0, (trajectories, 3)))
        start = _path(coarse.f, anywhere, SETTLE)[:, -1]
        states = np.asarray(_path(flow.f, start, steps))
    return kf.Dataset(states + rng.normal(size=states.shape), states, prior_mean=start)


@functools.partial(jax.jit, static_argnums=2)
def _path(f, start, steps):
    """Return the states [B, T, 3] that follow the start [B, 3]."""

    def step(x, _):
        x = f(x, None)
        return x, x

    return jax.vmap(lambda x: jax.lax.scan(step, x, length=steps)[1])(start)
