"""Under strict promotion of dtypes every filter traces, and so do its gradient and its smoother.

Promotion happens while tracing, so that nothing has to be compiled.
"""

import functools

import jax
import pytest
from support.table import FILTERS, case, first, score, whole_run

import kfjax as kf
from kfjax import learned

BY_FLAX = {"sequence_regressor"}  # Flax promotes float64 inside its layer normalisation
WITH_GRADIENT = ["unscented", "square_root_extended", "imm", "particle", "ensemble", "kalman_net_2"]


def traced(name, masked=False):
    """Return the dtype of the estimates of a run."""
    c = case(name)

    def run(ys, us, observed):
        return whole_run(c.filter, c.params, ys, us, observed, first(c))

    observed = c.observed if masked else None
    with jax.numpy_dtype_promotion("strict"):
        return jax.eval_shape(run, c.ys, c.us, observed).outputs[0].mean.dtype


@pytest.mark.parametrize("name", FILTERS)
def test_filters_trace_under_strict_promotion(name):
    assert traced(name) == "float32"
    assert traced(name, masked=True) == "float32"
    if name not in BY_FLAX:
        with jax.enable_x64(True):
            assert traced(name) == "float64"


@pytest.mark.parametrize("name", WITH_GRADIENT)
def test_gradients_trace_under_strict_promotion(name):
    c = case(name)
    with jax.numpy_dtype_promotion("strict"):
        gradient = jax.value_and_grad(functools.partial(score, c.filter))
        assert jax.eval_shape(gradient, c.params, c.ys, c.us, c.observed)[0].shape == ()


def test_a_run_under_strict_promotion():
    with jax.numpy_dtype_promotion("strict"):
        model = kf.systems.constant_velocity()
        _, ys = kf.simulate(jax.random.key(0), model, 5)
        est = kf.run(kf.kalman(), model, ys).outputs
        kf.smooth(kf.kalman(), model, est)
        kf.parallel_smooth(model, ys)
        kf.steady_state(model)
        net = learned.kalman_net(learned.Architecture2(2, 1, in_mult=1, out_mult=1))
        kf.run(net, learned.init_params(jax.random.key(1), net, model), ys)
