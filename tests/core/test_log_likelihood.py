"""The log-likelihood of a record is the sum over the steps of a run, without keeping estimates."""

import jax
import numpy as np
import pytest
from support.table import case

import kfjax as kf


@pytest.mark.parametrize("name", ["kalman", "unscented", "gated"])
@pytest.mark.parametrize("length", [None, 4])
def test_it_is_the_sum_over_the_steps_of_a_run(name, length):
    c = case(name)
    options = {"us": c.us, "observed": c.observed, "length": length}
    steps = kf.run(c.filter, c.params, c.ys, **options).outputs.log_likelihood
    total = kf.log_likelihood(c.filter, c.params, c.ys, **options)
    assert total.shape == ()
    np.testing.assert_allclose(total, steps.sum(), rtol=1e-6)


def test_it_goes_on_from_a_state_and_takes_a_key():
    c = case("kalman")
    first = kf.run(c.filter, c.params, c.ys[:3])
    parts = first.outputs.log_likelihood.sum()
    parts += kf.log_likelihood(c.filter, c.params, c.ys[3:], state=first.final)
    np.testing.assert_allclose(parts, kf.log_likelihood(c.filter, c.params, c.ys), rtol=1e-5)
    drawn = case("particle")
    key = jax.random.key(0)
    total = kf.log_likelihood(drawn.filter, drawn.params, drawn.ys, us=drawn.us, key=key)
    assert np.isfinite(total)


def test_it_keeps_no_covariances():
    c = case("kalman")
    steps, n = c.ys.shape[0], c.params.n
    jaxpr = jax.make_jaxpr(lambda ys: kf.log_likelihood(c.filter, c.params, ys))(c.ys)
    assert f"[{steps},{n},{n}]" not in str(jaxpr)


def test_a_filter_without_a_likelihood_is_refused():
    model = case("kalman").params
    params = kf.ConstantGainParams(model, kf.steady_state(model).gain)
    with pytest.raises(ValueError, match=r"log_likelihood: constant_gain\(\) gives no log-like"):
        kf.log_likelihood(kf.constant_gain(), params, case("kalman").ys)
