"""Arguments of structural models that used to be taken in silence, or failed obscurely."""

import jax
import numpy as np
import pytest

import kfjax as kf
from kfjax import structural as st

COVARIANCE = np.array([[1.0, 0.8], [0.8, 1.0]])
DAY = "2024-01-01"
MODEL = st.level(0.3) + st.cycle(9.0, damping=0.9) + st.irregular(0.2)


def likelihood(model, us=None):
    return kf.log_likelihood(kf.exact_diffuse(), model, np.ones((6, 1)), us=us)


MISUSE = {
    "noise alone": (lambda: likelihood(st.irregular()), "'irregular', which has no states"),
    "a covariance as a factor": (lambda: st.level(COVARIANCE), "entries above its diagonal"),
    "factors of one name": (
        lambda: st.matern(0.5) * st.matern(1.5),
        "both factors hold a kernel called 'matern'",
    ),
    "a factor twice in a product": (
        lambda: st.matern(name="a") * st.periodic(7.0) * st.matern(name="a"),
        "both factors hold a kernel called 'a'",
    ),
    "one array for two": (
        lambda: likelihood(st.level(dt=None) + st.regression(name="x"), np.ones(6)),
        "level and x read different inputs, and u is .*; expected us={'dt': ..., 'x': ...}",
    ),
    "negative": (lambda: MODEL.with_parameters({"level.std": -1.0}), "expected positive numbers"),
    "NaN": (lambda: MODEL.with_parameters({"level.std": np.nan}), "level.std has NaN"),
    "above one": (lambda: MODEL.with_parameters({"cycle.damping": 1.2}), "between 0 and 1"),
    "no value": (lambda: MODEL.with_parameters({"level.std": None}), "level.std is None"),
    "no dict": (lambda: MODEL.with_parameters([1.0]), "values is a list"),
    "no coefficients": (lambda: st.autoregression([]), "autoregression: coefficients have shape"),
    "a number": (lambda: st.autoregression(0.5), "autoregression: coefficients have shape"),
    "empty name": (lambda: st.autoregression([0.5], name=""), "autoregression: name is ''"),
    "no components": (lambda: type(MODEL)(()), "components is empty"),
    "an array": (lambda: type(MODEL)(np.ones(3)), "components is ndarray"),
    "first": (lambda: type(MODEL)(MODEL.components, first="x"), "Structural: first is 'x'"),
    "mask": (
        lambda: st.check_record(MODEL, np.ones((6, 1)), observed=np.ones(3, bool)),
        r"observed has shape \(3,\)",
    ),
    "no day": (lambda: st.holidays([DAY, "NaT"], {"new year": [DAY]}), r"stamps\[1\] is not a day"),
}


@pytest.mark.parametrize("name", MISUSE)
def test_misuse_raises(name):
    call, text = MISUSE[name]
    with pytest.raises(ValueError, match=text):
        call()


def test_products_of_three_kernels_have_kinds_and_ranges():
    product = st.matern(0.5, 2.0, name="a") * st.periodic(7.0) * st.matern(1.5, 3.0, name="b")
    assert set(product.kinds.values()) == {"positive"}
    assert sorted(product.bounds) == sorted(product.parameters)
    assert all(isinstance(value, jax.Array) for value in product.parameters.values())
    name = "a*periodic*b.a*periodic.periodic.period"
    changed = product.with_parameters({name: 9.0}).parameters
    assert [key for key in changed if changed[key] != product.parameters[key]] == [name]


@pytest.mark.parametrize("waves", [range(1, 3), np.array([1, 2]), [2, 1]])
def test_waves_in_any_sequence(waves):
    assert st.seasonal(12, harmonics=waves).n == 4


SUM = st.trend(1.0, 0.1) + st.regression(2, name="price") + st.irregular(1.0)
BELIEFS = kf.Gaussian(np.ones((5, 4)), np.tile(np.eye(4), (5, 1, 1)))
INPUTS = np.ones((5, 2))


def test_decompose_names_missing_inputs_and_the_components_there_are():
    with pytest.raises(
        ValueError, match=r"decompose: us is None.* expected us=\{'price': \.\.\.\}"
    ):
        st.decompose(SUM, BELIEFS)
    with pytest.raises(ValueError, match=r"decompose: us has prise; expected .*price"):
        st.decompose(SUM, BELIEFS, us={"prise": INPUTS})
    parts = st.decompose(SUM, BELIEFS, us={"price": INPUTS})
    np.testing.assert_allclose(jax.tree.map(np.asarray, parts)["price"].mean, 2.0)
    with pytest.raises(KeyError, match=r"'level'; expected one of price, trend.*\['trend'\]"):
        parts["level"]


AHEAD = {
    "another name": ({"us": {"x": INPUTS}}, "us is a dict of x; expected a dict of price"),
    "a shape": ({"us": {"price": INPUTS[:, 0]}}, r"shape \(5,\); expected \[K, 2\]"),
    "a count": ({"us": {"price": INPUTS}, "steps": 4}, "steps is 4, and us has 5"),
    "none": ({"steps": 3}, "those of 3 of 3 later steps are not known"),
}


@pytest.mark.parametrize("name", AHEAD)
def test_forecasts_say_which_inputs_they_need(name):
    arguments, text = AHEAD[name]
    data = kf.Dataset(np.ones((1, 5, 1)), us={"price": INPUTS[None]})
    with pytest.raises(ValueError, match=f"forecast_series: .*{text}"):
        kf.evaluation.forecast_series(kf.exact_diffuse(), SUM, data, **arguments)
