"""Shared parts of the tests of combinators."""

import numpy as np
from support.table import MODELS, Case

import kfjax as kf

tight = {"rtol": 1e-9, "atol": 1e-11}


def case(method, model="linear", params=lambda model: model):
    problem = MODELS[model]()
    return Case(method, params(problem.model), problem.ys, problem.us, problem.observed)


def changed(array, at, value):
    """A copy with some entries changed."""
    array = np.array(array)
    array[at] = value
    return array


def plain(info):
    """An Info without the reports of combinators."""
    return info._replace(extra=None)


def single(**changes):
    """One linear observation: a belief, F, H, Q, R and a y that is an outlier, in numpy."""
    values = {
        "m": np.array([0.3, -0.2]),
        "P": np.array([[0.5, 0.2], [0.2, 0.4]]),
        "F": np.array([[1.0, 0.4], [0.0, 0.9]]),
        "H": np.array([[1.0, 0.3], [0.2, 1.0]]),
        "Q": np.array([[0.2, 0.05], [0.05, 0.1]]),
        "R": np.array([[0.3, 0.1], [0.1, 0.2]]),
        "y": np.array([4.0, -0.5]),
    }
    return tuple((values | changes)[name] for name in ("m", "P", "F", "H", "Q", "R", "y"))


def model_of(m, P, F, H, Q, R):
    return kf.linear_gaussian(F, H, Q, R, kf.Gaussian(m, P))


def conditioned(m, P, H, R, y):
    K = P @ H.T @ np.linalg.inv(H @ P @ H.T + R)
    return m + K @ (y - H @ m), P - K @ H @ P
