"""Auxiliary residuals: the Nile as in other software, gaps, and what has no disturbance."""

import numpy as np
import pytest
from support.nile import NILE

import kfjax as kf
from kfjax import structural as st

EXACT = kf.exact_diffuse()


def nile_model():
    """The variances of Durbin and Koopman (2012), section 2.10."""
    return st.level(1469.1**0.5) + st.irregular(15099.0**0.5)


def test_the_nile_has_an_outlier_in_1913_and_a_break_in_1899(x64):
    """Durbin and Koopman (2012), figure 2.8; numbers of statsmodels 0.15, use_exact_diffuse."""
    found = kf.evaluation.auxiliary_residuals(EXACT, nile_model(), NILE)
    (outlier,) = found.outliers()
    assert (1871 + outlier.step, outlier.name) == (1913, "channel 1")
    assert outlier.residual == pytest.approx(-3.039023554210933, abs=1e-9)
    (jump,) = found.breaks()
    assert (1871 + jump.step, jump.name) == (1899, "level")
    assert jump.residual == pytest.approx(-3.2337137374416423, abs=1e-9)
    assert [one.step for one in found.breaks(2.5)] == [28, 26, 27]
    assert np.isnan(found.state[0]).all()  # the prior is about the first step


def test_gaps_have_no_residual_and_the_others_are_standard_normal(x64):
    truth = st.level(1.0) + st.irregular(2.0)
    draws = np.random.default_rng(0)
    ys = draws.normal(size=(100, 1)).cumsum(0) + 2 * draws.normal(size=(100, 1))
    ys[40:45] = np.nan
    found = kf.evaluation.auxiliary_residuals(EXACT, truth, ys)
    missing = np.isnan(found.observation[:, 0])
    assert np.flatnonzero(missing).tolist() == list(range(40, 45))
    assert 0.7 < np.nanstd(found.observation) < 1.3
    assert 0.7 < np.nanstd(found.state) < 1.3
    with pytest.raises(ValueError, match="threshold is 0"):
        found.outliers(0)


def test_a_model_that_is_not_linear_is_refused():
    with pytest.raises(ValueError, match="expected a StateSpaceModel whose f and h"):
        kf.evaluation.auxiliary_residuals(kf.extended(), kf.systems.lorenz(), np.zeros((5, 3)))
