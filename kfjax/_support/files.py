"""Files and folders that appear whole or not at all, and locks on folders.

Everything that kfjax writes goes through this module. New content is written beside its final
place, flushed to disk, and renamed: a killed process, a full disk or a read-only folder leave the
earlier content as it was.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

__all__: list[str] = []

LOCK = ".lock"


def write_file(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file as a whole or not at all; its folder is created if necessary.

    Args:
        path: path of the file. An earlier file is replaced when the new one is complete; a link is
            followed.
        data: its content.

    Raises:
        ValueError: if something other than a file is there.
        OSError: if the file cannot be written; the earlier content is unchanged.
    """
    place = Path(os.path.realpath(path))
    _check_replaceable(path, place)
    unfinished = _beside(place)
    with _telling(path):
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            with unfinished.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if place.exists():
                shutil.copymode(place, unfinished)
            os.replace(unfinished, place)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        _sync_folder(place.parent)


@contextlib.contextmanager
def new_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty folder, which appears at `path` when the block ends without an error.

    Raises:
        OSError: if it cannot be written, or something else has appeared at `path`; nothing is left
            behind.
    """
    place = Path(os.path.realpath(path))
    unfinished = _beside(place)
    with _telling(path):
        unfinished.mkdir(parents=True)
    try:
        with _telling(path, unfinished):
            yield unfinished
            _sync_tree(unfinished)
            os.rename(unfinished, place)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    _sync_folder(place.parent)


@contextlib.contextmanager
def locked(folder: str | os.PathLike[str], who: str) -> Iterator[None]:
    """Keep other processes out of a folder, which is created if necessary.

    The lock ends with the process, in whatever way it ends. On systems without such locks, the
    folder is not locked; nor is one that cannot be written, so that what is in it can be read.

    Args:
        folder: path of the folder.
        who: name of the function, for the error text.

    Raises:
        ValueError: if another process uses the folder.
    """
    place = Path(folder, LOCK)
    if place.parent.is_dir() and not os.access(place.parent, os.W_OK):
        yield
        return
    with _telling(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        file = place.open("wb")
    with file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"{who}: another process uses {folder}; expected one at a time. Wait for it, or"
                " choose another directory."
            ) from error
        except (ImportError, OSError):  # Windows, or a file system without locks
            pass
        yield


def remove_unfinished(folder: Path) -> None:
    """Remove unfinished files of killed processes from a locked folder."""
    for path in folder.glob(".*.unfinished"):
        with contextlib.suppress(OSError):  # a folder that cannot be written
            path.unlink()


def trim_folder(folder: Path, most: int) -> None:
    """Delete the least recently used files of a cache until it has at most `most` bytes."""
    kept = 0
    with contextlib.suppress(OSError):  # another process deletes, too
        files = [(file, file.stat()) for file in folder.iterdir() if file.is_file()]
        files.sort(key=lambda item: max(item[1].st_atime, item[1].st_mtime), reverse=True)
        for file, about in files:
            kept += about.st_size
            if kept > most:
                file.unlink(missing_ok=True)


def _beside(place: Path) -> Path:
    """Return a new name in the same folder, since a rename is atomic only within a file system."""
    return place.with_name(f".{place.name[:200]}.{secrets.token_hex(4)}.unfinished")


def _check_replaceable(path: str | os.PathLike[str], place: Path) -> None:
    """Raise unless the path is free or names a writable file."""
    if place.is_dir():
        raise ValueError(f"{path} is a folder; expected the name of a file.")
    if not place.exists():
        return
    if not place.is_file():
        raise ValueError(f"{path} is not a regular file; expected the name of one, or a new name.")
    if not os.access(place, os.W_OK):  # a rename would not check this
        raise PermissionError(errno.EACCES, f"{path} is read-only, and is unchanged")


def _sync_tree(place: Path) -> None:
    """Flush everything in a folder to disk."""
    for folder, _, names in os.walk(place):
        for name in names:
            with Path(folder, name).open("rb") as file:
                os.fsync(file.fileno())
        _sync_folder(Path(folder))


def _sync_folder(path: Path) -> None:
    """Flush the names in a folder to disk, where the system supports it."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def _telling(path: str | os.PathLike[str], inside: Path | None = None) -> Iterator[None]:
    """Make an OSError name the requested path; its number, and so its type, stays.

    Errors without a number, such as those of damaged archives, pass unchanged, and so do those
    that name a file which is not in the folder `inside`, if one is given.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or _is_elsewhere(error, inside):
            raise
        # a file of a folder may have failed, and its error already has the name of that file
        first = error.__cause__ if isinstance(error.__cause__, OSError) else error
        reason = first.strerror or str(first)
        text = f"{reason}: {path} was not written; its earlier content is unchanged"
        raise OSError(error.errno, text) from error


def _is_elsewhere(error: OSError, inside: Path | None) -> bool:
    """Return whether an error names a file outside of a folder."""
    if inside is None or error.filename is None:
        return False
    return not Path(os.fsdecode(error.filename)).is_relative_to(inside)
