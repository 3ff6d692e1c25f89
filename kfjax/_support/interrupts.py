"""Ctrl-C while the command `kfjax` is still importing: one line in place of a traceback."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType

__all__: list[str] = []

STATUS = 130  # as shells report an interrupted command
TEXT = "kfjax: interrupted; earlier files are as they were."


def quiet_while_importing() -> None:
    """Make the command end with one line on Ctrl-C; other programs are unaffected.

    The package itself is imported before any code of the command runs.
    """
    if _is_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def imported() -> None:
    """Make Ctrl-C raise a KeyboardInterrupt again."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_command() -> bool:
    """Return whether the process is the command `kfjax`, or `python -m kfjax`."""
    started = Path(sys.argv[0]).name if sys.argv else ""
    return started in ("kfjax", "kfjax.exe") or sys.orig_argv[1:3] == ["-m", "kfjax"]


def end() -> None:
    """End the process with one line; compiler threads would crash an orderly exit."""
    print(TEXT, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(STATUS)


def _end(number: int, frame: FrameType | None) -> None:
    """Handle the signal."""
    del number, frame
    end()
