"""The completion clock with a time that tests move: what it publishes, when it comes again, what it survives."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
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


def test_arrivals_are_looked_at_together(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    looks, real = [], bench.arrivals.studies.due
    monkeypatch.setattr(clock, "_ARRIVALS_SECONDS", 60.0)
    monkeypatch.setattr(
        bench.arrivals.studies, "due", lambda now, without: looks.append(now) or real(now, without=without)
    )
    bench.clock.start()
    eventually(lambda: looks)
    before = len(looks)
    for number in range(1, 21):  # a transaction each: time enough for the clock to look every time
        bench.arrivals.deliver(ct(number))
        bench.clock.arrived()
    assert len(looks) <= before + 1  # a clock that starts looks twice
    bench.time.at += 60
    bench.clock.wake()  # who can't wait does not
    eventually(lambda: bench.published == [(STUDY, "quiet")])


def test_arrivals_are_looked_at_soon(bench: Bench) -> None:
    bench.clock.start()
    bench.arrivals.deliver(ct(1))
    bench.time.at += 60
    bench.clock.arrived()
    eventually(lambda: bench.published == [(STUDY, "quiet")])
