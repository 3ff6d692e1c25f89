"""The parts of a structural time series, one below another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from kfjax._support.arguments import check_count
from kfjax._support.naming import described
from kfjax.base import Gaussian
from kfjax.plotting.components import plot_trajectory
from kfjax.plotting.times import Times

__all__ = ["plot_decomposition"]


def plot_decomposition(
    parts: Mapping[str, Gaussian], *, channel: int = 0, times: Times | None = None, **options: Any
) -> list[Axes]:
    """Draw what each component contributes to the observations, with its 2-sigma band.

    Args:
        parts: contributions by name, from `kfjax.structural.decompose`.
        channel: the observation whose parts are drawn.
        times: times of the steps [T], as in `plot_trajectory`.
        **options: label, colour and axes, as in `plot_trajectory`.

    Returns:
        The axes, one per component.

    Raises:
        ValueError: if there are no parts, a part has no such channel, and as in `plot_trajectory`.

    Example:
        >>> from kfjax.plotting import plot_decomposition
        >>> model = (
        ...     kf.structural.level(0.3)
        ...     + kf.structural.seasonal(4)
        ...     + kf.structural.irregular()
        ... )
        >>> ys = jnp.arange(12.0)[:, None] % 4
        >>> filtered = kf.run(kf.exact_diffuse(), model, ys).outputs
        >>> parts = kf.structural.decompose(model, filtered)
        >>> len(plot_decomposition(parts))
        2
    """
    who = "plot_decomposition"
    if not isinstance(parts, Mapping) or not parts:
        raise ValueError(
            f"{who}: parts is {described(parts)}; expected Gaussians by name, from"
            " kf.structural.decompose(model, estimate)."
        )
    for name, part in parts.items():
        if not isinstance(part, Gaussian) or np.ndim(part.mean) != 2:
            raise ValueError(
                f"{who}: parts[{name!r}] is {described(part)}; expected a kf.Gaussian with mean"
                " [T, m] and cov [T, m, m]."
            )
    channels = min(part.mean.shape[1] for part in parts.values())
    check_count(f"{who}: channel", channel, least=0, most=channels - 1)
    means = [np.asarray(part.mean)[:, channel] for part in parts.values()]
    variances = [np.asarray(part.cov)[:, channel, channel] for part in parts.values()]
    # the contributions are correlated; each panel shows the band of one
    cov = np.stack(variances, axis=1)[:, :, None] * np.eye(len(parts))
    return plot_trajectory(
        np.stack(means, axis=1),
        cov,
        components=range(len(parts)),
        names=list(parts),
        times=times,
        **options,
    )
