"""The type checker of the tests."""

import beartype

# by PEP 484 an int is accepted where a float is expected
_check = beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))


def check(item):
    """Check a function or a class; a `Run[...]` as a tuple, since beartype has no generic
    NamedTuples.
    """
    hints = getattr(item, "__annotations__", {})
    hints.update({name: tuple for name, hint in hints.items() if "Run[" in str(hint)})
    return _check(item)
