"""Docstrings as the site wants them: an example is code, and shapes in brackets are no links."""

import re

import griffe


class Docstrings(griffe.Extension):
    """Changes docstrings as they are collected."""

    def on_object(self, *, obj, **_):
        """Name the section as griffe does, and escape brackets that follow brackets."""
        if obj.docstring:
            text, mark, examples = obj.docstring.value.partition("\nExample:\n")
            text = re.sub(r"\](\s?)\[", r"]\1\\[", text)
            obj.docstring.value = text + mark.replace("Example:", "Examples:") + examples
