"""The page of results, generated from the stored rows and the words of the studies."""

import numpy as np

from benchmarks.kalmannet import store
from benchmarks.kalmannet.study import Results
from benchmarks.reporting import cell, table

PAGE = "RESULTS.md"
LIMIT = 0.3  # dB: larger differences from the paper are to be explained
WIDE = 6  # more conditions than this stand below each other
GUIDE = (
    "MSE in dB is 10 log10 of the mean over trajectories, steps and state dimensions. Figures of"
    " several seeds"
    " (trainings from other random keys; the test data are the same) are given as median (lowest .."
    " highest)."
    " Everything chosen was chosen on validation data, and test trajectories were never seen in"
    " training, unless a note"
    " says otherwise. Data are simulated here but where the authors' published sets are named. The"
    " details below each"
    " table give, of the median seed, the 95 % interval over trajectories, their median, and ANEES"
    " (squared errors"
    " normalised by the covariance, divided by n: 1 if consistent) where there is a covariance."
)


def write(folder, names):
    """Write the page and the figures of all studies that have results."""
    (folder / PAGE).write_text(page(folder, names))
    for name in names:
        stored = store.load(folder, name)
        draw = store.study_of(name).STUDY.draw if stored else None
        if draw and (figure := said(draw, Results(stored))):
            figure.savefig(folder / f"{name}.png", dpi=100, metadata={"Software": None})


def page(folder, names):
    """Return the page in markdown."""
    found = {name: stored for name in names if (stored := store.load(folder, name))}
    studies = {
        name: (store.study_of(name).STUDY, Results(stored)) for name, stored in found.items()
    }
    head = [
        "# The KalmanNet paper, reproduced and judged",
        "",
        "Written by `python -m benchmarks.kalmannet`; do not edit.",
    ]
    summary = [
        (study.title, said(study.verdict, results) or "not complete", _met(study, results))
        for study, results in studies.values()
    ]
    absent = [store.study_of(name).STUDY.title for name in names if name not in found]
    summary += [(title, "Written, and not measured yet.", "") for title in absent]
    lines = [
        *head,
        "",
        GUIDE,
        "",
        *_took(studies),
        *table(("study", "verdict", "targets met"), summary),
        "",
    ]
    for name, (study, results) in studies.items():
        lines += _section(name, study, results)
    return "\n".join(lines).rstrip() + "\n"


def _took(studies):
    """How long all of it took."""
    minutes = {name: _minutes(results) for name, (_, results) in studies.items()}
    if not minutes:
        return []
    longest = max(minutes, key=minutes.get)
    return [
        f"All that follows took {sum(minutes.values()):.0f} minutes, at most {minutes[longest]:.0f}"
        f" ({longest}).",
        "",
    ]


def _minutes(results):
    return sum(row["seconds"] for row in results.rows.values()) / 60


def said(function, results):
    """Return what a study says of its results, None if rows for it are missing."""
    try:
        return function(results)
    except KeyError:
        return None


def _section(name, study, results):
    """The lines of one study."""
    lines = [f"## {study.title}", "", study.text, ""]
    if results.stored["size"]["name"] == "quick":
        lines += ["Quick size: everything runs, and the figures mean nothing.", ""]
    lines += [f"**Verdict.** {said(study.verdict, results) or 'Not all rows are there yet.'}", ""]
    lines += [*_main_table(study, results), "", *_targets(study, results)]
    if missing := results.stored["missing"]:
        lines += [f"* Written, and not measured yet: {'; '.join(missing)}.", ""]
    if study.draw and said(study.draw, results):
        lines += [f"![{study.title}]({name}.png)", ""]
    lines += [
        *_differences(study, results),
        *(f"* {note}" for note in study.notes),
        *[""] * bool(study.notes),
    ]
    lines += [
        "<details><summary>Details</summary>",
        "",
        *_details(study, results),
        "",
        "</details>",
        "",
    ]
    return [*lines, _made_by(name, results), ""]


def _main_table(study, results):
    """Rows by conditions, or the other way round where there are many."""
    rows, conditions = list(results.rows), results.conditions

    def entry(row, name):
        return _entry(results, row, name, study.digits)

    if len(conditions) <= WIDE:
        return table(
            (study.unit, *conditions),
            [(row, *(entry(row, name) for name in conditions)) for row in rows],
        )
    return table(
        (study.unit, *rows), [(name, *(entry(row, name) for row in rows)) for name in conditions]
    )


def _entry(results, row, name, digits):
    if name not in results.rows[row]["cells"]:
        return ""
    return _figure(results.seeds(row, name), digits)


def _figure(values, digits):
    """Figures of seeds; those that diverged are counted."""
    sound = values[np.isfinite(values)]
    lost = values.size - sound.size
    if not sound.size:
        return "diverged"
    digits = 0 if np.abs(sound).min() >= 1000 else digits
    return cell(sound, digits) + (f", {lost} of {values.size} diverged" if lost else "")


def _details(study, results):
    """One line per row and condition."""
    head = (
        "",
        "condition",
        study.unit,
        "95 % interval",
        "median",
        "ANEES",
        "paper",
        "other reference",
        "above floor",
    )
    lines = []
    for row, name in _pairs(results):
        found = results.cell(row, name)
        middle = int(np.argsort(results.seeds(row, name))[(len(found.value) - 1) // 2])
        low, high, median, ratio = (
            _of(values, middle) for values in (found.low, found.high, found.median, found.anees)
        )
        interval = (
            "" if None in (low, high) else f"{low:.{study.digits}f} .. {high:.{study.digits}f}"
        )
        told = [
            _number(numbers.get(row, {}).get(name), study.digits)
            for numbers in (study.paper, study.reference)
        ]
        above = (
            said(lambda r, at=(row, name): r(*at) - r(study.floor, at[1]), results)
            if study.floor
            else None
        )
        figure = _entry(results, row, name, study.digits)
        ends = (
            _number(median, study.digits),
            _number(ratio, 2),
            *told,
            _number(above, study.digits),
        )
        lines.append((row, name, figure, interval, *ends))
    return table(head, lines)


def _pairs(results):
    return [
        (row, name)
        for row in results.rows
        for name in results.conditions
        if name in results.rows[row]["cells"]
    ]


def _of(values, index):
    return None if values is None else values[index]


def _number(value, digits):
    if value is None or not np.isfinite(value):
        return ""
    return f"{value:.{digits}f}" if abs(value) < 1e5 else f"{value:.0e}"


def _differences(study, results):
    """Where we are further than the limit from the paper, and why."""
    lines = []
    for row, name in _pairs(results):
        printed = study.paper.get(row, {}).get(name)
        if printed is not None and not abs(results(row, name) - printed) <= LIMIT:
            why = study.why.get(row, "not explained.")
            ours = _figure(np.array([results(row, name)]), study.digits)
            lines.append(
                f"* {row}, {name}: {ours} here, {printed:.{study.digits}f} in the paper: {why}"
            )
    return [f"More than {LIMIT} dB from the paper:", "", *lines, ""] if lines else []


def _judge(target, results):
    """The figure of a target, and whether it was reached; None if it was not measured."""
    value = said(target.value, results)
    return value, None if value is None else bool(value <= target.limit)


def _targets(study, results):
    lines = []
    for target in study.targets:
        value, reached = _judge(target, results)
        word = {None: "not measured at this size", True: "reached", False: "**missed**"}[reached]
        figure = "" if value is None else f": {value:.2f}, at most {target.limit:g} wanted"
        lines.append(f"* {target.text}{figure}: {word}.")
    return [*lines, ""] if lines else []


def _met(study, results):
    judged = [_judge(target, results)[1] for target in study.targets]
    return f"{sum(map(bool, judged))} of {len(judged)}" if judged else ""


def _made_by(name, results):
    """The command, the size and the machine."""
    rows, size = results.rows.values(), results.stored["size"]
    flag = {"reduced": "", "quick": " --quick", "full": " --full"}[size["name"]]
    machines = " and ".join(dict.fromkeys(row["machine"] for row in rows))
    took = f"{_minutes(results):.0f} minutes on {machines}"
    return f"`python -m benchmarks.kalmannet {name}{flag}`, {size['seeds']} seeds, {took}."
