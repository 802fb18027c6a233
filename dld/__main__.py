"""Run the command `dld` as `python -m dld`."""

import sys

from dld.bin.main import main

if __name__ == "__main__":
    sys.exit(main())
