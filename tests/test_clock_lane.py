"""The clock's reading lane: who is in it, who waits for it, and that it holds up nobody outside."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from node import clock
from node.errors import IndexUnavailable
from node.model import StudyState
from tests.clock_bench import MAX, Bench, fail, made, other
from tests.harness import eventually
from tests.studies import STUDY, ct


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    yield from made(tmp_path)


def lane_ended(bench: Bench) -> None:
    """Return when the lane has told the clock that a study is done with."""
    clock = bench.clock
    with clock._condition:
        assert clock._condition.wait_for(lambda: clock._changed, 10)
        clock._changed = False


@pytest.fixture
def watched(bench: Bench) -> Bench:
    """A bench whose clock has not been woken, so that ``lane_ended`` waits for the lane."""
    bench.clock._changed = False
    return bench


def deliver(bench: Bench, *uids: str) -> None:
    """One study each, the first the longest overdue."""
    for uid in uids:
        bench.arrivals.deliver(ct(1, StudyInstanceUID=uid))
        bench.time.at += 1
    bench.time.at += 60


def test_a_study_that_is_read_does_not_hold_up_a_quick_one(bench: Bench) -> None:
    bench.slow = {other(1)}
    bench.gate.shut()
    deliver(bench, other(1), STUDY)
    bench.clock.start()
    assert bench.gate.waiting.get(timeout=10) == other(1)
    eventually(lambda: bench.published == [(STUDY, "quiet")])
    bench.gate.open()
    eventually(lambda: bench.published == [(STUDY, "quiet"), (other(1), "quiet")])


def test_a_study_in_the_lane_is_not_due_again(watched: Bench) -> None:
    watched.slow = {other(1)}
    watched.gate.shut()
    deliver(watched, other(1))
    assert watched.clock.tick() is None, "nothing to wait for but the lane"
    assert watched.gate.waiting.get(timeout=10) == other(1)
    watched.arrivals.deliver(ct(1))
    assert watched.clock.tick() == 60, "its deadline has passed, and is nobody's to wait for"
    watched.gate.open()
    lane_ended(watched)
    assert watched.published == [(other(1), "quiet")]
    assert watched.gate.waiting.empty()


def test_two_are_read_at_a_time(watched: Bench) -> None:
    uids = [other(number) for number in range(1, 5)]
    watched.slow = set(uids)
    both = threading.Barrier(2)
    watched.before_publish = lambda _: (both.wait(10), None)[1]
    deliver(watched, *uids)
    watched.clock.tick()
    while watched.clock._lane.inside():
        lane_ended(watched)
    assert {uid for uid, _ in watched.published} == set(uids)
    assert watched.failures == []


def test_a_failure_in_the_lane_is_dealt_with_as_any(watched: Bench) -> None:
    watched.slow = {STUDY}
    watched.before_publish = fail
    deliver(watched, STUDY)
    pauses = []
    for _ in range(9):
        watched.clock.tick()
        lane_ended(watched)
        pause = watched.clock.tick()
        assert pause is not None
        pauses.append(pause)
        watched.time.at += pause
    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300, 300]
    assert {study for study, _ in watched.failures} == {STUDY}
    watched.before_publish = lambda _: None
    watched.clock.tick()
    lane_ended(watched)
    assert watched.published == [(STUDY, "quiet")]


def test_what_arrives_while_it_is_read_puts_it_off(watched: Bench) -> None:
    watched.slow = {STUDY}
    watched.before_publish = lambda _: watched.arrivals.deliver(ct(2))
    deliver(watched, STUDY)
    watched.clock.tick()
    lane_ended(watched)
    assert watched.published == []
    watched.before_publish = lambda _: None
    assert watched.clock.tick() == 60
    watched.time.at += 60
    watched.clock.tick()
    lane_ended(watched)
    assert watched.published == [(STUDY, "quiet")]


def test_an_index_that_takes_nothing_does_not_make_the_lane_spin(
    watched: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The study stays due then: that it failed has to be known all the same."""
    watched.slow = {STUDY}
    deliver(watched, STUDY)
    monkeypatch.setattr(watched.arrivals.studies, "publish", lambda *_: False)

    def postpone(_study: StudyState, _until: float) -> None:
        raise IndexUnavailable("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(watched.arrivals.studies, "postpone", postpone)
        watched.clock.tick()
        lane_ended(watched)
        assert watched.gate.waiting.get(timeout=10) == STUDY
        assert watched.clock.tick() == 5
        assert watched.clock.tick() == 10
    assert watched.gate.waiting.empty(), "it was not published again"
    assert [study for study, _ in watched.failures] == [None] * 3
    monkeypatch.undo()
    assert watched.clock.tick() == 5
    watched.time.at += 5
    watched.clock.tick()
    lane_ended(watched)
    assert watched.published == [(STUDY, "quiet")]


def test_a_full_lane_holds_up_no_quick_study_and_is_filled_again(
    watched: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "MAX_IN_LANE", 3)
    uids = [other(number) for number in range(1, 121)]  # more than the clock looks at in one go
    watched.slow = set(uids)
    watched.gate.shut()
    deliver(watched, *uids, STUDY)
    assert watched.clock.tick() == 0, "there is more that is due"
    pause = watched.clock.tick()
    assert watched.published == [(STUDY, "quiet")]
    assert pause is not None
    assert pause > 60, "those in line are not looked at over and over"
    assert watched.clock._lane.inside() == set(uids[:3])
    watched.gate.open()
    while len(watched.published) <= len(uids):
        lane_ended(watched)
        watched.clock.tick()
    order = [watched.gate.waiting.get_nowait() for _ in uids]
    assert watched.gate.waiting.empty(), "nobody came twice"
    assert all(abs(order.index(uid) - at) <= 2 for at, uid in enumerate(uids)), (
        "the longest overdue came first"
    )
    assert watched.failures == []


def test_what_happens_to_a_study_in_line_is_seen(watched: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "MAX_IN_LANE", 1)
    held, late, last = other(2), other(3), other(4)
    watched.slow = {other(1), held, late, last}
    watched.gate.shut()
    deliver(watched, other(1), held, late, last)
    watched.clock.tick()
    watched.arrivals.studies.command(held, "hold", watched.time.now(), MAX)
    watched.arrivals.deliver(ct(2, StudyInstanceUID=late))
    watched.gate.open()
    lane_ended(watched)
    assert watched.clock.tick() == 60, "the late one's quiet period, though the lane has passed it over"
    lane_ended(watched)
    assert [uid for uid, _ in watched.published] == [other(1), last]
    watched.time.at += 60
    watched.clock.tick()
    lane_ended(watched)
    assert [uid for uid, _ in watched.published] == [other(1), last, late]


def test_stop_waits_for_those_at_hand_and_leaves_the_others_due(bench: Bench) -> None:
    uids = [other(number) for number in range(1, 6)]
    bench.slow = set(uids)
    bench.gate.shut()
    deliver(bench, *uids)
    bench.clock.start()
    at_hand = {bench.gate.waiting.get(timeout=10) for _ in range(clock.LANE_THREADS)}
    stopping = threading.Thread(target=bench.clock.stop)
    stopping.start()
    eventually(lambda: bench.clock._lane._closed)
    assert stopping.is_alive()
    bench.gate.open()
    stopping.join(10)
    assert not stopping.is_alive()
    assert {uid for uid, _ in bench.published} == at_hand == set(uids[:2])
    assert [study.uid for study in bench.arrivals.studies.due(bench.time.now())] == uids[2:]
    assert bench.failures == []


def test_who_can_not_say_whether_it_is_slow_is_published_inline(
    watched: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = IndexUnavailable("locked")

    def unknown(_uid: str) -> bool:
        raise error

    threads: list[threading.Thread] = []
    watched.before_publish = lambda _: threads.append(threading.current_thread())
    monkeypatch.setattr(watched.clock, "_slow", unknown)
    deliver(watched, STUDY)
    watched.clock.tick()
    assert watched.published == [(STUDY, "quiet")]
    assert threads == [threading.current_thread()]
    assert watched.failures == [(STUDY, error)]
