"""How long objects gather before they are written, and who does not wait for that."""

from __future__ import annotations

import threading

import pytest

from node.index import writer
from tests.harness import eventually
from tests.index.arrivals import Arrivals
from tests.studies import ct


@pytest.fixture(autouse=True)
def _nothing_fills_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "BATCH_SECONDS", 60.0)
    monkeypatch.setattr(writer, "_BUSY_BATCH_SECONDS", 60.0)


def test_who_waits_does_not_wait_for_a_fuller_batch(arrivals: Arrivals) -> None:
    arrivals.writer.start()
    arrivals.writer.put(arrivals.land(ct(1)))
    arrivals.writer.wait_until_current(10)


def test_who_waits_for_several_batches_waits_for_none_to_fill(
    arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MAX_BATCH", 2)
    for number in range(1, 6):
        arrivals.writer.put(arrivals.land(ct(number)))
    waiting = threading.Thread(target=arrivals.writer.wait_until_current, args=(30,))
    waiting.start()
    eventually(lambda: arrivals.writer._wanted == 5)  # it waits
    arrivals.writer.start()
    waiting.join(10)
    assert not waiting.is_alive()


def test_a_job_does_not_wait_for_a_batch_to_fill(arrivals: Arrivals) -> None:
    arrivals.writer.put(arrivals.land(ct(1)))
    arrivals.writer.start()
    assert arrivals.writer.run(lambda: True).result(10)


def test_what_is_handed_over_together_fills_batches(
    arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also two of them, and the first from its middle: nobody waits."""
    monkeypatch.setattr(writer, "MAX_BATCH", 4)
    arrivals.writer.start()
    landed = [arrivals.land(ct(number)) for number in range(1, 9)]
    arrivals.writer.put_all(landed[:3])
    eventually(lambda: len(arrivals.writer._condition._waiters) == 1)  # type: ignore[attr-defined]  # for a fourth
    arrivals.writer.put_all(landed[3:])
    eventually(lambda: len(arrivals.files("objects")) == 8)
