"""Readings of the stored rows that the page and the pictures share."""

from kfjax._cli.workloads import WORKLOADS


def ordered(rows):
    """Return the rows in the order of the workloads."""
    names = list(WORKLOADS)

    def place(row):
        return names.index(row["workload"]) if "workload" in row else -1

    return sorted(rows.values(), key=place)


def limits_of(row):
    """Return the meaningful limits with their names.

    Operations are counted by the steps of a loop with fixed work. XLA counts too many for the draws
    of particles, and a filter that is parallel in time has no such loop.
    """
    if row["kind"] in ("particle", "parallel"):
        return {"memory_ms": "memory"}
    return {"memory_ms": "memory", "arithmetic_ms": "arithmetic"}


def points(rows, curve):
    """Return the rows of a curve in order."""
    found = [row for row in rows.values() if row.get("curve") == curve and not row["options"]]
    return sorted(found, key=lambda row: (row["precision"] != "float64", row["value"]))
