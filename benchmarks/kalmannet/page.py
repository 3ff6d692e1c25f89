"""The pages of results, generated from stored rows and the words of the studies.

`RESULTS.md` is the overview; `studies/` has a page for each study.
"""

import textwrap

from benchmarks import files
from benchmarks.kalmannet import estimate, store
from benchmarks.kalmannet.study import Results
from benchmarks.kalmannet.study_page import reached, said, study_page, total_minutes
from benchmarks.reporting import table

PAGE = "RESULTS.md"
STUDIES = "studies"
COLUMNS = 120
GLUE = "\0"
GLUED = (" - ", " + ", " = ", " %")  # no line begins with these, which could make it a list
GUIDE = """# The KalmanNet paper, reproduced and judged

Written by `python -m benchmarks.kalmannet`; do not edit. The paper is Revach et al., KalmanNet: \
Neural Network Aided Kalman Filtering for Partially Known Dynamics (2022). Each line of the table \
judges one claim by the figure beside it, which is computed from the stored results; the study's \
page has everything else.

* **Errors** are mean squared errors (MSE) in dB: 10 log10 of the mean over trajectories, steps \
and state dimensions. Lower is better; 3 dB is a factor of two. Differences are in dB, too, and \
"behind" means a larger error.
* **Noise.** Q = q² I is the covariance of the process noise and R = r² I that of the observation \
noise. A level in dB is 1/r²; nu is q²/r² in dB. T is the number of steps.
* **Filters.** KF, EKF and UKF are the Kalman, extended and unscented Kalman filters. OKF is a KF, \
and OEKF an EKF, whose Q and R are tuned on training data. Searched q: chosen from a grid on \
validation data.
* **Networks.** KalmanNet C1 to C4 are the paper's configurations. An RNN is a recurrent network \
that gives states; the model-based MB RNN corrects f(x). A figure with a range is the median over \
random keys (seeds: two, five at full size), which draw weights and batches; a tuned filter whose \
figure has no range was tuned with one key. Fits by least squares and searches on a grid draw \
nothing.
* **Data** are simulated here, except for the authors' published sets, called official. All \
choices were made on validation data, unless a study's page says otherwise.
* **Targets** come from theory and from the figures of others, none from our own results on test \
data. One is reached only if the whole interval of its figure is within its limits: the 95 % \
interval over trajectories, or the range over seeds if two estimators that hardly differ have the \
same trajectories.
"""


def write(folder, names):
    """Write the pages, and the figures of all studies that have results."""
    (folder / STUDIES).mkdir(parents=True, exist_ok=True)
    for path, text in pages(folder, names).items():
        (folder / path).write_text(text)
    for name in names:
        stored = store.load(folder, name)
        if stored is None:
            continue
        draw = store.study_of(name).STUDY.draw
        figure = said(draw, Results(stored)) if draw else None
        if figure is not None:
            figure.savefig(folder / f"{name}.png", dpi=100, metadata={"Software": None})


def pages(folder, names):
    """Return the pages in markdown, by their path."""
    studies = {}
    absent = []
    for name in names:
        study = store.study_of(name).STUDY
        stored = store.load(folder, name)
        if stored is None:
            absent.append(study)
        else:
            studies[name] = study, Results(stored)
    at_full_size = files.read(folder / estimate.FILE)
    found = {PAGE: wrapped(_overview(studies, absent, at_full_size))}
    for name, (study, results) in studies.items():
        found[f"{STUDIES}/{name}.md"] = wrapped(study_page(name, study, results))
    return found


def _overview(studies, absent, at_full_size=None):
    """Return the lines of the overview."""
    head = ("study", "claim", "the figure that decides", "verdict", "targets reached")
    lines = [line for name, pair in studies.items() for line in _summary(name, *pair)]
    lines += [(study.title, "not measured yet", "", "", "") for study in absent]
    return [*GUIDE.splitlines(), "", *_took(studies, at_full_size), *table(head, lines)]


def _summary(name, study, results):
    """Return the lines of a study in the table, one for each claim."""
    link = f"[{study.title}]({STUDIES}/{name}.md)"
    verdicts = said(study.verdicts, results)
    if verdicts is None:
        return [(link, "not complete", "", "", reached(study, results))]
    lines = [(one.claim, one.figure, emphasised(one)) for one in verdicts]
    first = (link, *lines[0], reached(study, results))
    return [first, *(("", *line, "") for line in lines[1:])]


def emphasised(verdict):
    """Return the word of a verdict, bold if the claim does not hold."""
    return verdict.word if verdict.holds else f"**{verdict.word}**"


def _took(studies, at_full_size):
    """Say how long all studies took, and how long they are estimated to take at full size."""
    minutes = {name: total_minutes(results) for name, (_, results) in studies.items()}
    if not minutes:
        return []
    longest = max(minutes, key=minutes.get)
    told = f"the longest, {longest}, took {minutes[longest]:.0f}."
    lines = [f"All studies took {sum(minutes.values()):.0f} minutes; {told}", ""]
    if at_full_size:
        whole = estimate.together(at_full_size)
        absent = whole["rows left out"]
        noun = "row" if absent == 1 else "rows"
        without = f" ({absent} {noun} left out)," if absent else ","
        lines[0] += (
            f" At full size they would take about {whole['full'] / 60:.0f} hours of one core"
            f"{without} as `python -m benchmarks.kalmannet --estimate` estimates from these times."
        )
    return lines


def wrapped(lines):
    """Return lines as text in which prose has at most 120 columns; tables keep their lines."""
    return "\n".join(part for line in lines for part in _wrapped(line)).rstrip() + "\n"


def _wrapped(line):
    """Return the lines that one line of prose becomes."""
    if len(line) <= COLUMNS or line.startswith(("|", "!", "#", "<")):
        return [line]
    indent = "  " if line.startswith("* ") else ""
    options = {"break_long_words": False, "break_on_hyphens": False}
    for glued in GLUED:
        line = line.replace(glued, glued.replace(" ", GLUE))
    found = textwrap.wrap(line, COLUMNS, subsequent_indent=indent, **options)
    return [part.replace(GLUE, " ") for part in found]
