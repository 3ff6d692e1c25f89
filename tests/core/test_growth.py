"""Memory of a long process: objects and programs of past models are released."""

import gc
import subprocess
import sys
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.programs import forget_programs

import kfjax as kf
from kfjax import runner
from kfjax._support import compiling, constructors

GROWTH = """
import gc
import jax.numpy as jnp
import numpy as np
import kfjax as kf

def megabytes():
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20

def anew(i):
    def f(x, u):
        return (0.9 + 1e-4 * i) * x

    def h(x, u):
        return x[:1]

    model = kf.StateSpaceModel(f, h, jnp.eye(2), jnp.eye(1), kf.Gaussian(jnp.zeros(2), jnp.eye(2)))
    filter = kf.gated(kf.extended(), probability=0.9 + 1e-4 * i)
    return kf.run(filter, model, np.zeros((20, 1))).outputs.mean.block_until_ready()

def streamed(steps):
    model = kf.systems.constant_velocity()
    state = kf.kalman().init(model)
    for i in range(steps):
        state, _ = kf.step(kf.kalman(), model, state, np.array([float(i % 7)], np.float32))
"""


def grown(script):
    """Run a script in its own process; return the megabytes that it prints."""
    run = subprocess.run(
        [sys.executable, "-c", GROWTH + script], capture_output=True, text=True, check=True
    )
    return float(run.stdout)


@pytest.mark.slow
def test_memory_is_flat_over_models_built_anew():
    """From 100 models on, when the number of kept programs has reached its limit."""
    assert (
        grown(
            "for i in range(100): anew(i)\n"
            "before = megabytes()\n"
            "for i in range(100, 500): anew(i)\n"
            "print(megabytes() - before)"
        )
        < 60
    )  # it was 1400


@pytest.mark.slow
def test_memory_is_flat_over_a_million_streamed_steps():
    assert (
        grown(
            "streamed(1000)\nbefore = megabytes()\nstreamed(1_000_000)\nprint(megabytes() - before)"
        )
        < 10
    )


def test_nothing_is_kept_of_streamed_steps():
    model, kalman = kf.systems.constant_velocity(), kf.kalman()
    state = kalman.init(model)

    def objects(steps):
        nonlocal state
        for i in range(steps):
            state, _ = kf.step(kalman, model, state, np.array([float(i % 7)], np.float32))
        gc.collect()
        return len(gc.get_objects())

    before = objects(100)
    assert objects(2000) - before < 100


def model_of(function):
    prior = kf.Gaussian(jnp.zeros(2), jnp.eye(2))
    return kf.StateSpaceModel(function, lambda x, u: x[:1], jnp.eye(2), jnp.eye(1), prior)


def test_programs_of_past_models_are_let_go(monkeypatch):
    monkeypatch.setattr(compiling, "PROGRAMS", 3)
    forget_programs(runner._run)
    for _ in range(8):
        model = model_of(lambda x, u: 0.5 * x)
        kf.run(kf.extended(), model, np.zeros((4, 1))).final.mean.block_until_ready()
        assert runner._run._jitted._cache_size() <= 3


class Traced:
    """A function of static values that counts how often each is traced."""

    def __init__(self):
        self.counts = {}

    def __call__(self, static, x):
        self.counts[static] = self.counts.get(static, 0) + 1
        return x + static


@pytest.mark.parametrize("count", [6, 15])
def test_programs_in_use_are_compiled_once_more_at_most(monkeypatch, count):
    monkeypatch.setattr(compiling, "PROGRAMS", 4)
    traced = Traced()
    jitted = compiling.jit(traced, static_argnums=0)
    for _ in range(5):
        for static in range(count):  # more than the limit, all of them in use
            assert jitted(static, jnp.float32(1)) == 1 + static
    assert max(traced.counts.values()) == 2


def test_programs_that_come_anew_do_not_raise_the_limit(monkeypatch):
    monkeypatch.setattr(compiling, "PROGRAMS", 4)
    traced = Traced()
    jitted = compiling.jit(traced, static_argnums=0)
    for static in range(100):
        jitted(static, jnp.float32(1))
        jitted(-1, jnp.float32(1))  # one that stays
        assert len(jitted.programs.present) <= 4
        assert jitted.programs.limit == 4
    assert traced.counts[-1] < 100 / 3


def test_programs_of_an_outer_program_are_bounded_too(monkeypatch):
    monkeypatch.setattr(compiling, "PROGRAMS", 4)
    jitted = compiling.jit(Traced(), static_argnums=0)

    @jax.jit
    def outer(x):
        return sum(jitted(static, x) for static in range(20))

    assert outer(jnp.float32(1)) == 20 + sum(range(20))
    assert len(jitted.programs.present) <= 4


def test_filters_are_kept_up_to_a_number(monkeypatch):
    monkeypatch.setattr(constructors, "KEPT", 10)

    @kf.constructor
    def shifted(filter, by):
        def update(params, state, y, u=None, observed=None):
            return filter.update(params, state, y + by, u, observed)

        return filter._replace(update=update)

    first = weakref.ref(shifted(kf.extended(), 0).update)
    for by in range(1, 10):
        assert shifted(kf.extended(), by) is shifted(kf.extended(), by)
    assert shifted(kf.extended(), 0).update is first()
    for by in range(10, 30):
        shifted(filter=kf.extended(), by=by)
    gc.collect()
    assert first() is None
    assert str(shifted(kf.extended(), 29)) == "shifted(extended(), 29)"
    assert shifted(kf.extended(), 29) == shifted(kf.extended(), by=29)
