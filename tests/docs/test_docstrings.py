"""The examples in docstrings run."""

import doctest
import importlib
import inspect
import pkgutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kfjax as kf

NAMES = {"kf": kf, "jax": jax, "jnp": jnp, "np": np}


def modules():
    """Return every module of the package except `__main__`."""
    names = [info.name for info in pkgutil.walk_packages(kf.__path__, "kfjax.")]
    return [kf, *(importlib.import_module(name) for name in names if not name.endswith("__main__"))]


def documented(module):
    """Yield (name, object) of functions and classes; doctest overlooks decorated ones."""
    for name, value in vars(module).items():
        bare = value if inspect.isclass(value) else inspect.unwrap(value)
        if (
            inspect.isclass(bare) or inspect.isroutine(bare)
        ) and bare.__module__ == module.__name__:
            yield f"{module.__name__}.{name}", bare


def examples():
    """Yield every docstring with an example."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    for module in modules():
        for name, value in [(module.__name__, module.__doc__ or ""), *documented(module)]:
            yield from (
                test
                for test in finder.find(value, name, module=False, globs=dict(NAMES))
                if test.examples
            )


EXAMPLES = {test.name: test for test in examples()}


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name):
    report = []
    doctest.DocTestRunner(verbose=False).run(EXAMPLES[name], out=report.append)
    assert not report, "".join(report)


def test_the_constructors_have_examples_that_run():
    assert {"kfjax.filters.gaussian.kalman", "kfjax.filters.gaussian.gaussian_filter"} <= set(
        EXAMPLES
    )
