"""What rounding, fusion and contraction by the compiler may not change: compiled as users do."""

import jax
import numpy as np
import pytest
from support.compiling import jit_as_users
from support.table import case

import kfjax as kf


@pytest.mark.parametrize("double", [False, True])
def test_covariances_equal_their_transposes_to_the_bit(double):
    with jax.enable_x64(double):
        c = case("kalman", "linear")

        def smoothed(params, ys):
            est = kf.run(c.filter, params, ys, observed=c.observed).outputs
            return est.cov, kf.smooth(c.filter, params, est).cov

        equal_their_transposes(jit_as_users(smoothed)(c.params, c.ys))


def test_a_covariance_of_angles_equals_its_transpose_to_the_bit():
    c = case("unscented", "heading")

    def innovation_covs(params):
        emit = lambda _, info: info.innovation_cov  # noqa: E731
        return kf.run(c.filter, params, c.ys, us=c.us, observed=c.observed, emit=emit).outputs

    equal_their_transposes([jit_as_users(innovation_covs)(c.params)])


def equal_their_transposes(covs):
    for cov in covs:
        np.testing.assert_array_equal(cov, cov.swapaxes(-1, -2))
