"""KalmanNet: its features, the use of the gain, and the results of untrained networks."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from support.compiling import quick_jit
from support.spies import Replay, Spy, raw, states
from support.table import driven, heading, linear

import kfjax as kf
import kfjax.learned as kl
from kfjax.models.lens import model_of
from kfjax.training.gates import gate_values


def gains_of(model, est, observed):
    """The gains of a Kalman filter from its covariances: K = P_{t|t} H' R^-1 in the observed
    channels.
    """
    H, R = np.asarray(model.h.A), np.asarray(model.R)
    gains = np.zeros((*est.mean.shape, R.shape[0]))
    for K, P, o in zip(gains, np.asarray(est.cov), observed, strict=True):
        K[:, o] = P @ H[o].T @ np.linalg.inv(R[np.ix_(o, o)])
    return gains


def test_the_gains_of_the_kalman_filter_make_a_kalman_filter(x64):
    problem = linear()
    model, observed = problem.model, problem.observed
    exact, expected = kf.run(
        kf.kalman(), model, problem.ys, observed=observed, emit=kf.estimate_and_info
    ).outputs
    gains = gains_of(model, exact, observed)
    seen = observed.any(axis=1)
    # the memory stands still in rows without data: gains of the others follow one another
    params = kl.Learned(model, gains[seen])
    ys = np.where(observed, problem.ys, np.nan)
    est, info = kf.run(
        raw(Replay(4, 2)), params, ys, observed=observed, emit=kf.estimate_and_info
    ).outputs
    np.testing.assert_allclose(est.mean, exact.mean, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(info.innovation, expected.innovation, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(info.extra["gain"], gains, rtol=1e-12)
    np.testing.assert_array_equal(info.dof, observed.sum(axis=1))
    assert est.cov is None
    assert est.log_likelihood is None


def differences(model, us, seen, ys, filtered):
    """Features by their definitions, step by step in numpy; gaps in y are filled with their
    predictions.
    """
    d, e = model.state_space.difference, model.observation_space.difference
    x0 = np.asarray(model.prior.mean)
    before, previous, before_prediction = x0, x0, x0
    y_before = np.asarray(model.h(x0, None if us is None else us[0]))
    for t, row in enumerate(ys):
        u = None if us is None else us[t]
        prediction = np.asarray(model.f(before, u))
        y_hat = np.asarray(model.h(prediction, u))
        y = np.where(seen[t], row, y_hat)
        yield {
            "F1": e(y, y_before),
            "F2": e(y, y_hat),
            "F3": d(before, previous),
            "F4": d(before, before_prediction),
        }
        previous, before, before_prediction, y_before = before, filtered[t], prediction, y


@pytest.mark.parametrize("problem", [heading, driven])
def test_features_are_what_they_are_called_also_with_gaps(x64, problem):
    model, ys, us, observed = problem()
    n, m = model.n, ys.shape[1]
    gain = 0.3 * np.random.default_rng(0).normal(size=(n, m))
    ys = np.where(observed, ys, np.nan)
    state, _ = kf.run(
        raw(Spy(n, m)), kl.Learned(model, gain), ys, us=us, observed=observed, emit=states
    ).outputs
    for t, expected in enumerate(differences(model, us, observed, ys, state.mean)):
        if observed[t].any():
            for name, value in expected.items():
                np.testing.assert_allclose(
                    state.carry[name][t], value, rtol=1e-9, atol=1e-12, err_msg=f"{name}, {t}"
                )
        else:  # nothing was seen: the network was not called
            assert all(np.array_equal(value[t], value[t - 1]) for value in state.carry.values())


def needs_input(x, u):
    """An observation scaled by the input."""
    return u[0] * x[:1]


def test_without_an_input_there_is_no_first_observation_and_f1_equals_f2():
    model = kf.StateSpaceModel(
        lambda x, u: x, needs_input, np.eye(2), lambda x, u: u[:1, None], kf.systems.known([1, 2])
    )
    us, params = np.array([[2.0], [3.0]]), kl.Learned(model, jnp.zeros((2, 1)))
    state, _ = kf.run(raw(Spy(2, 1)), params, np.array([[5.0], [7.0]]), us=us, emit=states).outputs
    np.testing.assert_allclose(state.carry["F1"], [[3.0], [2.0]])
    np.testing.assert_allclose(state.carry["F2"], [[3.0], [4.0]])


def error_of_one_step(gain, model, x, y):
    """|x - x_{1|1}|^2 with a given gain."""
    net = raw(Replay(model.n, y.shape[0]))
    return jnp.sum((x - kf.run(net, kl.Learned(model, gain[None]), y[None]).outputs.mean[0]) ** 2)


def test_the_derivative_of_the_loss_by_the_gain_is_equation_10(x64):
    rng = np.random.default_rng(3)
    model = linear().model
    K, x, y = rng.normal(size=(4, 2)), rng.normal(size=4), rng.normal(size=2)
    prediction = model.f(model.prior.mean, None)
    dx, dy = x - prediction, y - model.h(prediction, None)
    derivative = jax.grad(error_of_one_step)(jnp.asarray(K), model, x, y)
    np.testing.assert_allclose(derivative, 2 * np.outer(K @ dy - dx, dy), rtol=1e-12)


def drawn(filter, model, seed=0):
    return kl.init_params(jax.random.key(seed), filter, model)


@pytest.mark.parametrize(
    ("network", "features", "count"),
    [
        (kl.Architecture1(2, 2), ("F2", "F4"), 99_284),
        (kl.Architecture1(3, 3, layers=2), ("F4", "F3", "F1"), 563_889),
        (kl.Architecture2(2, 2), kl.FEATURES, 5_184),
        (kl.Architecture2(3, 3), ("F2",), 23_874),
    ],
)
def test_published_networks_have_their_numbers_of_parameters(network, features, count):
    model = kf.systems.canonical(network.n)
    params = jax.eval_shape(lambda: drawn(kl.kalman_net(network, features), model))
    assert sum(leaf.size for leaf in jax.tree.leaves(params.network)) == count


def test_the_recurrent_unit_is_that_of_flax(x64):
    rng = np.random.default_rng(5)
    h, x = rng.normal(size=4), rng.normal(size=3)
    p = {"input_kernel": (3, 12), "hidden_kernel": (4, 12), "bias": (12,), "candidate_bias": (4,)}
    p = {name: rng.normal(size=shape) for name, shape in p.items()}
    theirs = {}
    for k, gate in enumerate("rzn"):
        at = slice(4 * k, 4 * k + 4)
        theirs[f"i{gate}"] = {"kernel": p["input_kernel"][:, at], "bias": p["bias"][at]}
        theirs[f"h{gate}"] = {"kernel": p["hidden_kernel"][:, at]}
    theirs["hn"]["bias"] = p["candidate_bias"]

    def ours(p, h, x):
        return kl.GRU(4).apply({"params": p}, h, x)

    def flax(theirs, h, x):
        return nn.GRUCell(4).apply({"params": theirs}, h, x)[0]

    np.testing.assert_allclose(ours(p, h, x), flax(theirs, h, x), rtol=1e-14)
    slopes, expected = (
        jax.jacrev(f, (0, 1, 2))(weights, h, x) for f, weights in ((ours, p), (flax, theirs))
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15),
        slopes[1:],
        expected[1:],
    )
    np.testing.assert_allclose(
        slopes[0]["candidate_bias"], expected[0]["hn"]["bias"], rtol=1e-12, atol=1e-15
    )
    np.testing.assert_allclose(
        slopes[0]["hidden_kernel"][..., 8:], expected[0]["hn"]["kernel"], rtol=1e-12, atol=1e-15
    )


def test_the_gates_of_a_gru_are_found():
    cell = kl.GRU(4)
    params = cell.init(jax.random.key(0), jnp.zeros(4), jnp.ones(3))
    found = gate_values(cell.apply, params, jnp.zeros(4), jnp.ones(3))
    assert found.shape == (8,)  # r and z
    assert ((found > 0) & (found < 1)).all()


def test_an_untrained_filter_predicts_without_correcting():
    model = kf.systems.lorenz()
    net = kl.kalman_net(kl.Architecture1(3, 3), ("F2",))
    xs, ys = kf.simulate(jax.random.key(1), kf.systems.noise_free(model), steps=10)
    est = kf.run(net, drawn(net, model), ys).outputs
    np.testing.assert_allclose(est.mean, xs, rtol=1e-4)


def test_c1_and_c2_are_one_filter_and_names_bring_their_networks():
    assert kl.published("C1", n=2, m=2) == kl.kalman_net(kl.Architecture1(2, 2), ("F2", "F4"))
    assert kl.published("C1", n=2, m=2).update is kl.published("C2", n=2, m=2).update
    model = kf.systems.canonical(3, 2)
    for name, inputs in {"C2": 5, "C3": 8}.items():
        params = jax.eval_shape(functools.partial(drawn, kl.published(name, n=3, m=2), model))
        assert params.network["params"]["input"]["kernel"].shape == (inputs, 400)


def place_and_input(x, u):
    return jnp.concatenate([x, u])


def drawn_with(build, given, model):
    return jax.eval_shape(lambda: drawn(build(**given), model)).network


SIZED = {
    "architecture 1": lambda **sizes: kl.kalman_net(kl.Architecture1(**sizes), ("F2", "F4")),
    "architecture 2": lambda **sizes: kl.kalman_net(kl.Architecture2(**sizes)),
    "published": lambda **sizes: kl.published("C3", **sizes),
    "recursive": lambda **sizes: kl.recursive_kalman_net(kl.Architecture2(**sizes)),
    "split": kl.split_kalman_net,
    "corrected": kl.corrected_gain,
    "smoother": lambda n=None, m=None: kl.rts_net(
        kl.Architecture2(n, m), kl.BackwardArchitecture(n), refining=(kl.Architecture2(n, n),)
    ),
}


@pytest.mark.parametrize("name", SIZED)
def test_sizes_that_are_not_given_are_those_of_the_design_model(name):
    model = kf.systems.canonical(3, 2)
    expected = drawn_with(SIZED[name], {"n": 3, "m": 2}, model)
    assert drawn_with(SIZED[name], {}, model) == expected
    if name == "architecture 1":
        assert drawn_with(SIZED[name], {"m": 2}, model) == expected
        with pytest.raises(ValueError, match="the network n = 3 and m = 1"):
            drawn_with(SIZED[name], {"m": 1}, model)


@dataclasses.dataclass(frozen=True)
class SeeingSpy(Spy):
    """A spy that also stores the context, [x, u]."""

    def initial_carry(self, constants, dtype):
        return super().initial_carry(constants, dtype) | {"context": jnp.zeros(self.n + 2, dtype)}


def test_a_context_is_the_prediction_and_the_input(x64):
    problem = driven()
    net = kl.kalman_net(
        SeeingSpy(2, 1), feature_map=kl.Raw(), context=place_and_input, context_size=4
    )
    params = kl.Learned(problem.model, jnp.array([[0.3], [0.1]]))
    state = net.init(params)
    predict, update = quick_jit(net.predict), quick_jit(net.update)
    for y, u in zip(problem.ys[:3], problem.us, strict=False):
        predicted = predict(params, state, u)
        state, _ = update(params, predicted, jnp.nan_to_num(y), u)
        np.testing.assert_allclose(state.carry["context"], [*predicted.mean, *u], rtol=1e-14)
    plain = kl.kalman_net(Spy(2, 1), feature_map=kl.Raw())
    assert "context" not in jax.eval_shape(plain.update, params, plain.init(params), y, u)[0].carry


SEEING = {
    "architecture 1": lambda **seen: kl.kalman_net(kl.Architecture1(), **seen),
    "architecture 2": lambda **seen: kl.kalman_net(kl.Architecture2(), **seen),
    "recursive": lambda **seen: kl.recursive_kalman_net(kl.Architecture2(), **seen),
    "split": kl.split_kalman_net,
    "corrected": kl.corrected_gain,
}


def weights(network):
    return sum(leaf.size for leaf in jax.tree.leaves(network))


@pytest.mark.parametrize("name", SEEING)
def test_every_network_has_weights_for_a_context_and_is_given_it(name):
    """Flax checks that the inputs of a layer have as many entries as its weights."""
    model = kf.systems.constant_velocity()
    seeing = SEEING[name](context=kl.input_context, context_size=2)
    shapes = jax.eval_shape(lambda: drawn(seeing, model))
    plain = jax.eval_shape(lambda: drawn(SEEING[name](), model))
    assert weights(shapes.network) >= weights(plain.network) + 2 * 10
    outputs = jax.eval_shape(
        lambda params, us: kf.run(seeing, params, jnp.ones((3, 1)), us=us).outputs,
        shapes._replace(model=model),
        jnp.ones((3, 2)),
    )
    assert outputs.mean.shape == (3, 2)


def test_context_mistakes_are_named():
    network = kl.Architecture1()
    with pytest.raises(ValueError, match="context_size is 0"):
        kl.kalman_net(network, context=kl.input_context)
    with pytest.raises(ValueError, match="context is None"):
        kl.kalman_net(network, context_size=2)
    net = kl.kalman_net(network, context=kl.input_context, context_size=3)
    params = drawn(net, kf.systems.constant_velocity())
    with pytest.raises(ValueError, match=r"returns shape \(2,\); expected \(3,\), context_size"):
        kf.run(net, params, np.ones((4, 1)), us=np.ones((4, 2)))
    with pytest.raises(ValueError, match=r"R of the model is a function.*expected m"):
        drawn(kl.kalman_net(network), driven().model)
    with pytest.raises(ValueError, match="is the class Architecture2; expected a value"):
        kl.kalman_net(kl.Architecture2)
    with pytest.raises(ValueError, match="n is None and m is 2; expected both"):
        kl.Architecture2(m=2).initial_carry(None, jnp.float32)


def loss(network, filter, model, xs, ys, observed):
    return jnp.mean(
        (kf.run(filter, kl.Learned(model, network), ys, observed=observed).outputs.mean - xs) ** 2
    )


def test_gradients_are_finite_after_a_thousand_steps_with_gaps():
    model = kf.systems.canonical(2, r_std=0.1)
    net = kl.kalman_net(kl.Architecture2(2, 2, 2, 2))
    xs, ys = kf.simulate(jax.random.key(0), model, steps=1000)
    observed = np.random.default_rng(1).random(ys.shape) < 0.6
    observed[400:430] = False
    ys = np.where(observed, ys, np.nan)
    step = quick_jit(jax.value_and_grad(loss), static_argnums=1)
    shapes = jax.eval_shape(lambda: drawn(net, model)).network
    network = jax.tree.map(
        lambda a: 0.3 * np.random.default_rng(a.size).normal(size=a.shape).astype(a.dtype), shapes
    )
    network["params"]["gain"] = jax.tree.map(np.zeros_like, network["params"]["gain"])
    value, gradient = step(network, net, model, xs, ys, observed)
    # a small step, so that the gain is not zero any more
    scale = 1e-4 / np.sqrt(sum(np.sum(g**2) for g in jax.tree.leaves(gradient)))
    moved = jax.tree.map(lambda p, g: p - scale * g, network, gradient)
    after, gradient = step(moved, net, model, xs, ys, observed)
    assert after < value
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(gradient["params"]["GRU_Sigma"]))


def test_the_lens_reaches_the_model_inside():
    model = kf.systems.canonical()
    params = kl.Learned(model, jnp.zeros((2, 2)))
    assert model_of(params) is model
    assert kf.with_model(params, R=4 * np.eye(2)).model.R.tolist() == (4 * np.eye(2)).tolist()


def test_a_whole_batch_and_prior_per_trajectory():
    model = kf.systems.canonical()
    net, gain = raw(Replay(2, 2)), jnp.full((1, 2, 2), 0.5)
    starts, ys = jnp.asarray([[1.0, 2.0], [0.0, -1.0]]), jnp.ones((2, 1, 2))

    def one(start, y):
        params = kl.Learned(model.replace(prior=kf.systems.known(start)), gain)
        return kf.run(net, params, y).outputs.mean

    batch = jax.vmap(one)(starts, ys)
    np.testing.assert_allclose(batch, [one(s, y) for s, y in zip(starts, ys, strict=True)])
    x = model.f.A @ starts[0]
    np.testing.assert_allclose(batch[0, 0], x + 0.5 * np.ones((2, 2)) @ (1 - x), rtol=1e-6)


MODEL = kf.systems.canonical()


def weights_of_other_features():
    nets = [kl.kalman_net(kl.Architecture1(2, 2), features) for features in (("F2",), ("F2", "F4"))]
    shapes = jax.eval_shape(lambda: drawn(nets[0], MODEL))
    params = shapes._replace(
        model=MODEL, network=jax.tree.map(lambda a: np.zeros(a.shape), shapes.network)
    )
    return kf.run(nets[1], params, np.ones((3, 2)))


WRONG = {
    "a filter without a network": (
        lambda: kl.init_params(jax.random.key(0), kf.extended(), MODEL),
        "learned filter",
    ),
    "no model": (lambda: drawn(kl.published("C1", n=2, m=2), None), "StateSpaceModel"),
    "other dimensions": (lambda: drawn(kl.published("C1", n=3, m=2), MODEL), "n = 3 and m = 2"),
    "unknown feature": (
        lambda: kl.kalman_net(kl.Architecture1(2, 2), ("F5",)),
        "expected one of F1, F2",
    ),
    "a feature twice": (
        lambda: kl.kalman_net(kl.Architecture1(2, 2), ("F1", "F1")),
        "each name once",
    ),
    "a list": (lambda: kl.kalman_net(kl.Architecture1(2, 2), ["F1"]), "a list"),
    "one name": (lambda: kl.kalman_net(kl.Architecture1(2, 2), "F1"), "tuple of names"),
    "no features": (lambda: kl.kalman_net(kl.Architecture1(2, 2), ()), "tuple of names"),
    "no network": (lambda: kl.kalman_net("C4"), "without n"),
    "unknown configuration": (lambda: kl.published("C5", n=2, m=2), "expected one of C1"),
    "unknown wiring": (
        lambda: kl.Architecture2(2, 2, wiring="crossed"),
        "'corrected' or 'original'",
    ),
    "weights of other features": (
        weights_of_other_features,
        "weights do not fit the network with features F2, F4",
    ),
    "no layers": (lambda: kl.Architecture1(2, 2, layers=0), "layers"),
    "no dimension": (lambda: kl.Architecture2(0, 2), "n is 0"),
}


@pytest.mark.parametrize("what", WRONG)
def test_mistakes_are_named(what):
    call, text = WRONG[what]
    with pytest.raises(ValueError, match=text):
        call()
