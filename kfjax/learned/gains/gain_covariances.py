"""The covariance of an estimate from its gain.

The observation must determine the state.
"""

from __future__ import annotations

import numpy as np
from jax import Array
from jaxtyping import Float, Real

from kfjax import linalg
from kfjax._support.arguments import is_concrete
from kfjax._support.types import AnyArray
from kfjax._support.values import real_array

__all__ = ["covariance_from_gain"]


def covariance_from_gain(
    K: Real[AnyArray, "n m"], H: Real[AnyArray, "m n"], R: Real[AnyArray, "m m"]
) -> Float[Array, "n n"]:
    """Return the covariance of x_{t|t} that belongs to a Kalman gain.

    The observation must have full column rank.

    K = P_{t|t-1} H' S^-1 gives P_{t|t} H' = (I - K H) P_{t|t-1} H' = K R, hence

        P_{t|t} = K R H (H' H)^-1,   and P_{t|t-1} = (I - K H)^-1 P_{t|t}.

    Limits: it needs m >= n and H of rank n, the R of the data, and every channel observed (the gain
    of an unobserved channel is 0, not unknown). It is the covariance that would make K optimal:
    exact for the gain of the Kalman filter, and for a learned gain no better than the gain. A gain
    that is not optimal need not belong to any covariance: the symmetric part is returned, which may
    then be indefinite. Check it with a consistency test, `kfjax.compare`.

    Args:
        K: the gain [n, m], as in `Info.extra["gain"]` of a learned filter; batch with `jax.vmap`.
        H: the Jacobian of h at x_{t|t-1}, [m, n].
        R: covariance of the observation noise [m, m].

    Returns:
        The covariance of x_{t|t}, [n, n], symmetric.

    Raises:
        ValueError: if shapes do not fit, or H has less than full column rank.

    Example:
        >>> model = kf.systems.canonical(2, r_std=0.3)
        >>> belief = kf.Gaussian(jnp.zeros(2), jnp.diag(jnp.array([1.0, 2.0])))
        >>> K = belief.cov @ jnp.linalg.inv(belief.cov + model.R)
        >>> posterior, _ = kf.kalman().update(model, belief, jnp.ones(2))
        >>> cov = kf.learned.covariance_from_gain(K, model.h.A, model.R)
        >>> bool(jnp.allclose(cov, posterior.cov, atol=1e-6))
        True

    References:
        I. Klein, G. Revach et al., Uncertainty in data-driven Kalman filtering for partially known
        state-space models, ICASSP 2022.
    """
    K = real_array("covariance_from_gain: K", K)
    H = real_array("covariance_from_gain: H", H)
    R = real_array("covariance_from_gain: R", R)
    m, n = np.shape(H) if np.ndim(H) == 2 else (-1, -1)
    if np.shape(K) != (n, m) or np.shape(R) != (m, m):
        raise ValueError(
            f"covariance_from_gain: got K {np.shape(K)}, H {np.shape(H)}, R {np.shape(R)};"
            " expected [n, m], [m, n], [m, m]. A batch goes through jax.vmap."
        )
    if m < n or (is_concrete(H) and np.linalg.matrix_rank(np.asarray(H)) < n):
        raise ValueError(
            f"covariance_from_gain: H [{m}, {n}] has less than full column rank; expected rank"
            f" {n}. A gain does not determine the covariance of unobserved directions: use a"
            " filter with a covariance."
        )
    gram = linalg.factorise(linalg.matmul(H.T, H))
    product = linalg.matmul(linalg.matmul(K, R), H)
    return linalg.symmetric(gram.solve(product.T))
