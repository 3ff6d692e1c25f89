"""The forward algorithm of hidden Markov models as a filter."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kfjax import linalg
from kfjax.base import Filter, Gaussian, Info, Inputs, Mask, Observations, constructor
from kfjax.models.chains import log_of, normalised, one_step
from kfjax.models.hidden_markov import (
    HiddenMarkovModel,
    check_hidden_markov,
    log_densities,
    observed_channels,
)
from kfjax.models.observing import innovation_info, keep_unobserved

__all__ = ["RegimeState", "forward"]


class RegimeState(NamedTuple):
    """The belief about the regime of a hidden Markov model.

    Attributes:
        log_weights: logarithms of the probabilities of the regimes [..., K].
    """

    log_weights: Float[Array, "... K"]

    @property
    def mean(self) -> Float[Array, "... K"]:
        """The probabilities of the regimes [..., K], the means of their indicators."""
        return jnp.exp(self.log_weights)

    @property
    def cov(self) -> None:
        """None: the probabilities tell everything."""
        return


@constructor
def forward() -> Filter:
    """Filter a hidden Markov model exactly (forward algorithm).

    With the weights w_k = p(z_t = k | y_1..t), in logarithms,

        predict:  w_j = sum_i w_i p_ij,
        update:   w_k proportional to w_k p(y_t | k),   log-likelihood = log sum_k w_k p(y_t | k).

    Missing steps and channels are left out exactly, as far as the emission does so. An observation
    that is impossible in every regime has the log-likelihood -inf and changes no belief.
    Derivatives with respect to a probability of zero are zero: a transition that is impossible
    stays so. An update costs K densities, a prediction K^2 exponentials. `rule` and `recentre` are
    None.

    Returns:
        A `Filter` with a `HiddenMarkovModel` as params and a `RegimeState`; the mean of an estimate
        is the probabilities of the regimes [K], without a covariance. Info has the innovation and
        its covariance, of the mixture, for Gaussian and Poisson emissions.

    Raises:
        ValueError: while tracing, if params are another model, or an observation does not fit.

    Example:
        >>> model = kf.HiddenMarkovModel(
        ...     kf.PoissonEmission([[1.0], [10.0]]),
        ...     [[0.9, 0.1], [0.2, 0.8]],
        ...     [0.5, 0.5],
        ... )
        >>> regimes, ys = kf.simulate(jax.random.key(0), model, steps=30)
        >>> final, est = kf.run(kf.forward(), model, ys)
        >>> est.mean.shape
        (30, 2)

    References:
        L. R. Rabiner, A tutorial on hidden Markov models and selected applications in speech
        recognition, Proc. IEEE 77 (1989), eqs. 19 to 21; J. D. Hamilton, A new approach to the
        economic analysis of nonstationary time series and the business cycle, Econometrica 57
        (1989).
    """
    return Filter(_init, _predict, _update)


def _init(params: HiddenMarkovModel, key: Array | None = None) -> RegimeState:
    del key
    check_hidden_markov("forward", params)
    return RegimeState(log_of(params.weights))


def _predict(params: HiddenMarkovModel, state: RegimeState, u: Inputs = None) -> RegimeState:
    check_hidden_markov("forward", params)
    return RegimeState(one_step(state.log_weights, params.transition_at(u)))


def _update(
    params: HiddenMarkovModel,
    state: RegimeState,
    y: Observations,
    u: Inputs = None,
    observed: Mask = None,
) -> tuple[RegimeState, Info]:
    check_hidden_markov("forward", params)
    y, mask = observed_channels(params, y, observed)
    scores = state.log_weights + log_densities(params, y, u, mask)
    posterior, log_likelihood = normalised(scores)
    log_weights = jnp.where(log_likelihood > -jnp.inf, posterior, state.log_weights)
    new = keep_unobserved(mask, RegimeState(log_weights), state)
    log_likelihood = jnp.where(mask.any(), log_likelihood, 0)
    dof = jnp.sum(mask, dtype=jnp.int32)
    info = Info(log_likelihood=log_likelihood, dof=dof)
    if not hasattr(params.emission, "moments"):
        return new, info
    S, innovation = _predicted(params.emission.moments(u), state.mean, y, mask)
    expected = innovation_info(innovation, linalg.factorise(S), mask)
    return new, expected._replace(log_likelihood=log_likelihood, dof=dof)


def _predicted(emitted: Gaussian, weights: Array, y: Array, mask: Array) -> tuple[Array, Array]:
    """Return the covariance of the predicted observation, of the mixture, and the innovation."""
    mean = linalg.matmul(emitted.mean.T, weights)
    spread = emitted.mean - mean[None, :]
    within = jnp.sum(weights[:, None, None] * emitted.cov, axis=0)
    S = within + linalg.weighted_gram(weights, spread, spread)
    unit = jnp.diag((~mask).astype(S.dtype))
    return jnp.where(mask[:, None] & mask[None, :], S, unit), jnp.where(mask, y - mean, 0)
