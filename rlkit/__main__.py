"""`python -m rlkit`, the same as `rlkit`."""

import sys

from rlkit.cli.main import main

sys.exit(main())
