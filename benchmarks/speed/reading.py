"""Readings of the stored rows that the page and the pictures share."""

from kfjax._cli.workloads import WORKLOADS


def ordered(rows):
    """Return the rows in the order of the workloads."""
    names = list(WORKLOADS)
    return sorted(
        rows.values(), key=lambda row: names.index(row["workload"]) if "workload" in row else -1
    )


def limits_of(row):
    """Return the limits that mean something, with their names: operations are counted by steps of a loop of fixed work.

    Of the draws of particles XLA counts too many, and what is parallel in time has no such loop.
    """
    kinds = {"memory_ms": "memory", "arithmetic_ms": "arithmetic"}
    return {"memory_ms": "memory"} if row["kind"] in ("particle", "parallel") else kinds


def points(rows, curve):
    """Return the rows of a curve, in order."""
    found = [row for row in rows.values() if row.get("curve") == curve and not row["options"]]
    return sorted(found, key=lambda row: (row["precision"] != "float64", row["value"]))
