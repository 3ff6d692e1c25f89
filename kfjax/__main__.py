"""`python -m kfjax` is the command `kfjax`."""

import sys

from kfjax._cli.parser import main

sys.exit(main())
