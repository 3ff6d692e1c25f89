"""Networks of other libraries, and functions, as gain networks and as parts of models."""

import functools
import pickle
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from support.spies import Replay

import kfjax as kf
import kfjax.learned as kl

KEY = jax.random.key(0)


class Gain(nnx.Module):
    """A recurrent network, whose gain starts at zero."""

    def __init__(self, key, hidden=4, outputs=2):
        rngs = nnx.Rngs(key)
        self.hidden = hidden
        self.cell = nnx.GRUCell(3, hidden, rngs=rngs)
        self.out = nnx.Linear(hidden, outputs, rngs=rngs, kernel_init=nnx.initializers.zeros)

    def initial_carry(self, constants, dtype):
        return jnp.zeros(self.hidden, dtype)

    def __call__(self, carry, features):
        carry, y = self.cell(carry, jnp.concatenate([features["F2"], features["F4"]]))
        return carry, self.out(y).reshape(2, -1)


MODEL = kf.systems.constant_velocity()
NETWORK = kl.ModuleNetwork(Gain, n=2, m=1)


def filter_of(network):
    return kl.kalman_net(network, ("F2", "F4"), kl.Asinh())


def test_a_module_is_drawn_in_the_precision_of_the_model_and_given_back(x64):
    model = kf.systems.constant_velocity()
    params = kl.init_params(KEY, filter_of(NETWORK), model)
    assert params.network["cell/dense_h/kernel/value"].dtype == jnp.float64
    module = NETWORK.module(params.network)
    assert isinstance(module, Gain)
    jax.tree.map(np.testing.assert_array_equal, NETWORK.variables(module), params.network)
    several = jax.vmap(lambda key: kl.init_params(key, filter_of(NETWORK), model).network)(
        jax.random.split(KEY, 2)
    )
    assert several["out/kernel/value"].shape == (2, 4, 2)


def test_a_class_of_modules_is_a_network_as_it_is():
    net = filter_of(Gain)
    params = kl.init_params(KEY, net, MODEL)
    expected = kl.init_params(KEY, filter_of(NETWORK), MODEL)
    jax.tree.map(np.testing.assert_array_equal, params, expected)
    jax.eval_shape(lambda: kf.run(net, params, jnp.ones((3, 1))).outputs)


@pytest.mark.parametrize("second", [False, True], ids=["gain", "gain and covariance"])
def test_the_filter_applies_the_module(second):
    """In the first step, F4 is zero."""
    net = filter_of(NETWORK)
    if second:
        net = kl.recursive_kalman_net(NETWORK, ("F2", "F4"), hidden=2)
    params = kl.init_params(KEY, net, MODEL)
    weights = params.network["gain"] if second else params.network
    weights = jax.tree.map(lambda a: a + 0.1, weights)
    params = params._replace(network=params.network | {"gain": weights} if second else weights)
    y = jnp.array([2.0])
    state, info = kf.step(net, params, net.init(params), y)
    innovation = y - MODEL.h(MODEL.f(MODEL.prior.mean, None), None)
    features = {"F2": jnp.arcsinh(innovation), "F4": jnp.zeros(2)}
    carry, gain = NETWORK.module(weights)(jnp.zeros(4), features)
    np.testing.assert_allclose(info.extra["gain"], gain, rtol=1e-5)
    np.testing.assert_allclose(state.carry["gain"] if second else state.carry, carry, rtol=1e-5)
    assert (state.cov is None) != second


def test_networks_are_values():
    assert kl.ModuleNetwork(Gain, n=2, m=1) == NETWORK
    assert filter_of(kl.ModuleNetwork(Gain, 2, 1)) == filter_of(NETWORK)
    assert "ModuleNetwork(make=Gain, n=2, m=1)" in repr(filter_of(NETWORK))
    assert pickle.loads(pickle.dumps(NETWORK)) == NETWORK


class Functions(NamedTuple):
    """Functions that are a gain network."""

    n: int
    m: int
    initial_carry: object
    init: object
    apply: object


def no_memory(constants, dtype):
    return ()


def zeros(key, carry, features):
    return jnp.zeros((2, 1))


def constant(variables, carry, features):
    return carry, variables


def test_functions_are_a_network():
    """With a constant gain it is the filter of constant gain."""
    net = kl.kalman_net(Functions(2, 1, no_memory, zeros, constant))
    gain = jnp.array([[0.3], [0.1]])
    params = kl.init_params(KEY, net, MODEL)
    assert params.network.shape == (2, 1)
    _, ys = kf.simulate(KEY, MODEL, 6)
    learned = kf.run(net, params._replace(network=gain), ys).outputs
    exact = kf.run(kf.constant_gain(), kf.ConstantGainParams(MODEL, gain), ys).outputs
    np.testing.assert_allclose(learned.mean, exact.mean, rtol=1e-5)


def one_output(variables, carry, features):
    return variables


def growing(variables, carry, features):
    return (carry, carry), variables


class Dropping(nnx.Module):
    """A module with random state."""

    def __init__(self, key):
        self.drop = nnx.Dropout(0.5, rngs=nnx.Rngs(key))

    def __call__(self, carry, features):
        return carry, self.drop(features["F2"])


class Silent(nnx.Module):
    """A module that cannot be called."""

    def __init__(self, key):
        self.gain = nnx.Linear(1, 1, rngs=nnx.Rngs(key))


def drawn(network):
    return kl.init_params(KEY, filter_of(network), MODEL)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kl.kalman_net(Gain(KEY)), "network is a Gain, without n;.* pass its class"),
        (lambda: kl.recursive_kalman_net(Replay), "network is the class Replay; expected a value"),
        (lambda: kl.ModuleNetwork(Gain(KEY), 2, 1), r"make is a Gain, a module.*variables\(module"),
        (lambda: kl.ModuleNetwork(3, 2, 1), "make is 3; expected a function of a key"),
        (lambda: kl.ModuleNetwork(Gain, 0, 1), "n is 0; expected"),
        (lambda: drawn(kl.ModuleNetwork(Dropping, 2, 1)), r"drop/rngs/.*; expected arrays of floa"),
        (lambda: drawn(kl.ModuleNetwork(Silent, 2, 1)), "make returns a Silent; expected a module"),
        (
            lambda: drawn(kl.ModuleNetwork(functools.partial(Gain, outputs=4), 2, 1)),
            r"a gain of shape \(2, 2\); expected \(2, 1\)",
        ),
        (lambda: drawn(Functions(2, 1, no_memory, zeros, one_output)), "expected .carry, gain."),
        (lambda: drawn(Functions(2, 1, no_memory, zeros, growing)), "returns a carry of shapes"),
        (
            lambda: NETWORK.variables(Gain(KEY, hidden=5)),
            "expected a module as Gain makes it|has shape",
        ),
        (lambda: NETWORK.variables(Silent(KEY)), "is a Silent with arrays gain/bias/value, gain/k"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@jax.tree_util.register_pytree_with_keys_class
class Turned:
    """A callable pytree with a function among its leaves, as modules of Equinox are."""

    def __init__(self, weight, activation):
        self.weight = weight
        self.activation = activation

    def __call__(self, x, u):
        return x + 0.1 * self.activation(self.weight @ x)

    def tree_flatten_with_keys(self):
        name = jax.tree_util.GetAttrKey
        return (((name("weight"), self.weight), (name("activation"), self.activation)), None)

    @classmethod
    def tree_unflatten(cls, fixed, children):
        return cls(*children)


def turned(weight, x, u):
    return x + 0.1 * jnp.tanh(weight @ x)


def total(model, x):
    return model.f(x, None).sum()


def test_a_module_with_functions_inside_is_a_part_of_a_model():
    weight = jnp.array([[1.0, -2.0], [0.5, 3.0]])
    x = jnp.array([1.0, 2.0])
    model = MODEL.replace(f=Turned(weight, jnp.tanh))
    plain = MODEL.replace(f=jax.tree_util.Partial(turned, weight))
    value, gradient = jax.jit(jax.value_and_grad(total))(model, x)
    right, slope = jax.value_and_grad(total)(plain, x)
    np.testing.assert_allclose(value, right, rtol=1e-6)
    np.testing.assert_allclose(gradient.f.args[0]["weight"], slope.f.args[0], rtol=1e-5)
    again = MODEL.replace(f=Turned(2 * weight, jnp.tanh))
    assert jax.tree.structure(again) == jax.tree.structure(model)
    other = MODEL.replace(f=Turned(weight, jnp.sin))
    assert jax.tree.structure(other) != jax.tree.structure(model)
    assert isinstance(model.f.func.module(*model.f.args), Turned)


def test_modules_of_equinox_are_networks_and_parts_of_a_model():
    equinox = pytest.importorskip("equinox", reason="pip install 'kfjax[with-others]'")

    class Memoryless(equinox.Module):
        layers: equinox.nn.MLP

        def __init__(self, key):
            self.layers = equinox.nn.MLP(3, 2, 5, 1, key=key)

        def __call__(self, carry, features):
            gain = self.layers(jnp.concatenate([features["F2"], features["F4"]]))
            return carry, 0.01 * gain[:, None]

    network = kl.ModuleNetwork(Memoryless, 2, 1)
    net = filter_of(network)
    params = kl.init_params(KEY, net, MODEL)
    assert sorted(params.network)[0] == "layers/layers/0/bias"
    state, info = kf.step(net, params, net.init(params), jnp.array([2.0]))
    assert state.carry == ()
    module = network.module(params.network)
    features = {"F2": jnp.arcsinh(info.innovation), "F4": jnp.zeros(2)}
    np.testing.assert_allclose(info.extra["gain"], module((), features)[1], rtol=1e-5)
    assert network.variables(Memoryless(KEY)).keys() == params.network.keys()
    with pytest.raises(ValueError, match=r"network is or holds a Mem.*kf\.learned\.ModuleNetwork"):
        kl.kalman_net(module)
    model = MODEL.replace(f=Step(equinox.nn.MLP(2, 2, 4, 1, key=KEY)))
    x = jnp.array([1.0, 2.0])
    np.testing.assert_allclose(model.f(x, None), model.f.func.module(*model.f.args)(x, None))


@jax.tree_util.register_pytree_with_keys_class
class Step(Turned):
    """x + net(x)."""

    def __init__(self, weight, activation=None):
        super().__init__(weight, activation)

    def __call__(self, x, u):
        return x + self.weight(x)
