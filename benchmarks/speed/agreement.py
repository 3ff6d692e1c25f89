"""Differences between the outputs of two libraries; only libraries that agree are timed."""

import jax
import numpy as np

# largest difference over largest entry
EXACT = {"float64": 1e-6, "float32": 2e-3}
PARTICLES = 0.5  # root mean square difference, in standard deviations of the posterior


def differences(kind, reference, outputs):
    """Return differences from the reference by name, leaving out outputs that one of them lacks."""
    if kind == "training":
        leaves = (jax.tree.leaves(tree) for tree in (reference, outputs))
        return {"parameters": max(relative(a, b) for a, b in zip(*leaves, strict=True))}
    if kind == "particle":
        return {
            "mean": in_spreads(reference, outputs),
            "log_likelihood": per_step(reference, outputs),
        }
    found = {}
    for name in reference._fields:
        a, b = getattr(reference, name), getattr(outputs, name)
        if a is None or b is None:
            continue
        if name == "log_likelihood":
            a, b = totals(a, reference), totals(b, reference)
        found[name] = relative(a, b)
    return found


def agree(kind, precision, found):
    """Return whether all differences are explained by rounding, or by drawing other particles."""
    tolerance = PARTICLES if kind == "particle" else EXACT[precision]
    return all(value <= tolerance for value in found.values())


def relative(reference, values):
    """Return the largest difference over the largest entry, of trajectories that both have."""
    a, b = (np.asarray(x, np.float64) for x in (reference, values))
    if a.ndim and a.shape[0] != b.shape[0]:
        a = a[: b.shape[0]]
    if a.shape != b.shape or not np.isfinite(b).all():
        return float("inf")
    return float(np.abs(a - b).max() / np.abs(a).max())


def totals(log_likelihood, reference):
    """Return log-likelihoods of whole trajectories, which may be given for each step."""
    values = np.asarray(log_likelihood, np.float64)
    per_step = values.ndim == np.ndim(reference.log_likelihood)
    return values.sum(-1) if per_step else values


def in_spreads(reference, outputs):
    """Return the root mean square difference of the means, in standard deviations."""
    variances = np.diagonal(np.asarray(reference.cov), axis1=-2, axis2=-1)
    error = np.asarray(outputs.mean) - np.asarray(reference.mean)
    return float(np.sqrt(np.mean(error**2 / variances)))


def per_step(reference, outputs):
    """Return the mean difference of log-likelihoods per step."""
    a, b = (totals(x.log_likelihood, reference) for x in (reference, outputs))
    return float(np.mean(np.abs(a - b)) / np.shape(reference.mean)[-2])
