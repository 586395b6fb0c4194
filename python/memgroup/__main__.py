"""`python -m memgroup` is the command `memgroup`."""

import sys

from memgroup._cli import main

if __name__ == "__main__":
    sys.exit(main())
