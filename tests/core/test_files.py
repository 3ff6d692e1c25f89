"""Files appear whole or not at all, whatever happens to the process or the disk.

The module that writes needs only Python, so that the processes that are killed here, or run out of
space, start quickly.
"""

import errno
import os
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest

from kfjax._support import files

START = f"""
import importlib.util, itertools, pathlib, resource, signal, sys, zlib
spec = importlib.util.spec_from_file_location("files", {files.__file__!r})
files = importlib.util.module_from_spec(spec)
spec.loader.exec_module(files)
place = pathlib.Path(sys.argv[1])

def content(i):
    text = bytes([i % 256]) * 200_000
    return b"{{\\n" + zlib.crc32(text).to_bytes(4, "big") + text
"""
WRITE = """
print(flush=True)
for i in itertools.count():
    files.write_file(place / "file", content(i))
"""
MAKE = """
print(flush=True)
for i in itertools.count():
    with files.new_folder(place / f"folder_{sys.argv[2]}_{i}") as folder:
        for j in range(3):
            (folder / f"{j}").write_bytes(content(i))
"""
FULL = """
files.write_file(place / "file", content(1))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    files.write_file(place / "file", content(2))
except OSError as error:
    print(error)
"""


def start(script, *arguments):
    """Start a process that writes, and wait until it has begun."""
    command = [sys.executable, "-I", "-S", "-c", START + script, *map(str, arguments)]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    run.stdout.readline()
    return run


def stop(run):
    run.send_signal(signal.SIGKILL)
    run.communicate()


def whole(data):
    return data[:2] == b"{\n" and zlib.crc32(data[6:]) == int.from_bytes(data[2:6], "big")


def test_a_file_is_whole_whenever_the_process_is_killed(tmp_path):
    rng, seen = np.random.default_rng(0), set()
    for delay in rng.uniform(0, 0.06, 20):
        run = start(WRITE, tmp_path)
        time.sleep(delay)
        stop(run)
        if (tmp_path / "file").exists():
            data = (tmp_path / "file").read_bytes()
            assert whole(data)
            seen.add(data)
    assert len(seen) > 1


def test_folders_are_whole_whenever_the_process_is_killed(tmp_path):
    for number, delay in enumerate(np.random.default_rng(1).uniform(0, 0.1, 10)):
        run = start(MAKE, tmp_path, number)
        time.sleep(delay)
        stop(run)
    folders = list(tmp_path.glob("folder_*"))
    assert folders
    for folder in folders:
        parts = [path.read_bytes() for path in folder.iterdir()]
        assert len(parts) == 3
        assert all(map(whole, parts))


def test_two_processes_that_write_one_file_leave_a_whole_one(tmp_path):
    runs = [start(WRITE, tmp_path) for _ in range(2)]
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        if (tmp_path / "file").exists():
            assert whole((tmp_path / "file").read_bytes())
    for run in runs:
        stop(run)
    assert whole((tmp_path / "file").read_bytes())


def test_a_full_disk_leaves_what_was_there(tmp_path):
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", START + FULL, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"{tmp_path / 'file'} was not written; its earlier content is unchanged" in run.stdout
    assert (tmp_path / "file").read_bytes()[6] == 1
    assert whole((tmp_path / "file").read_bytes())
    assert os.listdir(tmp_path) == ["file"]


def no_space(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_an_error_at_any_call_leaves_what_was_there(tmp_path, monkeypatch, call):
    path = tmp_path / "file"
    files.write_file(path, b"{\nold")
    with monkeypatch.context() as patch:
        patch.setattr(os, call, no_space)
        with pytest.raises(OSError, match=f"No space left on device: {path} was not written") as e:
            files.write_file(path, b"{\nnew")
    assert e.value.errno == errno.ENOSPC
    assert path.read_bytes() == b"{\nold"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_an_error_at_any_call_leaves_no_folder(tmp_path, monkeypatch, call):
    with monkeypatch.context() as patch:
        patch.setattr(os, call, no_space)
        with (
            pytest.raises(OSError, match="was not written"),
            files.new_folder(tmp_path / "new") as f,
        ):
            (f / "a").write_bytes(b"1")
    with pytest.raises(KeyError), files.new_folder(tmp_path / "new"):
        raise KeyError  # of whoever fills it
    with pytest.raises(FileNotFoundError, match="'/nowhere'"), files.new_folder(tmp_path / "new"):
        Path("/nowhere").read_bytes()
    with (
        pytest.raises(OSError, match=f"No space left on device: {tmp_path}/new was not written"),
        files.new_folder(tmp_path / "new"),
    ):
        no_space()
    assert not os.listdir(tmp_path)


def test_a_folder_is_not_put_in_the_place_of_another(tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "mine").write_text("1")
    with (
        pytest.raises(OSError, match="its earlier content is unchanged"),
        files.new_folder(tmp_path / "new") as f,
    ):
        (f / "a").write_bytes(b"1")
    assert os.listdir(tmp_path) == ["new"]
    assert os.listdir(tmp_path / "new") == ["mine"]


def test_what_is_no_file_is_refused(tmp_path):
    """A rename would replace a pipe or a device by a file."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for path, text in (
        (tmp_path / "folder", "is a folder; expected the name of a file"),
        (tmp_path / "pipe", "is not a regular file"),
        (Path("/dev/null"), "is not a regular file"),
    ):
        with pytest.raises(ValueError, match=text):
            files.write_file(path, b"1")


def test_folders_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("a file where a folder is expected")
    with pytest.raises(OSError, match="was not written"):
        files.write_file(tmp_path / "file" / "new", b"1")
    with (
        pytest.raises(OSError, match="was not written"),
        files.new_folder(tmp_path / "file" / "new"),
    ):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write into any folder")
def test_what_is_read_only_stays(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir()
    files.write_file(closed / "a", b"1")
    (closed / "a").chmod(0o444)
    with pytest.raises(PermissionError, match="is read-only"):
        files.write_file(closed / "a", b"2")
    closed.chmod(0o555)
    with pytest.raises(PermissionError, match="was not written"):
        files.write_file(closed / "b", b"1")
    closed.chmod(0o755)


def test_a_link_is_followed_and_rights_are_kept(tmp_path):
    place = tmp_path / "scratch" / "deep" / "a"
    files.write_file(place, b"1")
    place.chmod(0o640)
    (tmp_path / "a").symlink_to(place)
    files.write_file(tmp_path / "a", b"2")
    assert (tmp_path / "a").is_symlink()
    assert place.read_bytes() == b"2"
    assert place.stat().st_mode & 0o777 == 0o640


def test_a_folder_is_locked_until_the_process_ends(tmp_path):
    hold = 'with files.locked(place, "fit"):\n    print(flush=True)\n    signal.pause()'
    run = start(hold, tmp_path)
    with (
        pytest.raises(ValueError, match="fit: another process uses"),
        files.locked(tmp_path, "fit"),
    ):
        pass
    stop(run)
    with files.locked(tmp_path, "fit"):
        pass
