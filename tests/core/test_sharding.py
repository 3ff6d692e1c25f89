"""Several devices and several processes give the results of one device."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.files import arrays_in

import kfjax as kf
from kfjax._support import sharding

SCRIPT = Path(__file__).parents[1] / "support" / "sharded.py"
EACH = {32: 1e-5, 64: 1e-12}  # per trajectory
SUMS = {32: 1e-4, 64: 1e-10}


def start(devices, *arguments):
    """Run the script with so many virtual devices."""
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
    paths = os.pathsep.join([str(Path(kf.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": paths}
    command = [sys.executable, SCRIPT, *map(str, arguments)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def free_port():
    with socket.socket() as tried:
        tried.bind(("localhost", 0))
        return tried.getsockname()[1]


def assert_same(wanted, found):
    """Hold all results of `found` to those of one device, relative to their size."""
    names = [name.removeprefix("all.") for name in found if name.startswith("all.")]
    assert len(names) > 10
    for name in names:
        bits = int(name[:2])
        tolerance = (EACH if "statistics" in name or "estimate" in name else SUMS)[bits]
        a, b = wanted[f"one.{name}"], found[f"all.{name}"]
        size = np.nanmean(np.abs(a.astype(float))) if np.isfinite(a).any() else 0.0
        np.testing.assert_allclose(b, a, rtol=tolerance, atol=tolerance * size, err_msg=name)


@pytest.mark.parametrize("how", ["quick", pytest.param("thorough", marks=pytest.mark.slow)])
def test_devices_and_processes_change_nothing(how, tmp_path):
    port = free_port()
    runs = [start(8, "devices", how, tmp_path / "devices.npz")]
    runs += [
        start(2, "processes", how, i, 2, port, tmp_path / f"process_{i}.npz") for i in range(2)
    ]
    for run in runs:
        text, _ = run.communicate(timeout=1500)
        assert run.returncode == 0, text
    devices, *processes = (
        arrays_in(tmp_path / f"{name}.npz") for name in ("devices", "process_0", "process_1")
    )
    for found in (devices, *processes):  # every process has all results
        assert_same(devices, found)


def test_one_device_notices_nothing():
    tree = {"a": jnp.ones(3), "key": jax.random.key(0)}
    devices = sharding.local_devices()
    assert sharding.everywhere(tree, devices) is tree
    assert sharding.gather_rows(tree) is tree
    assert sharding.home(tree) is tree
    assert sharding.whole(7) == 7

    def program(function):
        return str(jax.make_jaxpr(function)(jnp.ones((7, 2))))

    assert program(sharding.vmap(jnp.sin, (0,))) == program(jax.vmap(jnp.sin))
    assert program(lambda x: sharding.copied(sharding.split(x) + 1)) == program(lambda x: x + 1)
