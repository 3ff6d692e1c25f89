"""Expectation maximisation: maximum likelihood without a step size."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from kfjax._support.arguments import check_count, choose_some
from kfjax._support.compiling import jit
from kfjax._support.types import PyTree
from kfjax.data.batches import check_noise_on
from kfjax.data.dataset import Dataset
from kfjax.models.augmented_state import check_added_noise
from kfjax.models.functions import Linear
from kfjax.models.hidden_markov import HiddenMarkovModel
from kfjax.models.state_space import StateSpaceModel, is_linear
from kfjax.training.accumulation import DYNAMICS, OBSERVATION, Sums, expected
from kfjax.training.maximisation import maximised
from kfjax.training.regime_maximisation import em_regimes

__all__ = ["LEARNABLE", "Maximised", "em"]

Model = TypeVar("Model", StateSpaceModel, HiddenMarkovModel)
LEARNABLE = (*DYNAMICS, *OBSERVATION, "Q", "R", "prior_mean", "prior_cov")


class Maximised(NamedTuple, Generic[Model]):
    """The result of expectation maximisation.

    Attributes:
        model: the model with the learned parameters.
        log_likelihood: log-likelihood of all data before every iteration and after the last,
            [iterations + 1]; it never falls.
    """

    model: Model
    log_likelihood: Float[Array, " _"]


def em(
    model: Model,
    data: Dataset,
    *,
    learn: Sequence[str] | None = None,
    iterations: int = 50,
) -> Maximised[Model]:
    """Fit a linear Gaussian or a hidden Markov model by expectation maximisation.

    x_t = F x_t-1 + B u_t + b + e_t,  y_t = H x_t + D u_t + d + v_t,  e_t ~ N(0, Q),  v_t ~ N(0, R).

    The likelihood of all trajectories grows in every iteration, towards a maximum (a local one; F,
    H, Q and R together are determined only up to a change of coordinates of x, so fix some of
    them). Missing rows and single missing channels are handled exactly, also with a correlated R.
    It is slow where little is observed; `jax.grad` of the likelihood is the alternative. Components
    without process noise stay noise-free and keep their rows of F, B and b; components that the
    prior knows exactly stay known. One trajectory does not determine `prior_cov`, which then
    shrinks to zero. With first="update" in the model the prior is about x_1, and T observations
    follow T - 1 moves. Prefer float64.

    Of a `HiddenMarkovModel`, the chain and the emission are fitted (Baum-Welch); several starts are
    worth their time. The likelihood has no bound where a Gaussian regime emits a single value, and
    a warning says so.

    Args:
        model: the model to start from, with `Linear` f and h. Learned parameters must be arrays,
            and so must Q (R) if coefficients of f (h) are learned; everything else may depend on u.
            If B, b, D or d is None, it starts at zero. Or a `HiddenMarkovModel`.
        data: trajectories y_1..y_T, of any lengths, with gaps; B and D need `us` of shape [N,
            T, p].
        learn: names among F, B, b (of f), H, D, d (of h), Q, R, prior_mean and prior_cov; default Q
            and R. Of a hidden Markov model: transition, weights, and the fields of the emission
            (mean, cov; rate; probabilities); default all.
        iterations: number of iterations.

    Returns:
        `Maximised(model, log_likelihood [iterations + 1])`.

    Raises:
        ValueError: for an unknown name, a model that is not linear, a function in place of a
            parameter that must be an array, noise in the state, inputs that are not vectors,
            `prior_mean` if the data give prior means, or iterations below 1.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> keys = jax.random.split(jax.random.key(0), 20)
        >>> xs, ys = jax.vmap(lambda key: kf.simulate(key, model, 50))(keys)
        >>> wrong = model.replace(R=100 * model.R)
        >>> fitted = kf.training.em(
        ...     wrong, kf.Dataset(ys), learn=["R"], iterations=20
        ... )
        >>> bool(0.9 < fitted.model.R[0, 0] / model.R[0, 0] < 1.1)
        True

    References:
        R. H. Shumway, D. S. Stoffer, An approach to time series smoothing and forecasting using the
        EM algorithm, J. Time Series Analysis 3 (1982); Z. Ghahramani, G. E. Hinton, Parameter
        estimation for linear dynamical systems, CRG-TR-96-2 (1996), section 3; L. E. Baum, T.
        Petrie, G. Soules, N. Weiss, A maximization technique occurring in the statistical analysis
        of probabilistic functions of Markov chains, Ann. Math. Statist. 41 (1970).
    """
    if isinstance(model, HiddenMarkovModel):
        check_count("em: iterations", iterations)
        return Maximised(*em_regimes(model, data, learn, iterations))
    learn = ("Q", "R") if learn is None else learn
    choose_some("em: learn", learn, LEARNABLE)
    names = frozenset(learn)
    _check(model, data, names, iterations)
    p = np.shape(data.us)[-1] if names & {"B", "D"} else 0
    f = _filled(model.f, DYNAMICS, names, model.n, p)
    h = _filled(model.h, OBSERVATION, names, data.ys.shape[-1], p)
    return _em(names, iterations, model.replace(f=f, h=h), data)


def _check(model: object, data: PyTree, names: frozenset[str], iterations: int) -> None:
    """Validate the arguments of `em`."""
    check_count("em: iterations", iterations)
    if not isinstance(model, StateSpaceModel) or not is_linear(model):
        raise ValueError(
            "em: got a model that is not linear; expected a StateSpaceModel with kf.Linear f and h."
        )
    check_added_noise("em", model)
    if not (model.state_space.is_euclidean and model.observation_space.is_euclidean):
        raise ValueError(
            "em: the model has states or observations on a curved space; expected Euclidean ones."
            " Fit it by gradient."
        )
    if not isinstance(data, Dataset):
        raise ValueError(
            f"em: data is a {type(data).__name__}; expected a Dataset. One record is"
            " kf.Dataset(ys[None])."
        )
    check_noise_on("em", model, data)
    if "prior_mean" in names and data.prior_mean is not None:
        raise ValueError(
            "em: got prior_mean in learn, but the data give prior means; expected one of the two."
        )
    if names & {"Q", *DYNAMICS} and model.first == "update" and data.lengths.max() < 2:
        raise ValueError(
            "em: got trajectories of one step, whose first has no prediction, since the model has"
            f" first='update'; expected longer ones for learn={sorted(names)}."
        )
    if names & {"B", "D"} and np.ndim(data.us) != 3:
        raise ValueError("em: learn has B or D; expected data with us [N, T, p].")
    need = {
        name: getattr(fn, field)
        for fn, group in _groups(model)
        for name, field in group.items()
        if name in names
    }
    need |= {"Q": model.Q} if names & {"Q", *DYNAMICS} else {}
    need |= {"R": model.R} if names & {"R", *OBSERVATION} else {}
    for name, value in need.items():
        if callable(value):
            raise ValueError(
                f"em: {name} is a function, but must be an array for learn={sorted(names)};"
                " expected an array. Leave out the names that need it, or fit by gradient."
            )


def _groups(model: StateSpaceModel) -> tuple[tuple[Linear, dict[str, str]], ...]:
    return (model.f, DYNAMICS), (model.h, OBSERVATION)


def _filled(fn: Linear, group: dict[str, str], names: frozenset[str], rows: int, p: int) -> Linear:
    """Return a linear function with zeros in place of parameters to be learned that are None."""
    parts = {field: getattr(fn, field) for field in ("A", "B", "b")}
    for name, field in group.items():
        if name in names and parts[field] is None:
            # The loop carries the model, and `jax.lax.scan` asks that its structure stay the same:
            # what is learned has to be an array before the first iteration.
            parts[field] = jnp.zeros((rows, p) if field == "B" else (rows,))
    return Linear(**parts)


@functools.partial(jit, static_argnums=(0, 1))
def _em(
    names: frozenset[str], iterations: int, model: StateSpaceModel, data: Dataset
) -> Maximised[StateSpaceModel]:
    def expect(model: StateSpaceModel) -> Sums:
        each = jax.vmap(functools.partial(expected, names, model))(data)
        # Statistics of trajectories add up, since these are independent given the parameters;
        # beliefs about x_0 stay apart, for the covariance between them.
        return jax.tree.map(lambda a: a.sum(0), each)._replace(start=each.start)

    def iterate(model: StateSpaceModel, _: None) -> tuple[StateSpaceModel, Array]:
        # The likelihood of an iteration is that of the model before its M-step, which the E-step
        # has computed on its way. It never falls (Dempster, Laird and Rubin, 1977), and a step that
        # lowers it reveals a mistake.
        sums = expect(model)
        return maximised(names, model, sums), sums.log_likelihood

    fitted, history = jax.lax.scan(iterate, model, length=iterations)
    return Maximised(fitted, jnp.append(history, expect(fitted).log_likelihood))
