"""Covariances as ellipses in the plane and ellipsoids in space."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from mpl_toolkits.mplot3d.art3d import Poly3DCollection
from scipy import special

from kfjax.evaluation.intervals import check_level
from kfjax.plotting.style import COLOURS, map_axes, style

__all__ = ["plot_ellipses"]

POINTS = 49  # around an ellipse; a multiple of 8 and the first again
RINGS, SECTORS = 9, 17  # of an ellipsoid


def plot_ellipses(
    mean: Any,
    cov: Any,
    *,
    probability: float = 0.95,
    colour: str = COLOURS[0],
    label: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the regions that hold a Gaussian vector with a given probability.

    Ellipses, or ellipsoids.

    (x - m)' P^-1 (x - m) <= q, where q is the quantile of chi-square with 2 or 3 degrees of
    freedom. A singular P gives a line or a disc.

    Args:
        mean: centres [K, 2], or [K, 3] in space, or one without the leading axis.
        cov: covariances [K, 2, 2] or [K, 3, 3], likewise.
        probability: of the region.
        colour: of the region.
        label: name in the legend, or None.
        ax: axes to draw into, of projection "3d" in space; default a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: if the shapes are others, or the axes are not those of the dimension.

    Example:
        >>> from kfjax.plotting import plot_ellipses
        >>> ax = plot_ellipses([0.0, 0.0], [[4.0, 0.0], [0.0, 1.0]])
        >>> float(ax.collections[0].get_paths()[0].vertices[:, 0].max().round(2))  # 2 sqrt(5.99)
        4.9
    """
    mean, cov = np.asarray(mean, np.float64), np.asarray(cov, np.float64)
    mean, cov = (mean[None], cov[None]) if mean.ndim == 1 else (mean, cov)
    d = mean.shape[-1]
    if d not in (2, 3) or mean.ndim != 2 or cov.shape != (*mean.shape, d):
        raise ValueError(
            f"plot_ellipses: mean has shape {mean.shape} and cov {cov.shape}; expected [K, 2] and"
            " [K, 2, 2], or [K, 3]"
            " and [K, 3, 3]. Choose components with mean[:, (0, 2)]."
        )
    ax = map_axes(d) if ax is None else ax
    if (ax.name == "3d") != (d == 3):
        raise ValueError(
            f"plot_ellipses: got axes of projection {ax.name!r} for {d} dimensions; expected"
            " others."
        )
    faces: Any = _faces(mean, _roots(cov) * _radius(d, probability))
    if d == 2:
        ax.add_collection(
            PolyCollection(
                faces, facecolors=colour, edgecolors=colour, alpha=0.2, lw=0.8, label=label
            )
        )
        ax.autoscale_view()
    else:
        solid = Poly3DCollection(faces, facecolors=colour, alpha=0.2, lw=0, label=label)
        ax.add_collection3d(solid)  # type: ignore[attr-defined]
    style(ax)
    return ax


def _radius(dimension: int, probability: float) -> float:
    """The root of the quantile of chi-square."""
    check_level(probability)
    return float(np.sqrt(2 * special.gammaincinv(dimension / 2, probability)))


def _roots(cov: np.ndarray) -> np.ndarray:
    """Matrices A with A A' = P [K, d, d].

    Singular ones too, and eigenvalues that rounding made negative are zero.
    """
    values, vectors = np.linalg.eigh((cov + np.swapaxes(cov, -1, -2)) / 2)
    return vectors * np.sqrt(np.maximum(values, 0))[..., None, :]


def _faces(mean: np.ndarray, roots: np.ndarray) -> np.ndarray:
    """Return the outlines of ellipses or ellipsoids.

    Polygons [K, points, 2], or quadrilaterals [K x faces, 4, 3].
    """
    d = mean.shape[-1]
    unit = _circle(POINTS)[None] if d == 2 else _sphere()
    faces = np.einsum("kij,fpj->kfpi", roots, unit) + mean[:, None, None, :]
    return faces.reshape(-1, *faces.shape[2:])


def _circle(points: int) -> np.ndarray:
    """Points around the unit circle, the first one again at the end."""
    angle = np.linspace(0, 2 * np.pi, points)
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def _sphere() -> np.ndarray:
    """The unit sphere as quadrilaterals [faces, 4, 3]."""
    height = np.linspace(0, np.pi, RINGS)
    around = _circle(SECTORS)
    ring = np.sin(height)[:, None, None] * around
    grid = np.concatenate(
        [ring, np.broadcast_to(np.cos(height)[:, None, None], (RINGS, SECTORS, 1))], axis=-1
    )
    corners = [grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]]
    return np.stack(corners, axis=2).reshape(-1, 4, 3)
