"""The type checker of the tests."""

import beartype

# as PEP 484 has it, an int may stand where a float is expected
check = beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))
