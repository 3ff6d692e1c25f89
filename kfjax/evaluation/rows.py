"""The row of one filter in a comparison."""

from __future__ import annotations

import dataclasses

from kfjax.evaluation.intervals import Interval

__all__ = ["Row"]


@dataclasses.dataclass(frozen=True)
class Row:
    """One filter of a comparison; None for what the filter or the data do not have.

    Attributes:
        name: name as given to `compare`.
        trajectories: number of trajectories.
        failed: number of trajectories with an estimate or a likelihood that is not a number, or a
            negative variance.
        rejected: share of the observed channels that the filter did not use, of those that add
            information (see `Info.dof`: a noise-free channel that others determine counts in
            neither number, unless it was impossible); None for filters that use every observation.
        mse_db: MSE over trajectories, steps and state dimensions with its confidence interval, dB.
        median_db: median over trajectories of the MSE, dB.
        difference_db: how much worse than the best filter on the same trajectories, with confidence
            interval, dB; by state error if the truth is known, otherwise by prediction error.
        anees: average normalised error per dimension with its acceptance interval; 1 if consistent.
        coverage: fraction of states within their central 95 % interval, with confidence interval.
        anis: mean normalised innovation per observed channel with its acceptance interval; 1 if
            consistent.
        log_likelihood: log-likelihood per step, with confidence interval.
        prediction_db: mean squared one-step prediction error of y with confidence interval, dB.
        autocorrelation: autocorrelation of the whitened innovations at lag 1, with its acceptance
            interval around 0.
        whiteness: p-value of the test that lags 1 to 20 have no autocorrelation.
        microseconds: run time of one filter step of one trajectory, with all estimates and
            innovations kept: the median of several calls on a whole chunk of trajectories.
        compile_seconds: time to trace and compile the filter; near 0 if an earlier row or call has
            compiled the same.
    """

    name: str
    trajectories: int
    failed: int
    rejected: float | None
    mse_db: Interval | None
    median_db: float | None
    difference_db: Interval | None
    anees: Interval | None
    coverage: Interval | None
    anis: Interval | None
    log_likelihood: Interval | None
    prediction_db: Interval | None
    autocorrelation: Interval | None
    whiteness: float | None
    microseconds: float
    compile_seconds: float

    @property
    def outside(self) -> tuple[str, ...]:
        """Which of `anees`, `anis` and `autocorrelation` lie outside their acceptance intervals."""
        tests = {name: getattr(self, name) for name in ("anees", "anis", "autocorrelation")}
        return tuple(name for name, test in tests.items() if test is not None and test.is_outside)
