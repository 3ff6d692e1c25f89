"""Options of XLA are set before JAX starts, or not at all."""

import subprocess
import sys

import jax
import pytest

import kfjax as kf

PROGRAM = """
import kfjax as kf
print(kf.set_xla_options())
import jax
model = kf.systems.constant_velocity()
ys = kf.simulate(jax.random.key(0), model, steps=20)[1]
print(kf.run(kf.kalman(), model, ys).outputs.mean.shape)
"""


def run(flags):
    environment = {"PATH": "", "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.splitlines() or done.stderr


def test_they_are_added_to_what_the_environment_says_and_jax_takes_them():
    given = "--xla_backend_extra_options=xla_cpu_small_while_loop_byte_threshold=90000"
    flags, shape = run(given)
    # JAX 0.11 has one code generator, and ends the process if the option to choose it is given
    emitters = ["--xla_cpu_use_fusion_emitters=false"] if jax.__version_info__ < (0, 11) else []
    assert flags.split() == [given, *emitters]
    assert shape == "(20, 2)"


def test_a_harmful_combination_is_refused():
    assert "expected no xla_cpu_use_multi_output_fusion" in run(
        "--xla_backend_extra_options=xla_cpu_use_multi_output_fusion=true"
    )


def test_it_is_too_late_once_jax_has_started():
    kf.systems.constant_velocity()
    with pytest.raises(ValueError, match="JAX has started"):
        kf.set_xla_options()
