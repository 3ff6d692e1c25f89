"""The numbers of the KalmanNet paper on the pages are those of its text, which this file holds."""

import re

import pytest

from benchmarks.kalmannet import page, paper, store, table1
from benchmarks.kalmannet.__main__ import HERE, STUDIES

# As the paper prints them (IEEE Transactions on Signal Processing 70, 2022), by table and sentence.
TABLE_I = {
    "vanilla RNN": "-20.98 58.14",
    "MB RNN": "-21.53 36.8",
    "MB RNN with differences": "-21.92 -21.88",
    "KalmanNet": "-21.92 -21.90",
    "KF": "-21.97 -21.91",
}
TABLE_III = {"EKF": "-6.43", "PF": "-5.34", "KalmanNet": "-11.28"}
TABLE_IV = {"EKF": "290", "PF": "2903", "KalmanNet C3": "187", "KalmanNet C4": "149"}  # ms
TABLE_V = {
    "integrated velocity": "25.47",
    "KF": "25.385",
    "KalmanNet": "22.2",
    "vanilla RNN": "40.21",
}
SENTENCES = {
    "Fig. 7b: gain of KalmanNet, dB": "3",
    "Fig. 9b: MSE of the EKF, dB, above": "30",
    "Table V: gain of KalmanNet, dB": "3.2",
}
SETTINGS = {  # of the paper's experiments, as the pages tell them
    "table1": ("F = [[1, 1], [0, 1]]", "nu = 0 dB", "1/r² = 20 dB", "200"),
    "fig7b": ("10 and 20 degrees", "T = 20"),
    "fig8": ("from -12 to 20 dB",),
    "fig9": ("T = 30", "2000 steps", "dt = 0.02", "J = 5"),
    "fig10": ("J = 2", "T = 2000"),
    "fig11": ("one degree", "T = 2000"),
    "fig12": ("T = 20", "nu = 0 dB"),
    "table3": ("1e-5 s", "0.02 s", "T = 3000"),
    "nclt_odometry": ("5,556 rows", "277 steps", "1 Hz"),
}


def numbers(text):
    return tuple(float(word) for word in text.split())


def derived():
    """Numbers that pages compute from printed ones: a gain, and ratios of times."""
    ms = {name: float(text) for name, text in TABLE_IV.items()}
    gain = float(TABLE_III["EKF"]) - float(TABLE_III["KalmanNet"])
    return {gain, ms["KalmanNet C4"] / ms["PF"], *(time / ms["EKF"] for time in ms.values())}


def printed():
    """All numbers of the paper's tables and sentences."""
    tables = (TABLE_I, TABLE_III, TABLE_IV, TABLE_V, SENTENCES)
    return {number for held in tables for text in held.values() for number in numbers(text)}


def near(value, found):
    return any(abs(value - one) <= 5e-4 * max(1.0, abs(one)) for one in found)


def test_the_module_of_the_paper_s_numbers_is_the_paper():
    assert {name: numbers(text) for name, text in TABLE_I.items()} == paper.LINEAR
    for ours, text in (
        (paper.DECIMATED, TABLE_III),
        (paper.TIMES, TABLE_IV),
        (paper.ODOMETRY, TABLE_V),
    ):
        assert ours == {name: float(value) for name, value in text.items()}
    claims = (paper.ROTATED_GAIN, paper.LOST, paper.ODOMETRY_GAIN)
    assert claims == tuple(float(text) for text in SENTENCES.values())


@pytest.mark.parametrize("name", STUDIES)
def test_every_number_that_a_study_takes_from_the_paper_is_printed_there(name):
    for row in store.study_of(name).STUDY.paper.values():
        for value in row.values():
            assert near(value, printed() | derived())


@pytest.mark.parametrize("path", [page.PAGE, *(f"{page.STUDIES}/{name}.md" for name in STUDIES)])
def test_every_number_of_the_paper_on_a_page_is_printed_there(path):
    text = " ".join((HERE / path).read_text().split())
    for quoted in re.findall(r"\(paper: ([^)]*)\)", text):
        for value in re.findall(r"-?\d[\d.]*", quoted):
            assert near(float(value), printed() | derived()), quoted
    for value in columns((HERE / path).read_text()):
        assert near(value, printed() | derived()), value


def columns(text):
    """Yield the numbers in the columns of a page's tables that are headed by the paper."""
    at = None
    for line in text.split("\n"):
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line[:1] == "|" else None
        if cells is None:
            at = None
        elif at is None:
            at = [number for number, cell in enumerate(cells) if cell.split(",")[0] == "paper"]
        elif not cells[0].startswith("---"):
            yield from (float(cells[number]) for number in at if cells[number])


def test_a_number_is_attributed_to_the_paper_in_no_other_way():
    """What the paper has, gains or loses is told as "(paper: 3 dB)", which the test above reads."""
    other = re.compile(r"(in the paper|the paper's|the paper:)[^.();]*?\d[\d.]* (dB|ms)\b")
    allowed = "the paper's two RNNs lose over 50 dB"  # a threshold of ours, see below
    for path in (HERE / page.PAGE, *(HERE / page.STUDIES).glob("*.md")):
        text = " ".join(path.read_text().split()).replace(allowed, "")
        prose = " ".join(part for part in text.split("|") if "dB against" not in part)
        found = [match.group() for match in other.finditer(prose)]
        assert not found, path.name


def test_thresholds_of_claims_follow_from_the_paper():
    losses = [numbers(TABLE_I[name])[1] - numbers(TABLE_I["KF"])[1] for name in table1.RNNS]
    assert min(losses) > table1.CLAIMED
    gain = float(TABLE_V["KF"]) - float(TABLE_V["KalmanNet"])
    assert round(gain, 1) == float(SENTENCES["Table V: gain of KalmanNet, dB"])


def test_the_numbers_as_they_are_shown():
    shown = [paper.text(number) for number in (58.14, 36.8, -21.9, 25.385, 290.0, None)]
    assert shown == ["58.14", "36.80", "-21.90", "25.385", "290", ""]
    assert paper.quoted(290.0, "ms") == "(paper: 290 ms)"
    assert paper.quoted(30.0, above=True) == "(paper: above 30 dB)"


@pytest.mark.parametrize("name", SETTINGS)
def test_the_paper_s_settings_are_on_the_page(name):
    text = " ".join((HERE / page.STUDIES / f"{name}.md").read_text().split())
    for setting in SETTINGS[name]:
        assert setting in text, setting
