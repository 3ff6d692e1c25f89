"""What the site has beside docs/: notebooks and the results of benchmarks, and links that lead out of docs/."""

import json
import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(?<=\]\()([^)#\s]+)(?=[)#])")


def included():
    """Return {path in the repository: path in the site} of what does not stand in docs/."""
    results = {
        f"benchmarks/{p.parent.name}/RESULTS.md": f"results/{p.parent.name}.md"
        for p in ROOT.glob("benchmarks/*/RESULTS.md")
    }
    pictures = {
        str(p.relative_to(ROOT)): f"results/{p.parent.name}/{p.name}"
        for p in ROOT.glob("benchmarks/*/*.png")
    }
    notebooks = {
        f"notebooks/{p.name}": f"notebooks/{p.stem}.md" for p in ROOT.glob("notebooks/*.ipynb")
    }
    return (
        results
        | pictures
        | notebooks
        | {"notebooks/README.md": "notebooks/index.md", "CHANGELOG.md": "changelog.md"}
    )


def on_files(files, config):
    """Add them."""
    for source, place in included().items():
        path = ROOT / source
        if path.suffix == ".png":
            files.append(File.generated(config, place, abs_src_path=str(path)))
        else:
            text = rendered(path) if path.suffix == ".ipynb" else path.read_text()
            files.append(File.generated(config, place, content=text))
    pages = sorted(place for source, place in included().items() if source.endswith("RESULTS.md"))
    listed = "\n".join(f"* [{titled(place)}]({posixpath.basename(place)})" for place in pages)
    files.append(
        File.generated(config, "results/index.md", content=f"# Results\n\n{RESULTS}\n\n{listed}\n")
    )
    return files


RESULTS = "What kfjax was measured to do, each with the command that measures it again. Negative results are among them."


def titled(place):
    """Return a page's name in the navigation."""
    return Path(place).stem.replace("_", " ").capitalize()


def on_page_markdown(markdown, page, config, files):
    """Point links out of docs/ to where their targets are in the site; what is not there becomes plain text."""
    places = included()
    own = {place: source for source, place in places.items()}
    source = own.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def moved(match):
        target = match.group(1)
        if re.match(r"[a-z]+:|/", target):
            return target
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        place = places.get(path) or (
            path.removeprefix("docs/") if path.startswith("docs/") else None
        )
        if place is None:
            return NOWHERE
        return posixpath.relpath(place, posixpath.dirname(page.file.src_uri) or ".")

    text = "".join(
        part if k % 2 else LINK.sub(moved, part)
        for k, part in enumerate(re.split(r"(^```.*?^```)", markdown, flags=re.M | re.S))
    )
    return re.sub(r"\[([^\]]*)\]\(" + NOWHERE + r"[^)]*\)", r"\1", text)


NOWHERE = "out-of-the-site"


def rendered(path):
    """Return an executed notebook as a page."""
    return "\n\n".join(
        block for cell in json.loads(path.read_text())["cells"] for block in blocks(cell)
    )


def blocks(cell):
    """Yield a cell's text or code, and what it gave out."""
    text = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield text
        return
    yield f"```python\n{text}\n```"
    for output in cell["outputs"]:
        data = output.get("data", {})
        if "image/png" in data:
            yield f'<img alt="output" src="data:image/png;base64,{"".join(data["image/png"]).replace(chr(10), "")}">'
        elif printed := "".join(output.get("text", data.get("text/plain", ""))):
            yield f"```text\n{printed.rstrip()}\n```"
