"""Covariances as ellipses in the plane and ellipsoids in space."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import ArrayLike, Float, Real
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from mpl_toolkits.mplot3d.art3d import Poly3DCollection
from scipy import special

from kfjax._support.arguments import check_number, real_numbers
from kfjax._support.types import Nested
from kfjax.plotting.checks import check_colour, check_texts
from kfjax.plotting.style import COLOURS, map_axes, style

__all__ = ["plot_ellipses"]

POINTS = 49  # points around an ellipse: a multiple of 8, and the first again
RINGS = 9  # rings of an ellipsoid, from pole to pole
SECTORS = 17  # points around each ring, with the first again


def plot_ellipses(
    mean: Real[ArrayLike, "*K d"] | Nested,
    cov: Real[ArrayLike, "*K d d"] | Nested,
    *,
    probability: float = 0.95,
    colour: str = COLOURS[0],
    label: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the regions that hold a Gaussian vector with a given probability.

    (x - m)' P^-1 (x - m) <= q, where q is the quantile of chi-square with 2 or 3 degrees of
    freedom: ellipses, or ellipsoids. A singular P gives a line or a disc.

    Args:
        mean: centres [K, 2], or [K, 3] in space, or one without the leading axis.
        cov: covariances [K, 2, 2] or [K, 3, 3], likewise.
        probability: probability of the region.
        colour: colour of the region.
        label: name in the legend, or None.
        ax: axes to draw into, of projection "3d" in space; default a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: if the shapes do not fit, or the axes do not have the dimension.

    Example:
        >>> from kfjax.plotting import plot_ellipses
        >>> ax = plot_ellipses([0.0, 0.0], [[4.0, 0.0], [0.0, 1.0]])
        >>> outline = ax.collections[0].get_paths()[0].vertices
        >>> float(outline[:, 0].max().round(2))  # 2 sqrt(5.99)
        4.9
    """
    check_number("plot_ellipses: probability", probability, above=0, below=1)
    check_colour("plot_ellipses: colour", colour)
    check_texts("plot_ellipses", label=label)
    centres = real_numbers("plot_ellipses: mean", mean)
    covs = real_numbers("plot_ellipses: cov", cov)
    if centres.ndim == 1:
        centres = centres[None]
        covs = covs[None]
    d = centres.shape[-1] if centres.ndim else 0
    if d not in (2, 3) or centres.ndim != 2 or covs.shape != (*centres.shape, d):
        raise ValueError(
            f"plot_ellipses: mean has shape {centres.shape} and cov {covs.shape}; expected [K, 2]"
            " and [K, 2, 2], or [K, 3] and [K, 3, 3]. Choose components with mean[:, (0, 2)]."
        )
    ax = map_axes(ax, d)
    if (ax.name == "3d") != (d == 3):
        raise ValueError(
            f"plot_ellipses: got axes of projection {ax.name!r} for {d} dimensions; expected axes"
            " of that dimension."
        )
    faces = _faces(centres, _roots(covs) * _radius(d, probability))
    _draw(ax, faces, colour, label)
    style(ax)
    return ax


def _draw(ax: Axes, faces: Any, colour: str, label: str | None) -> None:
    """Draw polygons in the plane [faces, points, 2] or in space [faces, points, 3]."""
    if faces.shape[-1] == 2:
        flat = PolyCollection(
            faces, facecolors=colour, edgecolors=colour, alpha=0.2, lw=0.8, label=label
        )
        ax.add_collection(flat)
        ax.autoscale_view()
    else:
        solid = Poly3DCollection(faces, facecolors=colour, alpha=0.2, lw=0, label=label)
        ax.add_collection3d(solid)  # type: ignore[attr-defined]


def _radius(dimension: int, probability: float) -> float:
    """Return the root of the quantile of chi-square."""
    return float(np.sqrt(2 * special.gammaincinv(dimension / 2, probability)))


def _roots(cov: np.ndarray) -> Float[np.ndarray, "K d d"]:
    """Return matrices A with A A' = P, also for singular P.

    Eigenvalues that rounding made negative are zero.
    """
    values, vectors = np.linalg.eigh((cov + np.swapaxes(cov, -1, -2)) / 2)
    return vectors * np.sqrt(np.maximum(values, 0))[..., None, :]


def _faces(mean: np.ndarray, roots: np.ndarray) -> Float[np.ndarray, "faces points d"]:
    """Return the polygons of all ellipses, or the quadrilaterals of all ellipsoids."""
    d = mean.shape[-1]
    unit = _circle(POINTS)[None] if d == 2 else _sphere()
    faces = np.einsum("kij,fpj->kfpi", roots, unit) + mean[:, None, None, :]
    return faces.reshape(-1, *faces.shape[2:])


def _circle(points: int) -> Float[np.ndarray, "points 2"]:
    """Return points around the unit circle, with the first one repeated at the end."""
    angle = np.linspace(0, 2 * np.pi, points)
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def _sphere() -> Float[np.ndarray, "faces 4 3"]:
    """Return the unit sphere as quadrilaterals."""
    polar = np.linspace(0, np.pi, RINGS)[:, None, None]
    ring = np.sin(polar) * _circle(SECTORS)
    height = np.broadcast_to(np.cos(polar), (RINGS, SECTORS, 1))
    grid = np.concatenate([ring, height], axis=-1)
    corners = [grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]]
    return np.stack(corners, axis=2).reshape(-1, 4, 3)
