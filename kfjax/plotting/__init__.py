"""Figures of estimates and of evaluations.

Every function draws into the given axes, or into a new figure, and returns the axes;
`axes.figure.savefig(path)` writes it. No window is opened and no global state of matplotlib is
changed, so everything works without a display.
"""

from kfjax.plotting.comparison import plot_comparison
from kfjax.plotting.components import plot_trajectory
from kfjax.plotting.consistency import plot_consistency, plot_nees, plot_nis
from kfjax.plotting.decompositions import plot_decomposition
from kfjax.plotting.ellipses import plot_ellipses
from kfjax.plotting.errors import plot_error_bounds, plot_errors
from kfjax.plotting.forecasts import plot_forecast
from kfjax.plotting.gains import plot_gain
from kfjax.plotting.innovations import plot_autocorrelation
from kfjax.plotting.observations import plot_observations
from kfjax.plotting.paths import plot_path
from kfjax.plotting.records import plot_record
from kfjax.plotting.style import COLOURS, TRUTH
from kfjax.plotting.sweeps import plot_noise_sweep
from kfjax.plotting.training import plot_history

__all__ = [
    "COLOURS",
    "TRUTH",
    "plot_autocorrelation",
    "plot_comparison",
    "plot_consistency",
    "plot_decomposition",
    "plot_ellipses",
    "plot_error_bounds",
    "plot_errors",
    "plot_forecast",
    "plot_gain",
    "plot_history",
    "plot_nees",
    "plot_nis",
    "plot_noise_sweep",
    "plot_observations",
    "plot_path",
    "plot_record",
    "plot_trajectory",
]
