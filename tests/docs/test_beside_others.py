"""Pages for those who come from another library: both libraries run, and give the same numbers."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "start" / "coming-from"
PACKAGES = {  # by the title of their section
    "filterpy": "filterpy",
    "pykalman": "pykalman",
    "simdkalman": "simdkalman",
    "statsmodels": "statsmodels",
    "TensorFlow Probability": "tensorflow_probability",
    "dynamax": "dynamax",
    "cuthbert": "cuthbert",
    "Stone Soup": "stonesoup",
    "particles": "particles",
}


def sections():
    """Yield (title, the blocks before the first section and those of this one)."""
    for page in sorted(FOLDER.glob("*.md")):
        opening, *parts = re.split(r"^## ", page.read_text(), flags=re.M)
        for part in parts:
            title, _, text = part.partition("\n")
            yield title, blocks_of(opening) + blocks_of(text)


def blocks_of(text):
    return re.findall(r"^```(?:python|py)\n(.*?)^```", text, flags=re.M | re.S)


SECTIONS = dict(sections())


def test_every_section_is_of_a_library():
    assert SECTIONS.keys() == PACKAGES.keys()


@pytest.mark.filterwarnings("ignore")  # of the other libraries
@pytest.mark.parametrize("title", PACKAGES)
def test_both_libraries_give_the_same_numbers(title, monkeypatch):
    package = PACKAGES[title]
    reason = f"{title} is not installed: pip install 'kfjax[migration]'"
    pytest.importorskip(package, reason=reason, exc_type=ImportError)
    compared = []
    truly = np.testing.assert_allclose
    monkeypatch.setattr(
        np.testing,
        "assert_allclose",
        lambda *arguments, **options: compared.append(truly(*arguments, **options)),
    )
    names = {}
    with jax.numpy_rank_promotion("allow"):
        for number, block in enumerate(SECTIONS[title]):
            exec(compile(block, f"{title} block {number}", "exec"), names)
    assert len(compared) >= 3
