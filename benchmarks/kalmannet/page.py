"""The page of results, generated from the stored rows and the words of the studies."""

import numpy as np

from benchmarks.kalmannet import store
from benchmarks.kalmannet.study import Results
from benchmarks.reporting import cell, table

PAGE = "RESULTS.md"
LIMIT = 0.3  # dB; larger differences from the paper are listed with an explanation
WIDE = 6  # more conditions than this become rows of the table
GUIDE = """# The KalmanNet paper, reproduced and judged

Written by `python -m benchmarks.kalmannet`; do not edit.

* **Errors.** MSE in dB is 10 log10 of the mean squared error over trajectories, steps and state \
dimensions; lower is better.
* **Noise.** The process noise has the covariance Q = q² I and the observation noise R = r² I. \
A level in dB is 1/r²; nu is q²/r² in dB.
* **Sizes.** The state has n dimensions and the observation m; T is the number of steps.
* **Seeds.** A network is trained from several random keys (seeds) and tested on the same data. \
Its results are given as median (lowest .. highest).
* **Data.** All choices were made on validation data, and no estimator was trained on test \
trajectories, unless a note says otherwise. Data are simulated here, except for the \
authors' published sets, which are called official.
* **Classical filters.** KF, EKF, UKF and PF are the Kalman, extended Kalman, unscented Kalman and \
particle filters. OKF and OEKF are a KF and an EKF whose Q and R are optimised on training data.
* **Networks.** KalmanNet #1 and #2 are the paper's two architectures, C1 to C4 its \
configurations: an architecture with its input features. MB RNN is a model-based recurrent \
network, whose inputs are y and f(x), and which corrects f(x). The gain that starts at the EKF is \
a network that corrects the gain of an EKF.
* **Lorenz attractor.** J is the order of the Taylor series by which f moves the state over a step.
* **Floor.** The lowest error that any estimator can reach, or an estimate of it.
* **Details.** The details below each table give, for the median seed, the 95 % interval over \
trajectories, the median over trajectories, and the average normalised estimation error squared \
(ANEES), if there is a covariance. ANEES is the squared error normalised by the covariance and \
divided by n: 1 for a consistent filter, above 1 for an overconfident one.
"""
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
WORDS = {None: "not measured at this size", True: "reached", False: "**missed**"}
FLAGS = {"reduced": "", "quick": " --quick", "full": " --full"}


def write(folder, names):
    """Write the page, and the figures of all studies that have results."""
    (folder / PAGE).write_text(page(folder, names))
    for name in names:
        stored = store.load(folder, name)
        if stored is None:
            continue
        draw = store.study_of(name).STUDY.draw
        figure = said(draw, Results(stored)) if draw else None
        if figure is not None:
            figure.savefig(folder / f"{name}.png", dpi=100, metadata={"Software": None})


def page(folder, names):
    """Return the page in markdown."""
    studies = {}
    absent = []
    for name in names:
        study = store.study_of(name).STUDY
        stored = store.load(folder, name)
        if stored is None:
            absent.append(study)
        else:
            studies[name] = study, Results(stored)
    summary = [_summary(*pair) for pair in studies.values()]
    summary += [(study.title, "not measured yet", "", "") for study in absent]
    head = ("study", "claim", "verdict", "targets reached")
    lines = [*GUIDE.splitlines(), "", *_took(studies), *table(head, summary), ""]
    for name, (study, results) in studies.items():
        lines += _section(name, study, results)
    return "\n".join(lines).rstrip() + "\n"


def _took(studies):
    """Tell how long all studies took."""
    minutes = {name: _minutes(results) for name, (_, results) in studies.items()}
    if not minutes:
        return []
    total = sum(minutes.values())
    longest = max(minutes, key=minutes.get)
    told = f"the longest, {longest}, took {minutes[longest]:.0f}."
    return [f"All studies took {total:.0f} minutes; {told}", ""]


def _minutes(results):
    return sum(row["seconds"] for row in results.rows.values()) / 60


def said(function, results):
    """Return what a function of a study says of its results, or None if rows are missing."""
    try:
        return function(results)
    except KeyError:
        return None


def _summary(study, results):
    """Return the line of a study in the first table."""
    verdict = said(study.verdict, results)
    if verdict is None:
        return study.title, "not complete", "", _reached(study, results)
    return study.title, verdict.claim, _emphasised(verdict), _reached(study, results)


def _emphasised(verdict):
    return verdict.word if verdict.holds else f"**{verdict.word}**"


def _section(name, study, results):
    """Return the lines of one study."""
    lines = [f"## {study.title}", "", study.text, ""]
    if results.stored["size"]["name"] == "quick":
        lines += ["Quick size: it only shows that everything runs. Ignore the numbers.", ""]
    lines += [*_verdict(study, results), *_main_table(study, results), ""]
    lines += _targets(study, results)
    if missing := results.stored["missing"]:
        lines += [f"* Not measured yet: {'; '.join(missing)}.", ""]
    if study.draw and said(study.draw, results):
        lines += [f"![{study.title}]({name}.png)", ""]
    lines += _differences(study, results)
    if study.notes:
        lines += [*(f"* {note}" for note in study.notes), ""]
    lines += ["<details><summary>Details</summary>", "", *_details(study, results), ""]
    return [*lines, "</details>", "", _made_by(name, results), ""]


def _verdict(study, results):
    """Return the lines of a verdict and its details."""
    verdict = said(study.verdict, results)
    if verdict is None:
        return ["**Verdict.** Not all rows are measured yet.", ""]
    lines = [f"**Verdict.** {verdict.claim}: **{verdict.word}**.", ""]
    if verdict.details:
        lines += [*(f"* {detail}" for detail in verdict.details), ""]
    return lines


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
    if not results.has(row, name):
        return ""
    return _figure(results.seeds(row, name), digits)


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
        _entry(results, row, name, study.digits),
        _interval(_of(found.low, middle), _of(found.high, middle), study.digits),
        _number(_of(found.median, middle), study.digits),
        _number(_of(found.anees, middle), 2),
        _number(study.paper.get(row, {}).get(name), study.digits),
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


def _differences(study, results):
    """Return the differences from the paper that exceed the limit, with their explanations."""
    lines = []
    for row, name in _pairs(results):
        printed = study.paper.get(row, {}).get(name)
        if printed is None or abs(results(row, name) - printed) <= LIMIT:
            continue
        why = study.why.get(row, "not explained.")
        ours = _figure(np.array([results(row, name)]), study.digits)
        theirs = f"{printed:.{study.digits}f}"
        lines.append(f"* {row}, {name}: {ours} here, {theirs} in the paper: {why}")
    return [f"More than {LIMIT} dB from the paper:", "", *lines, ""] if lines else []


def _judge(target, results):
    """Return the figure of a target and whether it was reached; None if it was not measured."""
    value = said(target.value, results)
    return value, None if value is None else bool(value <= target.limit)


def _targets(study, results):
    """Return the lines of the targets."""
    lines = []
    for target in study.targets:
        value, reached = _judge(target, results)
        figure = "" if value is None else f": {value:.2f}, at most {target.limit:g} wanted"
        lines.append(f"* {target.text}{figure}: {WORDS[reached]}.")
    return [*lines, ""] if lines else []


def _reached(study, results):
    """Return how many targets were reached, in words."""
    judged = [_judge(target, results)[1] for target in study.targets]
    return f"{sum(map(bool, judged))} of {len(judged)}" if judged else ""


def _made_by(name, results):
    """Return the command, the size and the machine."""
    rows = results.rows.values()
    size = results.stored["size"]
    machines = " and ".join(dict.fromkeys(row["machine"] for row in rows))
    command = f"python -m benchmarks.kalmannet {name}{FLAGS[size['name']]}"
    minutes = _minutes(results)
    return f"`{command}`, {size['seeds']} seeds, {minutes:.0f} minutes on {machines}."
