"""An exception in a function of a model keeps its type and line; a note names the remedy."""

import math
import re
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

import kfjax as kf

T = 4
KEY = jax.random.key(0)
TABLE = np.arange(8.0)


def in_place(x, u):
    x[0] = 1.0  # the line of the error
    return x


def branching(x, u):
    if x[0] > 0:  # the line of the error
        return x
    return -x


def looks_up(x, u):
    return x * TABLE[x[0].astype(int)]  # the line of the error


def of_wrong_size(x, u):
    return jnp.ones((3, 5)) @ x  # the line of the error


def reads_input(x, u):
    return x + 0.1 * u[0]  # the line of the error


def forgets(x):
    """Return nothing, by mistake."""


def uses_what_is_forgotten(x, u):
    return forgets(x) + x  # the line of the error


class Mistake(NamedTuple):
    """A wrong function, the type of its error, and the expected text of the note."""

    fn: Callable
    error: type[Exception]
    cure: str


MISTAKES = {
    "numpy": Mistake(
        lambda x, u: np.sin(x),  # the line of the error
        jax.errors.TracerArrayConversionError,
        r"Use jnp \(jax\.numpy\) instead of np",
    ),
    "if": Mistake(
        branching, jax.errors.TracerBoolConversionError, r"jnp\.where\(condition, a, b\)"
    ),
    "math": Mistake(
        lambda x, u: x * math.sin(x[0]),  # the line of the error
        jax.errors.ConcretizationTypeError,
        "jnp instead of math",
    ),
    "a table of numpy": Mistake(
        looks_up, jax.errors.TracerArrayConversionError, r"jnp \(jax\.numpy\)"
    ),
    "assignment": Mistake(in_place, TypeError, r"x = x\.at\[i\]\.set\(value\)"),
    "without inputs": Mistake(reads_input, TypeError, r"there are no inputs: pass us="),
    "a shape": Mistake(of_wrong_size, TypeError, r"x of shape \(2,\), u None\.$"),
    "None that is no input": Mistake(uses_what_is_forgotten, TypeError, r"u None\.$"),
    "arity": Mistake(lambda x: x, TypeError, r"called with \(x, u\): write def f\(x, u\)\."),
}


def model_with(**functions: Any) -> kf.StateSpaceModel:
    fields = {"f": lambda x, u: x, "h": lambda x, u: x, "Q": np.eye(2), "R": np.eye(2)}
    return kf.StateSpaceModel(**fields | functions, prior=(np.zeros(2), np.eye(2)))


def run(model, **options):
    return kf.run(kf.unscented(), model, np.zeros((T, 2)), **options)


def assert_note(error: Exception, text: str) -> None:
    """Raise unless there is one note, with a text, and the traceback has the user's line."""
    ours = [note for note in error.__notes__ if note.startswith("kfjax: ")]  # JAX adds another
    assert len(ours) == 1
    assert re.search(text, ours[0]), ours[0]


@pytest.mark.parametrize("name", MISTAKES)
def test_the_error_keeps_its_type_and_its_line_and_says_the_cure(name):
    mistake = MISTAKES[name]
    with pytest.raises(mistake.error) as caught:
        run(model_with(f=mistake.fn))
    assert type(caught.value) is mistake.error
    assert_note(caught.value, rf"^kfjax: this error is from f of the model, .*{mistake.cure}")
    if name != "arity":  # that error is in the call
        lines = [frame.line for frame in traceback.extract_tb(caught.value.__traceback__)]
        assert any("# the line of the error" in line for line in lines)


@pytest.mark.parametrize("name", ["f", "h", "Q", "R"])
def test_the_note_says_which_function_of_the_model_it_is(name):
    with pytest.raises(jax.errors.TracerArrayConversionError) as caught:
        run(model_with(**{name: lambda x, u: np.outer(x, x) + np.eye(2)}))
    assert_note(caught.value, rf"from {name} of the model, .*<lambda>, .* instead of np")


SENSORS = {"a": kf.Sensor(kf.Linear(np.eye(2)), np.eye(2)), "b": kf.Sensor(branching, np.eye(2))}

PLACES = {  # every function that evaluates a model
    "simulate": lambda model: kf.simulate(KEY, model, T),
    "step": lambda model: kf.step(kf.extended(), model, model.prior, np.zeros(2)),
    "forecast": lambda model: kf.forecast(kf.extended(), model, model.prior, steps=2),
    "smooth": lambda model: kf.smooth(
        kf.extended(), model, kf.Gaussian(np.zeros((T, 2)), np.zeros((T, 2, 2)))
    ),
    "predicted": lambda model: kf.predicted(
        kf.extended(), model, kf.Gaussian(np.zeros((T, 2)), np.zeros((T, 2, 2)))
    ),
    "parallel_iterated_smooth": lambda model: kf.parallel_iterated_smooth(model, np.zeros((T, 2))),
    "sample_posterior": lambda model: kf.sample_posterior(
        KEY, kf.extended(), model, kf.Gaussian(np.zeros((T, 2)), np.zeros((T, 2, 2)))
    ),
    "imm": lambda model: kf.run(
        kf.imm((kf.extended(),)), kf.IMMParams((model,), [[1.0]], [1.0]), np.zeros((T, 2))
    ),
    "particle": lambda model: kf.run(kf.particle(8), model, np.zeros((T, 2)), key=KEY),
    "ensemble": lambda model: kf.run(kf.ensemble(8), model, np.zeros((T, 2)), key=KEY),
    "square_root": lambda model: kf.run(
        kf.square_root(kf.moments.Taylor()), model, np.zeros((T, 2))
    ),
    "sequential": lambda model: kf.run(
        kf.sequential(kf.extended()),
        kf.Sensors(model.f, model.Q, model.prior, SENSORS),
        {"a": np.zeros((T, 2)), "b": np.zeros((T, 2))},
    ),
    "monte_carlo": lambda model: kf.monte_carlo(
        KEY, model, kf.extended(), model, trials=2, steps=2
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_every_function_that_evaluates_a_model_says_so(place):
    model = model_with(f=branching)
    with pytest.raises(jax.errors.TracerBoolConversionError) as caught:
        PLACES[place](model)
    assert_note(caught.value, r"from f of the model, branching, .*jnp\.where")


def test_a_density_of_observations_is_named():
    model = model_with()
    model = model.replace(observation_log_density=lambda x, y, u, observed: np.sin(x)[0])
    with pytest.raises(jax.errors.TracerArrayConversionError) as caught:
        kf.run(kf.particle(8), model, np.zeros((T, 2)), key=KEY)
    assert_note(caught.value, "from observation_log_density of the model, .*instead of np")


def test_matrices_that_are_functions_of_the_input_are_named():
    model = model_with(f=kf.Linear(lambda u: jnp.eye(2) * u["dt"]))
    with pytest.raises(TypeError, match="NoneType") as caught:
        run(model)
    assert_note(caught.value, r"from f of the model, .*called with .*pass us=")
    with pytest.raises(KeyError) as caught:
        run(model, us={"time": np.zeros(T)})
    assert_note(caught.value, r"u of shapes \{'time': \(\)\}")


def test_a_function_without_a_return_is_told_so():
    with pytest.raises(ValueError, match=r"run: f returns None; expected an array\. .*return\?"):
        run(model_with(f=lambda x, u: None))


def test_inputs_that_nothing_reads_are_spoken_of():
    us = np.ones((T, 1))
    with pytest.warns(UserWarning, match=r"run: us is given, but none of f, h, Q and R reads u"):
        run(model_with(), us=us)
    with pytest.warns(UserWarning, match="step: us is given"):
        kf.step(kf.unscented(), model_with(), model_with().prior, np.zeros(2), u=us[0])
    run(model_with(f=reads_input), us=us)
    run(model_with(R=lambda x, u: u[0] * jnp.eye(2)), us=us)
    run(model_with(f=Partial(lambda theta, x, u: x + theta @ u, jnp.ones((2, 1)))), us=us)
    both = {"used": us, "unused": us}  # as a table may have more columns than a model needs
    run(model_with(h=lambda x, u: x + u["used"]), us=both)


def test_inputs_that_only_the_filter_reads_are_not():
    def update(params, state, y, u=None, observed=None):
        return kf.unscented().update(params, state, y + u, None, observed)

    reading = kf.unscented()._replace(update=update)
    kf.run(reading, model_with(), np.zeros((T, 2)), us=np.ones((T, 1)))
