"""The page of learned filters agrees with the stored results."""

import json

from benchmarks import files
from benchmarks.learned import recipe, results
from benchmarks.learned.__main__ import HERE
from benchmarks.learned.results import Measured, Study, Values, measure, page


def test_the_committed_page_is_that_of_the_committed_results():
    assert (HERE / "RESULTS.md").read_text() == page(HERE)


def test_finished_rows_are_kept(tmp_path, monkeypatch):
    calls = []

    def row(name):
        calls.append(name)
        return Measured({"dB": [1.0, 2.0, 4.0]})

    study = Study(
        "title",
        "text",
        ("dB", "other"),
        lambda _: {"one": lambda: row("one"), "two": lambda: row("two")},
    )
    monkeypatch.setattr(results, "study_of", lambda name: study)
    for options in ({"only": "one"}, {"only": ""}, {"only": "two", "again": True}):
        measure("study", study, tmp_path, **{"quick": False, "again": False} | options)
    assert calls == ["one", "two", "two"]
    assert list(json.loads((tmp_path / "study.json").read_text())["rows"]) == ["one", "two"]
    assert "| one | 2.000 (1.000 .. 4.000) |  | 0 |" in page(tmp_path)


def test_the_diagnosis_names_a_reason_wherever_a_stored_student_misses_its_target():
    stored = files.read(HERE / "recipe.json")
    assert recipe.is_told(Values(stored))
    for row in stored["rows"].values():
        assert row["values"][recipe.OUTCOME] == recipe.outcome(row["values"])
    missed = {recipe.OUTCOME: "missed", recipe.REASONS: "baselines, horizon"}
    assert not recipe.is_told(Values({"rows": {"one": {"values": missed}}}))
