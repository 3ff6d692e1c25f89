"""Progress where nobody watches a terminal: a line now and then, and never a broken one."""

import re

import jax
import numpy as np
import pytest

import kfjax as kf
from kfjax._support import progress
from kfjax._support.progress import progress_bar


@pytest.fixture
def clock(monkeypatch):
    """The clock of rich, which the test moves."""
    now = [0.0]
    monkeypatch.setattr("rich.console.monotonic", lambda: now[0])
    monkeypatch.setattr(progress, "PAUSE", 30.0)
    return now


def test_lines_say_what_is_done_the_loss_and_the_time_left(clock, capsys):
    with progress_bar("training", 2000) as advance:
        for update in range(1, 21):
            clock[0] += 10.0
            advance(100, f"loss {update}")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        f"training: {5 * k} % of 2000, loss {k}, {time} passed, {left} left"
        for k, time, left in [
            (3, "0:00:30", "0:02:50"),
            (6, "0:01:00", "0:02:20"),
            (9, "0:01:30", "0:01:50"),
            (12, "0:02:00", "0:01:20"),
            (15, "0:02:30", "0:00:50"),
            (18, "0:03:00", "0:00:20"),
        ]
    ]


def test_long_work_prints_ever_fewer_lines(clock, capsys):
    with progress_bar("trials", 86_400) as advance:
        for _ in range(8_640):
            clock[0] += 10.0
            advance(10)
    assert 40 < len(capsys.readouterr().err.splitlines()) < 80


def test_short_work_and_silence_print_nothing(clock, capsys):
    for shown in (None, False):
        with progress_bar("filters", 2, shown) as advance:
            advance(1)
            clock[0] += 100.0 * (shown is False)
            advance(1)
    assert capsys.readouterr().err == ""


class Terminal:
    """A stderr that is a terminal."""

    encoding = "utf-8"

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass

    def isatty(self):
        return True


@pytest.mark.parametrize(("kind", "bar"), [("xterm", True), ("dumb", False)])
def test_a_terminal_without_a_cursor_gets_lines(monkeypatch, kind, bar):
    terminal = Terminal()
    monkeypatch.setenv("TERM", kind)
    monkeypatch.setattr("sys.stderr", terminal)
    with progress_bar("filters", 2, progress=True) as advance:
        advance(1)
        advance(1)
    assert ("\x1b[" in terminal.text) == bar
    assert ("filters: 50 % of 2" in terminal.text) == (not bar)


@pytest.mark.parametrize("plain", [True, False])
def test_no_color_is_respected(monkeypatch, plain):
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if plain:
        monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("sys.stderr", terminal)
    with progress_bar("filters", 2, progress=True) as advance:
        advance(2)
    coloured = re.search(r"\x1b\[[0-9;]*3[0-9][0-9;]*m", terminal.text)
    assert (coloured is None) == plain


def test_comparisons_trials_and_trainings_tell_it(monkeypatch, capsys):
    monkeypatch.setattr(progress, "PAUSE", 0.0)
    monkeypatch.setattr(progress, "SHARE", 0.0)
    model = kf.systems.constant_velocity()
    keys = jax.random.split(jax.random.key(0), 4)
    xs, ys = jax.vmap(lambda key: kf.simulate(key, model, steps=6))(keys)
    data = kf.Dataset(ys, xs)
    kf.compare({"KF": (kf.kalman(), model)}, data, chunk=2, repeats=1)
    lines = [line.partition(", ")[:1] for line in capsys.readouterr().err.splitlines()]
    assert [line for (line,) in lines] == [f"filters: {p} % of 1" for p in (50, 75, 100)]
    kf.monte_carlo(keys[0], model, kf.kalman(), model, trials=4, steps=6, chunk=2)
    text = capsys.readouterr().err
    assert "trials: 50 % of 4, " in text
    assert "trials: 100 % of 4, " in text
    loss = kf.training.state_mse(kf.kalman())
    options = {"key": keys[0], "updates": 4, "reports": 2, "batch_size": 2, "validation": data}
    kf.training.fit(loss, model, data, learn=lambda name, _: name.endswith("R"), **options)
    text = capsys.readouterr().err
    assert "training: 50 % of 4, loss " in text
    assert "validation " in text
    assert np.isfinite(float(text.partition("loss ")[2].split()[0]))
