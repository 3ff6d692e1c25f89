"""Loops over time are one function on a CPU where possible, and results do not depend on it."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import kfjax as kf
from kfjax._support.one_kernel import scan

STEPS = 12


def both_ways(function, *args):
    """Results as one function and kernel by kernel, and whether every loop was one function."""

    def anew(*args):
        return function(*args)

    one = jax.jit(function)(*args)
    with kf.separate_kernels():
        separate = jax.jit(anew)(*args)
        assert all("turned off" in loop.reason for loop in kf.describe_loops(function, *args))
    return one, separate, kf.describe_loops(function, *args)


def assert_equal(one, separate, rtol):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(separate), strict=True):
        scale = np.abs(b).max() if np.size(b) else 0.0
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * (1 + scale))


FILTERS = {
    "kalman": (kf.kalman(), kf.systems.constant_velocity),
    "extended": (kf.extended(), lambda: kf.systems.lorenz(observation="spherical")),
    "unscented": (kf.unscented(), lambda: kf.systems.lorenz(observation="spherical")),
    "square_root": (
        kf.square_root(kf.moments.Unscented()),
        lambda: kf.systems.lorenz(observation="spherical"),
    ),
}


@pytest.mark.parametrize(
    "name",
    [
        "kalman",
        "extended",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("unscented", "square_root")),
    ],
)
def test_values_gradients_and_batches_are_those_of_separate_kernels(name, x64):
    estimator, build = FILTERS[name]
    model = build()
    _, ys = kf.simulate(jax.random.key(0), model, steps=STEPS)
    batch = jnp.stack([ys, ys + 0.1, ys - 0.1])

    def all_of_it(model, ys, batch):
        def loss(model, ys):
            return kf.log_likelihood(estimator, model, ys)

        gradient = jax.grad(loss)(model, ys)
        batched = jax.vmap(jax.grad(loss), (None, 0))(model, batch)
        final, estimates = kf.run(estimator, model, ys)
        smoothed = kf.smooth(estimator, model, estimates)
        return final, estimates, smoothed, gradient, batched

    one, separate, loops = both_ways(all_of_it, model, ys, batch)
    assert [loop.reason for loop in loops if not loop.one_kernel] == []
    assert len(loops) >= 5  # forward and backward, smoother, and those of the batch
    assert_equal(one, separate, 1e-9)


def matrix(n):
    return 0.3 * np.random.default_rng(0).normal(size=(n, n))


def alternating(x):
    return jnp.stack([jnp.tile(x, 4), jnp.tile(-x, 4)])


# operations in a user's function, with a part of the reason if they prevent one function
OPERATIONS = {
    "product": (lambda x: matrix(4) @ x, ""),
    "product of matrices": (lambda x: (jnp.outer(x, x) @ matrix(4))[0], ""),
    "larger product": (lambda x: (jnp.outer(jnp.tile(x, 4), x) @ matrix(4)[:, :4])[0], ""),
    "empty product": (lambda x: x + (jnp.outer(x, x)[:, :0] @ matrix(4)[:0])[0], "dot_general"),
    "product of booleans": (lambda x: (alternating(x) > 0) @ (alternating(x) > 0).T, "dot_general"),
    "product of integers": (
        lambda x: alternating(90 * x).astype(jnp.int8) @ alternating(70 * x).astype(jnp.int8).T,
        "dot_general",
    ),
    "product of short floats": (
        lambda x: alternating(x).astype(jnp.bfloat16) @ alternating(x).astype(jnp.bfloat16).T,
        "dot_general",
    ),
    "set": (lambda x: x.at[0].set(2.0), ""),
    "add": (lambda x: x.at[1:3].add(x[0]), ""),
    "set where": (lambda x: x.at[jnp.argmax(x)].set(0.0), ""),
    "index": (lambda x: x[(jnp.arange(4) + jnp.argmax(x)) % 4], ""),
    "table": (lambda x: x + jnp.sin(jnp.arange(9.0))[jnp.argmax(x)], ""),
    "large table": (lambda x: x + jnp.sin(jnp.arange(5000.0))[jnp.argmax(x)], "on average"),
    "table of numpy": (lambda x: x + jnp.asarray(np.arange(5000.0))[jnp.argmax(x)], ""),
    "diagonal": (lambda x: jnp.diag(x) @ x + jnp.diag(matrix(4) * x[:, None]), ""),
    "sums": (lambda x: x - jnp.cumsum(x) + jnp.linalg.norm(x) + x.mean(), ""),
    "branch": (lambda x: lax.cond(x[0] > 0, jnp.sin, lambda x: 2 * x, x), ""),
    "inner loop": (lambda x: lax.fori_loop(0, 3, lambda i, x: jnp.sin(x) + i, x), ""),
    "random": (lambda x: x + jax.random.normal(jax.random.key(1), (4,)), ""),
    "special": (lambda x: jax.scipy.special.ndtri(jax.nn.sigmoid(x)) + lax.lgamma(2 + x * x), ""),
    "checkpoint": (jax.checkpoint(lambda x: jnp.sin(jnp.sin(x))), ""),
    "stop": (lambda x: lax.stop_gradient(x) * x, ""),
    "solve": (lambda x: jnp.linalg.solve(jnp.eye(4) + jnp.outer(x, x), x), "lu"),
    "cholesky": (lambda x: jnp.linalg.cholesky(jnp.eye(4) + jnp.outer(x, x)) @ x, "cholesky"),
    "eigenvalues": (lambda x: jnp.linalg.eigvalsh(jnp.eye(4) + jnp.outer(x, x)), "eigh"),
    "sort": (jnp.sort, "sort"),
    "quantile": (lambda x: x - jnp.median(x), "sort"),
    "fourier": (lambda x: jnp.fft.fft(x).real, "fft"),
    "scatter": (lambda x: x.at[jnp.array([0, 2])].add(1.0), "more than one place"),
    "large sum": (lambda x: x + jnp.sin(jnp.resize(x, 20_000)).sum(), "reduce_sum"),
    "large product": (lambda x: (jnp.resize(x, (64, 64)) @ matrix(64))[0, :4], "dot_general"),
    "callback": (
        lambda x: jax.pure_callback(np.sin, jax.ShapeDtypeStruct((4,), x.dtype), x),
        "callback",
    ),
    "debug": (lambda x: (jax.debug.callback(lambda _: None, x), x)[1], "calls back"),
    "convolution": (lambda x: jnp.convolve(x, jnp.ones(3), mode="same"), "conv"),
}


def looped(operation):
    """A loop whose step holds an operation."""

    def run(scan, x):
        def body(x, _):
            x = 0.1 * x + 0.3 * jnp.tanh(jnp.resize(operation(x), 4).astype(x.dtype))
            return x, x

        return scan(body, x, None, length=5)[1]

    return run


@pytest.mark.parametrize("name", list(OPERATIONS))
def test_whatever_a_step_holds_the_loop_compiles(name, x64):
    operation, reason = OPERATIONS[name]
    run = looped(operation)
    x = jnp.array([-1.0, -0.2, 0.5, 1.3])
    loops = kf.describe_loops(lambda x: run(scan, x), x)
    assert [loop.steps for loop in loops] == [5]
    assert reason in loops[0].reason
    assert loops[0].one_kernel == (not reason)
    np.testing.assert_allclose(run(scan, x), run(lax.scan, x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", sorted(OPERATIONS.keys() - {"callback", "inner loop"}))
def test_whatever_a_step_holds_its_derivatives_under_vmap_compile(name, x64):
    run = looped(OPERATIONS[name][0])
    xs = jnp.array([[-1.0, -0.2, 0.5, 1.3], [0.3, 0.2, 0.1, -2.0]])

    def derivatives(scan):
        return jax.jit(jax.vmap(jax.grad(lambda x: run(scan, x).sum())))(xs)

    np.testing.assert_allclose(derivatives(scan), derivatives(lax.scan), rtol=1e-10, atol=1e-12)


CONSTANTS = """
import jax, jax.numpy as jnp, numpy as np
import kfjax as kf
from jax.tree_util import Partial

def f(table, x, u):
    return 0.9 * x + 0.01 * table[jnp.argmax(x)]

def h(x, u):
    return x[:1]

def build(q, table):
    prior = kf.Gaussian(jnp.zeros(2), jnp.eye(2))
    return kf.StateSpaceModel(Partial(f, table), h, q * jnp.eye(2), 0.1 * jnp.eye(1), prior)

for size in (3, 4000):
    ys = jnp.asarray(np.random.default_rng(0).normal(size=(size, 1)))
    table = jnp.asarray(np.random.default_rng(1).normal(size=size))

    def objective(q):  # closes over the data
        return kf.log_likelihood(kf.extended(), build(q, table), ys)

    for derivative in (jax.jit(objective), jax.jit(jax.grad(objective)), jax.hessian(objective),
                       jax.jit(jax.jacfwd(objective))):
        assert bool(jnp.isfinite(derivative(0.3)))
    vmapped = jax.jit(jax.vmap(jax.value_and_grad(objective)))(jnp.array([0.3, 0.2]))
    assert bool(jnp.isfinite(vmapped[1]).all())
    loops = kf.describe_loops(objective, 0.3)
    assert loops[0].one_kernel, loops

# arrays that a step does not need, as JAX finds out when it inlines a function, or XLA by itself
from kfjax._support.one_kernel import scan

@jax.custom_jvp
def first_of(x, unread):
    return x

first_of.defjvp(lambda primals, tangents: (primals[0], tangents[0]))

def unread_by_jax(x, step):
    return first_of(x, jnp.zeros((6, 1, 2))) + step

def unread_by_xla(x, step):
    return x + step + (jnp.zeros((6, 1, 2), int)[:, 0] * 0).astype(x.dtype)

for function in (unread_by_jax, unread_by_xla):
    def last(x):
        return scan(lambda c, row: (function(c, row), c), x, jnp.ones((9, 6, 2)))[0].sum()

    assert float(jax.jit(last)(jnp.zeros((6, 2)))) == 108
    assert float(jax.jit(jax.grad(last))(jnp.zeros((6, 2))).sum()) == 12

# with the options that users compile with, values are the same to the bit
model = kf.systems.constant_velocity()
ys = kf.simulate(jax.random.key(0), model, steps=50)[1]
one = kf.run(kf.kalman(), model, ys)
with kf.separate_kernels():
    separate = kf.run(kf.kalman(), model, ys)
jax.tree.map(np.testing.assert_array_equal, one, separate)
print("finished")
"""


def test_tall_matrices_are_transposed_before_the_loop(x64):
    W = 0.1 * jax.random.normal(jax.random.key(0), (40, 3))
    start = jnp.array([0.3, -0.2, 0.5])

    def loss(W, start):
        def step(x, _):
            x = jnp.tanh(W @ x) @ W
            return x, x

        return scan(step, start, length=STEPS)[1].sum()

    one, separate, loops = both_ways(jax.value_and_grad(loss, (0, 1)), W, start)
    assert [loop.one_kernel for loop in loops] == [True, True]  # forward and backward
    assert_equal(one, separate, 1e-9)
    text = jax.jit(loss).lower(W, start).as_text()
    products = [line for line in text.splitlines() if "dot_general" in line]
    assert len(products) == 2
    assert all("tensor<3x40xf64>" in line for line in products)


def test_data_and_tables_that_a_compiled_function_closes_over():
    """They are constants for the compiler, which used to abort the process."""
    assert "finished" in run_in_new_process(CONSTANTS, XLA_FLAGS="")


def run_in_new_process(program, **environment):
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": root, "JAX_PLATFORMS": "cpu", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


DESCRIBED = """
import jax, jax.numpy as jnp, kfjax as kf
from jax.sharding import PartitionSpec as P
model = kf.systems.constant_velocity()
run = lambda ys: kf.run(kf.kalman(), model, ys)
print(kf.describe_loops(run, jnp.zeros((9, 1)))[0].reason)
mesh = jax.make_mesh((2,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
ys = jax.device_put(jnp.zeros((4, 9, 1)), jax.NamedSharding(mesh, P("batch")))
print(kf.describe_loops(jax.vmap(run), ys)[0].reason)
jax.block_until_ready(jax.jit(jax.vmap(run))(ys))
"""


def test_it_is_not_for_programs_over_several_devices_nor_where_it_is_turned_off():
    two = "--xla_force_host_platform_device_count=2"
    assert run_in_new_process(DESCRIBED, XLA_FLAGS=two).splitlines() == [
        "",
        "the program is split over several devices",
    ]
    off = run_in_new_process(DESCRIBED, XLA_FLAGS=two, KFJAX_SEPARATE_KERNELS="1")
    assert off.splitlines()[0] == "it was turned off"


def test_loops_of_others_are_compiled_as_ever_and_exports_hold_nothing_of_it():
    def of_others(x):
        return lax.scan(lambda x, _: (jnp.sin(x), x), x, None, length=9)[1]

    model = kf.systems.constant_velocity()

    def ours(ys):
        return kf.run(kf.kalman(), model, ys).outputs.mean

    ys = jnp.zeros((9, 1))
    assert kf.describe_loops(of_others, 1.0) == []
    assert "small_call" not in jax.jit(of_others).lower(1.0).as_text()
    assert "small_call" in jax.jit(ours).lower(ys).as_text()
    for platforms in (["cpu"], ["cpu", "tpu"]):
        exported = jax.export.export(jax.jit(ours), platforms=platforms)(ys)
        assert "small_call" not in exported.mlir_module()
