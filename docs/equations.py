"""Equations of the site as MathML, which browsers draw without a script or a network."""

import html
import re

from math_core import LatexError, LatexToMathML
from mkdocs.exceptions import PluginError

EQUATION = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">'
    r"(?:\\\((?P<inline>.*?)\\\)|\\\[(?P<block>.*?)\\\])</(?P=tag)>",
    flags=re.DOTALL,
)
CONVERTER = LatexToMathML(fancy_error=False)


def on_page_content(content, page, **_):
    """Replace the TeX that the extension arithmatex found on a page."""
    return as_mathml(content, page.file.src_uri)


def as_mathml(content, name):
    """Return the HTML of a page with its equations in MathML."""

    def converted(match):
        block = match["block"] is not None
        tex = html.unescape(match["block"] if block else match["inline"])
        try:
            mathml = CONVERTER.convert_with_local_state(tex, displaystyle=block)
        except LatexError as error:
            raise PluginError(f"{name}: the equation {tex.strip()} is not TeX: {error}") from error
        tag = match["tag"]
        return f'<{tag} class="equation">{mathml}</{tag}>'

    return EQUATION.sub(converted, content)
