"""Progress on stderr: a bar in a terminal, and elsewhere a line now and then."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from kfjax._support.arguments import check_flag

if TYPE_CHECKING:
    from rich.progress import Progress, Task, TaskID

__all__: list[str] = []

PAUSE = 30.0  # seconds before the first line, and at least between two lines
SHARE = 0.1  # a line comes at the earliest when so much more of the time so far has passed


@contextlib.contextmanager
def progress_bar(
    text: str, total: float, progress: bool | None = None
) -> Iterator[Callable[..., None]]:
    """Yield `advance(count, note="")`, which shows how far the work is.

    In a terminal it moves a bar. Where nobody watches one (a file, a pipe, a notebook, or a
    terminal that cannot move its cursor), it prints a line now and then: what is done, the note,
    and the time left.

    Args:
        text: the name of the work, followed by a note.
        total: the count at which it is done.
        progress: whether to show it. By default, work of less than half a minute prints no line;
            with True the first and the last step print one.
    """
    check_flag("progress", progress, unset=True)
    if progress is False:
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    watched = sys.stderr.isatty() and console.is_interactive
    # the speed is estimated from all steps, however rare they are
    bar = Progress(console=console, transient=True, speed_estimate_period=float("inf"))
    task = bar.add_task(text, total=total)
    if not watched:
        yield _lines(bar, task, text, asked=bool(progress))
        return

    def advance(count: float, note: str = "") -> None:
        description = f"{text}: {note}" if note else None
        bar.update(task, advance=count, description=description)

    with bar:
        yield advance


def _lines(bar: Progress, task: TaskID, text: str, *, asked: bool) -> Callable[..., None]:
    """Return `advance(count, note="")`, which prints a line if the last one is long ago."""
    start = bar.get_time()
    next_line = start if asked else start + PAUSE

    def advance(count: float, note: str = "") -> None:
        nonlocal next_line
        bar.update(task, advance=count)
        now = bar.get_time()
        is_last = asked and bar.tasks[task].finished
        if now < next_line and not is_last:
            return
        next_line = now + max(PAUSE, SHARE * (now - start))
        print(_line(bar.tasks[task], text, note), file=sys.stderr, flush=True)

    return advance


def _line(task: Task, text: str, note: str) -> str:
    """Return what is done, the note, and the time passed and left."""
    parts = [f"{text}: {task.percentage:.0f} % of {task.total:g}"]
    if note:
        parts.append(note)
    parts.append(f"{timedelta(seconds=round(task.elapsed or 0))} passed")
    if task.time_remaining is not None:  # not known before the second step
        parts.append(f"{timedelta(seconds=round(task.time_remaining))} left")
    return ", ".join(parts)
