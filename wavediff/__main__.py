"""`python -m wavediff` is `wavediff`."""

import sys

from wavediff.cli import main

if __name__ == "__main__":
    sys.exit(main())
