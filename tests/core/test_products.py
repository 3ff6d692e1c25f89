"""Products of network layers: x W in other forms, with the values and derivatives of x W."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kfjax.learned.gains.products import SMALL, product

SIZES = [(4, 12), (8, 40), (40, 8)]  # small, wide, tall: a form for each


def draw(*shapes):
    keys = jax.random.split(jax.random.key(0), len(shapes))
    return [jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True)]


@pytest.mark.parametrize(("k", "j"), SIZES)
def test_values_and_derivatives_are_those_of_the_plain_product(k, j, x64):
    assert (k * j <= SMALL) == (k == 4)
    X, W, dX, dW = draw((5, k), (k, j), (5, k), (k, j))

    def total(multiply):
        return lambda X, W: jnp.sum(jnp.sin(jax.vmap(multiply, (0, None))(X, W)))

    ours, plain = total(product), total(jnp.matmul)
    np.testing.assert_allclose(ours(X, W), plain(X, W), rtol=1e-12)
    for transform in (
        lambda f: jax.grad(f, (0, 1))(X, W),
        lambda f: jax.jvp(f, (X, W), (dX, dW)),
        lambda f: jax.jvp(jax.grad(f, (0, 1)), (X, W), (dX, dW)),
    ):
        assert_same(transform(ours), transform(plain))


@pytest.mark.parametrize("axes", [(0, 0), (None, 0), (0, None), (1, 1)])
def test_any_argument_may_have_a_batch(axes, x64):
    X, W = draw((4, 4), (4, 4, 12))

    def slopes(multiply):
        return jax.vmap(jax.grad(lambda x, W: jnp.sum(multiply(x, W) ** 2), (0, 1)), axes)

    arguments = X if axes[0] is not None else X[0], W if axes[1] is not None else W[0]
    assert_same(slopes(product)(*arguments), slopes(jnp.matmul)(*arguments))


def test_runs_of_a_batch_are_trained_at_once(x64):
    X, W = draw((6, 8), (3, 8, 40))

    def slopes(multiply):
        return jax.vmap(jax.grad(lambda W: jnp.sum(jax.vmap(multiply, (0, None))(X, W) ** 3)))

    assert_same(slopes(product)(W), slopes(jnp.matmul)(W))


def test_precisions_are_promoted(x64):
    X, W = draw((4,), (4, 12))
    assert product(X.astype(jnp.float32), W).dtype == jnp.float64


def assert_same(ours, plain):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), ours, plain)
