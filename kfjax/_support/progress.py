"""A progress bar for whoever watches."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

__all__: list[str] = []


@contextlib.contextmanager
def progress_bar(
    text: str, total: int, progress: bool | None = None
) -> Iterator[Callable[..., None]]:
    """Yield `advance(count, note="")`, which moves a bar on stderr; by default only if that is a terminal."""
    if not (sys.stderr.isatty() if progress is None else progress):
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True, force_terminal=progress), transient=True) as bar:
        task = bar.add_task(text, total=total)

        def advance(count: int, note: str = "") -> None:
            bar.update(task, advance=count, description=f"{text}: {note}" if note else None)

        yield advance
