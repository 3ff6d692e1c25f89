"""The page of the results, from the stored rows."""

import textwrap

from benchmarks.choosing import picture
from benchmarks.choosing.problems import problems
from benchmarks.choosing.rule import TOLERANCE, choices, contradictions, lines, number
from benchmarks.reporting import table

WIDTH = 120
ROUNDING = 1e-9  # with a bend below this, a function counts as straight
SHORT = ("extended", "iterated extended", "unscented", "Gauss-Hermite 3", "ensemble transform 100")
ABOUT = """Written by `python -m benchmarks.choosing`; do not edit. It ran every filter on {tests}
records of each problem. Every filter chose factors on Q and R, from {factors} for Gaussian and
ensemble filters and from {few} for particle filters, on {validation} other records, by its error.
Filters have the model that the data were drawn from; where its noise is not Gaussian, particle
filters have the exact density, and the others the first two moments."""
COLUMNS = """* **RMSE** is the root of the squared error, summed over the scored states and
averaged over steps and records, with the 95 % bootstrap interval over records; **as given** is that
with factors of one.
* **failed** is a filter whose estimates are not finite on one record at least.
* **behind** is by how many dB the squared error is above that of the best filter of the problem, on
the same records, with its interval.
* **covered** is the share of the scored states inside their interval of 95 %.
* **lost** are records with an error of more than five times the median error of the best filter.
* **time** of a step is a ratio to the extended filter, in processor time for a batch of records."""
FLOORS = """The floor is the error of the exact filter on a grid where the state has one dimension,
and otherwise the posterior Cramér-Rao bound, which no filter need reach. A bend is how far f or h
is from a straight line over the width of the belief ([how to measure
it](../../docs/howto/choose-a-filter.md)): for f in standard deviations of the prediction, for h in
those of the sensor; the largest of a record, the median over records."""
PUBLISHED = """Settings as in the manual of the EKF/UKF toolbox (J. Hartikainen, A. Solin, S.
Särkkä, Optimal filtering with Kalman filters and smoothers, 2011), on {records} records, as there
for two of the three; with the interval of our mean. "As there" are that toolbox's weights. Figures
of the Lorenz attractor are on [the pages of the KalmanNet paper](../kalmannet/RESULTS.md); of the
other problems we know none that could be compared."""


def write_page(out, results):
    """Write the page and its picture."""
    picture.draw(out, results)
    (out / "RESULTS.md").write_text(page(results))


def page(results):
    """Return the page as text."""
    size = results["size"]
    known = {row["problem"]: row for row in results["problems"]}
    tests, validation, _, particles, _ = size
    about = ABOUT.format(
        tests=tests,
        validation=validation,
        factors="{1, 3, 10, 100} x {0.3, 1, 3, 10}",
        few="{1, 3} on Q",
    )
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    text = [
        "# Which filter: ten problems",
        "",
        _filled(about),
        "",
        f"![How far filters are behind the best one, by problem]({picture.PICTURE})",
        "",
        "## The rule",
        "",
        _filled(_verdict(results)),
        "",
        *lines(results),
        "",
        *_choices(results),
        "",
        "## All problems",
        "",
        _filled("By how many dB filters are behind the best one, after tuning:"),
        "",
        *_overview(results, known),
        "",
        _filled(FLOORS),
        "",
        *_published(results),
        "## Problem by problem",
        "",
        *_bullets(COLUMNS),
        "",
    ]
    for name, problem in problems().items():
        if name in known:
            text += _section(problem, known[name], rows_of(results, name))
    minutes = results["processor_seconds"] / 60
    text += [
        _filled(
            f"{minutes:.0f} minutes of processor time on {results['machine']}, float64, up to"
            f" {particles} particles; {versions}."
        )
    ]
    return "\n".join(text) + "\n"


def rows_of(results, problem):
    """Return the rows of a problem by filter."""
    return {row["filter"]: row for row in results["rows"] if row["problem"] == problem}


def _error(row):
    return number(row["rmse"][0])


def _bend(value):
    if value is None:
        return "not finite"
    return f"{value:.2g}" if value > ROUNDING else "0"


def _bullets(text):
    """Return bullet points, filled."""
    points = [" ".join(point.split()) for point in text.removeprefix("* ").split("\n* ")]
    return [
        textwrap.fill(f"* {point}", WIDTH, subsequent_indent="  ", break_on_hyphens=False)
        for point in points
    ]


def _filled(text):
    return textwrap.fill(" ".join(text.split()), WIDTH, break_on_hyphens=False)


def _verdict(results):
    wrong = contradictions(results)
    if not wrong:
        return (
            "Computed from the tables below: on every problem, the filter that the rule names is"
            f" within {TOLERANCE:g} dB of the best one, or not significantly further behind. The"
            " rule was made from these tables; on other problems it has not been tried."
        )
    return f"The tables **contradict** the rule: {'; '.join(wrong)}."


def _choices(results):
    head = ["problem", "line of the rule", "its filter", "behind, dB"]
    rows = [
        [choice.problem, str(choice.line), choice.filter, _interval(choice.behind, 1)]
        for choice in choices(results)
    ]
    return table(head, rows)


def _overview(results, known):
    head = ["problem", "bend of f", "bend of h", "best", *SHORT, "best particle filter"]
    found = []
    for name, about in known.items():
        rows = rows_of(results, name)
        best = min(rows.values(), key=_error)
        particle = min(
            (row for row in rows.values() if row["kind"] == "particle"),
            key=_error,
        )
        found.append(
            [
                name,
                *map(_bend, about["bends"]),
                best["filter"],
                *(_decibels(rows[one]["behind"]) for one in SHORT),
                f"{particle['filter']}: {_decibels(particle['behind'])}",
            ]
        )
    good = [
        sum(number(rows_of(results, name)[one]["behind"][0]) <= TOLERANCE for name in known)
        for one in SHORT
    ]
    total = [f"{count} of {len(known)}" for count in good]
    found.append([f"within {TOLERANCE:g} dB", "", "", "", *total, ""])
    return table(head, found)


def _section(problem, about, rows):
    unit, _ = problem.unit
    kind = "exact filter" if about["exact"] else "bound"
    floor = "not finite" if about["floor"] is None else f"{about['floor']:.3g}"
    extended = rows["extended"]["microseconds"]
    text = [
        f"### {problem.name.capitalize()}",
        "",
        _filled(
            f"{problem.title}. Source: {problem.source}. {problem.steps} steps,"
            f" n = {problem.model.n}; error in {unit}; floor {floor} ({kind})."
        ),
        "",
    ]
    cells = [
        [
            name,
            _interval(row["rmse"]),
            _number(row["given"][0]),
            " x ".join(f"{factor:g}" for factor in row["factors"]),
            _interval(row["behind"], 1),
            f"{row['covered']:.2f}",
            f"{row['lost']:.0%}",
            f"{row['microseconds'] / extended:.1f}",
        ]
        for name, row in sorted(rows.items(), key=lambda item: _error(item[1]))
    ]
    head = ["", "RMSE", "as given", "Q x R", "behind, dB", "covered", "lost", "time"]
    return [*text, *table(head, cells), ""]


def _published(results):
    rows = results.get("published")
    if not rows:
        return []
    count = min(results["size"][0], 100)
    cells = [
        [
            row["problem"],
            row["measure"],
            row["filter"],
            _interval(row["ours"]),
            f"{row['published']:g}",
        ]
        for row in rows
    ]
    head = ["problem", "error", "filter", "here", "published"]
    text = _filled(PUBLISHED.format(records=count))
    return ["## Published figures", "", text, "", *table(head, cells), ""]


def _number(value, digits=None):
    if value is None:
        return "failed"
    if digits is None:
        return f"{value:.3g}"
    return f"{round(value, digits) + 0.0:.{digits}f}"  # no minus before a zero


def _interval(found, digits=None):
    value, low, high = (_number(number, digits) for number in found)
    return f"{value} ({low} .. {high})" if found[0] is not None else value


def _decibels(found):
    return _number(found[0], 1)
