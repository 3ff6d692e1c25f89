"""Build a release, install it into clean environments, and test it from outside the tree.

    python tools/check_release.py [--only wheel|sdist] [pytest arguments]

Builds the source distribution and the wheel, installs each with its `test` extra into a new
environment, and unpacks the source distribution elsewhere without the package, so that only the
installed one can be imported. There it checks `tests/typed_user.py` against the shipped types and
runs the quick tests. Other arguments are passed to pytest: `-n 2 --dist loadgroup` for two
processes, `tests/models/test_models.py` for a part of the tests. Tests of measured data
are skipped unless `KFJAX_DATA` names their folder.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run(*command: str | Path, cwd: Path) -> None:
    """Print a command and run it."""
    print("+", *command, flush=True)
    subprocess.run([str(part) for part in command], cwd=cwd, check=True)


def new_environment(folder: Path) -> Path:
    """Return the Python executable of a new virtual environment."""
    venv.create(folder, with_pip=True)
    return folder / "bin" / "python"


def built(folder: Path) -> dict[str, Path]:
    """Build both distributions."""
    python = new_environment(folder / "building")
    run(python, "-m", "pip", "install", "--quiet", "build", cwd=folder)
    run(python, "-m", "build", "--outdir", folder / "dist", ROOT, cwd=folder)
    (sdist,), (wheel,) = (
        list((folder / "dist").glob(pattern)) for pattern in ("*.tar.gz", "*.whl")
    )
    return {"wheel": wheel, "sdist": sdist}


def unpacked_tests(sdist: Path, folder: Path) -> Path:
    """Unpack the source distribution without the package."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    tree = next(path for path in folder.iterdir() if path.is_dir())
    shutil.rmtree(tree / "kfjax")
    return tree


def check_place(python: Path, environment: Path, tree: Path) -> None:
    """Raise unless the installed kfjax is the one that is imported."""
    command = [python, "-c", "import kfjax; print(kfjax.__file__)"]
    place = Path(
        subprocess.run(command, cwd=tree, check=True, capture_output=True, text=True).stdout.strip()
    )
    if not place.is_relative_to(environment):
        raise SystemExit(f"kfjax is imported from {place}; expected it from {environment}.")


def check(
    kind: str, distribution: Path, sdist: Path, folder: Path, pytest_arguments: list[str]
) -> None:
    """Install one distribution, and run the tests against it."""
    folder.mkdir()
    python = new_environment(folder / "environment")
    run(python, "-m", "pip", "install", "--quiet", f"{distribution}[test]", cwd=folder)
    tree = unpacked_tests(sdist, folder / "source")
    check_place(python, folder / "environment", tree)
    run(python, "-m", "mypy", "tests/typed_user.py", cwd=tree)
    run(python, "-m", "pytest", *pytest_arguments, cwd=tree)
    run(folder / "environment" / "bin" / "kfjax", "compare", "--help", cwd=folder)
    print(f"{kind}: installs, and its tests pass", flush=True)


def main() -> None:
    """Check both distributions."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--only", choices=("wheel", "sdist"), help="check one of them")
    options, pytest_arguments = parser.parse_known_args()
    os.environ.pop("PYTHONPATH", None)  # it may name the checkout
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        distributions = built(folder)
        for kind, distribution in distributions.items():
            if options.only in (None, kind):
                check(kind, distribution, distributions["sdist"], folder / kind, pytest_arguments)


if __name__ == "__main__":
    sys.exit(main())
