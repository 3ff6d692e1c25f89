"""Runs of a filter over the trajectories of a `Dataset`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Float

from kfjax._support.arguments import check_kind
from kfjax._support.types import AnyArray, Key
from kfjax._support.values import real_array
from kfjax.base import Emit, Filter, Gaussian, Kept, Params, Run, estimate
from kfjax.data.dataset import Dataset
from kfjax.models.augmented_state import layout_of
from kfjax.models.lens import model_of, with_model
from kfjax.models.runtime_checks import check_first_noise, varying_models
from kfjax.runner import run

__all__ = ["run_trajectory", "start_at"]


def run_trajectory(
    filter: Filter,
    params: Params,
    trajectory: Dataset,
    *,
    key: Key | None = None,
    emit: Emit[Kept] = estimate,  # type: ignore[assignment]  # the default of Kept
) -> Run[Kept]:
    """Run a filter over one trajectory of a `Dataset`.

    `jax.vmap` over the data (and the key) runs it over all of them.

    Args:
        filter: the `Filter`.
        params: parameters of the filter; the mean of their prior is replaced if the data have prior
            means.
        trajectory: a `Dataset` without its leading axis, as seen inside `jax.vmap`.
        key: random key for filters that draw.
        emit: what to keep of every step, as in `kfjax.run`.

    Returns:
        `Run(final, outputs)`, as from `kfjax.run`.

    Raises:
        ValueError: as in `kfjax.run`, or if there are prior means and no model in params to put
            them into.
    """
    check_kind("run_trajectory: trajectory", trajectory, Dataset)
    return run(
        filter,
        start_at(params, trajectory.prior_mean),
        trajectory.ys,
        us=trajectory.us,
        observed=trajectory.observed,
        length=trajectory.length,
        key=key,
        emit=emit,
    )


def check_noise_on(who: str, params: Params, data: Dataset) -> None:
    """Raise unless functions Q and R give covariances in the first step of the first trajectory."""
    if not varying_models(params):
        return
    us, length, mean = jax.tree.map(lambda a: a[0], (data.us, data.length, data.prior_mean))
    if model_of(params) is not None:
        params = start_at(params, mean)
    check_first_noise(who, params, us, length=length)


def start_at(params: Params, mean: Float[AnyArray, " n"] | None) -> Params:
    """Return params whose prior has this mean; None changes nothing."""
    if mean is None:
        return params
    model = model_of(params)
    if model is None:
        raise ValueError(
            f"the data have prior means, but params ({type(params).__name__}) have no model to put"
            " them into; expected a StateSpaceModel. Leave prior_mean out."
        )
    mean = jnp.asarray(real_array("start_at: mean", mean, ndim=1))
    known = mean.shape[0]
    layout = layout_of(model)
    if layout is not None and known == layout.n:  # data hold x, without the noise in the state
        mean = jnp.concatenate([mean, model.proper_prior.mean[known:]])
    return with_model(params, prior=Gaussian(mean, model.proper_prior.cov))
