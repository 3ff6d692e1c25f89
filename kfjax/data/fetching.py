"""Downloads of data sets, verified by a checksum and cached."""

from __future__ import annotations

import os
import re
import urllib.parse
from pathlib import Path

__all__ = ["fetch"]

# classes of pooch that unpack an archive, by suffix
ARCHIVES = {
    ".zip": "Unzip",
    ".tar": "Untar",
    ".tgz": "Untar",
    ".gz": "Untar",
    ".bz2": "Untar",
    ".xz": "Untar",
}


def fetch(url: str, sha256: str, *, folder: str | Path | None = None, unpack: bool = False) -> Path:
    """Download a file, verify its checksum, and keep it.

    A second call with the same checksum does not access the network.

    Args:
        url: address of the file (http, https or ftp).
        sha256: checksum of the file, 64 hexadecimal digits, as `sha256sum FILE` prints it.
        folder: folder in which the file is kept; default the environment variable KFJAX_DATA, else
            the user's cache folder.
        unpack: whether to unpack a zip or tar archive.

    Returns:
        The path of the file, or of the folder of an unpacked archive, for a reader such as
        `read_nclt`.

    Raises:
        ValueError: if the file has another checksum (it is not kept), the checksum is malformed, or
            the file cannot be unpacked.
        ImportError: if pooch is not installed.
        OSError: if the file cannot be downloaded.
    """
    if not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise ValueError(
            f"fetch: sha256 is {sha256!r}; expected 64 hexadecimal digits, as sha256sum prints"
            " them."
        )
    try:
        import pooch
    except ImportError as error:
        raise ImportError(
            f"fetch needs pooch ({error}). Install it with pip install 'kfjax[data]'."
        ) from error
    name = Path(urllib.parse.urlsplit(url).path).name or "download"
    folder = Path(folder or os.environ.get("KFJAX_DATA") or pooch.os_cache("kfjax"))
    path = folder / name
    processor = None
    if unpack:
        kind = _unpacker(name)
        processor = getattr(pooch, kind)()
        path = folder / f"{name}.{kind.lower()}"  # where pooch unpacks it
    pooch.retrieve(url, f"sha256:{sha256.lower()}", fname=name, path=folder, processor=processor)
    return path


def _unpacker(name: str) -> str:
    """Return the name of the class of pooch that unpacks a file."""
    suffix = Path(name).suffix.lower()
    if suffix not in ARCHIVES:
        raise ValueError(
            f"fetch: {name} is not a known kind of archive; expected one of {', '.join(ARCHIVES)}."
            " Leave unpack out, or rename the file."
        )
    return ARCHIVES[suffix]
