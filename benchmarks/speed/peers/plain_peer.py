"""The networks of KalmanNet in one plain jitted scan, without anything else of kfjax: what its filters cost beside."""

import functools

import jax
import jax.numpy as jnp
import optax

import kfjax as kf
from benchmarks.speed.peers.common import BOTH, Contender
from kfjax.evaluation.workloads import OPTIMIZER, Outputs

PACKAGE, PRECISIONS = None, BOTH
NETWORKS = {"C3": (kf.learned.Architecture1, ("F1", "F3", "F4")), "C4": (kf.learned.Architecture2, None)}


def unit(v):
    square = jnp.sum(v**2)
    return v * jax.lax.rsqrt(jnp.where(square > 0, square, 1))


def scan(network, names, variables, model, ys):
    """Return the estimates [T, n] of one trajectory."""

    def step(carry, y):
        hidden, y_before, x, x_before, predicted_before = carry
        predicted = model.f(x, None)
        innovation = y - model.h(predicted, None)
        differences = (y - y_before, innovation, x - x_before, x - predicted_before)
        features = {f"F{k + 1}": unit(v) for k, v in enumerate(differences) if names is None or f"F{k + 1}" in names}
        hidden, K = network.apply(variables, hidden, features)
        new = predicted + K @ innovation
        return (hidden, y, new, x, predicted), new

    x = model.prior.mean
    carry = (network.initial_carry(None, ys.dtype), model.h(x, None), x, x, x)
    return jax.lax.scan(step, carry, ys)[1]


def build(name, problem):
    architecture, names = NETWORKS[name]
    network = architecture(problem.params.model.n, problem.ys.shape[-1])
    return functools.partial(scan, network, names)


def inference(name, problem, size):
    del size
    one = build(name, problem)
    mapped = one if problem.ys.ndim == 2 else jax.vmap(one, in_axes=(None, None, 0))
    solve = jax.jit(lambda params, ys: Outputs(mapped(params.network, params.model, ys)))
    return Contender(lambda: solve(problem.params, problem.ys))


def training(problem, size):
    del size
    one = build("C4", problem)

    def loss(variables, params, ys, xs):
        return jnp.mean((jax.vmap(one, in_axes=(None, None, 0))(variables, params.model, ys) - xs) ** 2)

    @jax.jit
    def step(params, ys, xs):
        slope = jax.grad(loss)(params.network, params, ys, xs)
        updates, _ = OPTIMIZER.update(slope, OPTIMIZER.init(params.network))
        return optax.apply_updates(params.network, updates)

    return Contender(lambda: step(problem.params, problem.ys, problem.xs))


CONTENDERS = {
    "C3": functools.partial(inference, "C3"),
    "C4": functools.partial(inference, "C4"),
    "training": training,
}
