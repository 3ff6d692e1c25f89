"""Code on pages: back-ticked snippets and fenced blocks of Markdown, scripts and docstrings."""

import ast
import doctest
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^ *```", re.M | re.S)
SNIPPET = re.compile(r"(?<!`)(?P<ticks>`{1,2})(?!`)(?P<code>[^`]+)(?P=ticks)(?!`)")
CELL = re.compile(r"^# %%(?P<kind>.*)$", re.M)
PYTHON = {"python", "py", "pycon"}
SHELL = {"bash", "sh", "text", "console"}


class Piece(NamedTuple):
    """A piece of code on a page.

    Attributes:
        kind: "snippet", "python" or "shell".
        line: the number of its first line in the file.
        code: its text.
    """

    kind: str
    line: int
    code: str


class Page(NamedTuple):
    """The code of one file.

    Attributes:
        name: the file's path in the repository.
        pieces: the code in it.
        known: names that the page itself defines, such as variables and arguments.
        module: the module whose docstrings these are, or None.
    """

    name: str
    pieces: list[Piece]
    known: frozenset[str]
    module: str | None = None


def line_at(text: str, position: int) -> int:
    """Return the number of the line of a position, from 1 on."""
    return text.count("\n", 0, position) + 1


def markdown_pieces(text: str, first_line: int = 1) -> Iterator[Piece]:
    """Yield the fenced blocks and the back-ticked snippets of Markdown."""
    prose = text
    for match in FENCE.finditer(text):
        blank = re.sub(r"[^\n]", " ", match.group())
        prose = prose[: match.start()] + blank + prose[match.end() :]
        line = first_line + line_at(text, match.start("code")) - 1
        language, code = match["language"], match["code"]
        if language in PYTHON:
            yield Piece("python", line, without_prompts(code) if language == "pycon" else code)
        if language in SHELL:
            yield Piece("shell", line, code)
    yield from snippets(prose, first_line)


def snippets(prose: str, first_line: int = 1) -> Iterator[Piece]:
    """Yield the back-ticked snippets of prose."""
    for match in SNIPPET.finditer(prose):
        line = first_line + line_at(prose, match.start()) - 1
        yield Piece("snippet", line, " ".join(match["code"].split()))


def without_prompts(code: str) -> str:
    """Return the input of an interactive session, its output as blank lines."""
    prompt = re.compile(r"^\s*(?:>>>|\.\.\.) ?")
    lines = [prompt.sub("", line) if prompt.match(line) else "" for line in code.split("\n")]
    return "\n".join(lines)


def markdown_page(path: Path, text: str | None = None) -> Page:
    """Return the code of a Markdown file."""
    pieces = list(markdown_pieces(path.read_text() if text is None else text))
    return Page(str(path.relative_to(ROOT)), pieces, defined_names(pieces))


def changelog_page(path: Path) -> Page:
    """Return the code of the section Unreleased; earlier ones name what was true then."""
    before, mark, after = path.read_text().partition("\n## Unreleased\n")
    unreleased = after.partition("\n## ")[0]
    return markdown_page(path, before + mark + unreleased)


def notebook_page(path: Path) -> Page:
    """Return the code of a script in jupytext's percent format, its Markdown cells included."""
    text = path.read_text()
    cells = list(CELL.finditer(text))
    pieces: list[Piece] = []
    for cell, following in zip(cells, [*cells[1:], None], strict=True):
        body = text[cell.end() : following.start() if following else len(text)]
        line = line_at(text, cell.end())
        if "[markdown]" in cell["kind"]:
            pieces += markdown_pieces(re.sub(r"^# ?", "", body, flags=re.M), line)
        else:
            pieces.append(Piece("python", line, body))
    return Page(str(path.relative_to(ROOT)), pieces, defined_names(pieces))


def module_page(path: Path) -> Page:
    """Return the examples and the back-ticked snippets in the docstrings of a module."""
    tree = ast.parse(path.read_text())
    pieces: list[Piece] = []
    known: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            known.add(node.arg)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            docstring = ast.get_docstring(node, clean=False)
            if docstring is not None:
                pieces += docstring_pieces(docstring, node.body[0].lineno)
    relative = path.relative_to(ROOT)
    module = ".".join(relative.with_suffix("").parts).removesuffix(".__init__")
    return Page(str(relative), pieces, frozenset(known), module)


def docstring_pieces(docstring: str, first_line: int) -> Iterator[Piece]:
    """Yield the examples of a docstring, and its back-ticked snippets."""
    for example in doctest.DocTestParser().get_examples(docstring):
        yield Piece("python", first_line + example.lineno, example.source)
    prose = re.sub(r"^ *(>>>|\.\.\.).*$", "", docstring, flags=re.MULTILINE)
    yield from snippets(prose, first_line)


def defined_names(pieces: list[Piece]) -> frozenset[str]:
    """Return the names that blocks and snippets assign, define, import or take as arguments."""
    names: set[str] = set()
    for piece in pieces:
        tree = parsed(piece.code) if piece.kind != "shell" else None
        for node in ast.walk(tree) if tree is not None else ():
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.add(node.name)
            if isinstance(node, ast.ImportFrom) and not str(node.module).startswith("kfjax"):
                names.update(alias.name for alias in node.names)
            if isinstance(node, ast.arg):
                names.add(node.arg)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
    return frozenset(names)


def parsed(code: str) -> ast.Module | None:
    """Return the syntax tree of a piece of code, keywords without a value filled in, or None."""
    complete = re.sub(r"=(?=\s*[,)])", "=...", code)
    try:
        return ast.parse(complete)
    except SyntaxError:
        return None
