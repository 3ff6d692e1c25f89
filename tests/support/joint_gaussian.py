"""The joint Gaussian of all states and observations of a linear record, conditioned entry by entry.

Written in numpy alone, for any type of number: floats, complex numbers (whose imaginary part is a
derivative, if the step is tiny), and fractions, in which a variance of zero is zero.
"""

from fractions import Fraction
from math import inf, log, pi
from typing import Any, NamedTuple

import numpy as np


class System(NamedTuple):
    """x_t = F_t x_t-1 + c_t + e_t, y_t = H_t x_t + d_t + v_t for t = 1..; row t - 1 is of step t.

    The prior N(m0, P0) is about x_start: start is 0, or 1 where the first step only updates.
    """

    F: Any
    c: Any
    Q: Any
    H: Any
    d: Any
    R: Any
    m0: Any
    P0: Any
    start: int

    def map(self, change):
        """The system with `change(array)` for every array."""
        return System(*map(change, self[:-1]), self.start)


class Joint(NamedTuple):
    """The Gaussian of z = (x_start..x_T, y_1..y_T)."""

    mean: Any
    cov: Any
    system: System

    def x(self, t):
        """Where x_t is in z."""
        n = len(self.system.m0)
        begin = (t - self.system.start) * n
        return np.arange(begin, begin + n)

    def y(self, t):
        """Where y_t is in z, t = 1..T."""
        steps, m, n = self.system.H.shape
        begin = (steps + 1 - self.system.start) * n + (t - 1) * m
        return np.arange(begin, begin + m)

    def belief(self, at):
        """Mean and covariance of z[at], as floats."""
        return self.mean[at].astype(float), self.cross(at, at)

    def cross(self, rows, columns):
        """Cov[z[rows], z[columns]], as floats."""
        return self.cov[np.ix_(rows, columns)].astype(float)

    def given(self, index, value):
        """The joint given z[index] = value, the log density of that, and whether it has one."""
        variance = self.cov[index, index]
        rest = value - self.mean[index]
        if variance == 0:
            return self, 0.0 if rest == 0 else -inf, 0
        column = self.cov[:, index]
        (linked,) = np.nonzero(column)
        gain = column[linked] / variance
        mean, cov = self.mean.copy(), self.cov.copy()
        mean[linked] += gain * rest
        cov[np.ix_(linked, linked)] -= np.outer(gain, column[linked])
        score = -(rest**2 / variance + logarithm(variance) + log(2 * pi)) / 2
        return Joint(mean, cov, self.system), score, 1


def logarithm(number):
    """The logarithm of a number of any type."""
    if isinstance(number, Fraction):
        return log(number.numerator) - log(number.denominator)
    return np.log(number)


def fractions(array):
    """An array of exact fractions with the values of a float array."""
    return np.vectorize(Fraction, otypes=[object])(array)


def prior_joint(system):
    """The joint Gaussian before anything is observed."""
    steps, m, n = system.H.shape
    states = steps + 1 - system.start
    size = states * n + steps * m
    empty = np.full(size, 0 * system.m0[0])
    joint = Joint(empty, np.multiply.outer(empty, empty), system)
    first = joint.x(system.start)
    joint.mean[first] = system.m0
    joint.cov[np.ix_(first, first)] = system.P0
    for t in range(1 + system.start, steps + 1):
        F, c, Q = (part[t - 1] for part in (system.F, system.c, system.Q))
        _append(joint, joint.x(t), joint.x(t - 1), F, c, Q)
    for t in range(1, steps + 1):
        H, d, R = (part[t - 1] for part in (system.H, system.d, system.R))
        _append(joint, joint.y(t), joint.x(t), H, d, R)
    return joint


def _append(joint, at, source, A, offset, noise):
    """Write z[at] = A z[source] + offset + noise into the joint."""
    joint.mean[at] = A @ joint.mean[source] + offset
    cross = A @ joint.cov[source]
    joint.cov[at] = cross
    joint.cov[:, at] = cross.T
    joint.cov[np.ix_(at, at)] = cross[:, source] @ A.T + noise


class History(NamedTuple):
    """The joint given y_1..y_t for t = 0..T, and what each y_t adds.

    Attributes:
        joints: t = 0..T.
        terms: log p(y_t | y_1..t-1), t = 1..T.
        ranks: how many entries of y_t earlier ones do not determine.
        condition: the largest ratio of a variance to the part that earlier observations leave.
    """

    joints: list[Joint]
    terms: Any
    ranks: Any
    condition: float

    @property
    def last(self):
        """The joint given everything."""
        return self.joints[-1]

    @property
    def backward_condition(self):
        """The condition of x_t-1 given x_t, as in `condition`."""
        condition, start = self.condition, self.last.system.start
        for t in range(1 + start, len(self.joints)):
            before = self.joints[t - 1]
            at = before.x(t)
            condition = max(condition, elimination_condition(before.cov[np.ix_(at, at)]))
        return condition


def elimination_condition(cov):
    """The largest ratio of a variance to the part that earlier components leave, if any."""
    left, condition = cov.copy(), 1.0
    for i, variance in enumerate(np.diag(cov)):
        pivot = left[i, i]
        if pivot != 0:
            condition = max(condition, float(variance / pivot))
            left = left - np.outer(left[:, i], left[i] / pivot)
    return condition


def history(system, ys, observed):
    """Condition on the observed entries of ys, one after another."""
    joint = prior_joint(system)
    joints, terms, ranks, condition = [joint], [], [], 1.0
    before = joint.cov
    for t, (y, seen) in enumerate(zip(ys, observed, strict=True), 1):
        term, rank = 0.0, 0
        for index, value in zip(joint.y(t)[seen], y[seen], strict=True):
            left = joint.cov[index, index]
            if left != 0:
                condition = max(condition, float(abs(before[index, index] / left)))
            joint, score, counts = joint.given(index, value)
            term, rank = term + score, rank + counts
        joints.append(joint)
        terms.append(term)
        ranks.append(rank)
    return History(joints, np.array(terms), np.array(ranks), condition)
