"""Killed at any moment under four clients, in short; ``make torture`` is the long form of it."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from tests.torture.cycles import Torture


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("durability", "cycles"), [("fsync", 16), ("none", 4)])
def test_what_was_acknowledged_is_kept_and_published_once(
    tmp_path: Path, durability: str, cycles: int
) -> None:
    """Without syncs too: a process that is killed loses nothing that it has written."""
    torture = Torture(tmp_path, cycles, secrets.randbelow(10**9), NODE_OBJECTS__DURABILITY=durability)
    summary = torture.run()
    print(summary.text())
    assert summary.problems == [], summary.text()
    assert summary.acknowledged > 5 * cycles, summary.text()
    assert summary.events.published == summary.events.expected > 0
