"""The page of the fits of many series."""

import textwrap

from benchmarks.reporting import table

WANTED = 10  # times as fast as statsmodels
AS_GOOD = 0.95  # of the series
WIDTH = 120
ABOUT = """Level + season of 12 + noise, three variances, {steps} months: {series} series by
`kf.training.fit_many`, and the first {peers} of them by a loop over statsmodels'
`UnobservedComponents(...).fit()`, in one run. Times are processor times per series, in
milliseconds, without compilation. Both maximise the same likelihood: with an exactly diffuse start,
or with a prior variance of 1e6 and without the first 12 months. A series is as good if its
log-likelihood is at most 1e-3 below the other's."""
PROFILE = """One log-likelihood takes {value:.3f} ms per series with `kf.kalman()`, and
{slopes:.3f} ms with its derivatives by three parameters. A fit looks at 8 places, and then needs an
evaluation with derivatives per step. That the transition is a shift and a sum is used (F P takes
additions only), one observation takes a product of two vectors, and the derivative by the optimal
gain, which is zero, is left out."""
SCALING = """`python -m benchmarks.structural --scaling DIR`: exactly diffuse starts, each number of
series in a process of its own, with compilation; processor time, and the largest memory of the
process."""
LONG = """The log-likelihood of one series of {steps:,} steps takes {value:.2f} s, with its gradient
{gradient:.2f} s; its loop is compiled {how}."""
VERDICT = """The aim of {wanted} times the speed is {fast} ({ratio:.1f} at the least), that of
{share:.0%} as good is {good} ({found:.0%})."""


def page(results):
    """Return the page as text."""
    starts = results["starts"]
    times = [
        [
            name,
            f"{1e3 * row['statsmodels']:.1f}",
            f"{1e3 * row['each']:.2f}",
            f"{row['statsmodels'] / row['each']:.1f}",
            f"{row['as_good']:.0%}",
            f"{row['statsmodels_as_good']:.0%}",
        ]
        for name, row in starts.items()
    ]
    fits = [
        [
            name,
            f"{row['behind']:.1e}",
            f"{row['ahead']:.1e}",
            f"{row['evaluations']:.1f}",
            f"{row['converged']:.0%}",
            f"{row['first']:.0f}",
        ]
        for name, row in starts.items()
    ]
    milliseconds = {name: 1e3 * value for name, value in results["profile"].items()}
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    lines = [
        "# Structural models fitted by the thousand",
        "",
        _filled(ABOUT, **results),
        "",
        *table(["start", "statsmodels", "kfjax", "ratio", "as good", "statsmodels as good"], times),
        "",
        *table(
            ["start", "largest loss", "largest gain", "evaluations", "converged", "first call, s"],
            fits,
        ),
        "",
        _verdict(starts),
        "",
        _filled(PROFILE, **milliseconds),
        "",
        *_scaling(results),
        f"{results['machine']}; {versions}.",
    ]
    return "\n".join(lines) + "\n"


def _filled(text, **values):
    return textwrap.fill(text.format(**values).replace("\n", " "), WIDTH)


def _scaling(results):
    """Return the lines on more series, and on a long one, if these were measured."""
    if "scaling" not in results:
        return []
    rows = [
        [
            f"{row['series']:,}",
            f"{row['seconds']:.0f}" if row["fitted"] else "",
            f"{1e3 * row['seconds'] / row['fitted']:.1f}" if row["fitted"] else "",
            f"{row['megabytes']:.0f}",
            f"{row['converged']:.1%}",
        ]
        for row in results["scaling"]
    ]
    long = results["long"]
    how = "as one function" if long["one_kernel"] else "kernel by kernel"
    return [
        _filled(SCALING),
        "",
        *table(["series", "time, s", "each, ms", "memory, MB", "converged"], rows),
        "",
        _filled(LONG, how=how, **long),
        "",
    ]


def _verdict(starts):
    """Return whether the aims were reached."""
    ratio = min(row["statsmodels"] / row["each"] for row in starts.values())
    found = min(row["as_good"] for row in starts.values())
    fast = "reached" if ratio >= WANTED else "missed"
    good = "reached" if found >= AS_GOOD else "missed"
    return _filled(
        VERDICT, wanted=WANTED, fast=fast, ratio=ratio, share=AS_GOOD, good=good, found=found
    )
