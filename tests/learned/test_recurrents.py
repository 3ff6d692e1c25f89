"""Recurrent filters: equations of the cells, gaps, dropout, sizes and training."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from support import gain_checks, table
from support.compiling import quick_jit

import kfjax as kf
import kfjax.learned as kl
from kfjax.learned.recurrent_networks.cells import orthogonal


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def lstm_step(p, carry, x):
    h, c = np.split(carry, 2)
    i, f, g, o = np.split(x @ p["input_kernel"] + h @ p["hidden_kernel"] + p["bias"], 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return np.concatenate([sigmoid(o) * np.tanh(c), c])


def plain_step(p, h, x):
    return np.tanh(x @ p["input_kernel"] + h @ p["hidden_kernel"] + p["bias"])


@pytest.mark.parametrize(
    ("cell", "step", "width"), [(kl.LSTM, lstm_step, 6), (kl.PlainRNN, plain_step, 3)]
)
def test_cells_are_their_equations(x64, cell, step, width):
    rng = np.random.default_rng(0)
    carry, x = rng.normal(size=width), rng.normal(size=2)
    variables = jax.tree.map(np.asarray, cell(3).init(jax.random.key(0), carry, x))
    np.testing.assert_allclose(
        cell(3).apply(variables, carry, x), step(variables["params"], carry, x), rtol=1e-6
    )


def test_how_cells_start():
    kernel = np.asarray(orthogonal(jax.random.key(0), (3, 12)))
    for gate in np.split(kernel, 4, axis=1):
        np.testing.assert_allclose(gate.T @ gate, np.eye(3), atol=1e-6)
    bias = kl.LSTM(2).init(jax.random.key(0), jnp.zeros(4), jnp.zeros(1))["params"]["bias"]
    np.testing.assert_array_equal(bias, [0, 0, 1, 1, 0, 0, 0, 0])


def count(filter, model):
    params = kl.init_params(jax.random.key(0), filter, model)
    return sum(leaf.size for leaf in jax.tree.leaves(params.network))


def test_the_baselines_have_the_size_of_kalman_net():
    model = table.pendulum().model
    kalman_net = count(kl.published("C1", n=2, m=2), model)
    counts = {
        kind: count(kl.recurrent_baseline(kind, 2, 2), model)
        for kind in ("vanilla", "model_based", "differences")
    }
    # KalmanNet's last layer makes n m numbers, these make n
    assert kalman_net - counts["differences"] == (16 + 1) * (4 - 2)
    assert counts["model_based"] == counts["differences"]
    assert counts["differences"] - counts["vanilla"] == 2 * 320


KINDS = {
    "vanilla": kl.recurrent_baseline("vanilla", 2, 2),
    "model_based": kl.recurrent(
        kl.RecurrentStack(2, (5,), encode=4, mix=3), 2, ("y", "mask", "prediction"), "update"
    ),
    "differences": kl.recurrent(kl.RecurrentStack(2, (5,)), 2, ("F1", "F2", "F3", "F4"), "update"),
    "lstm": kl.sequence_regressor(2, 2, (4, 3), layer_norm=True),
    "gru": kl.sequence_regressor(
        2, 2, (4,), cell="gru", feedback=False, output="level", learned_start=False
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_untrained_filter_stays_or_follows_the_model(x64, kind):
    problem = table.pendulum()
    params = kl.init_params(jax.random.key(0), KINDS[kind], problem.model)
    est, _ = gain_checks.everything(KINDS[kind], params, problem.ys)
    x = np.asarray(problem.model.prior.mean)
    for mean in est.mean:
        if kind in ("model_based", "differences"):
            x = problem.model.f(x, None)
        np.testing.assert_allclose(
            mean, np.zeros(2) if kind in ("vanilla", "gru") else x, rtol=1e-9
        )


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_missing_has_no_influence_and_the_memory_ticks_all_the_same(x64, kind):
    problem, net = table.pendulum(), KINDS[kind]
    params = gain_checks.drawn(net, problem.model, 0.2)
    noise = np.random.default_rng(0).normal(size=problem.ys.shape)
    filled, empty = (np.where(problem.observed, problem.ys, other) for other in (noise, np.nan))
    results = [
        gain_checks.everything(net, params, ys, observed=problem.observed) for ys in (filled, empty)
    ]
    jax.tree.map(np.testing.assert_array_equal, *results)
    _, info = results[0]
    np.testing.assert_array_equal(info.innovation != 0, problem.observed)
    np.testing.assert_array_equal(info.dof, problem.observed.sum(axis=1))
    once = net.predict(params, net.init(params))
    twice = net.predict(params, once)
    assert all(np.any(a != b) for a, b in zip(once.carry, twice.carry, strict=True))


def rescaled(problem, c):
    """The same model and data in units of x that are c times smaller, and of y
    that are c^2 times."""
    model = problem.model
    f = lambda x, u: c * model.f(x / c, u)  # noqa: E731
    h = lambda x, u: c**2 * model.h(x / c, u)  # noqa: E731
    prior = kf.Gaussian(c * model.prior.mean, c**2 * model.prior.cov)
    return model.replace(
        f=f, h=h, Q=c**2 * model.Q, R=c**4 * model.R, prior=prior
    ), c**2 * problem.ys


@pytest.mark.parametrize("kind", ["model_based", "lstm"])
def test_with_scales_the_estimates_do_not_depend_on_units(x64, kind):
    problem, net = table.pendulum(), KINDS[kind]
    xs = np.random.default_rng(1).normal(size=problem.ys.shape) + 3.0
    network = gain_checks.drawn(net, problem.model, 0.2).network
    means = []
    for c in (1.0, 10.0):
        model, ys = rescaled(problem, c)
        scales = kl.series_scales(model, kf.Dataset(ys[None], c * xs[None]))
        params = kl.Learned(model, network, scales)
        means.append(gain_checks.everything(net, params, ys)[0].mean / c)
    np.testing.assert_allclose(*means, rtol=1e-9)


def test_scales_leave_out_what_does_not_count(x64):
    data = kf.Dataset(
        [[[1.0], [np.nan], [3.0], [99.0]]],
        [[[1.0], [5.0], [3.0], [99.0]]],
        np.arange(4.0)[None, :, None],
        length=[3],
    )
    scales = kl.series_scales(gain_checks.walk(), data)
    found = {name: (float(s["centre"][0]), float(s["spread"][0])) for name, s in scales.items()}
    np.testing.assert_allclose(found["y"], (2.0, 1.0))
    np.testing.assert_allclose(found["x"], (3.0, np.sqrt(8 / 3)))
    np.testing.assert_allclose(found["u"], (1.0, np.sqrt(2 / 3)))


def test_inputs_are_seen():
    problem = table.driven()
    net = kl.sequence_regressor(2, 1, (4,), inputs=2)
    params = gain_checks.drawn(net, problem.model, 0.2)
    first, second = (
        gain_checks.everything(net, params, problem.ys, us)[0]
        for us in (problem.us, 2 * problem.us)
    )
    assert np.all(first.mean != second.mean)


def test_dropout_acts_in_training_only():
    model, ys = table.pendulum()[:2]
    plain, dropping = (kl.sequence_regressor(2, 2, (16, 8), dropout=rate) for rate in (0.0, 0.5))
    params = gain_checks.drawn(plain, model, 0.1)
    run = functools.partial(quick_jit, static_argnums=0)(
        lambda f, key: kf.run(f, params, ys, key=key).outputs.mean
    )
    keys = jax.random.split(jax.random.key(0), 2)
    np.testing.assert_array_equal(run(dropping, keys[0]), run(plain, keys[0]))
    trained = kl.with_dropout(dropping)
    assert trained == kl.with_dropout(dropping)
    drawn = [np.asarray(run(trained, key)) for key in (keys[0], keys[0], keys[1])]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert np.all(drawn[0] != drawn[2])
    with pytest.raises(ValueError, match="no random key"):
        kf.run(trained, params, ys)
    with pytest.raises(ValueError, match="without dropout"):
        kl.with_dropout(plain)


def test_half_of_what_is_handed_upward_is_dropped_and_the_rest_doubled():
    stack = kl.RecurrentStack(1, (400,), "rnn", dropout=0.5)
    carry, x = (jnp.zeros(400),), jnp.ones(1)
    variables = stack.init(jax.random.key(0), carry, x)
    variables = jax.tree.map(jnp.ones_like, variables)
    plain, dropped = (
        stack.apply(variables, carry, x, rngs=rngs)
        for rngs in (None, {"dropout": jax.random.key(1)})
    )
    np.testing.assert_array_equal(plain[0][0], dropped[0][0])  # the memory is whole
    ratio = float((dropped[1][0] - 1) / (plain[1][0] - 1))
    assert 0.8 < ratio < 1.2
    assert ratio != 1


@functools.cache
def walks():
    model = gain_checks.walk()
    xs, ys = quick_jit(jax.vmap(lambda key: kf.simulate(key, model, 15)))(
        jax.random.split(jax.random.key(0), 640)
    )
    return kf.Dataset(ys, xs).split(512, 128)


@pytest.mark.slow
@pytest.mark.parametrize(
    "filter",
    [
        kl.sequence_regressor(1, 1, (8,)),
        kl.recurrent(kl.RecurrentStack(1, (8,)), 1, ("F2", "F4"), "update"),
    ],
)
def test_they_learn_what_the_kalman_filter_knows(filter):
    train, test = walks()
    model = gain_checks.walk()
    params = kl.init_params(jax.random.key(1), filter, model, kl.series_scales(model, train))
    options = {
        "key": jax.random.key(2),
        "updates": 300,
        "optimizer": kf.training.clipped_adam(0.02),
        "reports": 1,
    }
    fitted = kf.training.fit(kf.training.state_mse(filter), params, train, **options)
    learned = float(kf.training.state_mse(filter)(fitted.params, test, jax.random.key(0)))
    optimum = float(kf.training.state_mse(kf.kalman())(model, test, jax.random.key(0)))
    assert optimum < learned < 1.15 * optimum
    assert fitted.refused == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kl.recurrent(nn.Dense(2), 2), "network is Dense"),
        (lambda: kl.recurrent(kl.RecurrentStack(2), 2, ("z",)), "a name in sees is 'z'"),
        (lambda: kl.recurrent(kl.RecurrentStack(2), 2, ()), "expected a tuple of names"),
        (lambda: kl.recurrent(kl.RecurrentStack(2), 2, ("y",), "gain"), "output is 'gain'"),
        (lambda: kl.RecurrentStack(2, ()), "expected a tuple of sizes"),
        (lambda: kl.RecurrentStack(2, cell="transformer"), "cell is 'transformer'"),
        (lambda: kl.RecurrentStack(2, dropout=1.0), "dropout is 1.0"),
        (lambda: kl.recurrent_baseline("best", 2, 2), "kind is 'best'"),
        (lambda: kl.sequence_regressor(2, 2, output="update"), "output is 'update'"),
        (
            lambda: kl.init_params(jax.random.key(0), KINDS["gru"], gain_checks.walk()),
            "expected the same",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_output_of_a_network_may_have_its_own_unit():
    """Its size is that of the unit; without one it is the spread of the states."""
    model = kf.systems.constant_velocity()
    student = kl.sequence_regressor(2, 1, (3,), feedback=False)
    spreads = {"x": {"spread": jnp.array([1.0, 10.0])}}
    params = kl.init_params(jax.random.key(0), student, model, spreads)
    params = params._replace(network=jax.tree.map(lambda a: a + 0.1, params.network))
    other = params._replace(constants=spreads | {"output": {"spread": jnp.array([2.0, 5.0])}})
    first, second = (kf.run(student, p, jnp.ones((1, 1))).final.mean for p in (params, other))
    start = model.prior.mean
    np.testing.assert_allclose(second - start, (first - start) * np.array([2.0, 0.5]), rtol=1e-5)
    assert (first != start).all()
