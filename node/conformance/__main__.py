"""``python -m node.conformance [FOLDER]``: write the pages and schemas that are made of the code, into a checkout."""

from __future__ import annotations

import sys
from pathlib import Path

from node.conformance.files import made


def main(root: Path) -> None:
    """Write what ``files.made`` gives under ``root``."""
    for name, text in made(root).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        print(name)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
