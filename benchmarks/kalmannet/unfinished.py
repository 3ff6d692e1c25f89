"""Which stored training runs ended while they were still improving."""

# names of the number of updates, and of the best of them, in stored settings
LENGTHS = ("updates", "steps")
BEST = ("best_steps", "best_step", "chosen_step")


def unfinished(row, condition):
    """Return whether the best update in the training of a row was its last, under a condition."""
    settings = _settings(row.get("settings") or {}, condition)
    last = next((settings[name] for name in LENGTHS if name in settings), None)
    found = next((settings[name] for name in BEST if name in settings), None)
    if last is None or found is None:
        return False
    best = found if isinstance(found, list) else [found]
    return max(best) >= last


def _settings(settings, condition):
    """Return the settings that belong to a condition; those of a row may be kept for each.

    They may be kept for the first part of the conditions' names, such as the case of Fig. 7b.
    """
    if condition in settings:
        return settings[condition] or {}
    for name, found in settings.items():
        if isinstance(found, dict) and condition.startswith(f"{name}, "):
            return found
    return settings
