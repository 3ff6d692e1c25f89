"""Data sets from the network, with a checksum, once."""

from __future__ import annotations

import os
import re
import urllib.parse
from pathlib import Path

__all__ = ["fetch"]

ARCHIVES = {
    ".zip": "Unzip",
    ".tar": "Untar",
    ".tgz": "Untar",
    ".gz": "Untar",
    ".bz2": "Untar",
    ".xz": "Untar",
}


def fetch(url: str, sha256: str, *, folder: str | Path | None = None, unpack: bool = False) -> Path:
    """Download a file, check it, and keep it.

    A second call with the same checksum does not ask the network.

    Args:
        url: where it is (http, https or ftp).
        sha256: its checksum, 64 hexadecimal digits, as `sha256sum FILE` prints it.
        folder: where it is kept; default the environment variable KFJAX_DATA, else the user's cache
            folder.
        unpack: unpack a zip or tar archive.

    Returns:
        The file, or the folder of what was unpacked, for a reader such as `read_nclt`.

    Raises:
        ValueError: if the file is not the one of the checksum (it is not kept), or the checksum is
            none.
        ImportError: if pooch is not installed.
        OSError: if it cannot be downloaded.
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
    file = folder / name
    kind = ARCHIVES.get(Path(name).suffix.lower())
    if unpack and kind is None:
        raise ValueError(
            f"fetch: {name} is no archive that is known; expected one of {', '.join(ARCHIVES)}."
        )
    processor = getattr(pooch, kind)() if unpack and kind else None
    pooch.retrieve(url, f"sha256:{sha256.lower()}", fname=name, path=folder, processor=processor)
    return file.with_name(f"{name}.{kind.lower()}") if unpack and kind else file
