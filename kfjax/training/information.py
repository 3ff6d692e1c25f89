"""Standard errors from the curvature of a log-likelihood, and what it does not determine.

Everything is in free numbers theta, of which `jacobian` leads to natural values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

__all__: list[str] = []

FLAT = 0.01  # a change of the log-likelihood that nobody would notice
SINGULAR = 3e-7  # smallest eigenvalue of an information whose diagonal is one, per parameter
SADDLE = 1e-4  # of the same, below zero
SHARE = 1e-3  # of a direction that counts


class Curvature(NamedTuple):
    """A maximum of a log-likelihood, with p free numbers.

    Attributes:
        gradient: of the log-likelihood [p].
        information: minus its second derivatives [p, p].
        jacobian: derivatives of the natural values by the free numbers [p, p].
        at_ends: change of the log-likelihood where one free number goes to its lower or its upper
            end [2, p]; NaN where there is no end.
        elsewhere: its change where one free number goes to quite another value [p].
    """

    gradient: np.ndarray
    information: np.ndarray
    jacobian: np.ndarray
    at_ends: np.ndarray
    elsewhere: np.ndarray


class Uncertainty(NamedTuple):
    """Covariances that follow from the curvature.

    Attributes:
        cov: covariance of the natural values [p, p], NaN where there is none.
        gain: by how much the log-likelihood could still rise, by a quadratic approximation.
        is_maximum: whether it falls in every direction.
        notes: by name, why a value has no standard error.
        has_errors: whether standard errors were computed.
    """

    cov: np.ndarray
    gain: float
    is_maximum: bool
    notes: dict[str, str]
    has_errors: bool = True


def uncertainty(
    names: Sequence[str], bounds: Sequence[tuple[float, float]], curvature: Curvature, eps: float
) -> Uncertainty:
    """Return covariances, and the reasons why some are missing.

    A parameter at its end is held there; combinations that the likelihood does not determine are
    left out.

    Args:
        names: of the natural values.
        bounds: between which ends they lie.
        curvature: of p free numbers.
        eps: rounding of the derivatives.
    """
    notes = _at_ends(names, bounds, curvature)
    kept = np.array([name not in notes for name in names])
    unknown = np.full(curvature.information.shape, np.nan)
    if not kept.any():
        return Uncertainty(unknown, 0.0, True, notes)
    if not np.isfinite(curvature.information).all():
        return Uncertainty(unknown, np.nan, False, notes)
    places = np.flatnonzero(kept)
    block = np.ix_(places, places)
    values, vectors, scale = _axes(curvature.information[block])
    limit = len(places) * max(SINGULAR, 100 * eps)
    determined = values > limit
    saddle = -max(SADDLE, eps**0.5)
    is_maximum = bool(values.min() > saddle)
    # in units of the standard deviation that each would have alone
    scaled = curvature.gradient[places] / scale
    gradient = vectors.T @ scaled
    # A Newton step would raise a parabola with slope g and curvature I by g' I^-1 g / 2, here along
    # its axes. Unlike the size of the gradient, that is in units of log-likelihood, whatever the
    # units of the parameters.
    slopes = gradient[determined]
    curvatures = values[determined]
    gain = 0.5 * np.sum(slopes**2 / curvatures)
    free = vectors[:, determined]
    inverse = (free / curvatures) @ free.T
    inverse = inverse / np.outer(scale, scale)
    # The delta method: natural values move by J d theta.
    jacobian = curvature.jacobian[:, places]
    cov = jacobian @ inverse @ jacobian.T
    null = vectors[:, ~determined]
    for names_of, text in _undetermined(names, jacobian / scale, null, kept):
        notes |= dict.fromkeys(names_of, text)
    _leave_out_what_hangs_on(names, curvature.jacobian, kept, notes)
    without = np.array([name in notes for name in names])
    cov[without, :] = np.nan
    cov[:, without] = np.nan
    return Uncertainty(cov, float(gain), is_maximum, notes)


def no_uncertainty(names: Sequence[str], gradient: np.ndarray) -> Uncertainty:
    """Return that nothing is known but the gradient of the log-likelihood [p]."""
    # as if each free number had an information of one; a logarithm that matters has more
    gain = 0.5 * float(np.sum(gradient**2))
    notes = dict.fromkeys(names, "standard errors were not asked for")
    return Uncertainty(
        np.full((len(names), len(names)), np.nan), gain, True, notes, has_errors=False
    )


def _at_ends(
    names: Sequence[str], bounds: Sequence[tuple[float, float]], curvature: Curvature
) -> dict[str, str]:
    """Return notes on parameters that are at an end or have no effect at all."""
    notes = {}
    for index, name in enumerate(names):
        changes = np.abs(curvature.at_ends[:, index])
        at_low, at_high = changes < FLAT  # false for NaN
        if not (at_low or at_high):
            continue
        low, high = bounds[index]
        end = low if at_low else high
        notes[name] = f"at its end {end:g}, and held there for the standard errors of the others"
        if np.abs(curvature.elsewhere[index]) < FLAT:
            notes[name] = "the likelihood does not depend on it"
    return notes


def _axes(information: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return eigenvalues, eigenvectors and units of an information whose diagonal is made one."""
    diagonal = np.diag(information)
    # With a diagonal of one, eigenvalues do not depend on the units of the parameters, so a limit
    # on them is meaningful.
    scale = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    unit = information / np.outer(scale, scale)
    symmetric = 0.5 * (unit + unit.T)
    values, vectors = np.linalg.eigh(symmetric)
    return values, vectors, scale


def _undetermined(
    names: Sequence[str], jacobian: np.ndarray, null: np.ndarray, kept: np.ndarray
) -> list[tuple[list[str], str]]:
    """Return groups of parameters of which only combinations are determined, with a text each."""
    if null.shape[1] == 0:
        return []
    size = np.linalg.norm(jacobian, axis=1)
    limit = SHARE * np.where(size > 0, size, 1.0)
    moved = np.linalg.norm(jacobian @ null, axis=1) > limit
    group = [name for name, moves, is_kept in zip(names, moved, kept, strict=True) if moves]
    if len(group) == 1:
        return [(group, "the likelihood does not depend on it")]
    return [(group, "the likelihood determines only combinations of these")]


def _leave_out_what_hangs_on(
    names: Sequence[str], jacobian: np.ndarray, kept: np.ndarray, notes: dict[str, str]
) -> None:
    """Note natural values that depend on a free number that has been left out."""
    size = np.abs(jacobian).max(axis=1)
    left_out = np.abs(jacobian[:, ~kept])
    hangs = left_out.max(axis=1, initial=0.0) > SHARE * size
    for name, leaves in zip(names, hangs, strict=True):
        if leaves:
            notes.setdefault(name, "it depends on parameters without a standard error")
