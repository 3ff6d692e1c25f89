"""A compiled step with the model inside gives the numbers of `step`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kfjax as kf


@pytest.mark.parametrize("first", ["predict", "update"])
def test_a_stepper_takes_the_steps_of_run(first, x64):
    model = kf.systems.constant_velocity().replace(first=first)
    _, ys = kf.simulate(jax.random.key(0), model, steps=5)
    whole = kf.run(kf.kalman(), model, ys)
    take = kf.stepper(kf.kalman(), model, emit=kf.estimate)
    state = None
    kept = []
    for y in np.asarray(ys):
        state, one = take(state, y)
        kept.append(one)
    stacked = jax.tree.map(lambda *parts: jnp.stack(parts), *kept)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), stacked, whole.outputs)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), state, whole.final)


def test_masks_inputs_and_keys_are_those_of_step():
    model = kf.systems.constant_velocity(dt=None)
    cloud = kf.particle(50)
    take = kf.stepper(cloud, model)
    seen = np.array([False])
    y = np.array([np.nan], np.float32)
    key = jax.random.key(1)
    got = take(None, y, u=0.1, observed=seen, key=key)
    want = kf.step(cloud, model, None, y, u=0.1, observed=seen, key=key)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        if not jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            np.testing.assert_allclose(a, b, rtol=1e-5)


def test_a_stepper_says_what_is_wrong():
    model = kf.systems.constant_velocity()
    with pytest.raises(ValueError, match="stepper: emit is"):
        kf.stepper(kf.kalman(), model, emit=3)
    take = kf.stepper(kf.kalman(), model)
    state = kf.kalman().init(model)
    masked = np.ma.masked_array([1.0], mask=[True])
    for y in (np.array([np.nan]), jnp.array([jnp.inf]), [np.nan], np.array([1e300]), masked, 1j):
        with pytest.raises(ValueError, match=r"y has|y is"):
            take(state, y)
        with pytest.raises(ValueError, match=r"y has|y is"):
            kf.step(kf.kalman(), model, state, y)
    with pytest.raises(ValueError, match=r"expected.*\(1,\)|\[1\]"):
        take(state, np.zeros(3))
    with pytest.raises(ValueError, match="both state and key"):
        take(state, np.zeros(1), key=jax.random.key(0))


def test_a_stepper_works_under_transformations():
    model = kf.systems.constant_velocity()
    take = kf.stepper(kf.kalman(), model)
    state = kf.kalman().init(model)
    ys = jnp.arange(3.0)[:, None]
    after, _ = jax.vmap(lambda y: take(state, y))(ys)
    assert after.mean.shape == (3, 2)
    slope = jax.grad(lambda y: take(state, y)[0].mean[0])(ys[0])
    assert 0 < slope[0] < 1
