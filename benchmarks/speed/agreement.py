"""Whether two libraries computed the same: no time is reported before that is known."""

import jax
import numpy as np

# the largest difference over the largest entry; sums of squares of a particle filter are in units
# of its own spread
EXACT = {"float64": 1e-6, "float32": 2e-3}
PARTICLES = 0.5


def differences(kind, reference, outputs):
    """Return by name how far outputs are from the reference; what one of them does not have is left out."""
    if kind == "training":
        leaves = (jax.tree.leaves(tree) for tree in (reference, outputs))
        return {"parameters": max(relative(a, b) for a, b in zip(*leaves, strict=True))}
    if kind == "particle":
        return {
            "mean": in_spreads(reference, outputs),
            "log_likelihood": per_step(reference, outputs),
        }
    pairs = {name: (getattr(reference, name), getattr(outputs, name)) for name in reference._fields}
    return {
        name: relative(*(totals(a, reference) if name == "log_likelihood" else a for a in pair))
        for name, pair in pairs.items()
        if all(a is not None for a in pair)
    }


def agree(kind, precision, found):
    """Tell whether all differences are below what rounding, or drawing other particles, may do."""
    tolerance = PARTICLES if kind == "particle" else EXACT[precision]
    return all(value <= tolerance for value in found.values())


def relative(reference, values):
    """The largest difference over the largest entry; of the trajectories that both have."""
    a, b = (np.asarray(x, np.float64) for x in (reference, values))
    if a.ndim and a.shape[0] != b.shape[0]:
        a = a[: b.shape[0]]
    if a.shape != b.shape or not np.isfinite(b).all():
        return float("inf")
    return float(np.abs(a - b).max() / np.abs(a).max())


def totals(log_likelihood, reference):
    """Log-likelihoods of whole trajectories, from those or from each step's."""
    values = np.asarray(log_likelihood, np.float64)
    return values.sum(-1) if values.ndim == np.ndim(reference.log_likelihood) else values


def in_spreads(reference, outputs):
    """The root mean square of the difference of the means over the standard deviations."""
    variances = np.diagonal(np.asarray(reference.cov), axis1=-2, axis2=-1)
    error = np.asarray(outputs.mean) - np.asarray(reference.mean)
    return float(np.sqrt(np.mean(error**2 / variances)))


def per_step(reference, outputs):
    """The mean difference of log-likelihoods per step."""
    a, b = (totals(x.log_likelihood, reference) for x in (reference, outputs))
    return float(np.mean(np.abs(a - b)) / np.shape(reference.mean)[-2])
