"""The two networks of KalmanNet as a textbook writes them, `x @ W + b`, on the weights of kfjax's own modules."""

import jax
import jax.numpy as jnp

ALL = ("F1", "F2", "F3", "F4")


def dense(weights, x):
    return x @ weights["kernel"] + weights["bias"]


def gru(weights, h, x):
    size = h.shape[-1]
    from_x, from_h = x @ weights["input_kernel"] + weights["bias"], h @ weights["hidden_kernel"]
    gates = jax.nn.sigmoid(from_x[: 2 * size] + from_h[: 2 * size])
    r, z = gates[:size], gates[size:]
    candidate = jnp.tanh(from_x[2 * size :] + r * (from_h[2 * size :] + weights["candidate_bias"]))
    return (1 - z) * candidate + z * h


def architecture1(variables, carry, features):
    weights = variables["params"]
    x = jax.nn.relu(
        dense(weights["input"], jnp.concatenate([features[name] for name in sorted(features)]))
    )
    hidden = gru(weights["gru_0"], carry[0], x)
    return (hidden,), dense(weights["gain"], jax.nn.relu(dense(weights["hidden"], hidden)))


def architecture2(variables, carry, features):
    weights, join = variables["params"], lambda *parts: jnp.concatenate(parts)

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
    square = jnp.sum(v**2)
    return v * jax.lax.rsqrt(jnp.where(square > 0, square, 1))


def estimates(network, names, variables, carry, model, ys):
    """The estimates [T, n] of KalmanNet along one trajectory, in one scan."""

    def step(carry, y):
        hidden, y_before, x, x_before, predicted_before = carry
        predicted = model.f(x, None)
        innovation = y - model.h(predicted, None)
        differences = zip(
            ALL, (y - y_before, innovation, x - x_before, x - predicted_before), strict=True
        )
        hidden, gain = network(
            variables, hidden, {name: unit(v) for name, v in differences if name in names}
        )
        new = predicted + gain.reshape(x.size, y.size) @ innovation
        return (hidden, y, new, x, predicted), new

    x = model.prior.mean
    return jax.lax.scan(step, (carry, model.h(x, None), x, x, x), ys)[1]
