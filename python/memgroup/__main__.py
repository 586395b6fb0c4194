"""`python -m memgroup` is the command `memgroup`."""

import sys

from memgroup.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
