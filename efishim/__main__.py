"""`python -m efishim`: the same as the command `efishim`."""

from __future__ import annotations

import sys

from efishim.cli import main

if __name__ == "__main__":
    sys.exit(main())
