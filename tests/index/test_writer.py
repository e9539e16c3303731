"""The index writer: batches, order, faults of the machine that pass, faults of one object that hold up nobody."""

from __future__ import annotations

import errno
import sqlite3
import threading
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from node.errors import IndexRefused, IndexUnavailable, StorageError
from node.index import schema, writer
from node.index.writer import MAX_WAITING, MAX_WAITING_BYTES
from node.model import ObjectKey
from tests.harness import eventually
from tests.index.arrivals import Arrivals
from tests.studies import STUDY, ct


class Failing:
    """Stands before a method; raises what it was given, then calls through."""

    def __init__(self, method: Callable[..., Any], *errors: Exception) -> None:
        self.method = method
        self.errors = list(errors)

    def __call__(self, *args: Any) -> Any:
        if self.errors:
            raise self.errors.pop(0)
        return self.method(*args)


@pytest.fixture(autouse=True)
def _no_long_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_RETRY_SECONDS", (0.01,))


def indexed(arrivals: Arrivals) -> list[str]:
    with arrivals.engine.read() as connection:
        return sorted(connection.scalars(sa.select(schema.instance.c.uid)))


def test_what_was_put_is_indexed_when_waited_for(arrivals: Arrivals) -> None:
    arrivals.writer.start()
    for number in range(1, 4):
        arrivals.writer.put(arrivals.land(ct(number)))
    arrivals.writer.wait_until_current(10)
    assert indexed(arrivals) == [f"{STUDY}.1.{number}" for number in (1, 2, 3)]


def test_nothing_to_wait_for(arrivals: Arrivals) -> None:
    arrivals.writer.wait_until_current(0)


def test_waiting_is_bounded_and_says_so(arrivals: Arrivals) -> None:
    arrivals.writer.put(arrivals.land(ct(1)))  # the writer was never started
    with pytest.raises(IndexUnavailable, match=r"not current after 0\.01 s"):
        arrivals.writer.wait_until_current(0.01)


def test_one_commit_for_what_came_together(make_arrivals: Callable[..., Arrivals]) -> None:
    commits: list[None] = []
    arrivals = make_arrivals(changed=lambda: commits.append(None))
    arrivals.deliver(*(ct(number) for number in range(1, 31)))
    assert len(commits) == 1
    assert arrivals.study(STUDY)["revision"] == 1


def test_a_batch_is_bounded(make_arrivals: Callable[..., Arrivals], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MAX_BATCH", 4)
    commits: list[None] = []
    arrivals = make_arrivals(changed=lambda: commits.append(None))
    arrivals.deliver(*(ct(number) for number in range(1, 11)))
    assert len(commits) == 3
    assert len(indexed(arrivals)) == 10


def test_stop_writes_what_was_handed_over(arrivals: Arrivals) -> None:
    arrivals.writer.start()
    for number in range(1, 20):
        arrivals.writer.put(arrivals.land(ct(number)))
    arrivals.writer.stop()
    assert len(indexed(arrivals)) == 19


def test_too_many_waiting_are_refused(arrivals: Arrivals) -> None:
    landed = arrivals.land(ct(1))
    for _ in range(MAX_WAITING - 1):
        arrivals.writer.put(landed)
    assert arrivals.writer.refusal() is None
    arrivals.writer.put(landed)
    refusal = arrivals.writer.refusal()
    assert refusal is not None
    assert len(refusal) <= 64, "it becomes an Error Comment (LO)"


def test_who_comes_when_too_many_wait_gets_room_once_some_are_written(
    arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MAX_WAITING", 3)
    assert arrivals.writer.wait_for_room(10) is None
    for number in range(1, 4):
        arrivals.writer.put(arrivals.land(ct(number)))
    assert arrivals.writer.wait_for_room(0.01) == "3 objects wait for the index: it is behind"
    arrivals.writer.start()
    assert arrivals.writer.wait_for_room(20) is None
    arrivals.writer.wait_until_current()
    assert len(indexed(arrivals)) == 3


def test_nobody_waits_for_an_index_that_fails(arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MAX_WAITING", 3)
    monkeypatch.setattr(writer, "MAX_BATCH", 1)
    errors = [IndexUnavailable("database or disk is full")] * 1000
    failing = Failing(arrivals.intake.apply, *errors)
    monkeypatch.setattr(arrivals.intake, "apply", failing)
    for number in range(1, 5):
        arrivals.writer.put(arrivals.land(ct(number)))
    arrivals.writer.start()
    eventually(lambda: arrivals.writer.failing)
    assert arrivals.writer.wait_for_room(3600) == "3 objects wait for the index: database or disk is full"
    failing.errors.clear()
    eventually(lambda: arrivals.writer.wait_for_room(20) is None)


def test_that_the_index_fails_is_told_after_it_is_known(
    arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Receivers in other processes see what they are told only."""
    seen: list[str | None] = []
    arrivals.changed = lambda: seen.append(arrivals.writer.failing)
    failing = Failing(arrivals.intake.apply, IndexUnavailable("database or disk is full"))
    monkeypatch.setattr(arrivals.intake, "apply", failing)
    arrivals.writer.put(arrivals.land(ct(1)))
    arrivals.writer.start()
    arrivals.writer.stop()
    assert seen == ["database or disk is full", None]


def test_headers_too_large_to_wait_together_are_refused(arrivals: Arrivals) -> None:
    """A stuck index and a hostile sender: few objects, and all of the memory. What is written waits no more."""
    landed = arrivals.land(ct(1))
    raw, comments = landed.header, bytes(MAX_WAITING_BYTES // 4)
    large = raw._replace(own={**raw.own, 0x00104000: comments}, size=raw.size + len(comments))
    for _ in range(3):
        arrivals.writer.put(landed._replace(header=large))
    assert arrivals.writer.refusal() is None
    arrivals.writer.put(landed._replace(header=large))
    assert arrivals.writer.refusal()
    arrivals.writer.start()
    arrivals.writer.wait_until_current()
    assert arrivals.writer.refusal() is None


# --- the machine's trouble


@pytest.mark.parametrize("where", ["apply", "sort_out", "reject"])
def test_an_index_that_fails_and_recovers_loses_nothing(
    arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    error = IndexUnavailable("database or disk is full")
    monkeypatch.setattr(arrivals.intake, where, Failing(getattr(arrivals.intake, where), error, error, error))
    arrivals.writer.start()
    arrivals.writer.put(arrivals.land(ct(1)))
    arrivals.writer.put(arrivals.land(ct(2)))
    eventually(lambda: len(arrivals.files("objects")) == 2)
    assert arrivals.seen.index_failures == [str(error)] * 3
    eventually(lambda: arrivals.seen.recoveries == 1)
    assert arrivals.study(STUDY)["added"] == 2
    assert len(arrivals.studies.load(STUDY).headers) == 1


def test_waiters_are_told_while_the_index_fails_and_served_when_it_is_back(
    arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch
) -> None:
    down = threading.Event()
    down.set()
    really = arrivals.intake.apply

    def apply(*args: Any) -> None:
        if down.is_set():
            raise IndexUnavailable("database or disk is full")
        really(*args)

    monkeypatch.setattr(arrivals.intake, "apply", apply)
    arrivals.writer.start()
    arrivals.writer.put(arrivals.land(ct(1)))
    assert arrivals.seen.failed_once.wait(10)
    with pytest.raises(IndexUnavailable, match="disk is full"):
        arrivals.writer.wait_until_current(10)
    assert arrivals.writer.failing == "database or disk is full"
    down.clear()
    eventually(lambda: arrivals.writer.failing is None)
    arrivals.writer.wait_until_current(10)
    assert indexed(arrivals) == [f"{STUDY}.1.1"]
    assert arrivals.study(STUDY)["added"] == 1, "counted once, however often it was tried"
    assert len(arrivals.files("objects")) == 1


def test_a_full_disk_under_the_index_is_waited_out(arrivals: Arrivals) -> None:
    """SQLite's own SQLITE_FULL, from a bound on its pages; what is indexed already can be read all the time."""
    arrivals.deliver(ct(1))
    bound = ["PRAGMA max_page_count=1"]  # SQLite makes it the size that the file has

    @sa.event.listens_for(arrivals.engine._engine, "connect")
    def limit(connection: sqlite3.Connection, _record: object) -> None:
        for pragma in bound:
            connection.execute(pragma)

    arrivals.engine._engine.dispose()
    big = [ct(number, StudyDescription="x" * 64, ImageComments="y" * 9_000) for number in range(2, 40)]
    arrivals.writer.start()
    for dataset in big:
        arrivals.writer.put(arrivals.land(dataset))
    assert arrivals.seen.failed_once.wait(10)
    assert "full" in arrivals.seen.index_failures[0]
    assert indexed(arrivals) == [f"{STUDY}.1.1"]
    bound.clear()
    arrivals.engine._engine.dispose()
    eventually(lambda: len(indexed(arrivals)) == 39)
    eventually(lambda: arrivals.files("incoming") == [])
    assert arrivals.study(STUDY)["added"] == 39
    assert len(arrivals.files("objects")) == 39


def test_a_stop_while_the_index_fails_ends_and_leaves_the_files(
    arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch
) -> None:
    def apply(*_: Any) -> None:
        raise IndexUnavailable("database or disk is full")

    monkeypatch.setattr(arrivals.intake, "apply", apply)
    arrivals.deliver(ct(1))
    assert indexed(arrivals) == []
    assert len(arrivals.files("incoming")) == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EMFILE])
def test_a_move_that_fails_for_the_machine_is_tried_again(
    arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    cause = OSError(number, "trouble")
    error = StorageError("move")
    error.__cause__ = cause
    monkeypatch.setattr(arrivals.objects, "adopt", Failing(arrivals.objects.adopt, error))
    arrivals.deliver(ct(1), ct(2))
    assert len(arrivals.files("objects")) == 2
    assert arrivals.seen.index_failures == ["move"]
    assert arrivals.study(STUDY)["added"] == 2
    assert arrivals.seen.object_failures == []


def test_no_descriptors_left_while_comparing_is_tried_again(
    arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrivals.deliver(ct(1))
    busy = OSError(errno.EMFILE, "Too many open files")
    monkeypatch.setattr(arrivals.objects, "same_bytes", Failing(arrivals.objects.same_bytes, busy))
    arrivals.deliver(ct(1))
    assert arrivals.seen.duplicates == ["same"]
    assert arrivals.quarantine() == []


# --- one object's trouble


def test_an_object_that_trips_the_index_goes_to_quarantine_alone(arrivals: Arrivals) -> None:
    poison = arrivals.land(ct(2))
    poison = poison._replace(sop_class="\ud800")  # no UTF-8: the driver refuses it
    arrivals.index(arrivals.land(ct(1)), poison, arrivals.land(ct(3)))
    assert indexed(arrivals) == [f"{STUDY}.1.1", f"{STUDY}.1.3"]
    (row,) = arrivals.quarantine()
    assert (row["reason"], row["name"]) == ("index-error", f"index-error/{poison.name}.dcm")
    assert [name for name, _ in arrivals.seen.object_failures] == [poison.name]
    assert len(arrivals.files("quarantine/index-error")) == 1
    assert arrivals.study(STUDY)["instances"] == 2


def test_few_batches_are_tried_to_find_the_object_that_trips(
    arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each attempt is a synced commit for the others: halves, not one for each of a batch."""
    really, sizes = arrivals.intake.sort_out, []

    def sort_out(connection: Any, batch: Any) -> Any:
        sizes.append(len(batch))
        return really(connection, batch)

    monkeypatch.setattr(arrivals.intake, "sort_out", sort_out)
    landed = [arrivals.land(ct(number)) for number in range(1, 17)]
    landed[5] = landed[5]._replace(sop_class="\ud800")
    arrivals.index(*landed)
    rejection = 0  # is written without an object to sort out
    assert sizes == [16, 8, 4, 4, 2, 1, 1, rejection, 2, 8]
    assert len(indexed(arrivals)) == 15
    assert [name for name, _ in arrivals.seen.object_failures] == [landed[5].name]


def test_rows_that_the_database_refuses_are_not_tried_for_ever(
    arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = arrivals.intake._instances

    def instances(*arguments: Any) -> Any:
        new, replaced = really(*arguments)
        return [(*row[:3], None, *row[4:]) if row[2].endswith(".2") else row for row in new], replaced

    monkeypatch.setattr(arrivals.intake, "_instances", instances)
    arrivals.deliver(ct(1), ct(2), ct(3))
    assert indexed(arrivals) == [f"{STUDY}.1.1", f"{STUDY}.1.3"]
    ((_, error),) = arrivals.seen.object_failures
    assert isinstance(error, IndexRefused)


def test_a_file_that_somebody_removed_holds_up_nobody(arrivals: Arrivals) -> None:
    gone, other = arrivals.land(ct(1)), arrivals.land(ct(2))
    arrivals.objects.waiting_path(gone.name).unlink()
    arrivals.index(gone, other)
    assert [path.name for path in arrivals.files("objects")] == [f"{STUDY}.1.2.dcm"]
    ((name, error),) = arrivals.seen.object_failures
    assert name == gone.name
    assert "neither in incoming nor at" in str(error)
    assert arrivals.seen.index_failures == []


def test_when_even_quarantine_fails_the_object_stays_and_the_writer_goes_on(
    arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reject(_connection: Any, rejections: Any) -> None:
        if rejections:
            raise ValueError("a fault of ours")

    monkeypatch.setattr(arrivals.intake, "reject", reject)
    poison = arrivals.land(ct(1))._replace(sop_class="\ud800")
    arrivals.index(poison, arrivals.land(ct(2)))
    assert indexed(arrivals) == [f"{STUDY}.1.2"]
    assert [path.stem for path in arrivals.files("incoming")] == [poison.name]
    assert len(arrivals.seen.object_failures) == 2


def test_reindexing_an_object_that_fails_leaves_it_under_its_key(arrivals: Arrivals) -> None:
    landed = arrivals.land(ct(1))
    arrivals.index(landed)
    arrivals.index(landed._replace(name="", key=ObjectKey(STUDY, "1", "2"), sop_class="\ud800"))
    assert [name for name, _ in arrivals.seen.object_failures] == ["2"]
    assert arrivals.quarantine() == []
    assert len(arrivals.files("objects")) == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_writer_that_ends_by_a_fault_says_so_and_takes_nothing_more(
    make_arrivals: Callable[..., Arrivals],
) -> None:
    def changed() -> None:
        raise RuntimeError("a fault of ours")

    arrivals = make_arrivals(changed=changed)
    arrivals.writer.start()
    arrivals.writer.put(arrivals.land(ct(1)))
    refusal = eventually(arrivals.writer.refusal)
    assert "ended" in refusal
    arrivals.writer.put(arrivals.land(ct(2)))
    with pytest.raises(IndexUnavailable, match="ended"):
        arrivals.writer.wait_until_current(10)


# --- crashes between the steps


class _Crash(BaseException):
    """The power goes: nothing after it happens."""


STEPS = ["adopt", "quarantine", "quarantine_stored", "drop_waiting"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("on_duplicate", ["keep", "replace"])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_a_crash_at_any_move_is_made_good_at_the_next_start(
    make_arrivals: Callable[..., Arrivals],
    monkeypatch: pytest.MonkeyPatch,
    on_duplicate: str,
    step: str,
    done: bool,
) -> None:
    arrivals = make_arrivals(on_duplicate=on_duplicate)
    arrivals.deliver(ct(1), ct(2))
    batch = [arrivals.land(each) for each in (ct(1), ct(2, Rows=64), ct(3), ct(3))]
    really = getattr(arrivals.objects, step)

    def crash(*args: Any) -> None:
        if done:
            really(*args)
        raise _Crash

    with monkeypatch.context() as patched:
        patched.setattr(arrivals.objects, step, crash)
        arrivals.index(*batch)
    names = set(arrivals.objects.waiting())
    arrivals.index(*(received for received in batch if received.name in names))

    assert indexed(arrivals) == [f"{STUDY}.1.{number}" for number in (1, 2, 3)]
    assert arrivals.study(STUDY)["instances"] == 3
    assert arrivals.files("incoming") == []
    assert len(arrivals.files("objects")) == 3
    assert len(arrivals.files("quarantine")) == 1, "the losing bytes are kept"
    assert len(arrivals.quarantine()) == 1
    rows = {row.uid: row.attributes["Rows"] for row in arrivals.studies.load(STUDY).instances}
    assert rows[f"{STUDY}.1.2"] == ([64] if on_duplicate == "replace" else [512])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("step", ["sort_out", "apply", "reject"])
def test_a_crash_before_the_commit_leaves_everything_in_incoming(
    arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    batch = [arrivals.land(ct(1)), arrivals.land(ct(2))]
    really = getattr(arrivals.intake, step)

    def crash(*args: Any) -> None:
        really(*args)
        raise _Crash

    with monkeypatch.context() as patched:
        patched.setattr(arrivals.intake, step, crash)
        arrivals.index(*batch)
    assert indexed(arrivals) == []
    assert len(arrivals.files("incoming")) == 2
    arrivals.intake.forget()  # a new process remembers nothing
    arrivals.index(*batch)
    assert len(indexed(arrivals)) == 2
    assert arrivals.study(STUDY)["added"] == 2
    assert arrivals.studies.load(STUDY).instances[0].header == arrivals.studies.load(STUDY).headers[0].id
