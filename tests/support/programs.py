"""Programs that functions of kfjax keep, for tests that count them."""

from collections.abc import Callable
from typing import Any

from kfjax._support import compiling


def forget_programs(*functions: Callable[..., Any]) -> None:
    """Make functions jitted by `compiling.jit` forget their programs; leave others alone.

    A function forgets its programs when they are too many, which depends on the tests that ran
    before in the same process.
    """
    for function in functions:
        if isinstance(function, compiling.Jitted):
            function._jitted.clear_cache()
            function.programs.present.clear()
            function.programs.forgotten.clear()
            function.programs.limit = compiling.PROGRAMS
