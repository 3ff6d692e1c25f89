"""The square-root form gives the results of the covariance form, with more accurate digits."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import table

import kfjax as kf
from kfjax import linalg

PAIRS = {"square_root_extended": "extended", "square_root_unscented": "unscented"}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("model", ["pendulum", "heading"])
def test_same_results_as_the_covariance_form(x64, name, model):
    root, plain = table.outputs(name, model), table.outputs(PAIRS[name], model)
    chex.assert_trees_all_close(root[1], plain[1], rtol=1e-9, atol=1e-9)
    chex.assert_trees_all_close(root[0].cov, plain[0].cov, rtol=1e-9, atol=1e-9)


def test_factor_is_lower_triangular_with_no_negative_diagonal():
    final, _ = table.outputs("square_root_extended")
    L = np.asarray(final.cholesky)
    assert (np.triu(L, 1) == 0).all()
    assert (np.diagonal(L, axis1=-2, axis2=-1) >= 0).all()


@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (4, 3), (6, 9), (9, 4), (20, 30)])
def test_triangularise_reproduces_the_gram_matrix_at_any_rank(x64, shape):
    A = np.random.default_rng(0).normal(size=shape)
    L = np.asarray(linalg.triangularise(jnp.asarray(A)))
    np.testing.assert_allclose(L @ L.T, A @ A.T, atol=1e-12 * shape[1])
    assert (np.triu(L, 1) == 0).all()
    assert (np.diag(L) >= 0).all()


def test_triangularise_keeps_the_digits_that_the_gram_matrix_loses():
    A = jnp.array([[1.0, 0.0, 0.0], [1.0, 1e-5, 0.0]])  # in float32, A A' is singular
    np.testing.assert_allclose(linalg.triangularise(A)[1, 1], 1e-5, rtol=1e-3)
    assert linalg.cholesky(A @ A.T)[1, 1] == 0


def test_triangularise_gradient_matches_that_of_cholesky_and_is_finite_at_rank_deficiency(x64):
    A = jnp.asarray(np.random.default_rng(1).normal(size=(3, 5)))
    weights = jnp.arange(9.0).reshape(3, 3)

    def through_qr(A):
        return jnp.sum(weights * linalg.triangularise(A))

    def through_gram(A):
        return jnp.sum(weights * linalg.cholesky(A @ A.T))

    np.testing.assert_allclose(jax.grad(through_qr)(A), jax.grad(through_gram)(A), rtol=1e-9)
    assert jnp.isfinite(jax.grad(through_qr)(A.at[2].set(A[0]))).all()


def test_negative_covariance_weights_are_refused():
    case = table.case("extended")
    root = kf.square_root(kf.moments.Unscented(alpha=0.5, beta=-3.0))
    with pytest.raises(
        ValueError, match=r"covariance weight is .*expected none below zero.*alpha = 1"
    ):
        root.predict(case.params, root.init(case.params))


def test_rule_without_deviations_is_refused():
    with pytest.raises(ValueError, match=r"no deviations; expected a rule such as"):
        kf.square_root(table.divided_differences)
