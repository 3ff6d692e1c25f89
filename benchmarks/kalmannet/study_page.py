"""The page of one study: verdicts, table, targets, the paper's figures and details."""

import numpy as np

from benchmarks.kalmannet import paper
from benchmarks.kalmannet.glossary import explained
from benchmarks.kalmannet.study import Measure
from benchmarks.kalmannet.unfinished import unfinished
from benchmarks.reporting import cell, table

LIMIT = 0.3  # dB; larger differences from the paper are listed with an explanation
WIDE = 6  # more conditions than this become rows of the table
MARK = " †"
DETAILS = (
    "",
    "condition",
    "{unit}",
    "95 % interval",
    "median",
    "ANEES",
    "paper",
    "other reference",
    "above floor",
)
LEGEND = """\
For networks and tuned filters a figure is the median over seeds (lowest .. highest). The details \
at the end of the page give, for the median seed, the 95 % interval over trajectories, the median \
over trajectories, and the average normalised estimation error squared (ANEES) if there is a \
covariance: the squared error divided by what the covariance expects, 1 for a consistent filter, \
above 1 for an overconfident one, below 1 for a cautious one."""
UNFINISHED = """\
† The best update of at least one training was its last, so that longer training could lower this \
error."""
DECIDED = {
    True: "reached",
    False: "**missed**",
    None: "**undecided**, the interval crosses a limit",
}
FLAGS = {"reduced": "", "quick": " --quick", "full": " --full"}


def said(function, results):
    """Return what a function of a study says about its results, or None if rows are missing."""
    try:
        return function(results)
    except KeyError:
        return None


def total_minutes(results):
    """Return how long a study took."""
    return sum(row["seconds"] for row in results.rows.values()) / 60


def study_page(name, study, results):
    """Return the lines of the page of one study."""
    lines = [
        f"# {study.title}",
        "",
        "[All studies](../RESULTS.md)",
        "",
        *study.text.splitlines(),
        "",
    ]
    if results.stored["size"]["name"] == "quick":
        lines += ["Quick size: it only shows that everything runs. Ignore the numbers.", ""]
    lines += [*_verdicts(study, results), *_picture(name, study, results)]
    lines += _results(study, results)
    lines += [*_beside_paper(study, results), *_targets(study, results)]
    if missing := results.stored["missing"]:
        lines += [f"Not measured yet: {'; '.join(missing)}.", ""]
    lines += _notes(study, results)
    lines += ["<details><summary>Details</summary>", "", *_details(study, results), ""]
    return [*lines, "</details>", "", _made_by(name, results)]


def _verdicts(study, results):
    """Return the lines of the verdicts and their details."""
    lines = ["## Verdicts", ""]
    verdicts = said(study.verdicts, results)
    if verdicts is None:
        return [*lines, "Not all rows are measured yet.", ""]
    lines += [f"* {one.claim}: **{one.word}**. {capitalised(one.figure)}." for one in verdicts]
    details = said(study.details, results) or ()
    return [*lines, "", *(line for text in details for line in (text, ""))]


def capitalised(text):
    """Return text that begins a sentence."""
    return text[:1].upper() + text[1:]


def _results(study, results):
    """Return the main table, with what the names of its rows mean before it."""
    unit = f"Figures are {study.unit or 'in the units that the names of the rows give'}."
    legend = f"{unit} {LEGEND}" if _has_intervals(results) else unit
    lines = ["## Results", "", legend, ""]
    lines += [f"* **{term}**: {meaning}" for term, meaning in explained(results.rows)]
    lines += ["", *_main_table(study, results), ""]
    if any(_mark(results, *pair) for pair in _pairs(results)):
        lines += [UNFINISHED, ""]
    return lines


def _has_intervals(results):
    """Return whether the figures are errors of estimators on trajectories."""
    return any(results.cell(*pair).median is not None for pair in _pairs(results))


def _main_table(study, results):
    """Return a table of rows by conditions, or the other way round if there are many of these."""
    rows = list(results.rows)
    conditions = results.conditions

    def entry(row, name):
        return _entry(results, row, name, study.digits)

    if len(conditions) <= WIDE:
        lines = [(row, *(entry(row, name) for name in conditions)) for row in rows]
        return table((study.unit, *conditions), lines)
    lines = [(name, *(entry(row, name) for row in rows)) for name in conditions]
    return table((study.unit, *rows), lines)


def _entry(results, row, name, digits):
    """Return the figures of a row under a condition, marked if it could be trained longer."""
    if not results.has(row, name):
        return ""
    return _figure(results.seeds(row, name), digits) + _mark(results, row, name)


def _mark(results, row, name):
    return MARK if unfinished(results.rows[row], name) else ""


def _figure(values, digits):
    """Return the figures of seeds as text, with the number of those that diverged."""
    sound = values[np.isfinite(values)]
    lost = values.size - sound.size
    if not sound.size:
        return "diverged"
    if np.abs(sound).min() >= 1000:
        digits = 0
    text = cell(sound, digits)
    return f"{text}, {lost} of {values.size} diverged" if lost else text


def _details(study, results):
    """Return a table with one line for every row and condition."""
    head = [name.format(unit=study.unit) for name in DETAILS]
    return table(head, [_detail(study, results, *pair) for pair in _pairs(results)])


def _detail(study, results, row, name):
    """Return the line of one row under one condition."""
    found = results.cell(row, name)
    order = np.argsort(results.seeds(row, name))
    middle = int(order[(len(found.value) - 1) // 2])
    return (
        row,
        name,
        _figure(results.seeds(row, name), study.digits),
        _interval(_of(found.low, middle), _of(found.high, middle), study.digits),
        _number(_of(found.median, middle), study.digits),
        _number(_of(found.anees, middle), 2),
        paper.text(study.paper.get(row, {}).get(name)),
        _number(study.reference.get(row, {}).get(name), study.digits),
        _number(_above_floor(study, results, row, name), study.digits),
    )


def _pairs(results):
    """Return all pairs of a row and a condition that it has."""
    return [
        (row, name) for row in results.rows for name in results.conditions if results.has(row, name)
    ]


def _above_floor(study, results, row, name):
    """Return how far a row is above the floor, or None if there is no floor."""
    if study.floor is None:
        return None
    return said(lambda r: r(row, name) - r(study.floor, name), results)


def _of(values, index):
    return None if values is None else values[index]


def _interval(low, high, digits):
    if low is None or high is None:
        return ""
    return f"{low:.{digits}f} .. {high:.{digits}f}"


def _number(value, digits):
    if value is None or not np.isfinite(value):
        return ""
    return f"{value:.{digits}f}" if abs(value) < 1e5 else f"{value:.0e}"


def _beside_paper(study, results):
    """Return the paper's numbers beside ours, and what explains large differences."""
    pairs = [pair for pair in _pairs(results) if pair[1] in study.paper.get(pair[0], {})]
    if not pairs:
        return []
    lines = []
    for row, name in pairs:
        printed = paper.text(study.paper[row][name])
        lines.append((row, name, printed, _entry(results, row, name, study.digits)))
    head = ("", "condition", f"paper, {study.unit}", f"here, {study.unit}")
    return [
        "## Beside the paper",
        "",
        *table(head, lines),
        "",
        *_differences(study, results, pairs),
    ]


def _differences(study, results, pairs):
    """Return the differences from the paper that exceed the limit, with their explanations."""
    lines = []
    for row, name in pairs:
        difference = results(row, name) - study.paper[row][name]
        if "dB" not in study.unit or abs(difference) <= LIMIT:
            continue
        why = study.why.get(row, "not explained.")
        lines.append(f"* {row}, {name}: {difference:+.{study.digits}f} dB; {why}")
    return [f"Differences of more than {LIMIT} dB:", "", *lines, ""] if lines else []


def judge(target, results):
    """Return the `Measure` of a target and whether it was reached, or two None without rows.

    Whether it was reached is also None if its interval crosses a limit.
    """
    value = said(target.value, results)
    if value is None:
        return None, None
    figure = value if isinstance(value, Measure) else Measure(value, value, value)
    return figure, target.judge(figure)


def _targets(study, results):
    """Return the lines of the targets."""
    lines = [f"* {_target(target, results)}." for target in study.targets]
    return ["## Targets", "", *lines, ""] if lines else []


def _target(target, results):
    """Return a target in words, with its figure, its interval and its limits."""
    figure, decided = judge(target, results)
    if figure is None:
        return f"{target.text}: not measured at this size"
    interval = ""
    if figure.low < figure.high:
        interval = f" ({figure.low:.2f} .. {figure.high:.2f})"
    limits = {"at least": target.at_least, "at most": target.at_most}
    wanted = " and ".join(
        f"{word} {limit:g}" for word, limit in limits.items() if limit is not None
    )
    return f"{target.text}: {figure.value:.2f}{interval}, wanted {wanted}: {DECIDED[decided]}"


def reached(study, results):
    """Return how many targets were reached, in words."""
    judged = [judge(target, results)[1] for target in study.targets]
    return f"{sum(map(bool, judged))} of {len(judged)}" if judged else ""


def _picture(name, study, results):
    """Return the picture of a study, and in which form the paper has it."""
    if not study.draw or not said(study.draw, results):
        return []
    form = [study.form, ""] if study.form else []
    return ["## Picture", "", *form, f"![{study.title}](../{name}.png)", ""]


def _notes(study, results):
    """Return the notes; those with figures are computed."""
    told = [note if isinstance(note, str) else said(note, results) for note in study.notes]
    lines = [f"* {note}" for note in told if note]
    return ["## Notes", "", *lines, ""] if lines else []


def _made_by(name, results):
    """Return the command, the size and the machine."""
    rows = results.rows.values()
    size = results.stored["size"]
    machines = " and ".join(dict.fromkeys(row["machine"] for row in rows))
    command = f"python -m benchmarks.kalmannet {name}{FLAGS[size['name']]}"
    minutes = total_minutes(results)
    unit = "minute" if round(minutes) == 1 else "minutes"
    return f"`{command}`, {size['seeds']} seeds, {minutes:.0f} {unit} on {machines}."
