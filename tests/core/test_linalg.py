"""Small dense algebra: written out and by the library, definite and singular, with derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.table import quick_jit

from kfjax import linalg
from kfjax.linalg import sizes

SIZES = [*range(1, 13), 20]
SMALL_AND_LARGE = [2, sizes.UNROLL + 1]


def conditioned(n, condition, seed=0):
    """A covariance with eigenvalues from 1 down to 1 / condition."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(n, n)))[0]
    A = (basis * np.logspace(0, -np.log10(condition), n)) @ basis.T
    return (A + A.T) / 2


def of_rank(n, rank, seed=0):
    """A covariance of lower rank."""
    X = np.random.default_rng(seed).normal(size=(n, rank))
    return X @ X.T


def relative(error, scale):
    return np.linalg.norm(error) / np.linalg.norm(scale)


@pytest.mark.parametrize("n", SIZES)
def test_factor_solve_and_determinant(x64, n):
    rng, eps = np.random.default_rng(n), np.finfo(float).eps
    B, C = rng.normal(size=(n, 3)), rng.normal(size=n)

    @quick_jit
    def everything(A):
        A = linalg.factorise(A)
        L = A.lower
        lower = (
            linalg.solve_lower(L, C),
            linalg.solve_lower(L, B),
            linalg.solve_lower(L, B, transpose=True),
        )
        return (
            L,
            A.solve(B),
            A.solve(C),
            A.logdet(),
            linalg.logdet(L),
            linalg.solve_factored(L, B),
            lower,
        )

    for condition in (1e0, 1e6, 1e12):
        A = conditioned(n, condition)
        L, X, x, logdet, logdet_of_factor, X_of_factor, (z, Z, Zt) = jax.tree.map(
            np.asarray, everything(A)
        )
        assert not np.triu(L, 1).any()
        assert relative(L @ L.T - A, A) <= 8 * n * eps
        for got, right in ((X, B), (X_of_factor, B), (x, C)):
            assert np.linalg.norm(A @ got - right) <= 30 * n * eps * np.linalg.norm(
                A
            ) * np.linalg.norm(got)
        for got, matrix, right in ((z, L, C), (Z, L, B), (Zt, L.T, B)):
            assert np.linalg.norm(matrix @ got - right) <= 8 * n * eps * np.linalg.norm(
                matrix
            ) * np.linalg.norm(got)
        slack = 30 * n * eps * condition
        np.testing.assert_allclose(
            [logdet, logdet_of_factor], np.linalg.slogdet(A)[1], atol=slack, rtol=1e-13
        )


@pytest.mark.parametrize("n", [2, 5, 8, 12])
def test_what_is_nan_is_not_taken_for_singular(n):
    solved = quick_jit(lambda A: linalg.factorise(A).solve(jnp.ones(n)))(jnp.full((n, n), jnp.nan))
    assert np.isnan(solved).any()


@pytest.mark.parametrize("n", [1, 2, 5, 8, 9, 12])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_singular_matrix_has_a_factor_and_solves_in_its_range(x64, n, dtype):
    eps = np.finfo(dtype).eps

    @quick_jit
    def solved(A, B):
        A = linalg.factorise(A)
        return A.lower, A.solve(B), A.logdet()

    for rank in {0, 1, n // 2, n - 1}:
        A = of_rank(n, rank).astype(dtype)
        B = A @ np.random.default_rng(1).normal(size=(n, 2)).astype(dtype)
        L, X, logdet = (np.asarray(a, np.float64) for a in solved(A, B))
        assert np.isfinite([*L.ravel(), *X.ravel(), logdet]).all()
        assert np.linalg.norm(L @ L.T - A) <= 20 * n * eps * np.linalg.norm(A)
        assert np.linalg.norm(A @ X - B) <= 2e3 * n * eps * np.linalg.norm(B)


def test_what_is_known_exactly_stays_out_of_the_factor(x64):
    A = np.zeros((4, 4))
    A[np.ix_([1, 3], [1, 3])] = [[2.0, 1.0], [1.0, 3.0]]
    L = np.asarray(linalg.cholesky(A))
    assert not L[[0, 2]].any()
    assert not L[:, [0, 2]].any()
    np.testing.assert_allclose(L @ L.T, A, rtol=1e-15)
    np.testing.assert_allclose(linalg.logdet(L), np.log(5), rtol=1e-15)


def test_an_indefinite_matrix_is_factored_without_its_negative_part(x64):
    for n in SMALL_AND_LARGE:
        A = np.diag(np.r_[4.0, -1.0, np.ones(n - 2)])
        np.testing.assert_array_equal(linalg.cholesky(A), np.diag(np.r_[2.0, 0.0, np.ones(n - 2)]))


def test_entries_of_the_factor_stay_below_the_variance_that_remains():
    """Rounding in float32 leaves correlations beyond one; unclipped, they would come out of the
    factor squared.
    """
    for n in SMALL_AND_LARGE:
        A = np.eye(n, dtype=np.float32)
        A[0, 0], A[0, 1], A[1, 0] = 1e-6, 1.1e-3, 1.1e-3
        L = np.asarray(linalg.cholesky(A))
        assert np.isfinite(L).all()
        assert (np.diag(L @ L.T) <= np.diag(A) * (1 + 1e-6)).all()


def functions(n):
    """Functions of X to differentiate, with A = X X' + I symmetric and definite."""
    rng = np.random.default_rng(n)
    B, W = rng.normal(size=(n, 2)), rng.normal(size=(n, n))

    def covariance(X):
        return X @ X.T + jnp.eye(n)

    return (
        lambda X: linalg.cholesky(covariance(X)) * W,
        lambda X: linalg.factorise(covariance(X)).solve(X @ B),
        lambda X: (
            linalg.factorise(covariance(X)).logdet() + linalg.logdet(linalg.cholesky(covariance(X)))
        ),
        lambda X: linalg.solve_lower(linalg.cholesky(covariance(X)), X @ B),
        lambda X: linalg.solve_factored(linalg.cholesky(covariance(X)), X[:, 0]),
        lambda X: linalg.quadratic(X, W + W.T) + linalg.weighted_gram(X[0], X, jnp.sin(X)),
    )


@pytest.mark.parametrize("n", SMALL_AND_LARGE)
def test_first_and_second_derivatives(x64, n):
    """Forward, reverse, and forward through reverse, along a line, against fourth-order central
    differences.
    """
    rng = np.random.default_rng(n + 1)
    X, D = rng.normal(size=(2, n, n)) / np.sqrt(n)

    def along(t):
        return sum(jnp.sum(jnp.sin(fn(X + t * D) + 1)) for fn in functions(n))

    forward, reverse = jax.jacfwd(along), jax.grad(along)
    derivatives = quick_jit(lambda t: (along(t), forward(t), reverse(t), jax.jacfwd(reverse)(t)))
    at = {k: derivatives(1e-3 * k) for k in (-2, -1, 0, 1, 2)}

    def difference(order):
        return (8 * (at[1][order] - at[-1][order]) - (at[2][order] - at[-2][order])) / 12e-3

    np.testing.assert_allclose(at[0][1:3], 2 * [difference(0)], rtol=1e-8)
    np.testing.assert_allclose(at[0][3], difference(1), rtol=1e-8)


@pytest.mark.parametrize("n", SMALL_AND_LARGE)
def test_derivatives_in_null_directions_are_zero_and_others_right(x64, n):
    """For a variance of zero, and for one beside it."""
    A = np.diag(np.r_[0.0, np.linspace(1, 2, n - 1)])

    @quick_jit
    def slopes(A):
        return jax.jacfwd(lambda a: linalg.cholesky(A.at[0, 0].add(a)))(0.0), jax.jacfwd(
            lambda a: linalg.cholesky(A.at[1, 1].add(a))
        )(0.0)

    null, regular = slopes(jnp.asarray(A))
    assert not null.any()
    np.testing.assert_allclose(regular, np.diag(np.r_[0.0, 0.5, np.zeros(n - 2)]))


def turning(n, rank, kind, seed=0):
    """A factor [n, rank] and its rate of change; with null directions last, in the middle, or
    first.
    """
    V, D = np.random.default_rng(seed).normal(size=(2, n, rank))
    for X in (V, D):
        if kind == "middle":
            X[1] = 2 * X[0]
        elif kind == "first":
            X[0] = 0
    return V, D


@pytest.mark.parametrize("kind", ["last", "middle", "first"])
@pytest.mark.parametrize("n", [3, 5, 2 * sizes.UNROLL + 1])
def test_the_factor_of_a_matrix_that_turns_and_keeps_its_rank_has_the_right_derivative(
    x64, n, kind
):
    """It is lower triangular, without the null columns, and solves dL L' + L dL' = dA; nothing else
    does.
    """
    V, D = turning(n, n // 2, kind)

    @quick_jit
    def factors_and_slopes(V, D):
        wide = lambda X: jnp.concatenate([X, X], axis=1) / jnp.sqrt(2.0)  # noqa: E731
        both = lambda X: (linalg.cholesky(X @ X.T), linalg.triangularise(wide(X)))  # noqa: E731
        return jax.jvp(both, (V,), (D,))

    for L, slope in zip(*factors_and_slopes(V, D), strict=True):
        assert np.count_nonzero(np.diag(L)) == np.linalg.matrix_rank(V)
        assert not np.triu(L, 1).any()
        assert not np.triu(slope, 1).any()
        assert not slope[:, np.diag(L) == 0].any()
        np.testing.assert_allclose(L @ L.T, V @ V.T, atol=1e-12)
        np.testing.assert_allclose(slope @ L.T + L @ slope.T, D @ V.T + V @ D.T, atol=1e-8)


@pytest.mark.parametrize("n", SMALL_AND_LARGE)
def test_vmap_equals_a_loop(x64, n):
    batch = np.stack(
        [conditioned(n, 1e3, 1), of_rank(n, n - 1), np.zeros((n, n)), conditioned(n, 1e6, 2)]
    )
    B = np.stack([A @ np.ones((n, 2)) for A in batch])

    def solved(A, B):
        A = linalg.factorise(A)
        return (
            A.lower,
            A.solve(B),
            A.logdet(),
            linalg.quadratic(B.T, A.matrix),
            linalg.matmul(A.matrix, B[:, 0]),
        )

    together = quick_jit(jax.vmap(solved))(batch, B)
    alone = quick_jit(solved)
    for b in range(len(batch)):
        for got, expected in zip(together, alone(batch[b], B[b]), strict=True):
            np.testing.assert_allclose(got[b], expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 4), (2, 9, 3), (2, 0, 3)])
def test_products(x64, shape):
    k, n, m = shape
    rng = np.random.default_rng(0)
    A, B, w = rng.normal(size=(k, n)), rng.normal(size=(n, m)), rng.normal(size=n)
    P = rng.normal(size=(n, n))
    P = P + P.T
    np.testing.assert_allclose(linalg.matmul(A, B), A @ B, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(linalg.matmul(A, w), A @ w, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(linalg.quadratic(A, P), A @ P @ A.T, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(
        linalg.weighted_gram(w, B, B), B.T @ np.diag(w) @ B, rtol=1e-12, atol=1e-13
    )
    np.testing.assert_array_equal(
        linalg.symmetric(P + np.triu(P)), P + (np.triu(P) + np.triu(P).T) / 2
    )


def test_products_of_other_shapes_are_refused():
    with pytest.raises(
        ValueError,
        match=r"matmul: B is ndarray of shape \(2,\) .*; expected real arrays A \[n k\] and B \[k",
    ):
        linalg.matmul(np.ones((2, 3)), np.ones(2))
