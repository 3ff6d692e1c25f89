"""Write the executed notebooks from their scripts.

`python notebooks/execute.py` writes all, `... 01 05` two of them.
"""

import base64
import io
import sys
import time
from pathlib import Path

import jupytext
import nbformat
from nbconvert.preprocessors import ExecutePreprocessor
from PIL import Image

FOLDER = Path(__file__).parent
KERNEL = {
    "display_name": "Python 3",
    "language": "python",
    "name": "python3",
}


def scripts(names):
    """Return the scripts whose names start with a given one, or all."""
    found = sorted(FOLDER.glob("[0-9]*.py"))
    return [
        path
        for path in found
        if not names or path.name.startswith(tuple(names))
    ]


def execute(path):
    """Run a script as a notebook, and write it beside the script."""
    notebook = jupytext.read(path)
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    )
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"  # the same text gives the same file
    ExecutePreprocessor(timeout=900, kernel_name="python3").preprocess(
        notebook, {"metadata": {"path": str(FOLDER)}}
    )
    for cell in notebook.cells:
        cell["metadata"] = {}  # times of execution
        for output in cell.get("outputs", ()):
            if "image/png" in output.get("data", {}):
                output["data"]["image/png"] = smaller(
                    output["data"]["image/png"]
                )
    nbformat.write(notebook, path.with_suffix(".ipynb"))


def smaller(picture):
    """Return a picture in 64 colours, a third of the bytes."""
    image = (
        Image.open(io.BytesIO(base64.b64decode(picture)))
        .convert("RGB")
        .quantize(64)
    )
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode()


if __name__ == "__main__":
    for script in scripts(sys.argv[1:]):
        started = time.perf_counter()
        execute(script)
        print(
            f"{script.stem}: {time.perf_counter() - started:.0f} s",
            flush=True,
        )
