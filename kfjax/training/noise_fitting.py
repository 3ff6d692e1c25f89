"""Noise covariances fitted by gradient (the optimised Kalman filter)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax._support.arguments import check_count, check_kind, check_number, choose_some
from kfjax._support.types import RunKeys
from kfjax.base import Filter, Gaussian, Params
from kfjax.data import Dataset
from kfjax.data.batches import check_noise_on
from kfjax.filters.checks import check_filter
from kfjax.models.augmented_state import check_added_noise
from kfjax.models.lens import model_of, with_model
from kfjax.models.state_space import StateSpaceModel
from kfjax.training.fitting import fit
from kfjax.training.history import Fitted, through_params
from kfjax.training.log_cholesky import LIFT, constrain, unconstrain
from kfjax.training.losses import innovation_nll
from kfjax.training.optimizers import Cosine, clipped_adam
from kfjax.training.wrapping import through

__all__ = ["FreeNoise", "fit_noise", "free_noise", "noise_of"]

NAMES = ("Q", "R", "P0")


class FreeNoise(NamedTuple):
    """Params whose covariances are free numbers; `noise_of` gives the params that a filter takes.

    Attributes:
        params: a `StateSpaceModel`, or params that hold one.
        factors: dict of free numbers by name: "Q", "R", "P0" (the covariance of the prior).
        floors: dict of the smallest variances by name, numbers or [n].
    """

    params: Any
    factors: Any
    floors: Any


def free_noise(params: Params, learn: Sequence[str] = ("Q", "R"), floor: Any = None) -> FreeNoise:
    """Return params with some covariances replaced by free numbers.

    Args:
        params: a `StateSpaceModel`, or params that hold one, with constant covariances.
        learn: names among "Q", "R" and "P0".
        floor: smallest variance of every component, a number or [n]; default 1e-6 of its variance,
            or, if that is zero, of the largest one, or of R's.

    Raises:
        ValueError: if there is no model, a name is unknown, a covariance is a function, or the
            model has its noise in the state.
    """
    if (model := model_of(params)) is None:
        raise ValueError(
            f"free_noise: params is {type(params).__name__}; expected a StateSpaceModel, or params"
            " that hold one."
        )
    check_added_noise("free_noise", model)
    choose_some("free_noise: learn", learn, NAMES)
    covs = {name: covariance_of(model, name) for name in learn}
    floors = {name: _floor(model, cov) if floor is None else floor for name, cov in covs.items()}
    factors = {name: unconstrain(cov, floors[name]) for name, cov in covs.items()}
    return FreeNoise(
        params, factors, {name: jnp.asarray(value, model.dtype) for name, value in floors.items()}
    )


def noise_of(free: FreeNoise) -> Any:
    """Return the params with the covariances filled in: a transform for `through`."""
    check_kind("noise_of: free", free, FreeNoise)
    covs: dict[str, Any] = {
        name: constrain(theta, free.floors[name]) for name, theta in free.factors.items()
    }
    if "P0" in covs:
        covs["prior"] = Gaussian(model_of(free.params).prior.mean, covs.pop("P0"))
    return with_model(free.params, **covs)


def fit_noise(
    filter: Filter,
    params: Params,
    data: Any,
    *,
    key: RunKeys,
    validation: Dataset | None = None,
    loss: Callable | None = None,
    validation_loss: Callable | None = None,
    learn: Sequence[str] = ("Q", "R"),
    floor: float | None = None,
    updates: int = 500,
    learning_rate: float = 0.03,
    batch_size: int = 32,
    **options: Any,
) -> Fitted:
    """Fit whole noise covariances by gradient (the optimised Kalman filter).

    Args:
        filter: the `Filter`.
        params: a `StateSpaceModel`, or params that hold one, with constant covariances to start
            from.
        data: trajectories, a `Dataset`.
        key: random key of the batches.
        validation: trajectories to choose on, as in `fit`; None keeps the last covariances.
        loss: the training loss; default `innovation_nll(filter)`, which needs no true states.
            Under `state_mse` a common factor of Q and R changes nothing, so that only likelihoods
            determine their size.
        validation_loss: the loss to choose by; default `loss`.
        learn: names among "Q", "R" and "P0".
        floor: smallest variance; see `free_noise`.
        updates: number of updates by the optimiser.
        learning_rate: step size of Adam, in logarithms of standard deviations; it falls to a
            hundredth.
        batch_size: trajectories per update, at most all.
        **options: other arguments of `fit`, such as optimizer, reports, progress; a callback is
            given params with the covariances of that report.

    Returns:
        `Fitted`, whose params are the given ones with the fitted covariances.

    Raises:
        ValueError: as in `free_noise` and `fit`.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> keys = jax.random.split(jax.random.key(0), 40)
        >>> xs, ys = jax.vmap(lambda key: kf.simulate(key, model, 50))(keys)
        >>> wrong = model.replace(R=9 * model.R)
        >>> fitted = kf.training.fit_noise(
        ...     kf.kalman(),
        ...     wrong,
        ...     kf.Dataset(ys),
        ...     learn=("R",),
        ...     key=jax.random.key(1),
        ...     updates=100,
        ... )
        >>> bool(abs(fitted.params.R / model.R - 1).max() < 0.1)
        True

    References:
        I. Greenberg et al., Optimization or architecture: how to hack Kalman filtering, NeurIPS
        2023.
    """
    check_filter("fit_noise", filter)
    check_number("fit_noise: learning_rate", learning_rate, above=0)
    check_count("fit_noise: updates", updates)
    # A step of 0.03 in a logarithm is 3 % of a standard deviation. The rate falls, since gradients
    # of batches do not: at a constant rate the covariances would keep jittering about the optimum.
    optimizer = options.pop("optimizer", None) or clipped_adam(
        Cosine(learning_rate, updates, final=0.01), clip=10.0
    )
    options["callback"] = through_params(options.get("callback"), noise_of)
    if isinstance(data, Dataset):
        check_noise_on("fit_noise", params, data)
    free = free_noise(params, learn, floor)
    fitted = fit(
        through(innovation_nll(filter) if loss is None else loss, noise_of),
        free,
        data,
        key=key,
        updates=updates,
        batch_size=batch_size,
        optimizer=optimizer,
        learn=FreeNoise(False, True, False),
        validation=validation,
        validation_loss=None if validation_loss is None else through(validation_loss, noise_of),
        **options,
    )
    return fitted._replace(params=noise_of(fitted.params))


def covariance_of(model: StateSpaceModel, name: str, who: str = "free_noise") -> Array:
    """Return the covariance of that name, which must be constant."""
    value = model.prior.cov if name == "P0" else getattr(model, name)
    if callable(value):
        raise ValueError(
            f"{who}: {name} is a function; expected a matrix. Fit the numbers of Partial(fn,"
            " theta) with fit, or scale it with kfjax.training.tune."
        )
    return value


def _floor(model: StateSpaceModel, cov: Array) -> np.ndarray:
    """Return a millionth of each variance; if it is zero, of the largest one, or of R's."""
    variances = np.asarray(jnp.diag(cov))
    largest = float(variances.max())
    if largest <= 0:
        largest = 0.0 if callable(model.R) else float(np.max(np.diag(model.R)))
    if largest <= 0:
        raise ValueError(
            "free_noise: a covariance is zero; expected a positive variance somewhere. Pass floor=,"
            " or leave its name out of learn."
        )
    return LIFT * np.where(variances > 0, variances, largest)
