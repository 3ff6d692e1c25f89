"""Compiled programs are kept in the user's cache folder, and results do not depend on it."""

import json
import os
import subprocess
import sys
import warnings

import jax
import pytest

from kfjax._cli import compilation_cache
from kfjax._cli.compilation_cache import cache_folder, keep_compiled
from kfjax._cli.parser import main
from kfjax._support.files import trim_folder

STUDY = ("compare", "--system", "pendulum", "--filters", "extended", "--trajectories", "3")
SMALL = (*STUDY, "--steps", "4")


def environment(home, **changes):
    """The environment of a user with this cache folder, without JAX's own settings."""
    kept = {name: value for name, value in os.environ.items() if "CACHE" not in name}
    return kept | {"XDG_CACHE_HOME": str(home)} | changes


def start(out, env, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "kfjax", *SMALL, *arguments, "--out", str(out)],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def results(out):
    """The computed results."""
    return without_times(json.loads((out / "compare.json").read_text())["tables"])


def without_times(value):
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if "second" not in k}
    return [without_times(v) for v in value] if isinstance(value, list) else value


def test_two_processes_at_once_and_a_third_share_what_they_compile(tmp_path):
    home = tmp_path / "home"
    both = [start(tmp_path / name, environment(home)) for name in ("a", "b")]
    for process in both:
        _, errors = process.communicate()
        assert (process.returncode, errors) == (0, "")
    programs = {file: file.read_bytes() for file in home.rglob("*-cache")}
    assert len(programs) > 3
    assert all(file.is_relative_to(home / "kfjax" / "compiled") for file in programs)
    third = start(tmp_path / "c", environment(home))
    assert (third.communicate()[1], third.returncode) == ("", 0)
    assert set(home.rglob("*-cache")) == set(programs)  # nothing was compiled again
    assert results(tmp_path / "a") == results(tmp_path / "b") == results(tmp_path / "c")


def test_without_a_folder_that_can_be_written(tmp_path):
    """The home is a file."""
    home = tmp_path / "home"
    home.write_text("")
    process = start(tmp_path / "out", environment(home, MPLCONFIGDIR=str(tmp_path)))
    assert (process.communicate()[1], process.returncode) == ("", 0)
    assert home.read_text() == ""


@pytest.fixture
def config(monkeypatch):
    """JAX's default settings of the cache, restored after the test."""
    names = (
        "jax_compilation_cache_dir",
        "jax_enable_compilation_cache",
        "jax_persistent_cache_min_compile_time_secs",
    )
    before = {name: getattr(jax.config, name) for name in names}
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.delenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", raising=False)
    with warnings.catch_warnings():
        yield jax.config
    for name, value in before.items():
        jax.config.update(name, value)


def test_the_folder_is_made_for_the_user_alone(config, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    keep_compiled()
    folder = cache_folder(os.environ)
    assert config.jax_compilation_cache_dir == str(folder)
    assert folder.stat().st_mode & 0o777 == 0o700


def test_settings_of_jax_win(config, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config.update("jax_compilation_cache_dir", "mine")
    keep_compiled()
    assert config.jax_compilation_cache_dir == "mine"
    config.update("jax_compilation_cache_dir", None)
    config.update("jax_enable_compilation_cache", False)
    keep_compiled()
    assert config.jax_compilation_cache_dir is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("obstacle", ["no home", "read only"])
def test_without_a_usable_home_nothing_is_kept(config, monkeypatch, tmp_path, obstacle):
    monkeypatch.setenv("XDG_CACHE_HOME", "" if obstacle == "no home" else str(tmp_path))

    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(compilation_cache.Path, "home", no_home)
    monkeypatch.setattr(compilation_cache.sys, "platform", "linux")
    monkeypatch.setattr(compilation_cache.os, "access", lambda *_: False)  # root may write anywhere
    keep_compiled()
    assert config.jax_compilation_cache_dir is None


@pytest.mark.parametrize(
    ("system", "given", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "/caches"}, "/caches/kfjax/compiled"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "/home/me/.cache/kfjax/compiled"),
        ("darwin", {}, "/home/me/Library/Caches/kfjax/compiled"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/kfjax/compiled"),
    ],
)
def test_folders_of_the_platforms(monkeypatch, system, given, expected):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setattr(compilation_cache.sys, "platform", system)
    assert str(cache_folder(given).parent) == expected


def test_what_was_used_least_recently_is_deleted(tmp_path):
    for age, name in enumerate(("new", "older", "oldest")):
        (tmp_path / name).write_bytes(bytes(10))
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    trim_folder(tmp_path, 25)
    assert {file.name for file in tmp_path.iterdir()} == {"new", "older"}
    trim_folder(tmp_path / "missing", 25)


@pytest.mark.parametrize("arguments", [("--no-compilation-cache",), ()])
def test_only_the_command_line_s_own_process_keeps_programs(monkeypatch, tmp_path, arguments):
    kept = []
    monkeypatch.setattr("kfjax._cli.parser.keep_compiled", lambda: kept.append(True))
    monkeypatch.setattr("kfjax._cli.parser.run_compare", lambda args: None)
    monkeypatch.setattr(sys, "argv", ["kfjax", *SMALL, *arguments])
    assert main() == 0
    assert kept == [True] * (not arguments)
    assert main([*SMALL, *arguments]) == 0
    assert kept == [True] * (not arguments)
