"""The rule that the guide prints, and whether the tables agree with it."""

import math
import textwrap
from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks.choosing.problems import problems

WIDTH = 120
TOLERANCE = 1.0  # dB behind the best filter
CURVED = 0.5  # bend above which f or h is not straight over the belief
FEW = 2  # dimensions in which some hundred particles are enough


class Line(NamedTuple):
    """One line of the rule.

    Attributes:
        number: its place, from 1.
        when: the condition in words.
        applies: `(about) -> bool`, about being what is known of a problem without its true states.
        filter: the filter of the tables.
        call: how it is made.
    """

    number: int
    when: str
    applies: Callable[[dict[str, Any]], bool]
    filter: str
    call: str


class Choice(NamedTuple):
    """What the rule chooses for a problem.

    Attributes:
        problem: the problem.
        line: the number of the line that applies.
        filter: its filter.
        behind: by how many dB it is behind the best filter, with its interval.
    """

    problem: str
    line: int
    filter: str
    behind: list[float]


def _is_curved(about):
    return max(number(bend) for bend in about["bends"]) > CURVED


def number(stored):
    """Return a stored number; one that was not finite is stored as None."""
    return math.inf if stored is None else stored


RULE = (
    Line(
        1,
        "the noise has a known density that is not Gaussian, in few dimensions",
        lambda about: not about["gaussian"] and about["n"] <= FEW,
        "particle 500",
        "kf.particle(500)",
    ),
    Line(
        2,
        f"a bend above {CURVED:g}, in few dimensions",
        lambda about: _is_curved(about) and about["n"] <= FEW,
        "particle 500",
        "kf.particle(500)",
    ),
    Line(
        3,
        f"a bend above {CURVED:g}, in more dimensions",
        _is_curved,
        "Gauss-Hermite 3",
        "kf.gauss_hermite(order=3)",
    ),
    Line(4, "otherwise", bool, "unscented", "kf.unscented()"),
)


def choices(results):
    """Return the `Choice` of every stored problem."""
    known = problems()
    found = []
    for row in results["problems"]:
        problem = known[row["problem"]]
        about = row | {"n": problem.model.n, "gaussian": problem.density is None}
        line = next(line for line in RULE if line.applies(about))
        behind = next(
            other["behind"]
            for other in results["rows"]
            if (other["problem"], other["filter"]) == (row["problem"], line.filter)
        )
        found.append(Choice(row["problem"], line.number, line.filter, behind))
    return found


def contradictions(results):
    """Return where the tables contradict the rule: problems where it is clearly further behind."""
    return [
        f"{choice.problem}: {choice.filter} is {number(choice.behind[0]):.1f} dB behind"
        for choice in choices(results)
        if number(choice.behind[1]) > TOLERANCE
    ]


def lines(results):
    """Return the rule as lines of markdown, with what it costs on the problems of each line."""
    made = choices(results)
    found = []
    for line in RULE:
        own = [choice for choice in made if choice.line == line.number]
        end = "." if line is RULE[-1] else ";"
        text = f"{line.number}. {line.when}: `{line.call}` ({_told(own)}){end}"
        found += textwrap.wrap(text, WIDTH, subsequent_indent="   ", break_on_hyphens=False)
    return found


def _told(own):
    """Return how far behind the choices of a line are."""
    if not own:
        return "none of the problems"
    worst = max(number(choice.behind[0]) for choice in own)
    names = ", ".join(choice.problem for choice in own)
    return f"{names}: at most {worst:.1f} dB behind the best filter"
