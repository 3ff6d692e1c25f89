"""Every notebook's script runs in its quick form, and its executed copy has the same cells, pictures and no errors."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jupytext
import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
SCRIPTS = sorted(FOLDER.glob("[0-9]*.py"))
LONG = {"03", "04", "05", "07"}  # more than half a minute each, nearly all of it compilation


def marked(script):
    """The script of a test, which is slow if it takes long."""
    return pytest.param(script, marks=[pytest.mark.slow] if script.stem[:2] in LONG else [])


@pytest.mark.parametrize("script", [marked(script) for script in SCRIPTS], ids=[script.stem for script in SCRIPTS])
def test_the_script_runs(script, tmp_path):
    environment = os.environ | {"KFJAX_QUICK": "1", "MPLBACKEND": "agg", "KFJAX_DATA": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "nan" not in done.stdout.split(), done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_the_notebook_is_the_script_executed(script):
    notebook = json.loads(script.with_suffix(".ipynb").read_text())
    cells = [(cell["cell_type"], "".join(cell["source"]).strip()) for cell in notebook["cells"]]
    assert cells == [(cell.cell_type, cell.source.strip()) for cell in jupytext.read(script).cells]
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", ())]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert script.with_suffix(".ipynb").stat().st_size < 300_000
