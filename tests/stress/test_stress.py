"""Hard linear problems in float32: covariances stay definite, and likelihoods are accurate.

docs/methods/float32-stress.md has the figures.
"""

import jax
import numpy as np
import pytest
from support.stress_cases import (
    CASES,
    CONSTANT_ACCELERATION,
    LARGE,
    a_million_steps,
    log_likelihood,
    reference,
)
from support.stress_methods import METHODS, likelihood_only, put, visible

import kfjax as kf

RELATIVE = 1e-4
WITHIN = dict(zip(CONSTANT_ACCELERATION, (0.5, 2.0), strict=True))

# the parallel form of the large cases takes long to compile: its figures are in the table
RUNS = [
    (case, method)
    for case in CASES
    for method in METHODS
    if not (case in LARGE and method == "parallel")
]


@pytest.mark.parametrize(("case", "method"), RUNS)
def test_float32_keeps_the_likelihood_and_definite_covariances(case, method):
    expected, result = reference(case), put(method, CASES[case]())
    assert abs(result.log_likelihood - expected) <= RELATIVE * abs(expected)
    assert (
        result.lowest > 0
    )  # more than asked of the covariance form, where rounding may take eps of the prediction
    assert result.pivot is None or result.pivot > 0
    if case in WITHIN:
        assert abs(result.log_likelihood - CONSTANT_ACCELERATION[case][2]) <= WITHIN[case]


@pytest.mark.parametrize("case", CONSTANT_ACCELERATION)
def test_the_constant_acceleration_records_have_the_likelihood_of_the_reference(case):
    assert (
        abs(reference(case) - CONSTANT_ACCELERATION[case][2]) < 0.02
    )  # the record is rounded to float32


def test_a_million_steps():
    case = a_million_steps()

    def run(steps):
        return np.asarray(
            kf.run(kf.kalman(), visible(case), case.ys[:steps], emit=likelihood_only).outputs,
            np.float64,
        )

    narrow = run(None)
    with jax.enable_x64(True):
        wide = run(None)
    start = log_likelihood(case._replace(ys=case.ys[:500], observed=case.observed[:500]))
    np.testing.assert_allclose(wide[:500].sum(), start, rtol=1e-12)
    assert abs(narrow.sum() - wide.sum()) <= 1e-7 * abs(wide.sum())
