"""The learned smoother RTSNet."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.compiling import quick_jit
from support.table import drawn, driven, heading, linear

import kfjax as kf
from kfjax import learned

SMOOTHER = learned.rts_net(
    learned.Architecture2(3, 2, 2, 2, zero_gain=False),
    learned.BackwardArchitecture(3, 2, 2, zero_gain=False),
)
REFINED = learned.rts_net(
    learned.Architecture2(2, 1, 2, 2, zero_gain=False),
    learned.BackwardArchitecture(2, 2, 2),
    refining=(learned.Architecture2(2, 2, 2, 2),),
)


class Table(NamedTuple):
    """A gain network that knows all gains: the memory counts steps, the variables are the gains."""

    n: int
    m: int

    def initial_carry(self, constants: Any, dtype: Any) -> Any:
        return jnp.zeros((), jnp.int32)

    def init(self, key: Any, carry: Any, features: Any) -> Any:
        return jnp.zeros((6, self.n, self.m))

    def apply(self, variables: Any, carry: Any, features: Any) -> Any:
        return carry + 1, variables[carry]


def test_with_the_gains_of_the_model_it_is_the_smoother_of_the_model(x64):
    problem = linear()
    model = problem.model
    filtered = kf.run(kf.kalman(), model, problem.ys, observed=problem.observed).outputs
    expected = kf.smooth(kf.kalman(), model, filtered)
    F, H, Q, R, P = map(np.asarray, (model.f.A, model.h.A, model.Q, model.R, model.prior.cov))
    before = np.concatenate([P[None], filtered.cov[:-1]])
    predicted = F @ before @ F.T + Q
    H_seen = np.where(problem.observed[..., None], H, 0)
    R_seen = np.where(problem.observed[..., None] & problem.observed[:, None, :], R, np.eye(2))
    S = H_seen @ predicted @ H_seen.swapaxes(-1, -2) + R_seen
    gains = predicted @ H_seen.swapaxes(-1, -2) @ np.linalg.inv(S)
    backward = before @ F.T @ np.linalg.inv(predicted)
    # a row without data does not advance the memory of the forward network
    rows = problem.observed.any(axis=1)
    gains = np.concatenate([gains[rows], gains[~rows]])
    smoother = learned.rts_net(Table(4, 2), Table(4, 4))
    params = learned.Learned(model, ({"forward": gains, "backward": backward[::-1]},))
    found = smoother(params, problem.ys, observed=problem.observed)
    np.testing.assert_allclose(found.filtered, filtered.mean, atol=1e-12)
    np.testing.assert_allclose(found.mean, expected.mean, atol=1e-12)
    np.testing.assert_allclose(found.initial, expected.initial.mean, atol=1e-12)


def test_length_equals_truncation_on_a_curved_space(x64):
    problem = heading()
    params = drawn(SMOOTHER, problem.model)
    ys = problem.ys.copy()
    ys[4:] = np.nan
    us = jax.tree.map(lambda u: np.where(np.arange(6)[:, None] < 4, u, np.nan), problem.us)
    found = jax.jit(lambda T: SMOOTHER(params, ys, us=us, length=T))(4)
    short = SMOOTHER(params, problem.ys[:4], us=problem.us[:4])
    np.testing.assert_allclose(found.mean[:4], short.mean, atol=1e-12)
    np.testing.assert_allclose(found.initial, short.initial, atol=1e-12)


def test_untrained_passes_change_nothing_and_gradients_are_right(x64):
    problem = driven()
    params = learned.init_params(jax.random.key(0), REFINED, problem.model)
    found = REFINED(params, problem.ys, us=problem.us, observed=problem.observed)
    np.testing.assert_allclose(found.mean, found.filtered, atol=1e-12)

    params = drawn(REFINED, problem.model)

    def loss(network):
        smoothed = REFINED(
            params._replace(network=network), problem.ys, us=problem.us, observed=problem.observed
        )
        return jnp.sum(smoothed.mean**2) + jnp.sum(smoothed.initial)

    gradient = quick_jit(jax.grad(loss))(params.network)
    direction = jax.tree.map(lambda a: jnp.cos(jnp.arange(a.size)).reshape(a.shape), params.network)
    step = 1e-5
    value = quick_jit(loss)
    ahead, behind = (
        value(jax.tree.map(lambda a, d: a + side * step * d, params.network, direction))
        for side in (1, -1)
    )
    along = sum(
        jnp.vdot(g, d)
        for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True)
    )
    np.testing.assert_allclose((ahead - behind) / (2 * step), along, rtol=1e-5)


def test_training_with_gaps_and_lengths_lowers_the_error():
    model = kf.systems.constant_velocity()
    keys = jax.random.split(jax.random.key(0), 16)
    xs, ys = jax.vmap(lambda key: kf.simulate(key, model, 12))(keys)
    observed = np.random.default_rng(0).random(ys.shape) < 0.8
    length = np.arange(16) % 6 + 7
    data = kf.Dataset(np.where(observed, ys, np.nan), xs, observed=observed, length=length)
    smoother = learned.rts_net(
        learned.Architecture2(2, 1, 2, 2), learned.BackwardArchitecture(2, 2, 2)
    )
    params = learned.init_params(jax.random.key(1), smoother, model)
    loss = kf.training.smoothed_mse(smoother, scale=(1.0, 0.5))
    assert loss == kf.training.smoothed_mse(smoother, scale=(1.0, 0.5))
    before = loss(params, data, jax.random.key(2))
    fitted = kf.training.fit(
        loss, params, data, key=jax.random.key(3), updates=60, batch_size=16, reports=1
    )
    assert loss(fitted.params, data, jax.random.key(2)) < 0.7 * before


def test_without_an_initial_state(x64):
    model = linear().model.replace(first="update")
    smoother = learned.rts_net(Table(4, 2), Table(4, 4))
    gains = 0.1 * jnp.ones((6, 4, 2))
    params = learned.Learned(model, ({"forward": gains, "backward": jnp.zeros((6, 4, 4))},))
    found = smoother(params, linear().ys)
    assert found.initial is None
    np.testing.assert_array_equal(found.mean, found.filtered)


def test_bad_input():
    forward, model = learned.Architecture2(2, 1), kf.systems.constant_velocity()
    with pytest.raises(ValueError, match="backward has n = 3 and m = 3; expected n = m = 2"):
        learned.rts_net(forward, learned.BackwardArchitecture(3))
    with pytest.raises(ValueError, match="refining has n = 2 and m = 1"):
        learned.rts_net(forward, learned.BackwardArchitecture(2), refining=(forward,))
    smoother = learned.rts_net(forward, learned.BackwardArchitecture(2))
    params = learned.init_params(jax.random.key(0), smoother, model)
    with pytest.raises(ValueError, match="one for each of the 1 passes"):
        smoother(params._replace(network=params.network[0]), np.zeros((4, 1)))
    with pytest.raises(ValueError, match="ys"):
        smoother(params, np.full((4, 1), np.nan))
    with pytest.raises(ValueError, match="smoothed_mse: smoother is None"):
        kf.training.smoothed_mse(None)
