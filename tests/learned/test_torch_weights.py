"""The authors' networks, written out in numpy as PyTorch runs them, against ours; and their
published weights.
"""

import jax
import numpy as np
import pytest
from support.compiling import quick_jit
from support.files import arrays_in

import kfjax as kf
import kfjax.learned as kl

NAMES = ("F1", "F2", "F3", "F4")


def linear_layer(rng, name, size, inputs):
    return {
        f"{name}.weight": rng.normal(size=(size, inputs)) / inputs**0.5,
        f"{name}.bias": rng.normal(size=size),
    }


def gru_layer(rng, name, layer, size, inputs):
    shapes = {
        "weight_ih": (3 * size, inputs),
        "weight_hh": (3 * size, size),
        "bias_ih": (3 * size,),
    }
    shapes["bias_hh"] = shapes["bias_ih"]
    return {
        f"{name}.{key}_l{layer}": rng.normal(size=shape) / size**0.5
        for key, shape in shapes.items()
    }


def first_architecture(rng, n, m, inputs, layers):
    hidden, weights = 10 * (n * n + m * m), linear_layer(rng, "KG_l1", 80 * (n + m), inputs)
    for k in range(layers):
        weights |= gru_layer(rng, "rnn_GRU", k, hidden, hidden if k else 80 * (n + m))
    return (
        weights
        | linear_layer(rng, "KG_l2", 4 * n * m, hidden)
        | linear_layer(rng, "KG_l3", n * m, 4 * n * m)
    )


def second_architecture(rng, n, m, wide=2, hidden=3):
    Q, S = n * n, m * m
    gru = {"GRU_Q": (Q, wide * n), "GRU_Sigma": (Q, Q + wide * n), "GRU_S": (S, S + 2 * wide * m)}
    dense = {
        "FC1.0": (S, Q),
        "FC2.0": (hidden * (Q + S), Q + S),
        "FC2.2": (n * m, hidden * (Q + S)),
        "FC3.0": (Q, S + n * m),
        "FC4.0": (Q, 2 * Q),
        "FC5.0": (wide * n, n),
        "FC6.0": (wide * n, n),
        "FC7.0": (2 * wide * m, 2 * m),
    }
    weights = {}
    for name, shape in dense.items():
        weights |= linear_layer(rng, name, *shape)
    for name, shape in gru.items():
        weights |= gru_layer(rng, name, 0, *shape)
    return weights


def relu(x):
    return np.maximum(x, 0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def torch_linear(w, name, x):
    return w[f"{name}.weight"] @ x + w[f"{name}.bias"]


def torch_gru(w, name, layer, h, x):
    """As the documentation of torch.nn.GRU has it."""
    i = np.split(w[f"{name}.weight_ih_l{layer}"] @ x + w[f"{name}.bias_ih_l{layer}"], 3)
    g = np.split(w[f"{name}.weight_hh_l{layer}"] @ h + w[f"{name}.bias_hh_l{layer}"], 3)
    r, z = sigmoid(i[0] + g[0]), sigmoid(i[1] + g[1])
    return (1 - z) * np.tanh(i[2] + r * g[2]) + z * h


def torch_first(w, carry, features):
    x = relu(torch_linear(w, "KG_l1", np.concatenate([features[k] for k in sorted(features)])))
    new = []
    for k, h in enumerate(carry):
        x = torch_gru(w, "rnn_GRU", k, h, x)
        new.append(x)
    return tuple(new), torch_linear(w, "KG_l3", relu(torch_linear(w, "KG_l2", x)))


def torch_second(w, carry, features, wiring):
    def fc(k, *x):
        return relu(torch_linear(w, f"FC{k}.0", np.concatenate(x)))

    five, six = ("F4", "F3") if wiring == "corrected" else ("F3", "F4")
    Q = torch_gru(w, "GRU_Q", 0, carry["Q"], fc(5, features[five]))
    Sigma = torch_gru(w, "GRU_Sigma", 0, carry["Sigma"], np.concatenate([Q, fc(6, features[six])]))
    S_input = np.concatenate([fc(1, Sigma), fc(7, features["F1"], features["F2"])])
    S = torch_gru(w, "GRU_S", 0, carry["S"], S_input)
    gain = torch_linear(w, "FC2.2", fc(2, Sigma, S))
    return {"Q": Q, "Sigma": fc(4, Sigma, fc(3, S, gain)), "S": S}, gain


def assert_steps_agree(weights, loaded, step, names, steps=3):
    """Run both networks for some steps."""
    network, rng = loaded.network, np.random.default_rng(9)
    n, m = network.n, network.m
    sizes = {"F1": m, "F2": m, "F3": n, "F4": n}
    ours = theirs = jax.tree.map(np.asarray, network.initial_carry(loaded.constants, np.float64))
    apply = quick_jit(network.apply)
    for _ in range(steps):
        features = {name: rng.normal(size=sizes[name]) for name in names}
        ours, gain = apply(loaded.variables, ours, features)
        theirs, expected = step(weights, theirs, features)
        np.testing.assert_allclose(gain, expected.reshape(n, m), rtol=1e-10, atol=1e-13)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-13), ours, theirs
        )


@pytest.mark.parametrize(
    ("n", "m", "names", "layers"), [(1, 2, ("F2", "F4"), 1), (2, 1, ("F1", "F3", "F4"), 2)]
)
def test_architecture_1_is_that_of_the_authors(x64, n, m, names, layers):
    inputs = sum(n if name in {"F3", "F4"} else m for name in names)
    weights = first_architecture(np.random.default_rng(0), n, m, inputs, layers)
    loaded = kl.from_torch(weights, n=n)
    assert loaded.network == kl.Architecture1(n, m, layers)
    assert_steps_agree(weights, loaded, torch_first, names)


@pytest.mark.parametrize("wiring", ["corrected", "original"])
def test_architecture_2_is_that_of_the_authors(x64, wiring):
    rng = np.random.default_rng(1)
    weights = second_architecture(rng, 3, 2)
    priors = {"_prior_Q": rng.normal(size=(3, 3)), "_prior_Sigma": np.eye(3), "_prior_S": np.eye(2)}
    loaded = kl.from_torch(weights | priors, wiring=wiring)
    assert loaded.network == kl.Architecture2(3, 2, 2, 3, wiring)
    np.testing.assert_array_equal(
        loaded.network.initial_carry(loaded.constants, float)["Q"], priors["_prior_Q"].ravel()
    )
    assert kl.from_torch(weights).constants is None

    def step(*arguments):
        return torch_second(*arguments, wiring)

    assert_steps_agree(weights, loaded, step, NAMES)


def test_torch_counts_two_biases_where_flax_has_one():
    rng = np.random.default_rng(2)
    for weights, count in [
        (first_architecture(rng, 2, 2, 4, 1), 99_444),
        (first_architecture(rng, 3, 3, 9, 2), 564_609),
        (second_architecture(rng, 2, 2, 5, 40), 5_208),
        (second_architecture(rng, 3, 3, 5, 40), 23_928),
    ]:
        assert sum(value.size for value in weights.values()) == count
        loaded = kl.from_torch(weights)
        layers = loaded.variables["params"].values()
        merged = sum(
            2 * layer["candidate_bias"].size for layer in layers if "candidate_bias" in layer
        )
        assert sum(leaf.size for leaf in jax.tree.leaves(loaded.variables)) == count - merged


def test_what_does_not_fit_is_named():
    rng = np.random.default_rng(3)
    first, second = first_architecture(rng, 1, 2, 3, 1), second_architecture(rng, 2, 2)

    def without(weights, name):
        return {key: value for key, value in weights.items() if key != name}

    wrong = [
        (without(second, "FC4.0.bias"), {}, "FC4.0.bias is missing"),
        (without(second, "FC5.0.weight"), {}, "no FC5.0.weight"),
        (without(second, "FC2.2.weight"), {}, "FC2.2.weight is missing"),
        (second | {"extra": np.ones(2)}, {}, "unknown extra"),
        (second | {"_prior_Q": np.eye(2)}, {}, "_prior_Sigma is missing"),
        (second | {"FC1.0.weight": np.ones((4, 5))}, {}, r"FC1.0.weight has shape \(4, 5\)"),
        (second, {"wiring": "crossed"}, "wiring is 'crossed'"),
        (first, {}, "expected n = m. Otherwise pass"),
        (first, {"n": 3}, "expected n m entries. Pass the dimension"),
        (first | {"KG_l1.weight": np.ones(3)}, {}, "as a matrix"),
        ({}, {}, "no FC5.0.weight"),
    ]
    for weights, options, text in wrong:
        with pytest.raises(ValueError, match=text):
            kl.from_torch(weights, **options)


def decibels(states, filter, params, ys):
    means = jax.jit(jax.vmap(lambda y: kf.run(filter, params, y).outputs.mean))(ys)
    return 10 * np.log10(np.mean((np.asarray(means) - states) ** 2, axis=(1, 2)))


def test_published_weights_of_architecture_1(shared_data):
    folder = shared_data / "kalmannet"
    loaded = kl.from_torch(arrays_in(folder / "weights_arch1_lin2x2_v-20_r10.npz"))
    data = arrays_in(folder / "lin2x2_v-20_r10_T100.npz")
    model = kf.systems.canonical(
        2, q_std=1e-3**0.5, r_std=0.1**0.5, prior=kf.systems.known(np.zeros(2))
    )
    network = kl.kalman_net(loaded.network, ("F2", "F4"))
    params = kl.Learned(model, loaded.variables, loaded.constants)
    each = decibels(data["test_state"], network, params, data["test_obs"])
    assert 10 * np.log10(np.mean(10 ** (each / 10))) == pytest.approx(-17.171, abs=0.005)


def test_published_weights_of_architecture_2(shared_data):
    folder = shared_data / "kalmannet"
    weights = arrays_in(folder / "weights_arch2_lorenz_decimated.npz")
    data = arrays_in(folder / "lorenz_decimated_size10_T3000.npz")
    model = kf.systems.lorenz(
        taylor_order=2, substeps=2, r_std=1.0, prior=kf.systems.known(np.ones(3))
    )
    results = {}
    for wiring in ("original", "corrected"):
        loaded = kl.from_torch(weights, wiring=wiring)
        params = kl.Learned(model, loaded.variables, loaded.constants)
        network = kl.kalman_net(loaded.network)
        results[wiring] = decibels(data["test_state"][:2], network, params, data["test_obs"][:2])
    np.testing.assert_allclose(results["original"], [-11.32, -11.41], atol=0.01)
    assert (results["corrected"] > -10).all()  # the other wiring loads silently, and is wrong
