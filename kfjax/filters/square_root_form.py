"""Gaussian filters in square-root form: the state carries a Cholesky factor of the covariance.

With the deviations of a moment rule, Cov[f] = dy dy' and Cov[x, h] = dx dy', and T the lower
triangularisation:

predict:  L  <-  T([dy, Q^1/2])
update:   [[S^1/2, 0], [G, L]]  =  T([[dy, R^1/2], [dx, 0]]),   m + G S^-1/2 (y - E[h])

The covariance is never formed, so the condition number is never squared.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kfjax import linalg
from kfjax._support.arguments import check_kind
from kfjax._support.precision import eps_of
from kfjax.base import Filter, Gaussian, Info, constructor
from kfjax.models.functions import Linear
from kfjax.models.observing import bind, innovation_info, keep_unobserved, observe
from kfjax.models.state_space import StateSpaceModel
from kfjax.moments import MomentRule
from kfjax.moments.rounding import summed_sizes

__all__ = ["SquareRootGaussian", "square_root"]


class SquareRootGaussian(NamedTuple):
    """A Gaussian belief with a factor of its covariance.

    Attributes:
        mean: [..., n].
        cholesky: lower triangular L [..., n, n] with cov = L L'.
    """

    mean: Float[Array, "... n"]
    cholesky: Float[Array, "... d d"]

    @property
    def cov(self) -> Float[Array, "... d d"]:
        """The covariance [..., n, n]."""
        return jnp.vectorize(_product, signature="(n,n)->(n,n)")(self.cholesky)


def _product(L: Array) -> Array:
    """Return L L' [n, n], symmetric to the bit."""
    return linalg.symmetric(linalg.matmul(L, L.T))


def _rounding(deviations: Array, noise_free: bool) -> float:
    """Return the possible error of a row of deviations, in roundings of one step."""
    # Without noise, a row of deviations that depends on other rows does so only up to the
    # accumulated rounding of earlier steps, which grows with unstable states. The covariance form
    # takes relative standard deviations below eps^1/2 for rounding, and one step of this form makes
    # errors of eps: eps^3/4 lies between them.
    return eps_of(deviations) ** -0.25 if noise_free else 1.0


def hidden_variances_of(cov: Array, n: int) -> Array:
    """Return the variances [m] that the rounding of deviations may hide in a covariance [m, m]."""
    relative = _rounding(cov, noise_free=True) * n * eps_of(cov)
    return relative**2 * linalg.diagonal(cov)


def covariance_factor(cov: Array, *, noise_free: bool) -> Array:
    """Return the factor of a covariance that was given."""
    # Its entries are rounded. Where a conditional variance should be zero, they leave a pivot of
    # that size, which is much larger than what this form can tell from zero.
    if not noise_free:
        return linalg.cholesky(cov)
    variances = linalg.diagonal(cov)
    hidden = 8 * cov.shape[-1] * eps_of(cov) * variances
    return linalg.factorise(cov, hidden).lower


def conditional_factors(
    dx: Array, dy: Array, noise: Array, *, noise_free: bool = False
) -> tuple[Array, Array, Array]:
    """Factor the joint covariance of (y, x): S = Cov[y] + noise noise'.

    With `noise_free`, standard deviations within the rounding of several steps are zero.

    Returns:
        S^1/2 [m, m] lower triangular; G [n, m], with the gain K = G S^-1/2; and L [n, n] with L L'
        = Cov[x | y].
    """
    # The rows are deviations of (y, x), so the triangular factor of their products is that of the
    # joint covariance, [[S^1/2, 0], [K S^1/2, L]].
    m, n = dy.shape[0], dx.shape[0]
    joint = jnp.block([[dy, noise], [dx, jnp.zeros((n, noise.shape[1]), dx.dtype)]])
    factor = linalg.triangularise(joint, rounding=_rounding(joint, noise_free))
    return factor[:m, :m], factor[m:, :m], factor[m:, m:]


@constructor
def square_root(rule: MomentRule) -> Filter:
    """Filter in square-root form by a moment rule: the same results with twice the digits.

    Use it where covariances span many orders of magnitude. It costs about twice the covariance
    form, and its gradients are zero in null directions of the covariance.

    In a model with `noise_free`, what counts as zero is a part of a variance of Q, R or the prior
    below 8 n eps of it, since given matrices are rounded, and a part of a standard deviation below
    n eps^3/4 of it in what is computed. Smaller ones, and errors that an unstable model makes
    larger than that, are taken for variances: a channel that earlier ones determine then counts
    in `dof` and in the likelihood. Of random singular models in rotated coordinates, 1 in 100 has
    such a step, as many as in the covariance form.

    Args:
        rule: a moment rule with `deviations`: `moments.Taylor()` (the extended and, for linear
            models, the Kalman filter), `moments.Unscented()`, `moments.Cubature()`,
            `moments.GaussHermite()`.

    Returns:
        A `Filter` with params `StateSpaceModel` and state `SquareRootGaussian` (`.mean`,
        `.cholesky`, `.cov`).

    Raises:
        ValueError: if the rule has no `deviations`, or has a negative covariance weight.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> xs, ys = kf.simulate(jax.random.key(0), model, steps=50)
        >>> sqrt = kf.run(kf.square_root(kf.moments.Taylor()), model, ys).outputs
        >>> est = kf.run(kf.kalman(), model, ys).outputs
        >>> bool(jnp.allclose(sqrt.mean, est.mean, atol=1e-3))
        True

    References:
        M. S. Grewal, A. P. Andrews, Kalman Filtering (2014), section 7.5; R. van der Merwe, E. A.
        Wan, The square-root unscented Kalman filter, ICASSP (2001).
    """
    if not hasattr(rule, "deviations"):
        raise ValueError(
            f"square_root: {rule} has no deviations; expected a rule such as kf.moments.Taylor()."
        )

    def init(params: StateSpaceModel, key: Array | None = None) -> SquareRootGaussian:
        del key
        check_kind("square_root: params", params, StateSpaceModel)
        prior, noise_free = params.prior, bool(params.noise_free)
        factor = covariance_factor(prior.cov, noise_free=noise_free)
        return SquareRootGaussian(jnp.copy(prior.mean), factor)

    def predict(
        params: StateSpaceModel, state: SquareRootGaussian, u: Any = None
    ) -> SquareRootGaussian:
        space, noise_free = params.state_space, bool(params.noise_free)
        mean, _, dy = rule.deviations(bind(params.f, u), *state, space, space)
        Q = params.process_noise(state.mean, u)
        spread = jnp.concatenate([dy, covariance_factor(Q, noise_free=noise_free)], axis=1)
        rounding = _rounding(spread, noise_free)
        return SquareRootGaussian(mean, linalg.triangularise(spread, rounding=rounding))

    def update(
        params: StateSpaceModel,
        state: SquareRootGaussian,
        y: Array,
        u: Any = None,
        observed: Any = None,
    ) -> tuple[SquareRootGaussian, Info]:
        seen, space = observe(params, state.mean, y, u, observed), params.state_space
        y_hat, dx, dy = rule.deviations(seen.fn, *state, space, seen.space)
        noise = covariance_factor(seen.R, noise_free=seen.noise_free)
        S, G, L = conditional_factors(dx, dy, noise, noise_free=seen.noise_free)
        innovation = seen.innovation(y_hat)
        # G = K S^1/2, so that K (y - E[h]) = G S^-1/2 (y - E[h]): one solve with a vector, and
        # neither K nor S is formed on the way to the belief.
        mean = space.retract(state.mean, linalg.matmul(G, linalg.solve_lower(S, innovation)))
        S_cov = _product(S)
        hidden = hidden_variances_of(S_cov, dx.shape[0]) if seen.noise_free else None
        S_factored = linalg.Factored(S_cov, S, hidden)
        size = jnp.abs(y_hat)
        if isinstance(seen.fn, Linear):
            size = size + summed_sizes(seen.fn.A, state.mean)
        info = innovation_info(innovation, S_factored, seen.mask, size=size, R=seen.R)
        return keep_unobserved(observed, SquareRootGaussian(mean, L), state), info

    def recentre(
        params: StateSpaceModel, state: SquareRootGaussian, gaussian: Gaussian
    ) -> SquareRootGaussian:
        del params, state
        return SquareRootGaussian(gaussian.mean, linalg.cholesky(gaussian.cov))

    return Filter(init, predict, update, recentre, rule)
