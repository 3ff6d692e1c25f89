"""The batch lies innermost in memory where that helps, and only there; no value changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import kfjax as kf
from kfjax import linalg
from kfjax._support.memory_layout import batch_innermost

A = jnp.asarray(np.random.default_rng(0).normal(size=(5, 7, 3, 3)), jnp.float32)


def asked(fn, *args):
    """Whether the lowered program asks for an order of axes."""
    return "LayoutConstraint" in jax.jit(fn).lower(*args).as_text()


def test_it_changes_no_value_and_no_derivative():
    square = jax.vmap(jax.vmap(lambda a: batch_innermost(a @ a), in_axes=1, out_axes=2))
    np.testing.assert_array_equal(jax.jit(square)(jnp.moveaxis(A, 1, 2)), jnp.moveaxis(A @ A, 1, 3))
    slope = jax.grad(lambda a: jnp.sum(jax.vmap(jax.vmap(lambda a: batch_innermost(a) ** 2))(a)))
    np.testing.assert_array_equal(jax.jit(slope)(A), 2 * A)
    assert jax.jacfwd(lambda a: batch_innermost(a) ** 2)(A[0, 0]).shape == (3, 3, 3, 3)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="asked for on CPUs only")
def test_it_is_asked_for_under_a_batch_only():
    assert not asked(lambda a: linalg.matmul(a, a), A[0, 0])
    assert asked(jax.vmap(lambda a: linalg.matmul(a, a)), A[0])
    compiled = (
        jax.jit(jax.vmap(lambda a: linalg.cholesky(linalg.matmul(a, a.T)))).lower(A[0]).compile()
    )
    assert "f32[7,3,3]{0,2,1}" in compiled.as_text()


def test_a_program_for_export_does_not_ask():
    model = kf.systems.constant_velocity()
    ys = jnp.ones((4, 6, 1))
    means = jax.jit(
        lambda model, ys: jax.vmap(lambda y: kf.run(kf.kalman(), model, y).outputs.mean)(ys)
    )
    exported = export.export(means)(jax.tree.map(jnp.asarray, model), ys)
    np.testing.assert_allclose(exported.call(model, ys), means(model, ys), rtol=1e-6)
