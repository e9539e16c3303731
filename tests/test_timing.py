"""Time as the node counts and writes it."""

from __future__ import annotations

import time

import pytest

from node.timing import SystemTime, rfc3339


@pytest.mark.parametrize(
    ("at", "milliseconds", "microseconds"),
    [
        (0.0, "1970-01-01T00:00:00.000Z", "1970-01-01T00:00:00.000000Z"),
        (1_773_126_930.25, "2026-03-10T07:15:30.250Z", "2026-03-10T07:15:30.250000Z"),
    ],
)
def test_rfc3339(at: float, milliseconds: str, microseconds: str) -> None:
    assert rfc3339(at) == milliseconds
    assert rfc3339(at, "microseconds") == microseconds


def test_a_clock_that_is_set_moves_no_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SystemTime()
    wall = time.time()
    monkeypatch.setattr(time, "time", lambda: wall + 3600.0)
    assert clock.wall() == wall + 3600.0
    assert clock.now() < wall + 1800.0
