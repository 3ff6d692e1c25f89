"""The code in README.md and docs/ runs as it stands, and the README's commands are those of the tests."""

import re
from pathlib import Path

import jax.numpy as jnp
import pytest

import kfjax as kf

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]


def python_blocks(path: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", path.read_text(), flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("path", [p for p in DOCUMENTS if python_blocks(p)], ids=lambda p: p.name)
def test_python_blocks_run(path):
    names: dict = {}
    for number, block in enumerate(python_blocks(path)):
        exec(compile(block, f"{path.name} block {number}", "exec"), names)
    estimates = [
        value
        for value in names.values()
        if isinstance(value, (kf.Estimate, kf.Gaussian, kf.Smoothed))
    ]
    assert estimates, "a page with code computes at least one estimate"
    for estimate in estimates:
        assert jnp.isfinite(estimate.mean).all()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_relative_links_exist(path):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text()):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"
