"""Plain forms: KalmanNet in one jitted scan, with nothing of kfjax but the weights and the model.

The Kalman filter that is parallel in time is compared with kfjax's sequential one.
"""

import functools

import jax
import jax.numpy as jnp
import optax

import kfjax as kf
from benchmarks import plain_networks
from benchmarks.speed.peers.common import BOTH, Contender
from kfjax._cli import workloads
from kfjax._cli.workloads import OPTIMIZER, Outputs

PACKAGE = None
PRECISIONS = BOTH
NETWORKS = {
    "C3": (kf.learned.Architecture1, plain_networks.architecture1, ("F1", "F3", "F4")),
    "C4": (kf.learned.Architecture2, plain_networks.architecture2, plain_networks.ALL),
}


def build(name, problem):
    """Return `(variables, model, ys) -> estimates [T, n]` of one trajectory."""
    architecture, network, names = NETWORKS[name]
    carry = architecture(problem.params.model.n, problem.ys.shape[-1]).initial_carry(
        None, problem.ys.dtype
    )
    return lambda variables, model, ys: plain_networks.estimates(
        network, names, variables, carry, model, ys
    )


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
        return jnp.mean(
            (jax.vmap(one, in_axes=(None, None, 0))(variables, params.model, ys) - xs) ** 2
        )

    @jax.jit
    def step(params, ys, xs):
        slope = jax.grad(loss)(params.network, params, ys, xs)
        updates, _ = OPTIMIZER.update(slope, OPTIMIZER.init(params.network))
        return optax.apply_updates(params.network, updates)

    return Contender(lambda: step(problem.params, problem.ys, problem.xs))


def sequential(problem, size):
    del size
    solve = jax.jit(functools.partial(workloads.solve, kf.kalman(), False))
    return Contender(lambda: solve(problem))


CONTENDERS = {
    "parallel": sequential,
    "C3": functools.partial(inference, "C3"),
    "C4": functools.partial(inference, "C4"),
    "training": training,
}
