"""Downloads of data sets, verified by a checksum and cached."""

from __future__ import annotations

import gzip
import lzma
import os
import re
import tarfile
import urllib.parse
import zipfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import ModuleType

from kfjax._support.arguments import as_path, check_flag
from kfjax._support.files import new_folder
from kfjax._support.naming import described, not_installed

__all__ = ["fetch"]

# what Python's modules raise for archives that are damaged, encrypted or compressed in other ways
DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    RuntimeError,
)
ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz")
SCHEMES = ("https", "http", "ftp")


def fetch(url: str, sha256: str, *, folder: str | Path | None = None, unpack: bool = False) -> Path:
    """Download a file, verify its checksum, and keep it.

    A second call with the same checksum does not access the network.

    Args:
        url: address of the file (http, https or ftp).
        sha256: checksum of the file, 64 hexadecimal digits, as `sha256sum FILE` prints it.
        folder: folder in which the file is kept; default the environment variable KFJAX_DATA, or
            else the user's cache folder. A file of the same name with another checksum is kept; the
            name of the new one then starts with its checksum.
        unpack: whether to unpack a zip or tar archive, into a folder beside it that is named after
            the archive and its checksum.

    Returns:
        The path of the file, or of the folder of an unpacked archive, for a reader such as
        `read_nclt`.

    Raises:
        ValueError: if the file has another checksum (it is not kept), the address or the checksum
            is malformed, or the file cannot be unpacked, because it is damaged, or a member or link
            leads out of the folder.
        ImportError: if pooch is not installed.
        OSError: if the file cannot be downloaded.
    """
    if not isinstance(url, str) or urllib.parse.urlsplit(url).scheme not in SCHEMES:
        raise ValueError(
            f"fetch: url is {described(url)}; expected an address that begins with https://,"
            " http:// or ftp://."
        )
    if not isinstance(sha256, str) or not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise ValueError(
            f"fetch: sha256 is {described(sha256)}; expected 64 hexadecimal digits, as"
            " sha256sum prints them."
        )
    check_flag("fetch: unpack", unpack)
    try:
        import pooch
    except ImportError as error:
        raise not_installed("pooch", error) from error
    name = Path(urllib.parse.urlsplit(url).path).name or "download"
    if unpack and Path(name).suffix.lower() not in ARCHIVES:
        raise ValueError(
            f"fetch: {name} is not a known kind of archive; expected one of {', '.join(ARCHIVES)}."
            " Leave unpack out, or rename the file."
        )
    folder = as_path("fetch: folder", folder or _cache(pooch))
    sha256 = sha256.lower()
    if (folder / name).is_file() and pooch.file_hash(folder / name) != sha256:
        name = f"{sha256[:12]}.{name}"  # the file of that name may be the user's own
    pooch.retrieve(url, f"sha256:{sha256}", fname=name, path=folder)
    if not unpack:
        return folder / name
    # one folder for each content, so that nothing from an older archive stays in it
    return _unpacked(folder / name, folder / f"{name}.{sha256[:12]}")


def _cache(pooch: ModuleType) -> str | Path:
    """Return the folder in which downloads are kept."""
    return os.environ.get("KFJAX_DATA") or pooch.os_cache("kfjax")


def _unpacked(archive: Path, folder: Path) -> Path:
    """Return the folder with the members of an archive; it appears whole or not at all."""
    if folder.is_dir():
        return folder
    try:
        with new_folder(folder) as place:
            unpack = _unzip if archive.suffix.lower() == ".zip" else _untar
            unpack(archive, place)
    except DAMAGED as error:
        raise ValueError(
            f"fetch: {archive} cannot be unpacked ({type(error).__name__}: {error}); expected a zip"
            " or tar archive whose members stay in its folder. Leave unpack out."
        ) from error
    except OSError:
        if not folder.is_dir():  # another process was faster
            raise
    return folder


def _unzip(archive: Path, place: Path) -> None:
    """Unpack a zip archive."""
    with zipfile.ZipFile(archive) as file:
        for name in file.namelist():
            _check_member(archive, name)
        file.extractall(place)


def _untar(archive: Path, place: Path) -> None:
    """Unpack a tar archive; links out of the folder and devices raise a `tarfile.FilterError`."""
    filtered = hasattr(tarfile, "data_filter")  # since Python 3.11.4
    with tarfile.open(archive) as file:
        for member in file:
            _check_member(archive, member.name)
            if not (filtered or member.isfile() or member.isdir()):
                raise tarfile.TarError(f"{member.name} is a link or a device")
        if filtered:
            file.extractall(place, filter="data")
        else:
            file.extractall(place)


def _check_member(archive: Path, name: str) -> None:
    """Raise if a member would be written outside the folder."""
    windows = PureWindowsPath(name)
    if windows.anchor or PurePosixPath(name).is_absolute() or ".." in windows.parts:
        raise ValueError(
            f"fetch: {archive} has a member {name!r}, which leads out of its folder; expected"
            " members inside it. Leave unpack out."
        )
