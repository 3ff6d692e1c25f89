"""The two networks of KalmanNet in textbook form, on the weights of kfjax's modules.

A dense layer is `x @ W + b`. Nothing of kfjax is used but the weights and the model.
"""

import jax
import jax.numpy as jnp

ALL = ("F1", "F2", "F3", "F4")


def dense(weights, x):
    """Return the output of a dense layer."""
    return x @ weights["kernel"] + weights["bias"]


def gru(weights, h, x):
    """Return the new state of a gated recurrent unit."""
    size = h.shape[-1]
    from_x = x @ weights["input_kernel"] + weights["bias"]
    from_h = h @ weights["hidden_kernel"]
    gates = jax.nn.sigmoid(from_x[: 2 * size] + from_h[: 2 * size])
    r, z = gates[:size], gates[size:]
    candidate = jnp.tanh(from_x[2 * size :] + r * (from_h[2 * size :] + weights["candidate_bias"]))
    return (1 - z) * candidate + z * h


def architecture1(variables, carry, features):
    """Return the new carry and the gain of architecture #1."""
    weights = variables["params"]
    inputs = jnp.concatenate([features[name] for name in sorted(features)])
    x = jax.nn.relu(dense(weights["input"], inputs))
    hidden = gru(weights["gru_0"], carry[0], x)
    return (hidden,), dense(weights["gain"], jax.nn.relu(dense(weights["hidden"], hidden)))


def architecture2(variables, carry, features):
    """Return the new carry and the gain of architecture #2."""
    weights = variables["params"]

    def join(*parts):
        return jnp.concatenate(parts)

    def layer(name, x):
        return jax.nn.relu(dense(weights[name], x))

    Q = gru(weights["GRU_Q"], carry["Q"], layer("FC5", features["F4"]))
    Sigma = gru(weights["GRU_Sigma"], carry["Sigma"], join(Q, layer("FC6", features["F3"])))
    observed = layer("FC7", join(features["F1"], features["F2"]))
    S = gru(weights["GRU_S"], carry["S"], join(layer("FC1", Sigma), observed))
    gain = dense(weights["gain"], layer("FC2", join(Sigma, S)))
    Sigma = layer("FC4", join(Sigma, layer("FC3", join(S, gain))))
    return {"Q": Q, "Sigma": Sigma, "S": S}, gain


def unit(v):
    """Return a vector of length one in the direction of v; zero stays zero."""
    square = jnp.sum(v**2)
    return v * jax.lax.rsqrt(jnp.where(square > 0, square, 1))


def estimates(network, names, variables, carry, model, ys):
    """Return the estimates [T, n] of KalmanNet along one trajectory, in one scan.

    Args:
        network: `architecture1` or `architecture2`.
        names: names of the features.
        variables: the weights.
        carry: the recurrent state at the start.
        model: the design model.
        ys: observations [T, m].
    """

    def step(carry, y):
        hidden, y_before, x, x_before, predicted_before = carry
        predicted = model.f(x, None)
        innovation = y - model.h(predicted, None)
        differences = {
            "F1": y - y_before,
            "F2": innovation,
            "F3": x - x_before,
            "F4": x - predicted_before,
        }
        features = {name: unit(differences[name]) for name in ALL if name in names}
        hidden, gain = network(variables, hidden, features)
        new = predicted + gain.reshape(x.size, y.size) @ innovation
        return (hidden, y, new, x, predicted), new

    x = model.prior.mean
    return jax.lax.scan(step, (carry, model.h(x, None), x, x, x), ys)[1]
