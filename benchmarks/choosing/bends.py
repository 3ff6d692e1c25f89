"""How far f and h are from straight lines over the width of the belief."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import kfjax as kf

EUCLIDEAN = kf.Space(jnp.subtract, jnp.add)
RULE = kf.moments.GaussHermite(3)


def _left_out(fn, belief, source, target):
    """Return the mean square of what the tangent at the mean leaves out, by component."""
    m = belief.mean

    def rest(x):
        y, along = jax.jvp(fn, (m,), (source.difference(x, m),))
        return target.difference(fn(x), y) - along

    moments = RULE(rest, belief, source, EUCLIDEAN)
    return moments.mean**2 + jnp.diagonal(moments.cov)


@functools.partial(jax.jit, static_argnums=0)
def _bends(filter, model, batch):
    def one(record):
        def step(state, row):
            y, u = row
            f = functools.partial(model.f, u=u)
            h = functools.partial(model.h, u=u)
            predicted = filter.predict(model, state, u)
            width = jnp.diagonal(predicted.cov)
            of_f = _left_out(f, state, model.state_space, model.state_space) / width
            noise = jnp.diagonal(model.R)
            of_h = _left_out(h, predicted, model.state_space, model.observation_space) / noise
            state, _ = filter.update(model, predicted, y, u)
            return state, jnp.sqrt(jnp.stack([of_f.max(), of_h.max()]))

        return jax.lax.scan(step, filter.init(model), (record.ys, record.us))[1]

    return jax.vmap(one)(batch)


def bends(problem, data):
    """Return the bends of f and h: the largest in a record, and the median of that over records.

    The bend of f is in standard deviations of the prediction, that of h in standard deviations of
    the sensor noise; the beliefs are those of the unscented filter.
    """
    found = np.asarray(_bends(kf.unscented(), problem.model, data))
    return [float(f"{value:.3g}") for value in np.median(found.max(axis=1), axis=0)]
