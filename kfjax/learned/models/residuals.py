"""Models with a learned part: a function that starts at zero is added to f or h, or replaces it.

x_t = f(x_{t-1}, u_t) + s + D r(W, v) + e_t,   v = (x_{t-1} - c) / d   (and likewise h)

The result is a `StateSpaceModel`, so that every filter and smoother can run it.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

from kfjax._support.arguments import check_count, check_flag, check_kind, choose
from kfjax._support.naming import described
from kfjax._support.types import Key
from kfjax.base import Inputs
from kfjax.learned.models.regressors import MLP, Polynomial
from kfjax.models.state_space import StateSpaceModel

__all__ = ["learned_weights", "residual_model"]

CUBIC = Polynomial(3)


class ResidualParams(NamedTuple):
    """The parameters of a learned part, of which training changes the weights.

    Attributes:
        base: the function of (x, u) that is corrected.
        difference: `(x, c) -> d`, how states are subtracted.
        retract: `(base, r) -> value`, how the correction is added.
        centre: centre of the inputs, (x [N], u [p]).
        spread: units of the inputs, [n + p].
        shift: s [k], in units of the output.
        unit: D [k], likewise.
        weights: weights of the regressor.
    """

    base: Any
    difference: Any
    retract: Any
    centre: tuple[Any, Any]
    spread: Any
    shift: Any
    unit: Any
    weights: Any


@dataclasses.dataclass(frozen=True)
class Corrected:
    """The function (theta, x, u) -> base + s + D r(W, v).

    It is hashable, so that models built alike share one compilation.
    """

    regressor: Any
    inputs: int

    def __call__(self, theta: ResidualParams, x: Array, u: Inputs) -> Array:
        base = theta.base(x, u)
        v = self.standardised(theta, x, u)
        r = theta.shift + theta.unit * self.regressor(theta.weights, v)
        return theta.retract(base, r)

    def standardised(self, theta: ResidualParams, x: Array, u: Inputs) -> Array:
        """Return the inputs v of the regressor, standardised."""
        return self.offsets(theta, x, u) / theta.spread

    def offsets(self, theta: ResidualParams, x: Array, u: Inputs) -> Array:
        """Return the inputs of the regressor before they are divided by their spread."""
        of_x, of_u = theta.centre
        d = theta.difference(x, of_x)
        return jnp.concatenate([d, jnp.asarray(u, d.dtype) - of_u]) if self.inputs else d


def residual_model(
    model: StateSpaceModel,
    learn: str = "f",
    regressor: Polynomial | MLP = CUBIC,
    *,
    inputs: int = 0,
    full: bool = False,
    key: Key | None = None,
) -> StateSpaceModel:
    """Return the model with a learned part, initially zero, added to f or h.

    Call it twice to correct both. On curved spaces the correction moves f(x) along a tangent
    vector.

    Args:
        model: the design model.
        learn: the function to correct, "f" or "h".
        regressor: `Polynomial(degree)`, `MLP(sizes)`, or a value with their methods.
        inputs: number of entries of u [p] that the learned part sees in addition to x; 0 for none.
        full: whether the learned part replaces the function instead of being added to it.
        key: random key, for an `MLP`.

    Returns:
        A `StateSpaceModel` whose f (or h) is `Partial(fn, ResidualParams)`. Train its weights with
        `fit_residual`, `refine`, or `kfjax.training.fit(...,
        learn=kf.learned.learned_weights)`.

    Raises:
        ValueError: if `learn` is neither "f" nor "h", or an `MLP` is given no key.

    Example:
        >>> model = kf.learned.residual_model(
        ...     kf.systems.lorenz(), "f", kf.learned.Polynomial(3)
        ... )
        >>> sum(leaf.size for leaf in jax.tree.leaves(model.f.args[0].weights))
        60
    """
    check_kind("residual_model: model", model, StateSpaceModel)
    choose("residual_model: learn", learn, ("f", "h"))
    check_count("residual_model: inputs (the size of u)", inputs, least=0)
    if not (callable(regressor) and hasattr(regressor, "init")):
        raise ValueError(
            f"residual_model: regressor is {described(regressor)}; expected Polynomial(degree) or"
            " MLP(sizes) of kfjax.learned, or a value with their methods."
        )
    check_flag("residual_model: full", full)
    start = model.prior.mean
    dtype = model.dtype
    outputs = model.n if learn == "f" else _observed_size(model)
    base = getattr(model, learn)
    space = model.state_space if learn == "f" else model.observation_space
    if full:
        base = Partial(_constant, start if learn == "f" else jnp.zeros(outputs, dtype))
    theta = ResidualParams(
        base,
        model.state_space.difference,
        space.retract,
        (start, jnp.zeros(inputs, dtype)),
        jnp.ones(model.n + inputs, dtype),
        jnp.zeros(outputs, dtype),
        jnp.ones(outputs, dtype),
        regressor.init(key, model.n + inputs, outputs, dtype),
    )
    return model.replace(**{learn: Partial(Corrected(regressor, inputs), theta)})


def learned_weights(path: str, leaf: object) -> bool:
    """Return whether a leaf of params belongs to the weights of a learned part.

    Pass it as `learn=` of `fit`.

    Args:
        path: the path of the leaf, such as "f/0/0/weights/params/last/bias".
        leaf: the array.
    """
    del leaf
    return "weights" in path.split("/")


def _constant(value: Array, x: Array, u: Inputs) -> Array:
    del x, u
    return value


def _observed_size(model: StateSpaceModel) -> int:
    """Return the number of channels, which is the size of R; raise if R is a function."""
    if callable(model.R):
        raise ValueError(
            "residual_model: R is a function; expected a matrix when h is extended. Replace R"
            " afterwards."
        )
    return model.R.shape[-1]
