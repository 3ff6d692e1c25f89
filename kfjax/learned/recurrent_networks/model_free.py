"""DANSE: a recurrent network predicts the state from past observations, without a motion model.

    predict:  carry_t = GRU(carry_{t-1}, (y_{t-1}, mask_{t-1}))
              p(x_t | y_1..t-1) = N(c + D z_t, D T_t T_t' D),   z_t, T_t = layers(carry_t)
    update:   the Kalman update with h and R

c and D are the centre and the spread of the states, and T_t is lower triangular. The likelihood of
y_t given the past is that of a Gaussian filter, so that the network learns from observations alone.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from kfjax import linalg
from kfjax._support.arguments import check_counts
from kfjax.base import Filter, Gaussian, Info, Inputs, Mask, constructor
from kfjax.filters.gaussian import Standard
from kfjax.learned.gains.covariances import bounded, entries, unit_triangle
from kfjax.learned.gated_unit import GRU
from kfjax.learned.params import Initialiser, Learned, check_learned, in_precision
from kfjax.learned.recurrent_networks.cells import dense
from kfjax.learned.recurrent_networks.recurrent_rule import scale_of
from kfjax.models.calling import call
from kfjax.models.observing import keep_unobserved, observe
from kfjax.models.state_space import StateSpaceModel
from kfjax.moments import Taylor

__all__ = ["DanseState", "danse"]

# Predicted standard deviations lie within a factor e^7 = 1100 of the spread of the states: precise
# sensors need small ones, and the limit keeps covariances finite whatever the network outputs.
LARGEST_LOG_SCALE = 7.0


class DanseState(NamedTuple):
    """The state of `danse`.

    Attributes:
        mean: [N].
        cov: [n, n].
        carry: the memory of the network, [hidden].
        seen: the latest observation, from its centre in units of its spread, 0 where nothing was
            observed, and then the mask, [2 m].
    """

    mean: Float[Array, "... n"]
    cov: Float[Array, "... d d"]
    carry: Float[Array, "... hidden"]
    seen: Float[Array, "... channels"]


class PriorNetwork(nn.Module):
    """The network of `danse`.

    Attributes:
        n: dimension of the state.
        hidden: size of the memory and of the layer behind it.
    """

    n: int
    hidden: int

    @nn.compact
    def __call__(self, carry: Array, seen: Array) -> tuple[Array, Array, Array]:
        """Return the new memory, z [n], and the entries of T [n (n + 1) / 2]."""
        encoded = nn.silu(dense(self.hidden, name="encode")(seen))
        carry = GRU(self.hidden, name="memory")(carry, encoded)
        mixed = nn.silu(dense(self.hidden, name="mix")(carry))
        z = dense(self.n, zero=True, name="mean")(mixed)
        T = dense(entries(self.n), zero=True, name="triangle")(mixed)
        return carry, z, T


@constructor
def danse(n: int, m: int, *, hidden: int = 64) -> Filter:
    """Filter a process whose motion is unknown, by a recurrent network (DANSE).

    The network sees past observations and predicts a Gaussian; y_t then updates it with the known
    h and R. For a linear h the update is exact, otherwise it is that of the extended Kalman filter.

    It needs neither f nor Q, and no true states in training: `kfjax.training.innovation_nll` is its
    likelihood. `kfjax.training.nll` trains it with true states. The design model says where states
    lie: centre c and spread D are the mean and the standard deviations of its prior (1 where one is
    0), unless `constants` give them, as `series_scales` does from true states. The untrained filter
    predicts this prior at every step.

    The memory of the network is all that it knows about the past: a belief written into the state
    would be forgotten at the next step, so there is no `recentre`, and no smoother. In a row
    without data the network sees that nothing was observed.

    Args:
        n: dimension of the state.
        m: dimension of the observation.
        hidden: size of the network's memory and layers.

    Returns:
        A `Filter`; params `Learned(model, network)`, drawn by `kfjax.learned.init_params`; state
        `DanseState`. Info is that of `kfjax.extended`.

    Raises:
        ValueError: if a size is below 1; from `init`, if n and m are not those of the model.

    Example:
        >>> prior = kf.Gaussian(np.zeros(3), 80.0 * np.eye(3))
        >>> model = kf.systems.lorenz(r_std=1.0, prior=prior)
        >>> filter = kf.learned.danse(n=3, m=3, hidden=16)
        >>> params = kf.learned.init_params(jax.random.key(0), filter, model)
        >>> xs, ys = kf.simulate(jax.random.key(1), model, steps=20)
        >>> est = kf.run(filter, params, ys).outputs
        >>> est.mean.shape, est.cov.shape, est.log_likelihood.shape
        ((20, 3), (20, 3, 3), (20,))

    References:
        A. Ghosh, A. Honore, S. Chatterjee, DANSE: data-driven non-linear state estimation of
        model-free process in unsupervised learning setup, IEEE Trans. Signal Process. 72 (2024);
        there with a diagonal T.
    """
    check_counts("danse", n=n, m=m, hidden=hidden)
    rule = Danse(n, m, hidden)
    return Filter(Initialiser(rule.first, rule.draw), rule.predict, rule.update)


@dataclasses.dataclass(frozen=True)
class Danse:
    """The functions of `danse`, hashable."""

    n: int
    m: int
    hidden: int

    @property
    def network(self) -> Any:
        """The network."""
        return PriorNetwork(self.n, self.hidden)

    def draw(self, key: Array, model: StateSpaceModel) -> Any:
        """Draw the variables of the network."""
        self.check(model)
        carry = jnp.zeros(self.hidden, model.dtype)
        seen = jnp.zeros(2 * self.m, model.dtype)
        return self.network.init(key, carry, seen)

    def check(self, model: StateSpaceModel) -> None:
        """Raise unless the model has the dimensions of the network."""
        m = self.m if callable(model.R) else model.R.shape[-1]
        if (model.n, m) != (self.n, self.m):
            raise ValueError(
                f"danse: the model has n = {model.n} and m = {m}, the network n = {self.n} and m ="
                f" {self.m}; expected the same. Make the filter for the model."
            )

    def first(self, params: Learned) -> DanseState:
        """Return the state before the first step, at the prior of the model."""
        check_learned(params)
        model = params.model
        self.check(model)
        carry = jnp.zeros(self.hidden, model.dtype)
        seen = jnp.zeros(2 * self.m, model.dtype)
        return DanseState(jnp.copy(model.prior.mean), jnp.copy(model.prior.cov), carry, seen)

    def predict(self, params: Learned, state: DanseState, u: Inputs = None) -> DanseState:
        """Return the belief about x_t that the network has from y_1..t-1."""
        del u
        check_learned(params)
        model = params.model
        variables = in_precision(model.dtype, params.network)
        carry, z, triangle = self.network.apply(variables, state.carry, state.seen)
        centre, spread = _states(params)
        T = unit_triangle(bounded(triangle, LARGEST_LOG_SCALE), self.n)
        L = spread[:, None] * T
        mean = model.state_space.retract(centre, spread * z)
        return DanseState(mean, linalg.matmul(L, L.T), carry, jnp.zeros_like(state.seen))

    def update(
        self,
        params: Learned,
        state: DanseState,
        y: Array,
        u: Inputs = None,
        observed: Mask = None,
    ) -> tuple[DanseState, Info]:
        """Return the belief given y_t, and keep y_t for the network."""
        model = params.model
        seen = observe(model, state.mean, y, u, observed)
        belief = Gaussian(state.mean, state.cov)
        posterior, info = Standard()(Taylor(), belief, seen, model.state_space)
        centre, spread = _observations(params, u)
        mask = jnp.ones(self.m, bool) if seen.mask is None else seen.mask
        value = jnp.arcsinh(seen.innovation(centre) / spread)
        shown = jnp.concatenate([value, mask.astype(value.dtype)])
        new = DanseState(posterior.mean, posterior.cov, state.carry, shown)
        return keep_unobserved(observed, new, state), info


def _states(params: Learned) -> tuple[Array, Array]:
    """Return the centre and the spread of the states."""
    mean, cov = params.model.prior
    std = jnp.sqrt(jnp.diag(cov))
    centre, spread = scale_of(params, "x", mean)
    if "x" not in (params.constants or {}):
        spread = jnp.where(std > 0, std, 1)
    return centre, spread


def _observations(params: Learned, u: Inputs) -> tuple[Array, Array]:
    """Return the centre and the spread of the observations."""
    if "y" in (params.constants or {}):
        return scale_of(params, "y", jnp.zeros(()))
    model = params.model
    centre, spread = _states(params)
    y = call("h", model.h, centre, u).astype(model.dtype)
    belief = Gaussian(centre, jnp.diag(spread**2))
    seen = observe(model, centre, y, u, None)
    moments = Taylor()(seen.fn, belief, model.state_space, seen.space)
    return y, jnp.sqrt(jnp.diag(moments.cov + seen.R))
