"""Fingerprints of runs: functions are identified by their code and the values that they hold."""

import dataclasses
import functools
import json
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.tree_util import Partial

import kfjax as kf
from kfjax._support.fingerprints import differences, fingerprint, identity

RUN = """
import json, sys
sys.path.insert(0, sys.argv[1])
from test_fingerprints import examples
from kfjax._support.fingerprints import identity
print(json.dumps(identity(**examples())))
"""


def defined(source, **names):
    """Run the source of a separate module; return its function `f`."""
    module = types.ModuleType("somebodys_module")
    exec(compile(source, "/home/somebody/module.py", "exec"), vars(module) | names)
    space = {"__name__": "somebodys_module"} | names
    exec(compile(source, "/home/somebody/module.py", "exec"), space)
    return space["f"]


def scaled(by):
    def f(x):
        return by * x

    return f


@dataclasses.dataclass(frozen=True)
class Scale:
    by: float

    def __call__(self, x):
        return self.by * x

    def method(self, x):
        return self.by * x


class Plain:
    def __init__(self, by):
        self.by = by

    def __call__(self, x):
        return self.by * x


class Named(NamedTuple):
    by: float

    def __call__(self, x):
        return self.by * x


def two(x, by):
    return by * x


HELPER = "def g(x):\n    return {} * x\ndef f(x):\n    return g(x)"

DIFFERENT = {
    "constant": [defined("def f(x): return 2 * x"), defined("def f(x): return 3 * x")],
    "code": [defined("def f(x): return x + x"), defined("def f(x): return x * x")],
    "name that is called": [
        defined("def f(x): return x.sin()"),
        defined("def f(x): return x.cos()"),
    ],
    "inner function": [
        defined("def f(x): return (lambda y: y + 1)(x)"),
        defined("def f(x): return (lambda y: y + 2)(x)"),
    ],
    "closure": [scaled(2.0), scaled(3.0)],
    "closure over an array": [scaled(jnp.ones(2)), scaled(jnp.array([1.0, 1.5]))],
    "default": [defined("def f(x, a=1): return a * x"), defined("def f(x, a=2): return a * x")],
    "default by keyword": [
        defined("def f(x, *, a=1): return a * x"),
        defined("def f(x, *, a=2): return a * x"),
    ],
    "helper": [defined(HELPER.format(2)), defined(HELPER.format(3))],
    "global constant": [
        defined("A = 2\ndef f(x): return A * x"),
        defined("A = 3\ndef f(x): return A * x"),
    ],
    "functools.partial": [functools.partial(two, by=2), functools.partial(two, by=3)],
    "Partial": [Partial(two, by=jnp.ones(1)), Partial(two, by=jnp.zeros(1))],
    "function of a Partial": [Partial(scaled(1.0)), Partial(scaled(2.0))],
    "bound method": [Scale(2.0).method, Scale(3.0).method],
    "dataclass": [Scale(2.0), Scale(3.0)],
    "object": [Plain(2.0), Plain(3.0)],
    "named tuple": [Named(2.0), Named(3.0)],
    "kinds of object": [Scale(2.0), Plain(2.0), Named(2.0), scaled(2.0)],
    "jitted": [jax.jit(scaled(2.0)), jax.jit(scaled(3.0))],
    "mapped": [jax.vmap(scaled(2.0)), jax.vmap(scaled(3.0))],
    "class": [
        defined("class F:\n    def __call__(self, x): return 2 * x\nf = F()"),
        defined("class F:\n    def __call__(self, x): return 3 * x\nf = F()"),
    ],
    "optimiser": [optax.adam(1e-3), optax.adam(2e-3), optax.adam(1e-3, b1=0.8), optax.sgd(1e-3)],
    "loss": [
        kf.training.state_mse(kf.extended()),
        kf.training.state_mse(kf.unscented()),
        kf.training.nll(kf.extended()),
        kf.training.nll(kf.extended(), floor=0.1),
    ],
    "filter": [kf.gated(kf.extended(), 0.9), kf.gated(kf.extended(), 0.8), kf.extended()],
    "array": [jnp.zeros(2), jnp.zeros(3), jnp.zeros(2, int), jnp.ones(2)],
    "number": [1, 1.0, True, "1", None],
    "container": [(1, 2), [1, 2], {"a": 1}, {"a": 2}, {"b": 1}, (2, 1)],
    "key": [jax.random.key(0), jax.random.key(1), jax.random.key(0, impl="rbg")],
}


@pytest.mark.parametrize("kind", DIFFERENT)
def test_what_differs_is_told_apart(kind):
    digests = [fingerprint(value) for value in DIFFERENT[kind]]
    assert len(set(digests)) == len(digests)
    assert digests == [fingerprint(value) for value in DIFFERENT[kind]]


def test_what_is_written_anew_or_elsewhere_is_the_same():
    comment = '# comment\n\ndef f(x):\n    """Twice."""\n    return 2 * x  # comment'
    other = 'def f(x):\n    """Two times."""\n    return 2 * x'
    assert fingerprint(defined(comment)) == fingerprint(defined(other))
    assert fingerprint(scaled(2.0)) == fingerprint(scaled(2.0))
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint(optax.adam(1e-3)) == fingerprint(optax.adam(1e-3))
    assert fingerprint(np.arange(3)) == fingerprint(np.arange(6)[:3])


def test_what_holds_itself_ends():
    def f(x):
        return f(x - 1) if x else 0

    assert fingerprint(f) == fingerprint(f)
    items = [1]
    items.append(items)
    assert fingerprint(items) != fingerprint([1])


def examples():
    """Values of every kind, without those of kfjax, whose functions the tests wrap in checks."""
    values = {name: values[0] for name, values in DIFFERENT.items()}
    names = frozenset({"a", "b", "c", "d", "e"})
    return values | {"loss": Partial(two), "filter": jax.nn.gelu, "names": names}


def test_every_process_finds_the_same():
    """It must not depend on the order of sets, which is random, or on memory addresses."""
    command = [sys.executable, "-c", RUN, str(Path(__file__).parent)]
    seed = os.environ | {"PYTHONHASHSEED": "1"}
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=seed)
    assert json.loads(run.stdout) == identity(**examples())


def test_what_differs_is_named():
    model = kf.systems.lorenz(observation="spherical", q_std=0.1, r_std=0.1)
    here = identity(params=model, updates=3, loss=scaled(2.0))
    for changed, names in (
        ({"params": model.replace(Q=2 * model.Q, h=scaled(1.0))}, "params.h, params.Q"),
        ({"updates": 4}, "updates"),
        ({"loss": two, "updates": 4, "params": model.R}, "params, updates, loss"),
    ):
        other = identity(**{"params": model, "updates": 3, "loss": scaled(2.0)} | changed)
        assert differences(other, here).startswith(names)
