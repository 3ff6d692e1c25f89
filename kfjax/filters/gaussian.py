"""Gaussian filters: a moment rule times an update form.

predict:  m, P  <-  E[f(x)], Cov[f(x)] + Q
update:   S = Cov[h(x)] + R,  K = Cov[x, h(x)] S^-1,  m + K (y - E[h(x)]),  residual(K) + K R K'

The rule (`kfjax.moments`) supplies the moments; an update form says how they are used.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from kfjax import linalg
from kfjax._support.arguments import LARGEST_LOOP, check_count, check_kind
from kfjax._support.precision import eps_of
from kfjax.base import Filter, Gaussian, Info, constructor
from kfjax.models.observing import Observation, bind, innovation_info, keep_unobserved, observe
from kfjax.models.spaces import Space
from kfjax.models.state_space import StateSpaceModel, is_linear
from kfjax.moments import Cubature, GaussHermite, MomentRule, Moments, Taylor, Unscented
from kfjax.moments.linearisation import affine_moments

__all__ = [
    "Iterated",
    "Standard",
    "cubature",
    "extended",
    "gauss_hermite",
    "gaussian_filter",
    "kalman",
    "unscented",
]


@dataclasses.dataclass(frozen=True)
class Standard:
    """The Kalman update from one set of moments."""

    def __call__(
        self, rule: MomentRule, belief: Gaussian, seen: Observation, space: Space
    ) -> tuple[Gaussian, Info]:
        """Return the posterior belief and Info."""
        moments = rule(seen.fn, belief, space, seen.space)
        S = moments.factorised(seen.R, noise_free=seen.noise_free)
        # the gain is computed without the innovation, so that a batch can share one covariance
        # recursion
        K = S.solve(moments.cross.T).T
        innovation = seen.innovation(moments.mean)
        mean = space.retract(belief.mean, linalg.matmul(K, innovation))
        cov = moments.posterior_cov(
            belief.cov, K, seen.R, noise_free=seen.noise_free, given=jnp.zeros_like(K)
        )
        info = innovation_info(innovation, S, seen.mask, size=moments.size(), R=seen.R)
        return Gaussian(mean, cov), info


@dataclasses.dataclass(frozen=True)
class Iterated:
    """Damped Gauss-Newton to the mode of p(x | y), with the covariance at the mode.

    With x = m + L z, L L' = P, each iteration moves z towards the Gauss-Newton point of |z|^2 + |y
    - h(m + L z)|^2_R^-1 by the step of least cost among 1, 1/2, ..., 2^-k, 0, so that the cost
    never grows; the undamped iteration can diverge. At a coordinate singularity of h (spherical
    coordinates on the axis) the mode itself is spurious and the covariance there is too small: the
    plain update is safer. Info is that of the first linearisation. P and R may be singular.

    Attributes:
        iterations: number of Gauss-Newton steps, at least 1; one step is the standard update,
            damped.
        halvings: largest number of halvings of a step.

    References:
        B. M. Bell, F. W. Cathey, The iterated Kalman filter update as a Gauss-Newton method, IEEE
        TAC 38 (1993).
    """

    iterations: int
    halvings: int = 7

    def __call__(
        self, rule: MomentRule, belief: Gaussian, seen: Observation, space: Space
    ) -> tuple[Gaussian, Info]:
        """Return the posterior belief and Info; the linearisation is always Taylor's."""
        del rule
        m, P = belief
        L = linalg.cholesky(P)

        def predicted(z: Array) -> Array:
            return seen.fn(space.retract(m, linalg.matmul(L, z))).astype(m.dtype)

        identity = jnp.eye(P.shape[-1], dtype=P.dtype)

        def linearised(z: Array) -> tuple[Array, Moments, linalg.Factored, Array]:
            y_hat = predicted(z)
            # the Jacobian of differences, since outputs may be angles
            J = jax.jacfwd(lambda v: seen.space.difference(predicted(v), y_hat))(z)
            moments = affine_moments(y_hat, J, Gaussian(z, identity))
            S = moments.factorised(seen.R, noise_free=seen.noise_free)
            return J, moments, S, S.solve(J).T

        zero = jnp.zeros_like(P[0])
        _, first, S, _ = linearised(zero)
        info = innovation_info(
            seen.innovation(first.mean), S, seen.mask, size=first.size(), R=seen.R
        )
        # floor R at rounding, so that a precise sensor does not make the cost infinite
        rounding = eps_of(P) * jnp.diag(S.matrix)
        weight = linalg.cholesky(seen.R + jnp.diag(rounding))

        def cost(z: Array) -> Array:
            misfit = linalg.solve_lower(weight, seen.innovation(predicted(z)))
            return jnp.sum(z**2) + jnp.sum(misfit**2)

        # a step of zero comes last, and is taken where no other lowers the cost
        steps = jnp.asarray([0.5**k for k in range(self.halvings + 1)] + [0.0], P.dtype)

        def improve(z: Array, _: Any) -> tuple[Array, None]:
            J, _, _, K = linearised(z)
            # K (y - h + J z) is the update of the prior with h linearised at z
            innovation = seen.innovation(predicted(z))
            direction = linalg.matmul(K, innovation + linalg.matmul(J, z)) - z
            candidates = jax.vmap(lambda step: z + step * direction)(steps)
            costs = jax.vmap(cost)(candidates)
            # A long step may leave the domain of h (a root, a logarithm), where the cost is NaN.
            lowest = jnp.min(jnp.where(jnp.isnan(costs), jnp.inf, costs))
            # the longest step of equal cost: costs resolve points only to the root of the
            # precision, and a full step has the better derivative
            equal = costs <= lowest + 16 * eps_of(P) * (1 + lowest)
            return candidates[jnp.argmax(equal)], None

        z, _ = jax.lax.scan(improve, zero, length=self.iterations)
        # the covariance is that of an update linearised at the mode
        _, moments, _, K = linearised(z)
        cov = linalg.quadratic(
            L, moments.posterior_cov(identity, K, seen.R, noise_free=seen.noise_free)
        )
        return Gaussian(space.retract(m, linalg.matmul(L, z)), linalg.symmetric(cov)), info


@constructor
def gaussian_filter(
    rule: MomentRule, form: Any = Standard(), *, linear_only: bool = False
) -> Filter:
    """Return the Gaussian filter of a moment rule and an update form, also of your own.

    Args:
        rule: a hashable moment rule; see `kfjax.moments`.
        form: `Standard()` or `Iterated(iterations)`, or any hashable
            `(rule, belief, observation, state_space) -> (Gaussian, Info)`.
        linear_only: whether to raise for models whose f and h are not `Linear`.

    Returns:
        A `Filter` with params `StateSpaceModel` and state `Gaussian`.

    Example:
        >>> kf.gaussian_filter(kf.moments.Taylor()) == kf.extended()
        True
    """

    def check(model: StateSpaceModel) -> None:
        check_kind("a Gaussian filter: params", model, StateSpaceModel)
        if linear_only and not is_linear(model):
            raise ValueError(
                "kalman: the model has a nonlinear f or h; expected kf.Linear for both."
                " Use kf.extended() or kf.unscented(), or build the model with kf.linear_gaussian."
            )

    def init(params: StateSpaceModel, key: Array | None = None) -> Gaussian:
        del key
        check(params)
        # a copy: a donated first step would otherwise delete the model's own prior
        return jax.tree.map(jnp.copy, params.prior)

    def predict(params: StateSpaceModel, state: Gaussian, u: Any = None) -> Gaussian:
        check(params)
        space = params.state_space
        moments = rule(bind(params.f, u), state, space, space)
        Q = params.process_noise(state.mean, u)
        return Gaussian(moments.mean, moments.noisy_cov(Q, noise_free=bool(params.noise_free)))

    def update(
        params: StateSpaceModel, state: Gaussian, y: Array, u: Any = None, observed: Any = None
    ) -> tuple[Gaussian, Info]:
        posterior, info = form(
            rule, state, observe(params, state.mean, y, u, observed), params.state_space
        )
        return keep_unobserved(observed, posterior, state), info

    def recentre(params: StateSpaceModel, state: Gaussian, gaussian: Gaussian) -> Gaussian:
        del params, state
        return Gaussian(*gaussian)

    return Filter(init, predict, update, recentre, rule)


@constructor
def kalman() -> Filter:
    """Filter a linear Gaussian model exactly (Kalman filter).

    Returns:
        A `Filter`; params `StateSpaceModel` with `Linear` f and h, state `Gaussian`.

    Raises:
        ValueError: from `init` and `predict`, if f or h is not `Linear`.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> xs, ys = kf.simulate(jax.random.key(0), model, steps=100)
        >>> kf.run(kf.kalman(), model, ys).outputs.mean.shape
        (100, 2)

    References:
        R. E. Kalman, A new approach to linear filtering and prediction problems, J. Basic Eng. 82
        (1960).
    """
    return gaussian_filter(Taylor(), linear_only=True)


@constructor
def extended(iterations: int = 1) -> Filter:
    """Filter by linearisation (extended Kalman filter, or the iterated one with a line search).

    f is linearised at the filtered mean and h at the predicted mean (with iterations, at the mode),
    with Jacobians by `jax.jacfwd`.

    Args:
        iterations: updates per observation; 1 is the plain extended Kalman filter.

    Returns:
        A `Filter`; params `StateSpaceModel`, state `Gaussian`.

    Raises:
        ValueError: if iterations is below 1.

    References:
        A. H. Jazwinski, Stochastic Processes and Filtering Theory (1970), section 8.3.
    """
    check_count("extended: iterations", iterations, most=LARGEST_LOOP)
    return gaussian_filter(Taylor(), Standard() if iterations == 1 else Iterated(iterations))


@constructor
def unscented(alpha: float = 1.0, beta: float = 2.0, kappa: float = 0.0) -> Filter:
    """Filter with 2 n + 1 sigma points (unscented Kalman filter).

    The mean is exact to second order.

    Args:
        alpha: spread of the points, above 0; below about 0.1 float32 loses all digits.
        beta: weight of the centre in the covariance; 2 is best for Gaussians.
        kappa: second spread parameter, above -n. See `kfjax.moments.Unscented`.

    Returns:
        A `Filter`; params `StateSpaceModel`, state `Gaussian`.

    Raises:
        ValueError: if alpha is not above 0, or kappa not above -n.

    References:
        S. J. Julier, J. K. Uhlmann, Unscented filtering and nonlinear estimation, Proc. IEEE 92
        (2004).
    """
    return gaussian_filter(Unscented(alpha, beta, kappa))


@constructor
def cubature() -> Filter:
    """Filter with 2 n points of equal weight (cubature Kalman filter); equals `unscented(1, 0, 0)`.

    Returns:
        A `Filter`; params `StateSpaceModel`, state `Gaussian`.

    References:
        I. Arasaratnam, S. Haykin, Cubature Kalman filters, IEEE Trans. Automat. Contr. 54 (2009).
    """
    return gaussian_filter(Cubature())


@constructor
def gauss_hermite(order: int = 3) -> Filter:
    """Filter with order^n Gauss-Hermite points, for states of few dimensions.

    Args:
        order: points per dimension, at least 2.

    Returns:
        A `Filter`; params `StateSpaceModel`, state `Gaussian`.

    Raises:
        ValueError: if order is below 2, or order^n is too large.

    References:
        K. Ito, K. Xiong, Gaussian filters for nonlinear filtering problems, IEEE Trans. Automat.
        Contr. 45 (2000).
    """
    return gaussian_filter(GaussHermite(order))
