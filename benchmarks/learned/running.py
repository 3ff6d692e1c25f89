"""Rows of the studies: learned filters, classical filters, and tuned classical filters."""

import jax
import numpy as np

import kfjax as kf
from benchmarks.estimates import decibels
from benchmarks.learned.results import Measured
from benchmarks.training import train


def learned(filter, model, parts, tests, budget, constants=None):
    """Return the row of a learned filter: its errors on test data, by column."""
    fitted = train(filter, model, parts, budget, constants)
    values = {
        column: decibels(filter, fitted.params, data, many=True) for column, data in tests.items()
    }
    chosen = {
        "best_steps": np.asarray(fitted.update).tolist(),
        "refused_steps": np.asarray(fitted.refused).tolist(),
    }
    return Measured(values, budget._asdict() | chosen)


def classical(filter, model, tests):
    """Return the row of a filter with a given model."""
    return Measured({column: decibels(filter, model, data) for column, data in tests.items()})


def tuned(filter, model, parts, tests, **options):
    """Return the row of a filter whose noise is tuned on training and validation data."""
    options = {"structure": "diagonal", "objective": "mse"} | options
    given = {"validation": parts.validation, "key": jax.random.key(0)}
    found = kf.training.tune(filter, model, parts.train, **given, **options)
    factors = {name: np.round(getattr(found.scales, name), 6).tolist() for name in ("Q", "R")}
    values = classical(filter, found.params, tests).values
    return Measured(values, options | {"factors": factors})
