"""The machine's clock is set by an hour: no study completes early, none is held up, over a restart too."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from node import timing
from tests.harness import Nodes
from tests.scenarios.sender import instance, new_uid, send

HOUR = 3600.0
QUIET = 1.5
SLACK = 1.4  # a study that waited for its quiet period twice would be later than this
GIVEN = {"completion__quiet_seconds": str(QUIET), "dicom__receivers": "0"}

SetClock = Callable[[float], None]


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """Sets the wall clock as the node sees it; its monotonic clock goes on, as the kernel's does."""

    def step(seconds: float) -> None:
        def wall() -> float:
            return time.time() + seconds

        monkeypatch.setattr(timing, "time", SimpleNamespace(time=wall, monotonic=time.monotonic))

    return step


@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted"])
@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_a_study_completes_when_it_was_quiet_whatever_the_clock_says(
    nodes: Nodes, set_clock: SetClock, step: float, restart: bool
) -> None:
    node = nodes.start(**GIVEN)
    uid = new_uid()
    send(node, instance(uid, 1))
    sent = time.monotonic()
    if restart:
        node.stop()
    set_clock(step)
    if restart:
        node = nodes.start(**GIVEN)
    (event,) = node.wait_for_events(1)
    quiet = time.monotonic() - sent
    assert event["completion"] == "quiet"
    assert QUIET - 0.1 < quiet < QUIET + SLACK


def test_the_clock_is_set_twice_between_three_starts(nodes: Nodes, set_clock: SetClock) -> None:
    """Each start is compared with the one before it, not with the first."""
    node = nodes.start(**GIVEN)
    uid = new_uid()
    send(node, instance(uid, 1))
    sent = time.monotonic()
    for step in (HOUR, -HOUR):
        node.stop()
        set_clock(step)
        node = nodes.start(**GIVEN)
    node.wait_for_events(1)
    assert QUIET - 0.1 < time.monotonic() - sent < QUIET + SLACK
