"""Hidden Markov models as pytrees: a Markov chain of regimes that observations depend on.

p(z_t = j | z_{t-1} = i) = transition_ij,   y_t ~ emission of z_t,   t = 1..T
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from kfjax._support.naming import described
from kfjax._support.pytrees import STATIC, Pytree, as_array, as_pytree, promote
from kfjax._support.values import real_array
from kfjax.base import Inputs, Mask, Observations
from kfjax.models.calling import call
from kfjax.models.chains import check_probabilities
from kfjax.models.observing import any_observed, check_single
from kfjax.models.state_space import First, check_fields, check_first

__all__ = ["HiddenMarkovModel"]


@dataclasses.dataclass(frozen=True, eq=False)
class HiddenMarkovModel(Pytree):
    """A hidden Markov model of K regimes; a pytree whose leaves are its parameters.

    p(z_t = j | z_{t-1} = i) = transition_ij,  p(y_t | z_t = k) = exp emission(y_t, u_t)_k.

    `kfjax.forward()` filters it, `kfjax.forward_backward` smooths it, `kfjax.viterbi` finds the
    most likely path, `kfjax.training.em` fits it, and `kfjax.simulate` draws from it. Inside a
    trace, where nothing is checked, rows may come from `jax.nn.softmax` of what a gradient moves.

    Attributes:
        emission: the log-densities log p(y | k) [K] as a function `(y [m], u, observed [m])`: a
            `GaussianEmission`, a `PoissonEmission`, a `CategoricalEmission`, or a function (a
            `Partial`, if it has parameters), which has to leave out channels that are not observed
            and finds zeros there.
        transition: [K, K], with p(z_t = j | z_{t-1} = i) at [i, j], or a callable of u_t; rows sum
            to one.
        weights: probabilities [K] of the regimes at t = 1, before y_1 (at t = 0 with
            first="predict").
        first: which step comes first in a record, as in `StateSpaceModel`. By default "update", as
            in the literature and in other libraries: the first observation comes without a
            transition.

    Raises:
        ValueError: if shapes do not fit, or probabilities are negative or do not sum to one.
            Checked on construction, as far as values are known (not inside a trace).

    Example:
        >>> model = kf.HiddenMarkovModel(
        ...     kf.GaussianEmission(mean=[[0.0], [3.0]], cov=[[[1.0]], [[1.0]]]),
        ...     transition=[[0.95, 0.05], [0.1, 0.9]],
        ...     weights=[0.5, 0.5],
        ... )
        >>> ys = jnp.array([[0.2], [-0.3], [2.8], [3.1]])
        >>> kf.run(kf.forward(), model, ys).outputs.mean.argmax(axis=1).tolist()
        [0, 0, 1, 1]

    References:
        L. R. Rabiner, A tutorial on hidden Markov models and selected applications in speech
        recognition, Proc. IEEE 77 (1989).
    """

    emission: Any
    transition: Any
    weights: Any
    first: First = dataclasses.field(default="update", metadata=STATIC)

    def __post_init__(self) -> None:
        check_first("HiddenMarkovModel", self.first)
        if not callable(self.emission):
            raise ValueError(
                f"HiddenMarkovModel: emission is {described(self.emission)}; expected a"
                " kf.GaussianEmission, another emission, or a function of (y, u, observed)."
            )
        transition = self.transition
        if not callable(transition):
            transition = as_array(real_array("HiddenMarkovModel: transition", transition))
        values = {
            "emission": as_pytree(self.emission),
            "transition": as_pytree(transition),
            "weights": as_array(real_array("HiddenMarkovModel: weights", self.weights, ndim=1)),
        }
        for name, value in promote(values, "HiddenMarkovModel").items():
            object.__setattr__(self, name, value)
        K = self.regimes
        given = getattr(self.emission, "regimes", K)
        if given != K:
            raise ValueError(
                f"HiddenMarkovModel: the emission has {given} regimes; expected {K}, as many as"
                " weights."
            )
        check_probabilities("HiddenMarkovModel: weights", self.weights, (K,), "regime")
        if not callable(self.transition):
            check_probabilities("HiddenMarkovModel: transition", self.transition, (K, K), "regime")

    @property
    def regimes(self) -> int:
        """The number K of regimes."""
        return self.weights.shape[-1]

    @property
    def dtype(self) -> Any:
        """The float dtype of every leaf."""
        return self.weights.dtype

    def transition_at(self, u: Inputs = None) -> Float[Array, "K K"]:
        """Return the transition probabilities [K, K] of a step with input u."""
        if not callable(self.transition):
            return self.transition
        p = call("transition", self.transition, u)
        if np.shape(p) != (self.regimes, self.regimes):
            raise ValueError(
                f"HiddenMarkovModel: transition(u) has shape {np.shape(p)}; expected"
                f" {(self.regimes, self.regimes)}."
            )
        return jnp.asarray(p, self.dtype)

    def replace(self, **changes: Any) -> HiddenMarkovModel:
        """Return a copy with other fields, checked like those of a new model."""
        check_fields("HiddenMarkovModel.replace", type(self), changes)
        return dataclasses.replace(self, **changes)


def check_hidden_markov(who: str, model: object) -> None:
    """Raise unless a value is a hidden Markov model."""
    if not isinstance(model, HiddenMarkovModel):
        raise ValueError(
            f"{who}: got {described(model)}; expected a kf.HiddenMarkovModel(emission, transition,"
            " weights)."
        )


def observation_shape(who: str, model: HiddenMarkovModel) -> jax.ShapeDtypeStruct:
    """Return the shape and dtype of an observation, which an emission that is a function hides."""
    if not hasattr(model.emission, "channels"):
        raise ValueError(
            f"{who}: the emission of the hidden Markov model is a function, which does not tell how"
            " many channels there are; expected an emission such as kf.GaussianEmission."
        )
    return jax.ShapeDtypeStruct((model.emission.channels,), model.dtype)


def observed_channels(
    model: HiddenMarkovModel, y: Observations, observed: Mask
) -> tuple[Array, Array]:
    """Return an observation with zeros where it was not observed, and its mask [m]."""
    check_single(y, observed)
    y = jnp.asarray(y)
    channels = getattr(model.emission, "channels", None)
    if y.ndim != 1 or channels not in (None, y.shape[0]):
        m = "m" if channels is None else channels
        raise ValueError(
            f"update: y has shape {y.shape}; expected ({m},), one observation of all channels. A"
            " record is ys [T, m]: one channel is ys[:, None]."
        )
    mask = jnp.broadcast_to(jnp.asarray(True if observed is None else observed, bool), y.shape)
    return jnp.where(mask, y, 0).astype(model.dtype), mask


def log_densities(model: HiddenMarkovModel, y: Array, u: Inputs, mask: Array) -> Array:
    """Return log p(y | k) [K] of the observed channels; zero if no channel was observed.

    Args:
        model: the model.
        y: an observation [m], as `observed_channels` returns it.
        u: its input.
        mask: which channels were observed [m].
    """
    seen = any_observed(mask)
    # no gradient may pass through a user's density of an observation that is missing
    model = jax.tree.map(lambda a: jnp.where(seen, a, jax.lax.stop_gradient(a)), model)
    densities = call("emission", model.emission, y, u, mask)
    if np.shape(densities) != (model.regimes,):
        raise ValueError(
            f"HiddenMarkovModel: the emission returns shape {np.shape(densities)}; expected"
            f" {(model.regimes,)}, a log-density for each regime."
        )
    return jnp.where(seen, jnp.asarray(densities, model.dtype), 0)
