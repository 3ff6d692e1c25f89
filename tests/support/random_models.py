"""Random linear records: models, observations, masks and lengths, from a few traits and a seed.

All numbers are small multiples of powers of two. Products of them are exact, so that singular
matrices are exactly singular, and observations without noise agree exactly.
"""

from typing import Any, NamedTuple

import hypothesis.strategies as st
import jax
import numpy as np
from jax.tree_util import Partial
from support.joint_gaussian import System, fractions, history

import kfjax as kf

STEPS, AHEAD, INPUTS = 5, 2, 2
MASKS = ("everything", "channels", "rows", "not the first", "nothing")


class Shape(NamedTuple):
    """The part of a record that is compiled: dimensions, form of the model, and precision."""

    n: int
    m: int
    kind: str  # "constant", "varying" (with time), or "opaque" (to moment rules)
    first: str
    dtype: str


class Traits(NamedTuple):
    """The choices that determine a record."""

    shape: Shape
    singular: tuple[bool, bool, bool]  # Q, R, P0
    mask: str
    length: int
    seed: int


class Case(NamedTuple):
    """A record as kfjax takes it, with the true results."""

    traits: Traits
    system: System
    model: Any
    ys: Any
    us: Any  # STEPS + AHEAD rows
    observed: Any
    length: int
    exact_ys: Any
    truth: Any
    condition: float

    @property
    def shape(self):
        return self.traits.shape

    @property
    def seen(self):
        """The entries that count as observed."""
        return self.observed & (np.arange(STEPS) < self.length)[:, None]

    @property
    def regular(self):
        """Whether no covariance of the model is singular."""
        return not any(self.traits.singular)


def traits(shapes):
    """The strategy of all records of some shapes."""
    return st.builds(
        Traits,
        st.sampled_from(shapes),
        st.tuples(st.booleans(), st.booleans(), st.booleans()),
        st.sampled_from(MASKS),
        st.integers(1, STEPS),
        st.integers(0, 2**32 - 1),
    )


def dyadic(rng, shape, largest=1.0, parts=4):
    """Random multiples of 1 / parts up to `largest`."""
    top = int(largest * parts)
    return rng.integers(-top, top + 1, shape) / parts


def root(rng, n, singular):
    """A root L of a covariance L L', whose rank is below n if singular."""
    if singular:
        rank = int(rng.integers(0, n))
        return np.concatenate([dyadic(rng, (n, rank)), np.zeros((n, n - rank))], axis=1)
    lower = np.tril(dyadic(rng, (n, n), 0.5), -1)
    return lower + np.diag(rng.integers(2, 6, n) / 4)


def picked(stack, u):
    """The matrix of a time step."""
    return stack[u]


def picked_noise(stack, x, u):
    """The covariance of a time step."""
    del x
    return stack[u]


def affine(parts, x, u):
    """A_t x + b_t, in a form that rules do not recognise as affine."""
    A, b = parts
    return jax.numpy.sum(A[u] * x[None, :], axis=1) + b[u]


def draw(rng, L):
    """A draw from N(0, L L') in multiples of the entries of L."""
    return L @ fractions(np.round(4 * rng.normal(size=L.shape[1])) / 4)


def make(traits):
    """The case of some traits."""
    shape, singular = traits.shape, traits.singular
    rng = np.random.default_rng(traits.seed)
    n, m, steps = shape.n, shape.m, STEPS + AHEAD
    count = 1 if shape.kind == "constant" else steps

    def repeated(one):
        return np.stack([one() for _ in range(count)] * (steps // count))

    F = repeated(lambda: dyadic(rng, (n, n), 1.0))
    H = repeated(lambda: dyadic(rng, (m, n), 1.0, 2))
    B, b = dyadic(rng, (n, INPUTS)), dyadic(rng, n)
    D, d = dyadic(rng, (m, INPUTS)), dyadic(rng, m)
    Lq = repeated(lambda: root(rng, n, singular[0]))
    Lr = repeated(lambda: root(rng, m, singular[1]))
    L0, m0 = root(rng, n, singular[2]), dyadic(rng, n, 2.0)
    us = dyadic(rng, (steps, INPUTS))
    transposed = (0, 2, 1)
    system = System(
        F,
        us @ B.T + b,
        Lq @ Lq.transpose(transposed),
        H,
        us @ D.T + d,
        Lr @ Lr.transpose(transposed),
        m0,
        L0 @ L0.T,
        int(shape.first == "update"),
    )
    exact_ys = simulated(rng, system, Lq, Lr, L0)
    observed = random_mask(rng, traits.mask, m)
    model, us = written(system, shape, (B, b, D, d), us)
    ys = np.where(observed, exact_ys.astype(float), np.nan).astype(shape.dtype)
    case = Case(traits, system, model, ys, us, observed, traits.length, exact_ys, None, 1.0)
    return case._replace(truth=truth(case))


def truth(case):
    """The true results of a record, in fractions if something is singular."""
    if case.regular:
        return history(case.system, case.exact_ys.astype(float), case.seen)
    return history(case.system.map(fractions), case.exact_ys, case.seen)


def simulated(rng, system, Lq, Lr, L0):
    """Observations of one path of the system, exact."""
    exact = system.map(fractions)
    x = exact.m0 + draw(rng, fractions(L0))
    ys = []
    for t in range(STEPS):
        if t >= system.start:
            x = exact.F[t] @ x + exact.c[t] + draw(rng, fractions(Lq[t]))
        ys.append(exact.H[t] @ x + exact.d[t] + draw(rng, fractions(Lr[t])))
    return np.array(ys)


def random_mask(rng, kind, m):
    """A random mask [T, m]."""
    observed = np.ones((STEPS, m), bool)
    if kind == "channels":
        observed = rng.random((STEPS, m)) < 0.6
    if kind == "rows":
        observed[rng.random(STEPS) < 0.5] = False
    if kind == "not the first":
        observed[0] = False
    if kind == "nothing":
        observed[:] = False
    return observed


def written(system, shape, coefficients, us):
    """The system as a model of kfjax, with its inputs."""
    dtype = shape.dtype
    B, b, D, d = (part.astype(dtype) for part in coefficients)
    F, c, Q, H, offset, R, m0, P0 = (part.astype(dtype) for part in system[:-1])
    prior = kf.Gaussian(m0, P0)
    if shape.kind == "constant":
        f, h = kf.Linear(F[0], B, b), kf.Linear(H[0], D, d)
        model = kf.StateSpaceModel(f, h, Q[0], R[0], prior, first=shape.first)
        return model, us.astype(dtype)
    if shape.kind == "varying":
        f = kf.Linear(Partial(picked, F), None, Partial(picked, c))
        h = kf.Linear(Partial(picked, H), None, Partial(picked, offset))
    else:
        f, h = Partial(affine, (F, c)), Partial(affine, (H, offset))
    Q, R = Partial(picked_noise, Q), Partial(picked_noise, R)
    model = kf.StateSpaceModel(f, h, Q, R, prior, first=shape.first)
    return model, np.arange(len(us))


def system_of(model, shape, us):
    """The system of a model, for leaves of any type."""
    start = int(shape.first == "update")
    if shape.kind == "constant":
        f, h, steps = model.f, model.h, len(us)
        F, Q, H, R = (np.stack([a] * steps) for a in (f.A, model.Q, h.A, model.R))
        inputs = us.astype(float)
        c, d = inputs @ f.B.T + f.b, inputs @ h.B.T + h.b
        return System(F, c, Q, H, d, R, *model.prior, start)
    if shape.kind == "varying":
        (F,), (c,), (H,), (d,) = (p.args for p in (model.f.A, model.f.b, model.h.A, model.h.b))
    else:
        (F, c), (H, d) = model.f.args[0], model.h.args[0]
    return System(F, c, *model.Q.args, H, d, *model.R.args, *model.prior, start)
