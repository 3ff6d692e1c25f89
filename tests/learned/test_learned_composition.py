"""Filters made of learned filters: an untrained corrected gain is the extended filter, inside every
combinator, too.
"""

import chex
import jax
import numpy as np
import pytest
from support.table import MODELS, Case, run

import kfjax as kf

COMBINATORS = {
    "gated": lambda inner: kf.gated(inner, 0.3),
    "fading": lambda inner: kf.fading(inner, 1.1),
    "schmidt": lambda inner: kf.schmidt(inner, (1,)),
    "fallback": kf.fallback,
    "student_t": kf.student_t,
    "huber": lambda inner: kf.huber(inner, 0.5),
    "adaptive": kf.adaptive,
}


def estimates(method, params):
    problem = MODELS["pendulum"]()
    return run(Case(method, params, problem.ys, None, problem.observed)).outputs[0]


@pytest.mark.parametrize("combinator", COMBINATORS)
def test_around_an_untrained_gain_is_around_the_extended_filter(x64, combinator):
    combine, model = COMBINATORS[combinator], MODELS["pendulum"]().model
    gain = kf.learned.corrected_gain(2, 2, hidden=4)
    params = kf.learned.init_params(jax.random.key(0), gain, model)
    expected = estimates(combine(kf.extended()), model)
    chex.assert_trees_all_close(estimates(combine(gain), params), expected, rtol=1e-8, atol=1e-10)
    if combinator != "fallback":  # which has nothing to do here
        assert np.abs(expected.mean - estimates(kf.extended(), model).mean).max() > 1e-6


def test_members_of_an_imm(x64):
    model = MODELS["pendulum"]().model
    gain = kf.learned.corrected_gain(2, 2, hidden=4)
    params = kf.learned.init_params(jax.random.key(0), gain, model)
    chain = [[0.9, 0.1], [0.2, 0.8]], [0.6, 0.4]
    busy = model.replace(Q=4 * model.Q)
    mixed = estimates(kf.imm((gain, kf.extended())), kf.IMMParams((params, busy), *chain))
    expected = estimates(
        kf.imm((kf.extended(), kf.extended())), kf.IMMParams((model, busy), *chain)
    )
    chex.assert_trees_all_close(mixed, expected, rtol=1e-8, atol=1e-10)
