"""``python -m tests.torture``: exit 0 when the node has kept its word, 1 when not; the data is kept then."""

from __future__ import annotations

import argparse
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from tests.torture.cycles import Torture


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--cycles", type=int, default=200, help="how often the node is ended and started")
    parser.add_argument("--seed", type=int, default=None, help="repeat the choices of another run")
    parser.add_argument("--folder", type=Path, default=None, help="where the node keeps its data")
    options = parser.parse_args()
    seed = secrets.randbelow(10**9) if options.seed is None else options.seed
    folder = options.folder or Path(tempfile.mkdtemp(prefix="torture-"))
    print(f"seed {seed}, data in {folder}", flush=True)
    summary = Torture(folder, options.cycles, seed, lambda line: print(line, flush=True)).run()
    print(summary.text())
    if summary.problems:
        print(f"The data and the log are in {folder}")
        return 1
    if options.folder is None:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
