"""Code in README.md and docs/ runs as written, links have targets, and lines are short."""

import ast
import importlib.util
import re
import shlex
from pathlib import Path

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest

import kfjax as kf
from kfjax._cli.parser import main

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
OTHERS = [ROOT / "CHANGELOG.md", *sorted((ROOT / "benchmarks").rglob("*.md"))]
OTHERS += [ROOT / "notebooks" / "README.md"]
COLUMNS = 120
COLUMNS_OF_CODE = 76  # what a box of the site holds; blocks of `text` are what programs print
SAME_PICTURE = 0.015  # a curve that has moved differs more; rounding and fonts differ less
WITH_SAMPLERS = "infer-parameters-by-sampling.md"  # whose draws are compared
WITH_COMMANDS = (
    "from-a-csv-to-a-comparison.md"  # these run on files that the Python blocks of the page write
)

POSTERIOR = (jnp.array([-1.5, 1.13]), jnp.array([0.55, 0.22]))  # means and standard deviations
# in `kfjax[with-others]`; no other block depends on one that needs them
OPTIONAL = {"blackjax", "diffrax", "equinox", "numpyro", "tensorboardX"}


def load_tool(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


PICTURES = load_tool("draw_pictures")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def python_blocks(path: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", path.read_text(), flags=re.MULTILINE | re.DOTALL)


def missing(block: str) -> set[str]:
    """The optional packages that a block imports and that are not installed."""
    imported = set()
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).partition(".")[0])
    return {name for name in imported & OPTIONAL if importlib.util.find_spec(name) is None}


@pytest.mark.parametrize("path", [p for p in DOCUMENTS if python_blocks(p)], ids=name_of)
def test_python_blocks_run(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    left_out: set[str] = set()
    for number, block in enumerate(python_blocks(path)):
        if found := missing(block):
            left_out |= found
            continue
        with plt.rc_context(PICTURES.STYLE):
            exec(compile(block, f"{path.name} block {number}", "exec"), names)
    kinds = (kf.Estimate, kf.Gaussian, kf.Smoothed)
    estimates = [value for value in names.values() if isinstance(value, kinds)]
    assert estimates or left_out, "a page with code computes at least one estimate"
    for estimate in estimates:
        assert jnp.isfinite(estimate.mean).all()
    for name in PICTURES.pictures_of(path.read_text()):
        assert difference(Path(f"{name}.png"), PICTURES.PICTURES / f"{name}.png") < SAME_PICTURE
    if path.name == WITH_COMMANDS:
        assert_commands_run(path)
    if path.name == WITH_SAMPLERS:
        assert_posteriors_agree(names)
    if left_out:
        packages = " and ".join(sorted(left_out))
        pytest.skip(f"blocks with {packages} not run: pip install 'kfjax[with-others]'")


def coarse(picture: Path) -> np.ndarray:
    """Means over squares of 8 x 8 pixels, which hardly change if a line moves by a pixel."""
    pixels = plt.imread(picture)
    pixels = 1 - pixels[..., 3:] * (1 - pixels[..., :3])  # on white
    rows = len(pixels) // 8
    columns = pixels.shape[1] // 8
    return pixels[: 8 * rows, : 8 * columns].reshape(rows, 8, columns, 8, 3).mean(axis=(1, 3))


def difference(first: Path, second: Path) -> float:
    """The root mean square difference of two pictures, as a fraction of the largest."""
    one = coarse(first)
    other = coarse(second)
    assert one.shape == other.shape, "python tools/draw_pictures.py"
    return float(np.sqrt(np.mean((one - other) ** 2)))


def test_every_picture_of_the_site_is_on_a_page_in_light_and_dark():
    shown = {name for page in DOCUMENTS for name in PICTURES.pictures_of(page.read_text())}
    assert shown
    kept = {picture.name for picture in PICTURES.PICTURES.iterdir()}
    assert kept == {f"{name}{ending}.png" for name in shown for ending in PICTURES.STYLES}


def assert_posteriors_agree(names):
    """The samplers of a page agree with thousands of draws by two of them."""
    chains = [names["chain"][200:], names.get("by_numpyro"), names.get("by_blackjax")]
    for chain in chains:
        if chain is not None:
            np.testing.assert_array_less(jnp.abs(chain.mean(axis=0) - POSTERIOR[0]), [0.25, 0.1])
            np.testing.assert_allclose(chain.std(axis=0), POSTERIOR[1], rtol=0.3)


def assert_commands_run(path):
    """Run the commands of a page on the files that its Python blocks wrote."""
    text = path.read_text().replace("\\\n", "")
    commands = re.findall(r"^kfjax (.*)$", text, flags=re.MULTILINE)
    assert {command.partition(" ")[0] for command in commands} == {"compare", "filter"}
    for command in commands:
        assert main(shlex.split(command)) == 0
    assert Path("results/compare.png").is_file()
    assert "v_north_smoothed" in Path("estimates.csv").read_text()
    assert Path("estimates.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("path", [*DOCUMENTS, *OTHERS], ids=name_of)
def test_relative_links_exist(path):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text()):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_lines_are_short(path):
    lines = [line for line in path.read_text().split("\n") if not line.startswith("|")]
    assert not [line for line in lines if len(line) > COLUMNS]


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_code_fits_its_box(path):
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    lines = [line for kind, code in blocks if kind != "text" for line in code.split("\n")]
    assert not [line for line in lines if len(line) > COLUMNS_OF_CODE]
