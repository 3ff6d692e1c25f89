"""Every equation of the site is drawn without a script or a network."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

pytest.importorskip("math_core", reason="needs kfjax[docs]")
markdown = pytest.importorskip("markdown", reason="needs kfjax[docs]")

ROOT = Path(__file__).parents[2]
PAGES = [
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "benchmarks").glob("*/RESULTS.md")),
    *sorted((ROOT / "benchmarks").glob("*/studies/*.md")),
    *sorted((ROOT / "notebooks").glob("*.ipynb")),
    ROOT / "CHANGELOG.md",
]
EXTENSIONS = ["tables", "pymdownx.superfences", "pymdownx.arithmatex"]


def load(name):
    """Return a module of the site."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


EQUATIONS = load("equations")


def prose(path):
    """Return the Markdown of a page or of a notebook."""
    if path.suffix != ".ipynb":
        return path.read_text()
    cells = json.loads(path.read_text())["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


def before_and_after(text):
    """Return the HTML of Markdown with TeX and with MathML."""
    options = {"pymdownx.arithmatex": {"generic": True}}
    found = markdown.markdown(text, extensions=EXTENSIONS, extension_configs=options)
    return found, EQUATIONS.as_mathml(found, "page.md")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_equation_of_a_page_is_mathml(path):
    found, drawn = before_and_after(prose(path))
    equations = re.findall(r"<math.*?</math>", drawn, flags=re.DOTALL)
    assert len(equations) == found.count('class="arithmatex"')
    assert "arithmatex" not in drawn
    for equation in equations:
        assert "\\" not in equation
    outside = re.sub(r"<(pre|code|math).*?</\1>", "", drawn, flags=re.DOTALL)
    assert not re.search(r"\$[^$<\n]*[\\_^][^$<\n]*\$", outside), "TeX that was not found"


def test_columns_names_and_signs():
    text = (
        "$$\n\\begin{aligned}\nS &= \\mathrm{Cov}[y] \\\\\nm &< 1\n\\end{aligned}\n$$\n\nand $x_t$"
    )
    _, drawn = before_and_after(text)
    assert drawn.count("<mtr>") == 2
    assert "<mi>Cov</mi>" in drawn
    assert "&lt;</mo>" in drawn
    assert "<msub><mi>x</mi><mi>t</mi></msub>" in drawn


def test_wrong_tex_fails_with_the_name_of_the_page():
    with pytest.raises(Exception, match=r"page\.md: the equation \\nosuch\{x\} is not TeX"):
        before_and_after(r"$\nosuch{x}$")


def test_the_site_loads_nothing_from_other_hosts():
    settings = (ROOT / "mkdocs.yml").read_text()
    assert "://" not in settings
    assert "font: false" in settings
