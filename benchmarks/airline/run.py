"""Recorded AI agents against a written airline policy: `make bench-airline DATA=DIR OUT=report.json`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.airline.domain import DOMAIN
from benchmarks.tau2.main import main

if __name__ == "__main__":
    sys.exit(main(DOMAIN))
