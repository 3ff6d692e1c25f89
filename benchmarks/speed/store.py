"""The results as one JSON file, saved row by row, so that an interrupted run can continue."""

from benchmarks import files

FILE = "results.json"


def load(folder):
    """Return all rows by key."""
    return files.read(folder / FILE) or {}


def save(folder, key, row):
    """Add or replace a row; the file is read again, since another run may have added rows."""
    rows = load(folder) | {key: row}
    files.write(folder / FILE, dict(sorted(rows.items())))


def key(workload, precision, options):
    """Return the name of a row."""
    return " ".join(filter(None, (workload, precision, options)))
