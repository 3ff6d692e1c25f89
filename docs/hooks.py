"""Pages of the site from outside docs/ (notebooks, results, changes), and links to them."""

import json
import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(?<=\]\()([^)#\s]+)(?=[)#])")
CODE_BLOCK = re.compile(r"(^```.*?^```)", flags=re.MULTILINE | re.DOTALL)
PICTURE = re.compile(r"(!\[[^\]]*\])\(([^)#\s]+)\.png\)")
OUTSIDE = "outside-of-the-site"
RESULTS = (
    "Measured results, each with the command that measures it again."
    " Negative results are among them."
)


def included():
    """Return {path in the repository: path in the site} of the files from outside docs/."""
    places = {
        "notebooks/README.md": "notebooks/index.md",
        "CHANGELOG.md": "changelog.md",
        "CONTRIBUTING.md": "contributing.md",
    }
    for page in ROOT.glob("benchmarks/*/RESULTS.md"):
        places[f"benchmarks/{page.parent.name}/RESULTS.md"] = f"results/{page.parent.name}.md"
    for page in ROOT.glob("benchmarks/*/studies/*.md"):
        place = f"results/{page.parents[1].name}/{page.name}"
        places[str(page.relative_to(ROOT))] = place
    for picture in ROOT.glob("benchmarks/*/*.png"):
        place = f"results/{picture.parent.name}/{picture.name}"
        places[str(picture.relative_to(ROOT))] = place
    for notebook in ROOT.glob("notebooks/*.ipynb"):
        places[f"notebooks/{notebook.name}"] = f"notebooks/{notebook.stem}.md"
    return places


def on_files(files, config):
    """Add the files from outside docs/ and the index of results."""
    for source, place in included().items():
        path = ROOT / source
        if path.suffix == ".png":
            files.append(File.generated(config, place, abs_src_path=str(path)))
        else:
            text = rendered(path) if path.suffix == ".ipynb" else path.read_text()
            files.append(File.generated(config, place, content=text))
    files.append(File.generated(config, "results/index.md", content=index_of_results()))
    return files


def index_of_results():
    """Return the page that lists the pages of results."""
    pages = [place for source, place in included().items() if source.endswith("RESULTS.md")]
    links = [f"* [{title_of(place)}]({posixpath.basename(place)})" for place in sorted(pages)]
    return "\n".join(["# Results", "", RESULTS, "", *links, ""])


def title_of(place):
    """Return the title of a page from its file name."""
    return Path(place).stem.replace("_", " ").capitalize()


def on_page_markdown(markdown, page, config, files):
    """Point links to the site's copies of their targets; other links become plain text.

    A picture that has a dark form becomes both, of which the theme shows one.
    """
    places = included()
    sources = {place: source for source, place in places.items()}
    source = sources.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def moved(match):
        target = match.group(1)
        if re.match(r"[a-z]+:|/", target):
            return target
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        inside = path.removeprefix("docs/") if path.startswith("docs/") else None
        place = places.get(path, inside)
        if place is None:
            return OUTSIDE
        return posixpath.relpath(place, posixpath.dirname(page.file.src_uri) or ".")

    def both(match):
        text, target = match.groups()
        place = posixpath.normpath(posixpath.join(posixpath.dirname(page.file.src_uri), target))
        if files.get_file_from_path(f"{place}_dark.png") is None:
            return match.group(0)
        return f"{text}({target}.png#only-light)\n{text}({target}_dark.png#only-dark)"

    parts = CODE_BLOCK.split(markdown)
    parts[::2] = [PICTURE.sub(both, LINK.sub(moved, prose)) for prose in parts[::2]]
    return re.sub(r"\[([^\]]*)\]\(" + OUTSIDE + r"[^)]*\)", r"\1", "".join(parts))


def rendered(path):
    """Return an executed notebook as a page."""
    cells = json.loads(path.read_text())["cells"]
    return "\n\n".join(block for cell in cells for block in blocks(cell))


def blocks(cell):
    """Yield the text or code of a cell, then its outputs."""
    text = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield text
        return
    yield f"```python\n{text}\n```"
    for output in cell["outputs"]:
        data = output.get("data", {})
        if "image/png" in data:
            picture = "".join(data["image/png"]).replace("\n", "")
            yield f'<img alt="output" src="data:image/png;base64,{picture}">'
        elif printed := "".join(output.get("text", data.get("text/plain", ""))):
            yield f"```text\n{printed.rstrip()}\n```"
