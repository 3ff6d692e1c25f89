"""The filters of the study, and the factors on Q and R that each may choose from."""

import itertools
from typing import NamedTuple

import kfjax as kf

UNSCENTED = kf.moments.Unscented()


class Candidate(NamedTuple):
    """A filter of the study.

    Attributes:
        kind: "Gaussian", "ensemble" or "particle".
        filter: the `kfjax.Filter`.
        factors: pairs of factors on Q and R to choose from on validation records.
    """

    kind: str
    filter: kf.Filter
    factors: tuple[tuple[float, float], ...]


# A filter that loses its way is helped by more noise, rarely by less; the first pair is (1, 1)
FACTORS = tuple(itertools.product((1.0, 3.0, 10.0, 100.0), (1.0, 3.0, 10.0, 0.3)))
FEW_FACTORS = ((1.0, 1.0), (3.0, 1.0))


def candidates(problem, particles=500):
    """Return the filters that a problem allows, by name."""
    n = problem.model.n
    gaussian = {
        "extended": kf.extended(),
        "iterated extended": kf.extended(iterations=5),
        "unscented": kf.unscented(),
        "cubature": kf.cubature(),
        "Gauss-Hermite 3": kf.gauss_hermite(order=3),
    }
    if n <= 2:
        gaussian["Gauss-Hermite 7"] = kf.gauss_hermite(order=7)
    if problem.robust:
        gaussian = {"Kalman": kf.kalman(), "Student's t": kf.student_t(kf.extended())} | gaussian
    ensemble = {
        "ensemble 100": kf.ensemble(100),
        "ensemble transform 100": kf.ensemble(100, form=kf.filters.Transform()),
    }
    few = max(particles // 5, 10)
    particle = {
        f"particle {few // 2}": kf.particle(few // 2),
        f"particle {particles}": kf.particle(particles),
        f"auxiliary particle {particles}": kf.auxiliary_particle(particles),
        f"guided particle {few}": kf.particle(few, proposal=UNSCENTED),
    }
    if problem.linear:
        method = kf.rao_blackwellised(problem.linear, few)
        particle[f"Rao-Blackwellised {few}"] = method
    found = {}
    for kind, filters, factors in (
        ("Gaussian", gaussian, FACTORS),
        ("ensemble", ensemble, FACTORS),
        ("particle", particle, FEW_FACTORS),
    ):
        found |= {name: Candidate(kind, one, factors) for name, one in filters.items()}
    return found


def params_of(problem, candidate, factors):
    """Return the model with its noise scaled, with the exact density for particle filters."""
    scale_Q, scale_R = factors
    model = problem.model.replace(Q=scale_Q * problem.model.Q, R=scale_R * problem.model.R)
    if problem.density is None or candidate.kind != "particle":
        return model
    return model.replace(observation_log_density=problem.density)
