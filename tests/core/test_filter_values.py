"""Filters as values: they print as they were made, are equal if made alike, and can be pickled."""

import copy
import pickle

import numpy as np
import pytest
from support import table
from support.programs import forget_programs
from support.table import FILTERS

import kfjax as kf
from kfjax import filters, learned, runner

NAMES = vars(learned) | vars(filters) | vars(kf.moments) | vars(kf) | vars(table)


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_prints_as_the_call_that_made_it(name):
    method = FILTERS[name].filter
    assert eval(repr(method), NAMES) == method


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_can_be_pickled_and_copied(name):
    method = FILTERS[name].filter
    assert pickle.loads(pickle.dumps(method)) is method
    assert copy.deepcopy(method) is method
    assert copy.copy(method) == method


def test_arguments_print_as_given():
    assert repr(kf.gated(kf.extended(), 0.999)) == "gated(extended(), 0.999)"
    assert repr(kf.gated(filter=kf.extended(), probability=0.999)) == "gated(filter=extended())"
    assert repr(kf.imm((kf.kalman(),))) == "imm((kalman(),))"
    assert repr(kf.gaussian_filter(kf.moments.Unscented(0.5))) == (
        "gaussian_filter(Unscented(alpha=0.5))"
    )
    assert repr(kf.constrained(kf.extended(), filters.truncated)) == (
        "constrained(extended(), truncated)"
    )


def test_equal_calls_give_equal_filters_and_equal_hashes():
    written = [kf.extended(), kf.extended(1), kf.gaussian_filter(kf.moments.Taylor())]
    assert [repr(method) for method in written] == [
        "extended()",
        "extended(1)",
        "gaussian_filter(Taylor())",
    ]
    assert len(set(written)) == 1
    assert kf.extended() is kf.extended()
    assert isinstance(kf.extended(), kf.Filter)
    assert kf.extended() == kf.Filter(*kf.extended())
    assert kf.extended() != kf.extended(2)


def test_a_filter_with_another_function_prints_as_a_plain_one():
    changed = kf.extended()._replace(rule=None)
    assert isinstance(changed, kf.Filter)
    assert repr(changed).startswith("Filter(init=<function")
    assert repr(changed) == repr(kf.Filter(*changed))
    assert kf.extended()._replace(rule=kf.extended().rule) == kf.extended()


def test_a_filter_that_was_loaded_does_not_compile_again():
    model = kf.systems.constant_velocity()
    ys = np.zeros((3, 1))
    forget_programs(runner._run)
    table.traces[0] = 0
    for method in (kf.kalman(), pickle.loads(pickle.dumps(kf.kalman())), copy.copy(kf.kalman())):
        kf.run(method, model, ys, emit=table.counted)
    assert table.traces[0] == 1


def test_constructors_of_other_values_work():
    optimizer = kf.training.clipped_adam(1e-2, clip=2.0)
    assert optimizer is kf.training.clipped_adam(1e-2, clip=2.0)
    assert repr(optimizer) == "clipped_adam(0.01, clip=2.0)"
    assert pickle.loads(pickle.dumps(optimizer)) is optimizer

    @kf.constructor
    def number(value: int = 1) -> int:
        return value

    assert number() == number(1) == 1
