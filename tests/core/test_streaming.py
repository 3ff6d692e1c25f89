"""Online use: donated states, and states that are saved and resumed."""

import io

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.table import FILTERS, case, first

import kfjax as kf
from kfjax._support.persistence import from_bytes, to_bytes

KEY = jax.random.key(3)


def switching(model):
    return kf.IMMParams((model, model.replace(Q=9 * model.Q)), [[0.9, 0.1], [0.2, 0.8]], [0.5, 0.5])


def itself(model):
    return model


# states of every kind: a mean and a covariance, factors, the words of a key, states of members,
# weights, noise levels
METHODS = {
    "extended": (kf.extended(), itself),
    "square_root": (kf.square_root(kf.moments.Unscented()), itself),
    "particle": (kf.particle(20), itself),
    "auxiliary": (kf.auxiliary_particle(20), itself),
    "ensemble": (kf.ensemble(20), itself),
    "imm": (kf.imm((kf.extended(), kf.particle(20))), switching),
    "adaptive": (kf.adaptive(kf.gated(kf.extended()), forgetting_Q=0.9), itself),
    "fallback": (kf.fallback(kf.extended()), itself),
}
every_method = pytest.mark.parametrize("name", METHODS)


def method(name, model="pendulum"):
    chosen, params = METHODS[name]
    c = case("extended", model)
    return c._replace(filter=chosen, params=params(c.params))


def stream(c, state, steps, **options):
    """Step through some observations; the last state and every Info."""
    infos = []
    for t in steps:
        state, info = kf.step(c.filter, c.params, state, c.ys[t], observed=c.observed[t], **options)
        infos.append(info)
    return state, infos


@every_method
def test_a_saved_and_resumed_stream_gives_the_same_bits(name):
    c = method(name)
    state = c.filter.init(c.params, KEY)
    whole = stream(c, state, range(6))
    halfway, infos = stream(c, state, range(3))
    data = to_bytes(halfway)
    template = c.filter.init(c.params, jax.random.key(0))
    resumed, more = stream(c, from_bytes(data, like=template), range(3, 6))
    chex.assert_trees_all_equal((resumed, infos + more), whole)
    chex.assert_trees_all_equal_shapes_and_dtypes(resumed, whole[0])


def test_any_pytree_goes_and_comes_back_in_any_precision(x64):
    tree = {
        "file": np.float32([1.5, np.nan]),
        "a/b": (jnp.arange(3), jnp.asarray(True), jnp.zeros((0, 2))),
        "a.b": [jax.random.key(5), jax.random.split(jax.random.key(6, impl="rbg"), 2)],
        "": kf.Gaussian(jnp.float64([1.0]), None),
    }
    back = from_bytes(to_bytes(tree), like=jax.tree.map(jnp.zeros_like, tree))

    def draw(t):
        one, several = t["a.b"]
        return t | {"a.b": [jax.random.normal(one), jax.vmap(jax.random.normal)(several)]}

    chex.assert_trees_all_equal(draw(back), draw(tree))
    assert jax.random.key_impl(back["a.b"][1]) == jax.random.key_impl(tree["a.b"][1])
    array = jnp.ones((2, 3))
    np.testing.assert_array_equal(from_bytes(to_bytes(array), like=array), array)


def test_the_bytes_are_an_npz_file_the_same_for_the_same_state():
    c = case("extended")
    data = to_bytes(first(c))
    assert data == to_bytes(first(c))
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["state.mean"], c.params.prior.mean)


def test_damaged_bytes_are_refused_or_harmless():
    state = kf.Gaussian(jnp.asarray([1.25, -3.0]), jnp.eye(2))
    data = to_bytes(state)
    refused = 0
    for place in range(len(data)):
        for damaged in (
            data[:place],
            data[:place] + bytes([data[place] ^ 0x21]) + data[place + 1 :],
        ):
            try:
                chex.assert_trees_all_equal(from_bytes(damaged, like=state), state)
            except ValueError:
                refused += 1
    assert refused > len(data)


def bare_array():
    content = io.BytesIO()
    np.save(content, np.ones(2))
    return content.getvalue()


def pickled():
    content = io.BytesIO()
    np.savez(content, **{"state.mean": np.array([object()])})
    return content.getvalue()


BELIEF = kf.Gaussian(np.zeros(2, np.float32), np.eye(2, dtype=np.float32))

REFUSED = {
    "text": (b"no file", BELIEF, "cannot be read"),
    "empty": (b"", BELIEF, "cannot be read"),
    "a string": ("state", BELIEF, "cannot be read .*; expected the unchanged result of to_bytes"),
    "one array": (bare_array(), BELIEF, "cannot be read .*not an npz file"),
    "a pickle": (pickled(), BELIEF, "cannot be read .*allow_pickle"),
    "another filter": (
        to_bytes(kf.filters.SquareRootGaussian(*BELIEF)),
        BELIEF,
        r"hold state.cholesky, state.mean; expected state.cov, state.mean, the leaves of `like`",
    ),
    "another shape": (
        to_bytes(BELIEF._replace(mean=np.zeros(3, np.float32))),
        BELIEF,
        r"state.mean is float32 of shape \(3,\)",
    ),
    "another dtype": (
        to_bytes(BELIEF._replace(mean=np.zeros(2))),
        BELIEF,
        "state.mean is float64 .*; expected float32",
    ),
    "x64 off": (
        to_bytes(np.zeros(2)),
        np.zeros(2),
        "state is float64, which JAX supports only with x64",
    ),
    "another generator": (
        to_bytes(jax.random.key(0)),
        jax.random.key(0, impl="rbg"),
        "hold state threefry2x32; expected state rbg",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_does_not_fit_is_refused(kind):
    data, like, message = REFUSED[kind]
    with pytest.raises(ValueError, match=message):
        from_bytes(data, like=like)


@pytest.mark.parametrize(
    "leaf",
    [np.array([object()]), jnp.ones(2, jnp.bfloat16), "name"],
    ids=["object", "bfloat16", "text"],
)
def test_leaves_that_a_file_cannot_hold_are_refused(leaf):
    with pytest.raises(
        ValueError, match=r"the leaf state\.mean has dtype .*; expected a boolean or number dtype"
    ):
        to_bytes(kf.Gaussian(leaf, None))


@pytest.mark.parametrize("name", ["extended", "particle", "fallback"])
def test_a_donated_state_is_deleted_and_gives_the_same_numbers(name):
    c = method(name)
    kept, donated = (c.filter.init(c.params, KEY) for _ in range(2))
    expected = stream(c, kept, range(3))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(kept))
    chex.assert_trees_all_equal(stream(c, donated, range(3), donate=True), expected)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(donated))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(c.params))


def buffers(tree):
    return [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize("name", FILTERS)
def test_a_first_state_shares_no_memory_with_the_model_or_within(name):
    """Otherwise a donated first step would delete arrays of the model, or raise an error."""
    c = case(name)
    state = c.filter.init(c.params, KEY)
    assert len(set(buffers(state))) == len(buffers(state))
    assert not set(buffers(state)) & set(buffers(c.params))
