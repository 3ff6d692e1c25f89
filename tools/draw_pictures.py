"""Draw the pictures of the site: each is the file that the code above it on its page writes.

    python tools/draw_pictures.py [PAGE ...]

A page shows a picture with `![...](pictures/NAME.png)`, and its code saves a figure as NAME.png.
The pictures are written to docs/pictures, one for light and one for dark pages (NAME_dark.png).
"""

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"
STYLE = {
    "savefig.transparent": True,
    "savefig.dpi": 110,
    "font.size": 11.0,
    "legend.framealpha": 0.0,
}
STYLES = {"": "default", "_dark": "dark_background"}
PICTURE = re.compile(r"!\[[^\]]*\]\(\S*pictures/([a-z_]+)\.png\)")
PYTHON = re.compile(r"^```python\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)


def pictures_of(text: str) -> list[str]:
    """Return the names of the pictures on a page, without their ending."""
    return PICTURE.findall(text)


def draw(page: Path, ending: str) -> None:
    """Run the code above the last picture of a page, and keep the pictures."""
    text = page.read_text()
    *_, last = PICTURE.finditer(text)
    with tempfile.TemporaryDirectory() as folder, plt.style.context([STYLES[ending], STYLE]):
        os.chdir(folder)
        names: dict[str, object] = {}
        for block in PYTHON.findall(text[: last.start()]):
            exec(compile(block, str(page), "exec"), names)
        for name in pictures_of(text):
            shutil.copy(f"{name}.png", PICTURES / f"{name}{ending}.png")
        os.chdir(ROOT)


def main() -> None:
    """Draw the pictures of the given pages, or of all."""
    pages = [Path(page).resolve() for page in sys.argv[1:]] or sorted(ROOT.glob("docs/**/*.md"))
    PICTURES.mkdir(exist_ok=True)
    for page in pages:
        if pictures_of(page.read_text()):
            for ending in STYLES:
                draw(page, ending)


if __name__ == "__main__":
    main()
