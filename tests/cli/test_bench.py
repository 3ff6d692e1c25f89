"""The workloads of speed, the command that times them, and the page of the benchmarks."""

import functools
import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.compiling import quick_jit

import kfjax as kf
from benchmarks.speed import agreement, crossover, profiles, store, why
from benchmarks.speed.__main__ import HERE
from benchmarks.speed.measuring import checked
from benchmarks.speed.page import page
from benchmarks.speed.peers import contenders, plain_peer
from benchmarks.speed.peers.common import Contender, first, matrices
from benchmarks.speed.targets import TARGETS, Target, target_table
from kfjax._cli import bench as bench_command
from kfjax._cli.parser import main
from kfjax._cli.workloads import WORKLOADS, Outputs
from kfjax.evaluation import in_turn, pin, quartiles
from kfjax.linalg import sizes


@functools.cache
def problem_of(name, double=False):
    """The problem of a workload at its small size; `double` states the precision that is set."""
    del double
    workload = WORKLOADS[name]
    return quick_jit(lambda: workload.problem(workload.quick))()


@functools.cache
def outputs_of(name, double=False):
    workload = WORKLOADS[name]
    return quick_jit(workload.solve(workload.quick))(problem_of(name, double))


@pytest.mark.parametrize("name", ["W5", "W6", "ukf", "c3"])
def test_workloads_give_all_their_outputs(name):
    workload = WORKLOADS[name]
    size = workload.quick
    outputs = jax.eval_shape(workload.solve(size), jax.eval_shape(lambda: workload.problem(size)))
    batch = (size.batch,) if size.batch else ()
    assert outputs.mean.shape == (*batch, size.steps, size.n)
    assert (outputs.cov is None) == (outputs.log_likelihood is None) == (workload.kind == "C3")
    if outputs.cov is not None:
        assert outputs.cov.shape == (*batch, size.steps, size.n, size.n)
        assert outputs.log_likelihood.shape == (*batch, size.steps)
    assert (outputs.smoothed_cov is not None) == (workload.kind == "smoother")


def test_workloads_of_one_model_agree(x64):
    problem, own, shared = (
        problem_of("W2", double=True),
        outputs_of("W2", double=True),
        outputs_of("W2s", double=True),
    )
    both = outputs_of("W6", double=True)
    np.testing.assert_allclose(both.cov, own.cov, rtol=1e-10)
    np.testing.assert_allclose(both.smoothed_mean[:, -1], own.mean[:, -1], rtol=1e-10)
    assert not np.allclose(own.cov[0, 0], own.cov[1, 0], rtol=0.01)  # each has its own prior
    np.testing.assert_array_equal(shared.cov[0], shared.cov[1])
    one = problem._replace(ys=problem.ys[1], priors=jax.tree.map(lambda a: a[1], problem.priors))
    alone = quick_jit(WORKLOADS["W1"].solve(WORKLOADS["W1"].quick))(one)
    np.testing.assert_allclose(alone.log_likelihood, own.log_likelihood[1], rtol=1e-9)


def test_beliefs_that_other_libraries_start_from(x64):
    problem = problem_of("W2", double=True)
    F, _, Q, _ = matrices(problem)
    np.testing.assert_allclose(
        first(problem).cov, F @ np.asarray(problem.priors.cov) @ F.T + Q, rtol=1e-12
    )


def test_filters_of_the_attractor_agree():
    taylor, sigma = outputs_of("ekf"), outputs_of("ukf")
    spread = np.sqrt(np.diagonal(taylor.cov, axis1=-2, axis2=-1))
    assert np.abs(taylor.mean - sigma.mean).max() < spread.max()


def test_the_plain_scan_of_a_network_computes_the_same():
    outputs = outputs_of("c4")
    plain = plain_peer.CONTENDERS["C4"](problem_of("c4"), WORKLOADS["c4"].quick).call()
    assert agreement.agree("C4", "float32", agreement.differences("C4", outputs, plain))


def test_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        bench_command, "pin", lambda core: core
    )  # would stay for the tests that follow
    file = tmp_path / "bench.json"
    assert (
        main(
            [
                "bench",
                "--quick",
                "--workload",
                "W1,ekf",
                "--rounds",
                "2",
                "--core",
                "0",
                "--out",
                str(file),
            ]
        )
        == 0
    )
    document = json.loads(file.read_text())
    assert document["about"]["versions"]["jax"] == jax.__version__
    assert document["about"]["precision"] == "float32"
    assert set(document["rows"]) == {"W1", "ekf"}
    for row in document["rows"].values():
        assert 0 < row["wall_ms"]["minimum"] <= row["wall_ms"]["median"] <= row["wall_ms"]["upper"]
        assert row["compile_s"][0] > 0
    assert "Kalman filter, one long trajectory" in capsys.readouterr().out
    assert main(["bench", "--workload", "W77"]) == 2
    assert "W7" in capsys.readouterr().err


@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity"), reason="the system cannot keep a process on a core"
)
def test_pin():
    allowed = os.sched_getaffinity(0)
    try:
        assert pin() == max(allowed)
        assert os.sched_getaffinity(0) == {max(allowed)}
        with pytest.raises(ValueError, match="expected one of"):
            pin(10_000)
    finally:
        os.sched_setaffinity(0, allowed)


def test_timing_in_turn():
    order = []
    calls = {name: lambda name=name: order.append(name) or sum(range(300_000)) for name in "ab"}
    samples = in_turn(calls, 3)
    assert samples["a"].shape == (3, 2)
    assert order.index("b") < len(order) - order[::-1].index("a")  # b begins before a has ended
    assert quartiles(np.array([1.0, 2.0, 3.0]))["median"] == 2000
    assert len(in_turn({"slow": calls["a"]}, 5, budget=0.0)["slow"]) == 1


def test_only_what_agrees_is_timed():
    reference = Outputs(np.ones((2, 3, 1)), np.ones((2, 3, 1, 1)), np.ones((2, 3)))
    total = reference._replace(log_likelihood=np.full(2, 3.0))
    wrong = reference._replace(cov=np.full((2, 3, 1, 1), 1.1))
    broken = reference._replace(mean=np.full((2, 3, 1), np.nan))
    some = jax.tree.map(lambda a: a[:1], reference)

    def fails():
        raise RuntimeError("no such thing")

    answers = {"kfjax": reference, "total": total, "wrong": wrong, "broken": broken, "some": some}
    found = {name: Contender(lambda a=answer: a) for name, answer in answers.items()} | {
        "fails": Contender(fails)
    }
    skipped = {}
    rows, _ = checked("kalman", "float64", found, skipped)
    assert set(rows) == {"kfjax", "total", "some"}
    assert set(skipped) == {"wrong", "broken", "fails"}
    assert "no such thing" in skipped["fails"]


def test_libraries_that_are_missing_have_a_reason(monkeypatch):
    monkeypatch.setattr(
        "importlib.metadata.version", lambda name: (_ for _ in ()).throw(ImportError(name))
    )
    found, skipped = contenders(WORKLOADS["W2"], None, None, "float64")
    assert not found
    assert all(skipped[name] for name in ("dynamax", "smcjax", "pykalman"))


def test_targets_say_what_holds():
    def row(options, own, other):
        times = {"kfjax": own, "dynamax": other}
        found = {
            name: {"ms": dict.fromkeys(("median", "minimum"), ms)} for name, ms in times.items()
        }
        found["kfjax"]["compile_s"] = [9.0, 3.0]
        return {"workload": "W2", "precision": "float64", "options": options, "contenders": found}

    text = "\n".join(target_table([row("", 1.0, 3.2), row("loops", 1.0, 1.9)]))
    assert Target("W2", "float64", 3.0) in TARGETS
    assert "dynamax 3.20 | dynamax 3.20 | holds" in text
    assert "dynamax 1.90" not in text  # only rows with JAX's own options count
    assert "3.0 s | | **does not hold**" in text


def test_the_parts_of_a_profile_compute_what_they_say(x64):
    problem, whole = problem_of("W2", double=True), outputs_of("W2", double=True)
    subtracted = functools.partial(
        profiles.solve, kf.gaussian_filter(kf.moments.Taylor(), profiles.Subtracted()), False
    )
    np.testing.assert_allclose(quick_jit(subtracted)(problem).cov, whole.cov, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(quick_jit(profiles.only_means)(problem), whole.mean, rtol=1e-12)


def test_kernels_of_a_step_are_counted_where_they_are_called_one_by_one(x64):
    problem = problem_of("W2", double=True)

    def counted(function):
        return profiles.kernels(quick_jit(function).lower(problem).compile().as_text())

    assert counted(profiles.only_predictions) == 0  # one function
    predictions = profiles.kernel_by_kernel(profiles.only_predictions)
    means = profiles.kernel_by_kernel(profiles.only_means)
    assert 1 <= counted(predictions) < counted(means)


def test_the_library_calls_of_a_loop_are_traced():
    A = jnp.ones((3, 16, 16))
    loop = jax.jit(lambda A: jax.lax.scan(lambda B, _: (jnp.tanh(B @ A), None), A, length=5)[0])
    told = profiles.library_calls(loop, A, 5)
    assert told["kernels"] == 1
    assert told["ms"]["median"] > 0
    assert profiles.kernels(loop.lower(A).compile().as_text()) >= 2


def test_what_calls_of_kernels_take():
    separate = {"ms": {"median": 4.0}, "kernels": 20}
    parts = {"kfjax": {"ms": {"median": 1.0}}, why.SEPARATE: separate}
    told = why.calls_told({"parts": parts, "size": {"steps": 1000}})
    assert told.endswith("calling the 20 kernels of a step takes 75%, 150 ns each.")


def test_both_ways_of_small_algebra_agree(x64, monkeypatch):
    arguments = crossover.matrices(4, 3)
    found = []
    for settings in (crossover.WAYS | crossover.FACTORS).values():
        for name, value in settings.items():
            monkeypatch.setattr(sizes, name, value)
        found.append(quick_jit(lambda A, B: crossover.loop(crossover.riccati, A, B))(*arguments))
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-10, atol=1e-12)


def test_the_committed_page_is_that_of_the_committed_results():
    assert (HERE / "RESULTS.md").read_text() == page(store.load(HERE))
