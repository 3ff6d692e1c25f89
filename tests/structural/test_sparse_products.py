"""Products that skip what is known of a matrix, and covariances of many components."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.compiling import quick_jit

import kfjax as kf
from kfjax import structural as st
from kfjax.linalg import sparse
from kfjax.models.sparse import SparseLinear
from kfjax.moments.conditioning import optimal_cov, sparse_quadratic
from kfjax.structural import matrices

SIZE = 10


def pattern_of_many_kinds():
    """A row that is zero, shifts, sums, other coefficients, and entries that are not known."""
    known = np.eye(SIZE, k=-1)
    known[0] = -1.0
    known[4] = 0.0
    known[6] = np.where(np.arange(SIZE) < 3, 2.0, 0.0)
    known[7, [1, 5]] = np.nan
    return known


def sparse_and_full(draws):
    known = pattern_of_many_kinds()
    values = np.where(np.isnan(known), draws.normal(size=known.shape), known)
    return sparse.Sparse(jnp.asarray(values), sparse.Pattern(known)), jnp.asarray(values)


@pytest.mark.parametrize("shape", [(SIZE,), (SIZE, 3)])
def test_products_are_those_of_the_full_matrix(x64, shape):
    draws = np.random.default_rng(0)
    A, values = sparse_and_full(draws)
    B = jnp.asarray(draws.normal(size=shape))
    np.testing.assert_allclose(sparse.product(A, B), values @ B, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(sparse.product(A.squared(), B), values**2 @ B, atol=1e-13)
    np.testing.assert_allclose(sparse.product(abs(A), B), abs(values) @ B, atol=1e-13)


def first_and_second(function, theta):
    """The gradients of a weighted sum of the entries, forward and backward, and the Hessian."""
    weights = jnp.cos(jnp.arange(SIZE * SIZE, dtype=theta.dtype)).reshape(SIZE, SIZE)
    weights = weights + weights.T

    def total(theta):
        return jnp.sum(weights * function(theta))

    @quick_jit
    def of(theta):
        return jax.jacfwd(total)(theta), jax.grad(total)(theta), jax.hessian(total)(theta)

    return of(theta)


def test_derivatives_are_those_of_the_plain_formulas(x64):
    """The optimal gain depends on all arguments, and its derivative drops out."""
    draws = np.random.default_rng(1)
    A, values = sparse_and_full(draws)
    roots = jnp.asarray(draws.normal(size=(3, SIZE, SIZE)))
    H = jnp.asarray(draws.normal(size=(2, SIZE)))

    def arguments(theta):
        root = roots[0] + theta[0] * roots[1]
        P = root @ root.T
        observed = H + theta[1] * H[::-1]
        R = jnp.diag(jnp.exp(theta[2:4]))
        given = theta[4] * roots[2][:, :2]
        return P, observed, R, given

    def posterior(theta, of):
        P, observed, R, given = arguments(theta)
        S = observed @ P @ observed.T + R
        # the best gain of the form given + K_1 T for T that picks the second channel
        T = jnp.array([[0.0, 1.0]])
        cross = (P @ observed.T - given @ S) @ T.T
        K = given + cross / (T @ S @ T.T) @ T
        return of(P, K, observed, R, given)

    def joseph(P, K, observed, R, given):
        rest = jnp.eye(SIZE) - K @ observed
        return rest @ P @ rest.T + K @ R @ K.T

    def moved(theta, of):
        matrix = values + theta[1] * jnp.where(jnp.isnan(pattern_of_many_kinds()), 1.0, 0.0)
        return of(matrix, arguments(theta)[0])

    theta = jnp.array([0.3, 0.2, -0.1, 0.4, 0.5])
    pairs = [
        (lambda t: posterior(t, optimal_cov), lambda t: posterior(t, joseph)),
        (
            lambda t: moved(t, lambda F, P: sparse_quadratic(A._replace(matrix=F), P)),
            lambda t: moved(t, lambda F, P: F @ P @ F.T),
        ),
    ]
    for ours, plain in pairs:
        np.testing.assert_allclose(ours(theta), plain(theta), rtol=1e-11, atol=1e-11)
        for a, b in zip(first_and_second(ours, theta), first_and_second(plain, theta), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_a_sum_filters_like_its_full_matrices(x64):
    model = st.trend(0.7, 0.2, damping=0.9) + st.seasonal(12, 0.5) + st.irregular(0.8)
    model = model.with_start(diffuse_variance=1e6)
    assert isinstance(model.f, SparseLinear)
    assert isinstance(model.h, SparseLinear)
    full = model.replace(f=kf.Linear(model.f.A), h=kf.Linear(model.h.A))
    ys = np.random.default_rng(2).normal(size=(30, 1)).cumsum(0)
    ys[[3, 17]] = np.nan
    observed = ~np.isnan(ys)
    found, wanted = (kf.run(kf.kalman(), m, ys, observed=observed).outputs for m in (model, full))
    np.testing.assert_allclose(found.mean, wanted.mean, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(found.cov, wanted.cov, rtol=1e-7, atol=1e-7)
    assert (np.asarray(found.cov) == np.asarray(found.cov).swapaxes(1, 2)).all()


@pytest.mark.parametrize(
    "model",
    [
        st.arima(ma=[-0.4], difference=1, period=12, seasonal_ma=[-0.6], seasonal_difference=1),
        st.arima(ar=[0.5, 0.2], ma=[0.3]),
        st.vector_autoregression([[[0.5, 0.1], [0.0, 0.3]], [[0.1, 0.0], [0.2, -0.2]]], [1.0, 1.0]),
        st.level([1.0, 2.0]) + st.seasonal(5, [1.0, 1.0], harmonics=2) + st.irregular([1.0, 1.0]),
        st.trend(1.0, 0.1, damping=0.8) + st.cycle(9.0, 0.1) + st.irregular(),
    ],
    ids=repr,
)
def test_patterns_are_those_of_the_matrices(model):
    for known, matrix in (
        (matrices.pattern_of_transition(model.components).known, model.f.A),
        (matrices.pattern_of_observed(model.components).known, model.h.A),
    ):
        expected = np.where(np.isnan(known), np.asarray(matrix), known)
        np.testing.assert_allclose(expected, matrix, rtol=1e-6)
