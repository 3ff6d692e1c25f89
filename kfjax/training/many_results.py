"""The fits of many series, as a table."""

from __future__ import annotations

import dataclasses
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from kfjax._support.files import write_file
from kfjax._support.naming import described, not_installed
from kfjax.base import Params

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FittedMany"]

FEW = "too few observations"
STATUSES = (
    "converged",
    "at an end",
    "not converged",
    "not finite",
    "constant",
    FEW,
)


@dataclasses.dataclass(frozen=True, eq=False)
class FittedMany:
    """N series, each fitted by maximum likelihood.

    Attributes:
        names: names of the p parameters.
        values: estimates [N, p]; NaN for series that were not fitted.
        std_errors: standard errors by the expected information [N, p]; NaN where there are none.
        log_likelihood: [N].
        observations: numbers of observations that count [N].
        updates: numbers of evaluations of the last run of the optimiser [N].
        status: [N] texts: "converged"; "at an end", converged with a parameter at an end of its
            range, such as a variance that has vanished; "not converged"; "not finite", if the
            likelihood is not finite at any start; "constant" or "too few observations", for series
            that were not fitted.
        at_end: which parameters are at an end of their ranges, or not determined [N, p].
        series: names of the series, or their numbers.
        filter: name of the filter.

    Example:
        >>> model = kf.structural.level(1.0) + kf.structural.irregular(1.0)
        >>> ys = np.random.default_rng(0).normal(size=(2, 40, 1))
        >>> fits = kf.training.fit_many(kf.exact_diffuse(), model, kf.Dataset(ys))
        >>> fits.converged.tolist(), list(fits.to_pandas().columns)[:2]
        ([True, True], ['level.std', 'irregular.std'])
    """

    names: tuple[str, ...]
    values: Float[np.ndarray, "N p"]
    std_errors: Float[np.ndarray, "N p"]
    log_likelihood: Float[np.ndarray, " N"]
    observations: Int[np.ndarray, " N"]
    updates: Int[np.ndarray, " N"]
    status: Shaped[np.ndarray, " N"]
    at_end: Bool[np.ndarray, "N p"]
    series: tuple[Any, ...]
    filter: str
    theta: Float[np.ndarray, "N free"] = dataclasses.field(repr=False)
    layout: Any = dataclasses.field(repr=False)
    fixed: Any = dataclasses.field(repr=False)

    def __len__(self) -> int:
        """Return the number of series."""
        return len(self.values)

    @property
    def converged(self) -> Bool[np.ndarray, " N"]:
        """Which series have reached a maximum [N], also one at an end of a range."""
        return (self.status == "converged") | (self.status == "at an end")

    @property
    def aic(self) -> Float[np.ndarray, " N"]:
        """Akaike's criterion [N], -2 log L + 2 p."""
        return -2 * self.log_likelihood + 2 * len(self.names)

    def params(self, index: int) -> Params:
        """Return the params of the filter with the estimates of one series.

        Args:
            index: the number of the series, from 0.

        Raises:
            ValueError: if there is no such series, or it has no estimates.
        """
        is_whole = isinstance(index, (int, np.integer)) and not isinstance(index, bool)
        if not is_whole or not -len(self) <= index < len(self):
            raise ValueError(
                f"FittedMany.params: index is {described(index)}; expected the number of a series,"
                f" 0 to {len(self) - 1}. By its name it is fits.params(fits.series.index(name))."
            )
        if not np.isfinite(self.theta[index]).all():
            raise ValueError(
                f"FittedMany.params: series {self.series[index]} has no estimates, it is"
                f" '{self.status[index]}'; expected one of which {', '.join(self.names)} were"
                " fitted, as fits.converged tells."
            )
        return self.layout.params(self.theta[index], self.fixed)

    def to_pandas(self) -> pd.DataFrame:
        """Return a table with a row for each series.

        Returns:
            The parameters, their standard errors (name_std_error), log_likelihood, aic,
            observations, updates and status.

        Raises:
            ImportError: if pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise not_installed("pandas", error) from error
        columns = dict(zip(self.names, self.values.T, strict=True))
        errors = zip(self.names, self.std_errors.T, strict=True)
        columns |= {f"{name}_std_error": column for name, column in errors}
        columns |= {
            "log_likelihood": self.log_likelihood,
            "aic": self.aic,
            "observations": self.observations,
            "updates": self.updates,
            "status": self.status,
        }
        return pd.DataFrame(columns, index=pd.Index(self.series, name="series"))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the table as a csv or parquet file, as a whole or not at all.

        Args:
            path: a name that ends in .csv or .parquet.

        Raises:
            ValueError: if the name ends otherwise.
            ImportError: if pandas, or for parquet pyarrow, is not installed.
        """
        kind = Path(path).suffix.lower()
        if kind not in (".csv", ".parquet"):
            raise ValueError(
                f"FittedMany.save: path is {str(path)!r}; expected a name that ends in .csv or"
                " .parquet."
            )
        table = self.to_pandas()
        if kind == ".csv":
            write_file(path, table.to_csv().encode())
            return
        content = io.BytesIO()
        table.to_parquet(content)
        write_file(path, content.getvalue())

    def summary(self) -> str:
        """Return the number of series of each status, and quartiles of the parameters, as text."""
        lines = [f"{len(self)} series fitted by maximum likelihood, {self.filter}"]
        for status in STATUSES:
            count = int((self.status == status).sum())
            if count:
                lines.append(f"  {status:<22}{count:>8}")
        wide = max(22, *(len(name) for name in self.names))
        heads = ("25 %", "median", "75 %", "at an end")
        lines.append("  " + " " * wide + "".join(f"{head:>12}" for head in heads))
        good = self.converged
        for j, name in enumerate(self.names):
            column = self.values[good, j]
            found = np.quantile(column, (0.25, 0.5, 0.75)) if column.size else (np.nan,) * 3
            cells = "".join(f"{value:>12.4g}" for value in found)
            lines.append(f"  {name:<{wide}}{cells}{int(self.at_end[good, j].sum()):>12}")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.summary()
