"""Regression on inputs, and inputs for interventions and holidays."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from kfjax._support.arguments import check_count, check_mapping, items_of
from kfjax._support.pytrees import STATIC
from kfjax._support.types import Numbers
from kfjax.base import Inputs
from kfjax.structural.components import (
    POSITIVE,
    Component,
    checked_name,
    checked_std,
    input_of,
)
from kfjax.structural.sums import Structural

__all__ = ["holidays", "pulse", "ramp", "regression", "shift"]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Regression(Component):
    """A regression on inputs, whose coefficients are the states."""

    std: Any = None
    count: int = dataclasses.field(default=1, metadata=STATIC)

    KINDS: ClassVar[dict[str, str]] = {"std": POSITIVE}

    @property
    def series(self) -> int:
        return 1  # the standard deviations are those of the coefficients

    @property
    def width(self) -> int:
        return self.count

    @property
    def reads_inputs(self) -> bool:
        return True

    @property
    def observed_by_inputs(self) -> bool:
        return True

    @property
    def input_name(self) -> str:
        return self.name

    @property
    def distinct_start(self) -> bool:
        return False  # regressors may hardly differ at first, from each other or from a level

    def transition_of_one(self, u: Inputs) -> Any:
        return np.eye(self.count)

    def noise(self, u: Inputs) -> Any:
        if self.std is None:
            return np.zeros((self.count, self.count))
        return jnp.diag(jnp.broadcast_to(self.std, self.count) ** 2)

    def observed_of_one(self, u: Inputs) -> Any:
        x = jnp.asarray(input_of(self.name, u))
        if x.shape not in ((self.count,), ()) or (x.ndim == 0 and self.count != 1):
            raise ValueError(
                f"{self.name}: the input of one step has shape {x.shape}; expected"
                f" ({self.count},), as many as there are coefficients. Pass us={{{self.name!r}: X}}"
                f" with X [T, {self.count}]."
            )
        return jnp.reshape(x, self.count)


def regression(count: int = 1, std: Any = None, *, name: str | None = None) -> Structural:
    """Return a regression on inputs, with fixed or drifting coefficients.

    x_t' b_t with b_t = b_{t-1} + e_t,  e_t ~ N(0, std^2).

    The inputs are us={name: X} with X [T, count], or us=X if nothing else reads inputs. The
    coefficients are states: `kf.run` and `kf.smooth` estimate them with their covariance.

    Args:
        count: number of coefficients.
        std: standard deviation of the drift of a coefficient per step, a number or [count]; None
            for coefficients that do not change.
        name: the name of the block and of its inputs; default "regression".

    Returns:
        A `Structural` of one component; its start is diffuse.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> model = kf.structural.regression(2) + kf.structural.irregular()
        >>> X = jnp.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]])
        >>> final, _ = kf.run(
        ...     kf.exact_diffuse(), model, X @ jnp.array([[3.0], [0.5]]), us=X
        ... )
        >>> final.mean.round(2).tolist()
        [3.0, 0.5]

    References:
        J. Durbin, S. J. Koopman, Time Series Analysis by State Space Methods, 2nd ed. (2012),
        section 3.6.
    """
    check_count("regression: count", count, most=10_000)
    std = checked_std("regression: std", std)
    if std is not None and np.shape(std) not in ((), (count,)):
        raise ValueError(
            f"regression: std has shape {np.shape(std)}; expected a number or ({count},)."
        )
    name = checked_name("regression", name, "regression")
    return Structural.of(Regression(name=name, std=std, count=int(count)))


def pulse(steps: int, at: int) -> Float[np.ndarray, " steps"]:
    """Return the input [steps] of an intervention that acts in one step: 1 there, else 0.

    Args:
        steps: T.
        at: the index of the step, from 0.

    Example:
        >>> kf.structural.pulse(4, 1).tolist()
        [0.0, 1.0, 0.0, 0.0]
    """
    return (_since("pulse", steps, at) == 0).astype(float)


def shift(steps: int, at: int) -> Float[np.ndarray, " steps"]:
    """Return the input [steps] of a change of level: 0 before a step and 1 from it on.

    Args:
        steps: T.
        at: the index of the step, from 0.

    Example:
        >>> kf.structural.shift(4, 1).tolist()
        [0.0, 1.0, 1.0, 1.0]
    """
    return (_since("shift", steps, at) >= 0).astype(float)


def ramp(steps: int, at: int) -> Float[np.ndarray, " steps"]:
    """Return the input [steps] of a change of slope: the number of steps after a given one.

    Args:
        steps: T.
        at: the index of the step, from 0.

    Example:
        >>> kf.structural.ramp(4, 1).tolist()
        [0.0, 0.0, 1.0, 2.0]
    """
    return np.maximum(_since("ramp", steps, at), 0).astype(float)


def _since(who: str, steps: int, at: int) -> np.ndarray:
    """Return the number of steps since a given one, [steps]."""
    check_count(f"{who}: steps", steps, most=10**9)
    check_count(f"{who}: at", at, least=0, most=steps - 1)
    return np.arange(steps) - at


def holidays(
    stamps: Any, dates: Mapping[str, Any], *, before: int = 0, after: int = 0
) -> Float[np.ndarray, "T columns"]:
    """Return the inputs of holiday effects, a column for each holiday and each day around it.

    Args:
        stamps: the days of the observations [T], dates of numpy or pandas, or numbers of days.
        dates: the days of each holiday by name, such as {"easter": ["2024-03-31", "2025-04-20"]}.
        before: number of days before a holiday with an effect of their own.
        after: number of days after it, likewise.

    Returns:
        [T, columns] of zeros and ones, in the order of the names and, for each, of the days from
        -before to after.

    Raises:
        ValueError: if the stamps are not days, or a holiday is on none of them.

    Example:
        >>> days = np.arange("2024-12-24", "2024-12-28", dtype="datetime64[D]")
        >>> kf.structural.holidays(
        ...     days, {"christmas": ["2024-12-25"]}, after=1
        ... ).tolist()
        [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]
    """
    check_mapping("holidays: dates", dates, "a dict of days by name")
    check_count("holidays: before", before, least=0, most=366)
    check_count("holidays: after", after, least=0, most=366)
    days = _as_days("holidays: stamps", stamps)
    columns = []
    for name, own in dates.items():
        on = _as_days(f"holidays: {name}", items_of(f"holidays: {name}", own, "days"))
        effects = [np.isin(days, on + offset) for offset in range(-before, after + 1)]
        if not any(effect.any() for effect in effects):
            raise ValueError(
                f"holidays: {name} is on none of the stamps; expected at least one day of it."
                " Leave it out."
            )
        columns += effects
    if not columns:
        raise ValueError("holidays: dates is empty; expected days by name.")
    return np.stack(columns, axis=1).astype(float)


def _as_days(name: str, values: Numbers) -> np.ndarray:
    """Return whole numbers of days [T]."""
    try:
        array = np.asarray(values)
        if array.dtype.kind in "OUSM":
            array = array.astype("datetime64[D]")
            array = np.where(np.isnat(array), np.nan, array.astype(np.int64))
        days = np.floor(array.astype(np.float64))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} are not days ({error}); expected dates or numbers.") from error
    if days.ndim != 1 or not days.size:
        raise ValueError(f"{name} has shape {days.shape}; expected days [T].")
    if not np.isfinite(days).all():
        index = int(np.argmin(np.isfinite(days)))
        raise ValueError(
            f"{name}[{index}] is not a day (NaT, NaN or inf); expected dates or numbers."
        )
    return days
