"""One bad argument at a time: a clear error or a right result, never an obscure error or NaN.

`python tools/bad_calls.py` makes every call of the table; here, hypothesis chooses some.
"""

import inspect

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.bad_calls import calls, outcome
from support.good_calls import (
    GOOD,
    THROUGH,
    WITHOUT_ROW,
    function_of,
    public_callables,
    takes_arguments,
)

import kfjax as kf

# rows that compile or train for every call that succeeds
SLOW = ("compare", "monte_carlo", "parallel_iterated_smooth", "learned.adapt", "learned.refine")
SLOW += tuple(f"training.{name}" for name in ("em", "fit", "maximum", "tune", "distil", "diagnose"))
QUICK = [name for name in GOOD if not name.startswith(SLOW)]


@pytest.mark.parametrize("name", GOOD)
def test_the_good_calls_fit_their_functions(name):
    given = GOOD[name]()
    positional = given.pop("*terms", given.pop("*indices", ()))
    inspect.signature(function_of(name)).bind(*positional, **given)


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


def test_every_public_callable_has_a_row():
    needed = {name for name, value in public_callables() if takes_arguments(value)}
    rows = {name.partition(" (")[0] for name in GOOD}
    exempt = [name for names in WITHOUT_ROW.values() for name in names]
    assert needed - rows - set(exempt) == set(), "add a row in tests/support/good_calls*.py"
    assert rows <= dict(public_callables()).keys()
    assert len(exempt) == len(set(exempt) & needed - rows), "a reason for no row is out of date"


def test_reasons_to_let_nan_through_are_of_rows():
    through = [name for names in THROUGH.values() for name in names]
    assert len(through) == len(set(through) & GOOD.keys())


def test_a_new_public_callable_needs_a_row(monkeypatch):
    monkeypatch.setattr(kf.systems, "invented", lambda x: x, raising=False)
    monkeypatch.setattr(kf.systems, "__all__", [*kf.systems.__all__, "invented"])
    with pytest.raises(AssertionError, match=r"systems\.invented"):
        test_every_public_callable_has_a_row()
