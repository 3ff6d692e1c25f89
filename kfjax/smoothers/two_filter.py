"""The two-filter smoother: a forward filter combined with a backward information filter."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Real

from kfjax import linalg
from kfjax._support import one_kernel
from kfjax._support.arguments import check_flag, is_concrete
from kfjax._support.compiling import jit
from kfjax.base import Gaussian, Inputs, Mask, whole_state
from kfjax.filters.square_root_form import SquareRootGaussian, conditional_factors, square_root
from kfjax.models.observing import bind, observe
from kfjax.models.records import Record, is_singular
from kfjax.models.runtime_checks import refuse_at_runtime
from kfjax.models.shapes import check_shapes
from kfjax.models.state_space import StateSpaceModel
from kfjax.moments import Taylor
from kfjax.runner import run
from kfjax.smoothers.rauch_tung_striebel import Smoothed, started
from kfjax.smoothers.records import whole_record

__all__ = ["two_filter_smooth"]

FORWARD = square_root(Taylor())


SINGULAR = (
    "two_filter_smooth: R is singular; expected an invertible one, since information about a"
    " noise-free observation is infinite. Use kf.smooth."
)


class Information(NamedTuple):
    """The likelihood exp(eta' x - x' Z Z' x / 2) of x given data; zero without information.

    Attributes:
        eta: information vector [n].
        Z: a factor of the information matrix [n, n].
    """

    eta: Array
    Z: Array


def two_filter_smooth(
    model: StateSpaceModel,
    ys: Real[ArrayLike, "T m"],
    *,
    us: Inputs = None,
    observed: Mask = None,
    checked: bool = False,
) -> Smoothed:
    """Smooth a linear Gaussian model by two filters.

    The results are those of `smooth(kalman(), ...)`, without its recursion.

    The backward filter carries the information Lambda = Z Z' and eta of y_t+1..T about x_t, which
    is zero at T:

        observe:  Lambda + H' R^-1 H,  eta + H' R^-1 (y - d)
        go back:  F' (I + Lambda Q)^-1 Lambda F,  F' (I + Lambda Q)^-1 (eta - Lambda c)

    for x_t = F x_t-1 + c + e. With the forward filter's m and P = L L', the smoothed belief is m +
    P_s (eta - Lambda m) with P_s = L (I + L' Lambda L)^-1 L'. Everything is computed with factors,
    without an inverse of Q, F or Lambda: they may be singular, and x_0 may be known. R of the
    observed channels must be invertible, since information about a noise-free observation is
    infinite. Use it to combine what two records say about the time between them; to smooth one
    record, `kfjax.smooth` costs half.

    Args:
        model: a `StateSpaceModel` with `Linear` f and h; Q and R may depend on u, not on x.
        ys: observations [T, m].
        us: inputs [T, ...], or None.
        observed: booleans [T] or [T, m], or None.
        checked: raise inside a trace, too, when the compiled function runs; otherwise a singular R
            gives NaN there.

    Returns:
        `Smoothed(mean [T, n], cov [T, n, n], initial, cross [T, n, n], cholesky [T, n, n])`.

    Raises:
        ValueError: if the model is not linear or lives on a curved space, R is singular, or shapes
            do not fit.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> xs, ys = kf.simulate(jax.random.key(0), model, steps=20)
        >>> est = kf.run(kf.kalman(), model, ys).outputs
        >>> rts = kf.smooth(kf.kalman(), model, est)
        >>> smoothed = kf.two_filter_smooth(model, ys)
        >>> bool(jnp.allclose(smoothed.mean, rts.mean, atol=1e-3))
        True

    References:
        D. C. Fraser, J. E. Potter, The optimum linear smoother as a combination of two optimum
        linear filters, IEEE TAC 14 (1969); D. Q. Mayne, A solution of the smoothing problem for
        linear dynamic systems, Automatica 4 (1966).
    """
    check_flag("two_filter_smooth: checked", checked)
    record = whole_record("two_filter_smooth", model, ys, us, observed, linear=True)
    if is_singular(model.R):
        raise ValueError(SINGULAR)
    smoothed = _two_filter_smooth(model, record)
    # whether an R that depends on inputs is singular shows only in the result
    leaves = jax.tree.leaves(smoothed)
    if callable(model.R) and any(is_concrete(leaf) and np.isnan(leaf).any() for leaf in leaves):
        raise ValueError(SINGULAR)
    if checked and not all(map(is_concrete, leaves)):
        refuse_at_runtime(SINGULAR, jnp.isnan(smoothed.mean).any())
    return smoothed


@jit
def _two_filter_smooth(model: StateSpaceModel, record: Record) -> Smoothed:
    steps = check_shapes("two_filter_smooth", model, record)
    ys, us, observed, _ = record
    filtered = run(FORWARD, model, ys, us=us, observed=observed, emit=whole_state).outputs

    def back(
        later: Information, at: tuple[Any, Any, Any]
    ) -> tuple[Information, tuple[Information, Array]]:
        y, u, seen = at
        earlier, contraction = _go_back(model, _observe(model, later, y, u, seen), u)
        return earlier, (later, contraction)

    n = model.n
    # The future of x_T is empty: no information, which a covariance could not express.
    nothing = Information(jnp.zeros(n, model.dtype), jnp.zeros((n, n), model.dtype))
    before, (after, contractions) = one_kernel.scan(back, nothing, (ys, us, observed), reverse=True)
    initial = _join(FORWARD.init(model), before)
    smoothed = jax.vmap(_join)(filtered, after)
    covs = jnp.concatenate([initial.cov[None], smoothed.cov])
    # x_t = (I + Q Lambda)^-1 F x_t-1 + ..., given y_t..T
    cross = jax.vmap(linalg.matmul)(contractions, covs[:steps])
    x0 = Gaussian(initial.mean, initial.cov)
    both = Smoothed(smoothed.mean, smoothed.cov, x0, cross, smoothed.cholesky)
    return started(model, both)


def _observe(
    model: StateSpaceModel, later: Information, y: Array, u: Inputs, observed: Mask
) -> Information:
    """Add the information in y_t about x_t."""
    zero = jnp.zeros(model.n, model.dtype)
    seen = observe(model, zero, y, u, observed)
    root = linalg.cholesky(seen.R)
    H = linalg.solve_lower(root, seen.fn.A)
    offset = linalg.solve_lower(root, seen.innovation(seen.fn(zero)))
    # solves leave out noise-free channels, whose information would be infinite
    offset = jnp.where((jnp.diag(root) > 0).all(), offset, jnp.nan)
    Z = linalg.triangularise(jnp.concatenate([later.Z, H.T], axis=1))
    return Information(later.eta + linalg.matmul(H.T, offset), Z)


def _go_back(model: StateSpaceModel, at: Information, u: Inputs) -> tuple[Information, Array]:
    """Return the information about x_t-1 from that about x_t, and (I + Q Lambda)^-1 F."""
    zero = jnp.zeros(model.n, model.dtype)
    f = bind(model.f, u)
    U = linalg.cholesky(model.process_noise(zero, u))
    identity = jnp.eye(model.n, dtype=model.dtype)
    # Let Lambda = Z Z' and mu = F x_t-1 + c. Integrating exp(eta' x - x' Lambda x / 2) over x = mu
    # + U epsilon gives the information of mu, (I + Lambda Q)^-1 Lambda and (I + Lambda Q)^-1 eta;
    # with mu in terms of x_t-1,
    #
    #     Lambda <- F' (I + Lambda Q)^-1 Lambda F,   eta <- F' (I + Lambda Q)^-1 (eta - Lambda c).
    #
    # In factors, as derived for `combine_filters` in `filter_elements.py`: (I + Lambda Q)^-1 is
    # I - Y W', with X X' = I + U' Lambda U, Y = Lambda U X^-T, W = U X^-T, and
    # V V' = (I + Lambda Q)^-1 Lambda.
    X, Y, V = conditional_factors(at.Z, linalg.matmul(U.T, at.Z), identity)
    W = linalg.solve_lower(X, U.T).T  # U X^-T
    offset = linalg.matmul(at.Z, linalg.matmul(at.Z.T, f(zero)))
    eta = at.eta - offset
    eta = eta - linalg.matmul(Y, linalg.matmul(W.T, eta))
    contraction = linalg.matmul(identity - linalg.matmul(W, Y.T), f.A)
    eta = linalg.matmul(f.A.T, eta)
    Z = linalg.matmul(f.A.T, V)
    return Information(eta, Z), contraction


def _join(belief: SquareRootGaussian, later: Information) -> SquareRootGaussian:
    """Return a belief with the information of later data."""
    L = belief.cholesky
    identity = jnp.eye(L.shape[-1], dtype=L.dtype)
    # The product of N(m, L L') and the information has the covariance (P^-1 + Lambda)^-1 = L (I +
    # L' Lambda L)^-1 L' = W W' with X X' = I + L' Lambda L and W = L X^-T, and the mean m + W W'
    # (eta - Lambda m). P is not inverted, so that it may be singular.
    M = linalg.matmul(L.T, later.Z)
    X = linalg.triangularise(jnp.concatenate([M, identity], axis=1))
    W = linalg.solve_lower(X, L.T).T  # L X^-T
    expected = linalg.matmul(later.Z, linalg.matmul(later.Z.T, belief.mean))
    news = later.eta - expected
    mean = belief.mean + linalg.matmul(W, linalg.matmul(W.T, news))
    return SquareRootGaussian(mean, linalg.triangularise(W))
