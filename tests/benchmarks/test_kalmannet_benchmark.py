"""The studies of the KalmanNet paper: stored rows, verdicts and the page of results."""

import importlib.util
import inspect
import json

import jax
import numpy as np
import pytest

import kfjax as kf
from benchmarks.estimates import decibels
from benchmarks.kalmannet import fig10, lorenz, page, store
from benchmarks.kalmannet.__main__ import STUDIES, main
from benchmarks.kalmannet.judging import judged, shifted
from benchmarks.kalmannet.study import SIZES, Cell, Results
from benchmarks.trajectories import simulated

QUICK = SIZES["quick"]
STUDY = '''
"""A study."""
from benchmarks.kalmannet.study import Cell, Row, Study, Target, Verdict

VALUES = [1.0, 2.0, float("nan")]

def rows(size):
    def measured(name):
        CALLS.append(name)
        return Row({"condition": Cell(VALUES)})

    return {name: lambda name=name: measured(name) for name in ("one", "two")}

CALLS = []
def verdicts(results):
    value = results("one", "condition")
    return (Verdict("It is small", f"it is {value:.1f}", value < 3),)

STUDY = Study(
    "Title", "Text.", rows, verdicts, paper={"one": {"condition": 5.0}},
    why={"one": "as it is."}, targets=(Target("Little", lambda r: r("one", "condition"), 0.5),),
)
'''


def written(folder, monkeypatch, text):
    """Return a study from its source."""
    path = folder / "study_of_test.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location("study_of_test", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(store, "study_of", lambda name: module)
    monkeypatch.setattr(store.inspect, "getsource", lambda module: text)
    return module


def measured(folder, size=QUICK, **options):
    store.measure("test", folder, size, **options)


def test_rows_are_kept_while_code_and_size_are_the_same(tmp_path, monkeypatch):
    module = written(tmp_path, monkeypatch, STUDY)
    measured(tmp_path, only="two")  # as if the run had been stopped
    measured(tmp_path)
    assert module.CALLS == ["two", "one"]
    words = STUDY.replace("Text.", "Other words.").replace("VALUES =", "# a comment\nVALUES =")
    words = words.replace("def rows(size):", 'def rows(size: object) -> dict:\n    """Rows."""')
    module = written(tmp_path, monkeypatch, words)
    measured(tmp_path)
    assert not module.CALLS
    module = written(tmp_path, monkeypatch, STUDY.replace("2.0", "3.0"))
    measured(tmp_path)
    assert module.CALLS == ["one", "two"]
    measured(tmp_path, SIZES["reduced"], only="one")
    measured(tmp_path, SIZES["reduced"], only="one", again=True)
    assert module.CALLS == ["one", "two", "one", "one"]
    assert list(json.loads((tmp_path / "test.json").read_text())["rows"]) == ["one"]


def test_an_accepted_change_of_code_keeps_the_rows(tmp_path, monkeypatch):
    written(tmp_path, monkeypatch, STUDY)
    measured(tmp_path)
    module = written(tmp_path, monkeypatch, STUDY.replace("VALUES", "FIGURES"))
    store.accept("test", tmp_path)
    measured(tmp_path)
    assert not module.CALLS


def test_the_page_says_what_the_rows_say(tmp_path, monkeypatch):
    written(tmp_path, monkeypatch, STUDY)
    measured(tmp_path, only="one")
    found = page.pages(tmp_path, ["test"])
    assert found == page.pages(tmp_path, ["test"])
    text = found["studies/test.md"]
    assert "| one | 1.50 (1.00 .. 2.00), 1 of 3 diverged |" in text
    assert "* It is small: **does not hold**. It is nan." in text
    line = "| [Title](studies/test.md) | It is small | it is nan | **does not hold** | 0 of 1 |"
    assert line in found[page.PAGE]
    assert "Little: nan, wanted at most 0.5: **missed**" in text
    assert "| one | condition | 5.00 | 1.50 (1.00 .. 2.00), 1 of 3 diverged |" in text
    assert "* one, condition: +nan dB; as it is." in text


def test_what_is_missing_is_said(tmp_path, monkeypatch):
    written(tmp_path, monkeypatch, STUDY)
    measured(tmp_path, only="two")
    text = page.pages(tmp_path, ["test"])["studies/test.md"]
    assert "Not all rows are measured yet." in text
    assert "Little: not measured at this size." in text


def test_results_compare_rows():
    cells = {"a": {"x": Cell([1.0, 3.0]), "y": Cell([5.0])}, "b": {"x": Cell([1.5])}}
    results = Results(
        {
            "rows": {
                row: {"cells": {k: c._asdict() for k, c in found.items()}}
                for row, found in cells.items()
            }
        }
    )
    assert results.gaps("a", "b") == {"x": 0.5}
    assert results.off("a", {"a": {"x": 2.0, "y": 4.0, "z": 0.0}}) == 1.0
    assert results.best("x", ["a", "b"]) == "b"
    with pytest.raises(KeyError):
        results.off("b", {"b": {"y": 1.0}})


def test_a_filter_is_judged_by_its_mse():
    model = kf.systems.canonical(2, prior=kf.systems.known(np.zeros(2)))
    data = simulated(jax.random.key(0), model, 24, 10)
    cell = judged(kf.kalman(), model, data, chunk=10)
    np.testing.assert_allclose(cell.value, [decibels(kf.kalman(), model, data)], atol=1e-3)
    assert cell.low[0] < cell.value[0] < cell.high[0]
    assert 0.7 < cell.anees[0] < 1.4
    several = jax.tree.map(lambda a: np.stack([a, a]), model)
    np.testing.assert_allclose(
        judged(kf.kalman(), several, data, seeds=2, chunk=10).value, 2 * cell.value, atol=1e-5
    )
    moved = shifted(cell, 10)
    np.testing.assert_allclose(np.subtract(moved.value, cell.value), [10.0])
    assert moved.anees == cell.anees


def test_a_study_is_measured_again_if_what_it_shares_changed(monkeypatch):
    before, source = store.code_of(fig10), inspect.getsource

    def code_with(line):
        monkeypatch.setattr(
            store.inspect, "getsource", lambda module: source(module) + line * (module is lorenz)
        )
        return store.code_of(fig10)

    assert code_with("\nNOTES = 1\n") == before
    assert code_with("\nMORE = 1\n") != before


def test_a_row_that_no_study_has_is_an_error(tmp_path, monkeypatch, capsys):
    written(tmp_path, monkeypatch, STUDY)
    with pytest.raises(SystemExit, match="no row contains 'three'"):
        main(["fig8", "--row", "three", "--out", str(tmp_path)])
    assert "its rows are: one; two" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_a_study_runs(name, tmp_path):
    main([name, "--quick", "--out", str(tmp_path)])
    stored = store.load(tmp_path, name)
    assert stored["rows"]
    assert store.study_of(name).STUDY.title in (tmp_path / page.PAGE).read_text()
    assert (tmp_path / "studies" / f"{name}.md").is_file()
