"""What the studies of the Lorenz attractor share: a q that is searched for, and the data they run on."""

import jax.numpy as jnp
import numpy as np

from benchmarks.kalmannet.judging import judged

GRID = tuple(10.0 ** (k / 2) for k in range(-14, 3))  # q^2


def with_q(model, q2):
    """Return the model with Q = q^2 I."""
    return model.replace(Q=jnp.asarray(q2, model.dtype) * jnp.eye(model.n, dtype=model.dtype))


def searched(method, model, validation, grid=GRID):
    """Return the model with the q that does best on validation data, and the settings to report."""

    def error(q2):
        return np.nan_to_num(judged(method, with_q(model, q2), validation).value[0], nan=np.inf)

    best = min(grid, key=error)
    return with_q(model, best), {"q^2": best}
