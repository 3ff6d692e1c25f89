"""`python -m kfjax` is the command `kfjax`."""

import sys

from kfjax.cli import main

sys.exit(main())
