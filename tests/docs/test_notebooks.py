"""Every notebook's script runs in its quick form, and its executed copy is up to date."""

import json
import runpy
from pathlib import Path

import jax
import jupytext
import matplotlib.pyplot as plt
import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
SCRIPTS = sorted(FOLDER.glob("[0-9]*.py"))
COLUMNS_OF_CODE = 76  # what a box of the site holds


@pytest.fixture
def as_a_reader(tmp_path, monkeypatch):
    """Quick form, outside the repository, without measured data, with default settings of JAX."""
    monkeypatch.setenv("KFJAX_QUICK", "1")
    monkeypatch.setenv("KFJAX_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    jax.config.update("jax_numpy_rank_promotion", "allow")  # in all threads
    with plt.rc_context({"backend": "agg"}):
        yield
    jax.config.update("jax_numpy_rank_promotion", "raise")
    jax.config.update("jax_enable_x64", False)  # a notebook may have asked for it


@pytest.mark.usefixtures("as_a_reader")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_the_script_runs(script, capsys):
    """Run in this process, which has imported everything and compiled part of it."""
    runpy.run_path(str(script), run_name="__main__")
    assert "nan" not in capsys.readouterr().out.split()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_the_notebook_is_the_script_executed(script):
    notebook = json.loads(script.with_suffix(".ipynb").read_text())
    cells = [(cell["cell_type"], "".join(cell["source"]).strip()) for cell in notebook["cells"]]
    assert cells == [(cell.cell_type, cell.source.strip()) for cell in jupytext.read(script).cells]
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", ())]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert script.with_suffix(".ipynb").stat().st_size < 300_000


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_code_fits_its_box(script):
    cells = [cell for cell in jupytext.read(script).cells if cell.cell_type == "code"]
    lines = [line for cell in cells for line in cell.source.split("\n")]
    assert not [line for line in lines if len(line) > COLUMNS_OF_CODE]
