"""Properties that must survive the compiler's rounding and fusion, compiled as users compile."""

import dataclasses

import jax
import numpy as np
import pytest
from support.compiling import jit_as_users
from support.table import CASES, SMOOTHED, case

import kfjax as kf

QUICK = [("kalman", "linear", False), ("kalman", "linear", True), ("unscented", "heading", False)]
ROWS = [
    pytest.param(*row, marks=[] if row in QUICK else pytest.mark.slow)
    for row in ((*names, double) for names in CASES for double in (False, True))
]


@pytest.mark.parametrize(("name", "model", "double"), ROWS)
def test_covariances_equal_their_transposes_to_the_bit(name, model, double):
    with jax.enable_x64(double):
        c = case(name, model)
        everything = {"us": c.us, "observed": c.observed, "key": jax.random.key(1)}

        @jit_as_users
        def results(params, ys):
            emit = lambda state, info: (state, info)  # noqa: E731
            final, steps = kf.run(c.filter, params, ys, **everything, emit=emit)
            if c.filter not in SMOOTHED:
                return final, steps
            states = steps[0]
            smoothed = kf.smooth(c.filter, params, states, us=c.us)
            ahead = kf.predicted(c.filter, params, states, us=c.us)
            inputs = {"steps": 2} if c.us is None else {"us": c.us}
            return final, steps, smoothed, ahead, kf.forecast(c.filter, params, final, **inputs)

        found = dict(covariances(results(c.params, c.ys)))
    for where, cov in found.items():
        np.testing.assert_array_equal(cov, cov.swapaxes(-1, -2), where)


def covariances(tree, where=""):
    """Yield the covariances in a result, and where they are."""
    if getattr(tree, "cov", None) is not None:
        yield f"{where}.cov", np.asarray(tree.cov)
    if getattr(tree, "innovation_cov", None) is not None:
        yield f"{where}.innovation_cov", np.asarray(tree.innovation_cov)
    for name, part in parts_of(tree):
        yield from covariances(part, f"{where}.{name}")


def parts_of(tree):
    """Yield the fields of a result, with their names."""
    if dataclasses.is_dataclass(tree):
        return [(f.name, getattr(tree, f.name)) for f in dataclasses.fields(tree)]
    if isinstance(tree, dict):
        return list(tree.items())
    if isinstance(tree, tuple):
        return list(zip(getattr(tree, "_fields", range(len(tree))), tree, strict=True))
    return []
