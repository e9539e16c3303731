"""The completion clock with a time that tests move: what it publishes, when it comes again, what it survives."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from queue import Queue

import pytest

from node import clock
from node.clock import CompletionClock
from node.errors import IndexUnavailable
from node.index.studies import Publication
from node.model import Reason, StudyState
from tests.harness import eventually
from tests.index.arrivals import Arrivals
from tests.studies import STUDY, ct

MAX = 7200.0


class Gate:
    """Where slow publications wait; open unless a test shuts it."""

    def __init__(self) -> None:
        self._opened = threading.Event()
        self._opened.set()
        self.waiting: Queue[str] = Queue()  # who has come to it, in that order

    def shut(self) -> None:
        self._opened.clear()

    def open(self) -> None:
        self._opened.set()

    def pass_through(self, uid: str) -> None:
        self.waiting.put(uid)
        assert self._opened.wait(30)


class Bench:
    """An index, a clock over it, and what the clock did."""

    def __init__(self, folder: Path) -> None:
        self.arrivals = Arrivals(folder)
        self.time = self.arrivals.time
        self.published: list[tuple[str, Reason]] = []
        self.failures: list[tuple[str | None, BaseException]] = []
        self.moved: dict[str, float] = {}
        self.before_publish: Callable[[StudyState], None] = lambda study: None
        self.slow: set[str] = set()
        self.gate = Gate()
        self.clock = CompletionClock(
            self.arrivals.studies, self._publish, self.moved.get, MAX, self.time, self, self.is_slow
        )

    def is_slow(self, uid: str) -> bool:
        return uid in self.slow

    def clock_failed(self, study: str | None, error: BaseException) -> None:
        self.failures.append((study, error))

    def _publish(self, study: StudyState, reason: Reason) -> bool:
        self.before_publish(study)
        if study.uid in self.slow:
            self.gate.pass_through(study.uid)
        done = self.arrivals.studies.publish(study, reason, self.time.wall(), Publication([], {}, {}))
        if done:
            self.published.append((study.uid, reason))
        return done


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.gate.open()
    made.clock.stop()
    made.arrivals.close()


def other(number: int) -> str:
    return f"{STUDY}.{number}"


def fail(_: StudyState) -> None:
    raise RuntimeError("a fault of ours")


def test_it_sleeps_until_woken_when_nothing_waits(bench: Bench) -> None:
    assert bench.clock.tick() is None


def test_it_sleeps_until_the_next_deadline_then_publishes_once(bench: Bench) -> None:
    bench.arrivals.deliver(ct(1))
    assert bench.clock.tick() == 60
    bench.time.at += 59
    assert bench.clock.tick() == 1
    bench.time.at += 1
    assert bench.clock.tick() is None
    assert bench.published == [(STUDY, "quiet")]
    bench.clock.tick()
    assert len(bench.published) == 1


def test_an_association_that_moves_is_waited_for_up_to_the_cap(bench: Bench) -> None:
    bench.arrivals.deliver(ct(1))
    start = bench.time.at
    while bench.time.at < start + MAX - 60:
        bench.time.at += 60
        bench.moved[STUDY] = bench.time.at - 1
        assert bench.clock.tick() == min(59, start + MAX - bench.time.at)
    bench.time.at = start + MAX
    bench.moved[STUDY] = bench.time.at
    bench.clock.tick()
    assert bench.published == [(STUDY, "max-age")]


def test_what_arrives_between_decision_and_publication_puts_it_off(bench: Bench) -> None:
    bench.arrivals.deliver(ct(1))
    bench.time.at += 60
    bench.before_publish = lambda _: bench.arrivals.deliver(ct(2))
    assert bench.clock.tick() == 60
    assert bench.published == []
    bench.before_publish = lambda _: None
    bench.time.at += 60
    bench.clock.tick()
    assert bench.published == [(STUDY, "quiet")]


def test_a_stream_that_never_pauses_is_published_at_the_cap(bench: Bench) -> None:
    bench.arrivals.deliver(ct(1))
    numbers = iter(range(2, 10_000))
    bench.before_publish = lambda _: bench.arrivals.deliver(ct(next(numbers)))
    bench.time.at += MAX - 1
    bench.arrivals.deliver(ct(next(numbers)))
    bench.time.at += 1
    pause = bench.clock.tick()
    assert bench.published == [(STUDY, "max-age")]
    assert bench.arrivals.studies.state(STUDY).added == 1
    assert pause is not None
    assert bench.clock.tick() == 60, "the next version has a quiet period of its own"


def test_a_study_that_can_not_be_published_holds_up_nobody_and_does_not_spin(bench: Bench) -> None:
    bench.before_publish = lambda study: fail(study) if study.uid == STUDY else None
    bench.arrivals.deliver(ct(1), ct(1, StudyInstanceUID=other(1)))
    bench.time.at += 60
    pauses = []
    for _ in range(9):
        pause = bench.clock.tick()
        assert pause is not None
        pauses.append(pause)
        bench.time.at += pause
    assert bench.published == [(other(1), "quiet")]
    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300, 300]
    assert {study for study, _ in bench.failures} == {STUDY}
    bench.before_publish = lambda _: None
    bench.clock.tick()
    assert bench.published[-1] == (STUDY, "quiet")


def test_a_failing_study_that_goes_on_receiving_does_not_spin(bench: Bench) -> None:
    bench.before_publish = fail
    bench.arrivals.deliver(ct(1))
    bench.time.at += MAX
    assert bench.clock.tick() == 5
    for number in range(2, 6):  # each arrival sets the deadline back to the cap, which has passed
        bench.arrivals.deliver(ct(number))
        assert bench.clock.tick() == 5
    assert len(bench.failures) == 1


def test_many_failing_studies_do_not_starve_the_others(bench: Bench) -> None:
    bench.before_publish = lambda study: fail(study) if study.uid != STUDY else None
    bench.arrivals.deliver(*(ct(1, StudyInstanceUID=other(number)) for number in range(1, 121)))
    bench.time.at += 1
    bench.arrivals.deliver(ct(1))
    bench.time.at += 60
    bench.clock.tick()
    bench.clock.tick()
    assert bench.published == [(STUDY, "quiet")]


@pytest.mark.parametrize("error", [IndexUnavailable("locked"), RuntimeError("a fault of ours")])
def test_an_index_that_can_not_be_read_is_tried_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    bench.arrivals.deliver(ct(1))
    bench.time.at += 60

    def due(_now: float, without: Collection[str]) -> list[StudyState]:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(bench.arrivals.studies, "due", due)
        assert [bench.clock.tick() for _ in range(6)] == [5, 10, 20, 40, 60, 60]
    assert bench.failures == [(None, error)] * 6
    bench.clock.tick()
    assert bench.published == [(STUDY, "quiet")]


def test_the_thread_wakes_publishes_and_stops(bench: Bench) -> None:
    bench.clock.start()
    assert bench.clock.running
    bench.arrivals.deliver(ct(1))
    bench.time.at += 60
    bench.clock.wake()
    eventually(lambda: bench.published == [(STUDY, "quiet")])
    bench.clock.stop()
    assert not bench.clock.running


def test_the_thread_survives_what_fails(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = threading.Event()

    def due(_now: float, without: Collection[str]) -> list[StudyState]:
        failed.set()
        raise RuntimeError("a fault of ours")

    with monkeypatch.context() as patched:
        patched.setattr(bench.arrivals.studies, "due", due)
        bench.clock.start()
        assert failed.wait(10)
    bench.arrivals.deliver(ct(1))
    bench.time.at += 60
    bench.clock.wake()
    eventually(lambda: bench.published == [(STUDY, "quiet")])


def test_stop_before_start(bench: Bench) -> None:
    bench.clock.stop()
    assert not bench.clock.running


# --- the reading lane -------------------------------------------------------------------------------------


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
        assert watched.clock.tick() is None
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

    monkeypatch.setattr(watched.clock, "_slow", unknown)
    deliver(watched, STUDY)
    watched.clock.tick()
    assert watched.published == [(STUDY, "quiet")]
    assert watched.failures == [(STUDY, error)]
