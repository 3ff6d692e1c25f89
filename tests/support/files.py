"""Files that tests read."""

from os import PathLike

import numpy as np


def arrays_in(path: str | PathLike[str]) -> dict[str, np.ndarray]:
    """Return the arrays of an npz file, and close it.

    `np.load` leaves the file open until Python finds that nobody uses it, which can be in another
    test; that test then fails by a ResourceWarning.
    """
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)
