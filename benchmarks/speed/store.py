"""The results as one JSON file, saved row by row: a run that was stopped goes on."""

import json

from kfjax._support.saving import plain, write_whole

FILE = "results.json"


def load(folder):
    """Return all rows by key."""
    path = folder / FILE
    return json.loads(path.read_text()) if path.exists() else {}


def save(folder, key, row):
    """Add a row, or replace it; the file is read again, since another run may have added rows."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = load(folder) | {key: row}
    text = json.dumps(plain(rows), indent=1, sort_keys=True, allow_nan=False)
    write_whole(folder / FILE, text.encode() + b"\n")


def key(workload, precision, options):
    """Return the name of a row."""
    return " ".join(filter(None, (workload, precision, options)))
