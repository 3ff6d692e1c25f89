"""A progress bar on stderr."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

__all__: list[str] = []


@contextlib.contextmanager
def progress_bar(
    text: str, total: int, progress: bool | None = None
) -> Iterator[Callable[..., None]]:
    """Yield `advance(count, note="")`, which moves a progress bar.

    Args:
        text: the description of the bar, followed by a note.
        total: the count at which it is full.
        progress: whether to show it; by default, if stderr is a terminal.
    """
    shown = sys.stderr.isatty() if progress is None else progress
    if not shown:
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True, force_terminal=progress)
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task(text, total=total)

        def advance(count: int, note: str = "") -> None:
            description = f"{text}: {note}" if note else None
            bar.update(task, advance=count, description=description)

        yield advance
