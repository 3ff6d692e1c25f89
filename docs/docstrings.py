"""Adapt docstrings for the site: examples become code, and adjacent brackets are not links."""

import re

import griffe


class Docstrings(griffe.Extension):
    """Changes docstrings as griffe collects them."""

    def on_object(self, *, obj, **_):
        """Rename the section `Example:` as griffe expects, and escape adjacent brackets."""
        if obj.docstring:
            text, mark, examples = obj.docstring.value.partition("\nExample:\n")
            text = re.sub(r"\](\s?)\[", r"]\1\\[", text)
            obj.docstring.value = text + mark.replace("Example:", "Examples:") + examples
