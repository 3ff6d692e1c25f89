"""Loops over a large batch run part by part, with the values of the whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import kfjax as kf
from kfjax._support import batch_parts
from kfjax._support.one_kernel import scan

BATCH, PART, STEPS = 19, 8, 5
PARTS = 3


@pytest.fixture
def small_parts(monkeypatch):
    """Parts of 8 members, whatever the size of the arrays; loops that are small are cut as well."""
    monkeypatch.setattr(batch_parts, "_size_of_part", lambda step, batch: PART)
    monkeypatch.setattr("kfjax._support.loop_contents.TYPICAL_SIZE", 1)
    monkeypatch.setattr(batch_parts, "MORE_WORK", 100.0)
    monkeypatch.setattr(batch_parts, "MOST_MOVED", 100.0)


def anew(function):
    """The same function for JAX to trace once more."""

    def traced(*args):
        return function(*args)

    return traced


def looped(step):
    """Results of a loop over time; each operation is a step of one member of a batch."""

    def run(x, table):
        def body(carry, row):
            new = jnp.resize(step(carry, row, table), 4)
            carry = jnp.tanh(0.5 * carry + 0.1 * new.astype(carry.dtype))
            return carry, (carry, row[0])

        rows = jnp.sin(jnp.arange(STEPS * 3.0)).reshape(STEPS, 3) + x[None, :3]
        return scan(body, x, rows)

    return run


def inner_loop(c, row, table):
    def body(carry, k):
        total, c = carry
        return (total + c * k, jnp.cos(c)), c[0]

    (total, _), firsts = lax.scan(body, (jnp.zeros(4), c), jnp.arange(3.0))
    return total + firsts.sum() + table[0]


MEMBER_BY_MEMBER = {
    "elementwise": lambda c, row, table: jnp.where(c > row[0], c * table, jnp.clip(c, -1, 0.3)),
    "outer product": lambda c, row, table: jnp.outer(c, row).reshape(-1)[2:6],
    "products": lambda c, row, table: jnp.outer(table, c) @ c + jnp.outer(c, row) @ row,
    "product with a table": lambda c, row, table: jnp.outer(table, table) @ c,
    "products of a table": lambda c, row, table: jax.jacfwd(
        lambda c: jnp.outer(table, table) @ jnp.sin(c)
    )(c)[1],
    "product of a table": lambda c, row, table: c @ jnp.outer(table, table)[:, :4],
    "sums": lambda c, row, table: c.sum() + jnp.outer(c, row).max(0).sum() + jnp.cumsum(c),
    "sums of many": lambda c, row, table: jnp.sin(jnp.outer(jnp.tile(c, 40), row)).sum(0)[0] + c,
    "largest": lambda c, row, table: jnp.argmax(c) + jnp.argmin(table),
    "slices": lambda c, row, table: jnp.concatenate([c[1:3], row[::2], c[:1]])[:4],
    "slice at a shared place": lambda c, row, table: lax.dynamic_slice(
        c, (jnp.argmax(table),), (1,)
    ),
    "slice at its own place": lambda c, row, table: lax.dynamic_slice(c, (jnp.argmax(c),), (1,)),
    "slice of a table": lambda c, row, table: lax.dynamic_slice(table, (jnp.argmin(c),), (2,)),
    "entries at shared places": lambda c, row, table: c[(jnp.arange(4) + jnp.argmax(table)) % 4],
    "entries at its own places": lambda c, row, table: c[(jnp.arange(4) + jnp.argmax(c)) % 4],
    "entries of a table": lambda c, row, table: table[(jnp.arange(4) + jnp.argmax(c)) % 4],
    "set": lambda c, row, table: c.at[1].set(row[0]),
    "set in a table": lambda c, row, table: table.at[2].set(row[0]),
    "update": lambda c, row, table: lax.dynamic_update_slice(c, row[:2], (jnp.argmax(table),)),
    "padding": lambda c, row, table: jnp.pad(row, 2)[1:5] + jnp.flip(c),
    "stack": lambda c, row, table: jnp.stack([c, table, 2 * c], axis=1).T[1],
    "split": lambda c, row, table: jnp.concatenate(jnp.split(c, 2)[::-1]),
    "inner loop": inner_loop,
    "random": lambda c, row, table: jax.random.normal(
        jax.random.fold_in(jax.random.key(3), (100 * c[0]).astype(int)), (4,)
    ),
    "random of a split key": lambda c, row, table: jax.random.uniform(
        jax.random.split(jax.random.key((100 * row[0]).astype(int)))[1], (4,)
    ),
}


@pytest.mark.parametrize("name", MEMBER_BY_MEMBER)
def test_steps_that_take_members_one_by_one_are_cut(name, x64, small_parts):
    run = jax.vmap(looped(MEMBER_BY_MEMBER[name]), (0, None))
    x = jnp.cos(jnp.arange(BATCH * 4.0)).reshape(BATCH, 4)
    table = jnp.array([0.3, -0.2, 0.9, 0.1])
    loop, *_ = kf.describe_loops(run, x, table)
    assert (loop.one_kernel, loop.parts) == (True, PARTS)
    parts = jax.jit(run)(x, table)
    with kf.separate_kernels():
        whole = jax.jit(anew(run))(x, table)
    for a, b in zip(jax.tree.leaves(parts), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


def over_the_batch(c):
    return c - c.mean(0, keepdims=True)


MIXED = {
    "mean over the batch": over_the_batch,
    "sum over time of the batch": lambda c: jnp.cumsum(c, 0),
    "neighbours": lambda c: jnp.roll(c, 1, axis=0),
    "reversed": lambda c: c[::-1],
    "products of members": lambda c: (c @ c.T) @ c,
    "sorted members": lambda c: jnp.sort(c, 0),
    "one axis of all": lambda c: jnp.cos(c.reshape(-1)).reshape(2, -1).reshape(c.shape),
    "every other": lambda c: jnp.concatenate([c[::2], c[1::2]]),
}


@pytest.mark.parametrize("name", MIXED)
def test_steps_that_mix_members_stay_whole(name, x64, small_parts):
    def run(scan, x):
        return scan(lambda c, _: (jnp.tanh(MIXED[name](c)), c), x, None, length=STEPS)

    x = jnp.cos(jnp.arange(BATCH * 4.0)).reshape(BATCH, 4)
    (loop,) = kf.describe_loops(lambda x: run(scan, x), x)
    assert loop.parts == 1
    np.testing.assert_allclose(run(scan, x)[0], run(lax.scan, x)[0], rtol=1e-12)


FILTERS = {
    "kalman": (kf.kalman(), kf.systems.constant_velocity),
    "extended": (kf.extended(), lambda: kf.systems.lorenz(observation="spherical")),
    "square_root": (
        kf.square_root(kf.moments.Unscented()),
        lambda: kf.systems.lorenz(observation="spherical"),
    ),
    "student_t": (kf.student_t(kf.extended(), 4.0), kf.systems.lorenz),
}


@pytest.mark.parametrize("name", FILTERS)
def test_a_batch_of_filters_and_smoothers(name, x64, small_parts):
    estimator, build = FILTERS[name]
    model = build()
    keys = jax.random.split(jax.random.key(0), BATCH)

    def one(key, length):
        ys = kf.simulate(key, model, steps=STEPS)[1]
        ys = ys.at[2, 0].set(jnp.nan)
        estimates = kf.run(estimator, model, ys, observed=~jnp.isnan(ys), length=length).outputs
        if estimator.rule is None:
            return estimates
        return estimates, kf.smooth(estimator, model, estimates)

    lengths = jnp.arange(BATCH) % STEPS + 1
    batch = jax.vmap(one)
    loops = kf.describe_loops(batch, keys, lengths)
    assert [(loop.one_kernel, loop.parts) for loop in loops] == [(True, PARTS)] * len(loops)
    assert len(loops) >= 2
    parts = jax.jit(batch)(keys, lengths)
    with kf.separate_kernels():
        whole = jax.jit(anew(batch))(keys, lengths)
    for a, b in zip(jax.tree.leaves(parts), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)


def test_a_batch_is_cut_where_its_arrays_are_large_unless_much_is_kept():
    model = kf.systems.lorenz()
    estimator = kf.extended()

    def loops(function, batch):
        return kf.describe_loops(function, jnp.zeros((batch, 6, 3)))

    run = jax.vmap(lambda ys: kf.run(estimator, model, ys))
    assert [loop.parts for loop in loops(run, 20)] == [1]
    (loop,) = loops(run, 1000)
    assert loop.one_kernel
    assert 5 < loop.parts < 20
    derivative = jax.vmap(jax.grad(lambda ys: kf.log_likelihood(estimator, model, ys)))
    assert all(not loop.one_kernel for loop in loops(derivative, 1000))


def test_a_batch_that_shares_its_covariances_is_cut_and_its_derivative_is_not():
    model = kf.systems.constant_velocity(2)

    def one(scale, ys):
        return kf.run(kf.kalman(), model.replace(Q=scale * model.Q), ys).outputs

    ys = jnp.zeros((1000, 6, 2))
    (loop,) = kf.describe_loops(jax.vmap(one, (None, 0)), 1.0, ys)
    assert loop.one_kernel
    assert loop.parts > 3
    scalar = kf.linear_gaussian([[1.0]], [[1.0]], [[0.1]], [[1.0]], ([0.0], [[1.0]]))

    def likelihood(scale, ys):
        scaled = scalar.replace(Q=scale * scalar.Q)
        return kf.log_likelihood(kf.kalman(), scaled, ys)

    loops = kf.describe_loops(jax.vmap(jax.grad(likelihood)), jnp.ones(1000), ys[..., :1])
    assert [loop.parts for loop in loops] == [1, 1]


def test_very_large_arrays_are_left_to_several_cores(monkeypatch):
    model = kf.systems.lorenz()
    run = jax.vmap(lambda ys: kf.run(kf.extended(), model, ys))
    ys = jnp.zeros((20_000, 2, 3))
    for cores, one_kernel in ((2, True), (16, False)):
        monkeypatch.setattr(batch_parts, "_cores", lambda cores=cores: cores)
        (loop,) = kf.describe_loops(run, ys)
        assert loop.one_kernel == one_kernel
