"""Which of many parameters run in the quick tests."""

import pytest


def slow_except(quick, names):
    """Return all names for `pytest.mark.parametrize`; those that are not quick are marked slow."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]
