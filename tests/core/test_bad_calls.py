"""One bad argument at a time: a clear error or a right result, never an obscure error or NaN.

`python tools/bad_calls.py` makes every call of the table; here, hypothesis chooses some.
"""

import inspect

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.bad_calls import calls, outcome
from support.good_calls import GOOD, function_of

import kfjax as kf

# rows that compile or train for every call that succeeds
SLOW = ("compare", "monte_carlo", "parallel_iterated_smooth", "training.fit", "training.tune")
QUICK = [name for name in GOOD if name not in SLOW and not name.startswith("training.em")]


@pytest.mark.parametrize("name", GOOD)
def test_the_good_calls_fit_their_functions(name):
    inspect.signature(function_of(name)).bind(**GOOD[name]())


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(st.data())
def test_a_bad_argument_is_refused_or_harmless(data):
    name = data.draw(st.sampled_from(QUICK))
    spoilt = list(calls([name]))
    index = data.draw(st.integers(0, len(spoilt) - 1))
    bad, arguments = spoilt[index]
    kind, text = outcome(bad, arguments)
    assert kind in ("clear", "accepted"), f"{bad}: {kind}: {text}"


def test_nearly_all_bad_arguments_are_refused():
    counts = {"clear": 0, "accepted": 0}
    for bad, arguments in calls(["StateSpaceModel", "Dataset", "gated", "particle", "van_loan"]):
        counts[outcome(bad, arguments).kind] += 1
    assert counts["clear"] > 0.85 * sum(counts.values())


def test_public_functions_are_in_the_table_of_good_calls():
    """Of the package itself; a new function gets a row."""
    plain = {
        *("kalman", "cubature", "constant_gain", "set_xla_options"),  # without arguments
        *("estimate", "estimate_and_info", "whole_state", "lagged"),  # called by `run`
        *("constructor", "angles"),
    }
    functions = {name for name in kf.__all__ if inspect.isfunction(getattr(kf, name))}
    assert functions - plain <= {name.partition(" (")[0] for name in GOOD}
