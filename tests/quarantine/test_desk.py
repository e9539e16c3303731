"""Objects let out of quarantine or deleted: what becomes of bytes and rows, also when it is cut off anywhere."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from node.errors import IndexUnavailable, QuarantineConflict, QuarantineNotFound, StorageError
from node.index import quarantine
from node.index.quarantine import QuarantineRows
from node.index.studies import Publication
from node.model import Rejection
from node.objects.files import FileObjects
from tests.quarantine.world import Killed, World, bytes_of, killed_after
from tests.studies import STUDY, ct

OLD, NEW = ct(1), ct(1, ImageComments="sent again, corrected")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """One stored object, and another with its UID in quarantine as 1."""
    made = World(tmp_path)
    made.send(OLD)
    made.send(NEW, calling_ae="CT2")
    yield made
    made.close()


def states(world: World) -> list[str]:
    """Of all rows, oldest first."""
    return [quarantine.decision(row) for row in reversed(world.arrivals.quarantine())]


# --- a collision ------------------------------------------------------------------------------------------


def test_a_released_object_takes_the_place_of_the_stored_one(world: World) -> None:
    before = world.arrivals.study(STUDY)
    world.desk.release(1)
    assert world.stored(OLD) == bytes_of(NEW)
    released, displaced = world.row(1), world.row(2)
    assert (quarantine.decision(released), released["displaced"]) == ("released", 2)
    assert (quarantine.decision(displaced), displaced["calling_ae"]) == ("waiting", "CT1")
    assert displaced["detail"].endswith("it was stored until 1 was released from quarantine")
    assert world.in_quarantine(displaced) == bytes_of(OLD)
    after = world.arrivals.study(STUDY)
    assert (after["added"], after["instances"]) == (before["added"] + 1, 1)
    assert after["revision"] > before["revision"]
    assert world.changes == 1
    assert world.told.decisions == [("released", "duplicate", STUDY, released["name"])]
    assert world.told.quarantines == ["duplicate", "duplicate"], "what made room is told"


def test_a_published_study_gets_a_version_for_it_and_nobody_was_late(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.send(OLD, NEW)
    state = world.arrivals.studies.state(STUDY)
    world.arrivals.studies.publish(state, "quiet", 1.0, Publication([], {}, {}))
    assert world.arrivals.study(STUDY)["state"] == "complete"
    world.desk.release(1)
    study = world.arrivals.study(STUDY)
    assert (study["state"], study["version"], study["added"]) == ("open", 1, 1)
    assert world.told.lates == []
    world.close()


def test_what_was_displaced_can_be_released_in_turn(world: World) -> None:
    world.desk.release(1)
    world.desk.release(2)
    assert world.stored(OLD) == bytes_of(OLD)
    assert states(world) == ["released", "released", "waiting"]
    assert world.in_quarantine(world.row(3)) == bytes_of(NEW)


def test_one_that_was_rejected_is_released_too(tmp_path: Path) -> None:
    world = World(tmp_path, "reject")
    world.send(OLD)
    landed = world.arrivals.land(NEW)
    world.writer.put(Rejection(landed.name, "duplicate-rejected", "stored with other bytes", "CT2", 5.0))
    world.writer.wait_until_current()
    world.desk.release(1)
    assert world.stored(OLD) == bytes_of(NEW)
    assert world.in_quarantine(world.row(2)) == bytes_of(OLD)
    world.close()


def test_where_the_stored_one_is_gone_it_is_taken_in(world: World) -> None:
    for path in world.arrivals.files("objects"):
        path.unlink()
    world.desk.release(1)
    assert world.stored(OLD) == bytes_of(NEW)
    assert states(world) == ["released"]


def test_where_retention_has_deleted_the_stored_one_meanwhile_it_is_taken_in(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the comparison of the two and the writer's turn."""
    run = world.writer.run

    def after_retention(job: Callable[[], bool]) -> Future[bool]:
        for path in world.arrivals.files("objects"):
            path.unlink()
        return run(job)

    monkeypatch.setattr(world.writer, "run", after_retention)
    world.desk.release(1)
    assert world.stored(OLD) == bytes_of(NEW)
    assert states(world) == ["released"]


def test_two_operators_at_once_release_it_once(world: World) -> None:
    refused = []

    def release() -> None:
        try:
            world.desk.release(1)
        except QuarantineConflict as error:
            refused.append(str(error))

    threads = [threading.Thread(target=release) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refused == ["object 1 was released before"] * 3
    assert states(world) == ["released", "waiting"]
    assert sorted(world.data_sets()) == sorted([bytes_of(OLD), bytes_of(NEW)])


def test_a_writer_that_stops_does_nothing_more(world: World) -> None:
    world.writer.stop()
    with pytest.raises(IndexUnavailable, match="is stopping"):
        world.desk.release(1)
    assert states(world) == ["waiting"]
    assert world.stored(OLD) == bytes_of(OLD)


def test_the_same_bytes_again_leave_one_of_them(world: World) -> None:
    """Somebody has put the very object in the place of the stored one meanwhile."""
    world.desk.release(1)
    world.send(NEW)
    world.desk.discard(2)
    assert world.data_sets() == [bytes_of(NEW)]


def test_a_second_release_is_refused(world: World) -> None:
    world.desk.release(1)
    with pytest.raises(QuarantineConflict, match="object 1 was released before"):
        world.desk.release(1)
    assert world.stored(OLD) == bytes_of(NEW)


@pytest.mark.parametrize("number", [0, 2, 99, 2**63, 10**30])
def test_what_is_not_there(world: World, number: int) -> None:
    for command in (world.desk.release, world.desk.discard):
        with pytest.raises(QuarantineNotFound, match=str(number)):
            command(number)


# --- cut off ------------------------------------------------------------------------------------------------


def test_a_release_cut_off_anywhere_is_whole_after_the_next_start(tmp_path: Path) -> None:
    """Neither side is lost, and the index says what lies there."""
    outcomes = []
    for calls in range(10):
        world = World(tmp_path / str(calls))
        world.send(OLD, NEW)
        with killed_after(world, calls) as done:
            finished = True
            try:
                world.desk.release(1)
            except Killed:
                finished = False
        world = world.again()
        assert sorted(world.data_sets()) == sorted([bytes_of(OLD), bytes_of(NEW)]), calls
        assert world.arrivals.files("incoming") == []
        released = quarantine.decision(world.row(1)) == "released"
        assert world.stored(OLD) == bytes_of(NEW if released else OLD)
        waiting = world.row(2 if released else 1)
        assert world.in_quarantine(waiting) == bytes_of(OLD if released else NEW)
        assert states(world) == (["released", "waiting"] if released else ["waiting"])
        assert world.arrivals.study(STUDY)["added"] == (2 if released else 1)
        world.close()
        outcomes.append((released, done()))
        if finished:
            break
    assert outcomes[0] == (False, 0)
    assert [released for released, _ in outcomes[1:]] == [True] * (len(outcomes) - 1)
    assert len(outcomes) == 5, "commit, out of quarantine, stored one aside, in its place"


def test_cut_off_and_the_index_lost_too_both_sides_are_there(tmp_path: Path) -> None:
    for calls in range(1, 5):
        world = World(tmp_path / str(calls))
        world.send(OLD, NEW)
        with killed_after(world, calls):
            try:
                world.desk.release(1)
            except Killed:
                pass
        world.close()
        for path in world.folder.glob("index.db*"):
            path.unlink()
        world = world.again()
        assert sorted(world.data_sets()) == sorted([bytes_of(OLD), bytes_of(NEW)]), calls
        assert world.stored(OLD) in (bytes_of(OLD), bytes_of(NEW))
        assert world.arrivals.study(STUDY)["instances"] == 1
        world.close()


def test_the_index_is_lost_what_is_in_quarantine_is_not(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.send(OLD)
    world.send(NEW, calling_ae="CT2")
    world.reject(b"\x08\x00\x05\x00CS")
    before = {row["name"]: row for row in world.arrivals.quarantine()}
    world.close()
    for path in world.folder.glob("index.db*"):
        path.unlink()
    world = world.again()
    after = {row["name"]: row for row in world.arrivals.quarantine()}
    assert after.keys() == before.keys()
    for name, row in after.items():
        assert row["reason"] == before[name]["reason"]
        assert row["detail"].startswith("found in quarantine/")
        assert row["instance"] == before[name]["instance"]
    (number,) = (row["id"] for row in after.values() if row["reason"] == "duplicate")
    assert world.row(number)["calling_ae"] == "CT2"
    world.desk.release(number)
    assert world.stored(OLD) == bytes_of(NEW)
    assert world.desk.find_lost() == 0, "each has its row"
    world.close()


def test_what_waits_is_listed_before_what_is_decided(world: World) -> None:
    world.send(ct(2), ct(2, ImageComments="again"))
    assert [row["id"] for row in world.arrivals.quarantine()] == [2, 1]
    world.desk.discard(2)
    assert [row["id"] for row in world.arrivals.quarantine()] == [1, 2]


def test_a_discard_cut_off_anywhere_is_whole_after_the_next_start(tmp_path: Path) -> None:
    for calls, left in ((0, [NEW, OLD]), (1, [OLD]), (2, [OLD])):
        world = World(tmp_path / str(calls))
        world.send(OLD, NEW)
        with killed_after(world, calls):
            try:
                world.desk.discard(1)
            except Killed:
                pass
        world = world.again()
        assert sorted(world.data_sets()) == sorted(map(bytes_of, left)), calls
        assert states(world) == ["waiting" if len(left) == 2 else "discarded"]
        world.close()


def test_taking_in_again_cut_off_anywhere_is_whole_after_the_next_start(tmp_path: Path) -> None:
    for calls in range(6):
        world = World(tmp_path / str(calls))
        broken(world)
        with killed_after(world, calls):
            try:
                world.desk.release(1)
                done = True
            except Killed:
                done = False
        if not done:
            world = world.again()
        assert world.data_sets() == [bytes_of(OLD)], calls
        if quarantine.decision(world.row(1)) == "released":
            assert world.stored(OLD) == bytes_of(OLD)
            assert states(world) == ["released"]
        else:
            assert world.in_quarantine(world.row(1)) == bytes_of(OLD), "it waits for another try"
        world.close()
        if done:
            return
    pytest.fail("it never came to its end")


def test_files_that_could_not_be_moved_are_moved_by_the_next_try(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StorageError("move: No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(world.objects, "adopt", full)
        with pytest.raises(StorageError, match="No space left"):
            world.desk.release(1)
    assert world.changes == 1, "the study's rows have changed"
    with pytest.raises(QuarantineConflict):
        world.desk.discard(1)
    world.desk.release(1)
    assert world.stored(OLD) == bytes_of(NEW)
    assert states(world) == ["released", "waiting"]


def test_what_can_not_be_settled_is_told_and_keeps_no_node_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path)
    world.send(OLD, NEW)
    with killed_after(world, 1), pytest.raises(Killed):
        world.desk.release(1)
    world.close()
    with monkeypatch.context() as patched:

        def dead(*_: object) -> None:
            raise OSError(5, "Input/output error")

        patched.setattr(FileObjects, "retake", dead)
        world = world.again()
        assert [why for _, why in world.told.left] == ["[Errno 5] Input/output error"]
    world = world.again()
    assert world.stored(OLD) == bytes_of(NEW)
    world.close()


# --- unreadable objects -------------------------------------------------------------------------------------


def broken(world: World, reason: str = "DataSetError") -> Path:
    """An object in quarantine as 1 that could not be read, corrected there by hand."""
    world.reject(b"\x08\x00\x05\x00CS", reason)
    (path,) = world.arrivals.files("quarantine")
    landed = world.arrivals.land(OLD)
    path.write_bytes(world.objects.waiting_path(landed.name).read_bytes())
    world.objects.drop_waiting(landed.name)
    return path


def test_what_still_can_not_be_read_stays(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.reject(b"\x08\x00\x05\x00CS")
    with pytest.raises(QuarantineConflict, match="it still can't be taken: ") as refused:
        world.desk.release(1)
    assert "discard" in refused.value.hint
    assert states(world) == ["waiting"]
    assert len(world.arrivals.files("quarantine")) == 1
    world.close()


def test_what_can_be_read_now_is_taken_in(tmp_path: Path) -> None:
    world = World(tmp_path)
    broken(world)
    world.desk.release(1)
    assert world.stored(OLD) == bytes_of(OLD)
    assert states(world) == ["released"]
    assert world.arrivals.files("quarantine") == world.arrivals.files("incoming") == []
    assert world.arrivals.study(STUDY)["instances"] == 1
    world.close()


def test_one_that_the_index_refuses_again_has_a_row_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would be in quarantine and nobody would see it."""
    world = World(tmp_path)
    broken(world, "index-error")

    def fault(*_: object) -> None:
        raise ValueError("a fault of ours")

    monkeypatch.setattr(world.arrivals.intake, "_kind", fault)
    world.desk.release(1)
    assert states(world) == ["released", "waiting"]
    assert world.row(2)["reason"] == "index-error"
    assert world.in_quarantine(world.row(2)) == bytes_of(OLD)
    world.close()


def test_a_file_that_somebody_took_away(world: World) -> None:
    (world.folder / "quarantine" / world.row(1)["name"]).unlink()
    with pytest.raises(QuarantineConflict, match="not in quarantine/ any more"):
        world.desk.release(1)
    world.desk.discard(1)
    assert states(world) == ["discarded"]


# --- discard ------------------------------------------------------------------------------------------------


def test_discarded_bytes_are_gone_and_the_row_says_when(world: World) -> None:
    world.desk.discard(1)
    assert world.data_sets() == [bytes_of(OLD)]
    assert world.row(1)["discarded_at"] == world.arrivals.time.wall()
    assert world.arrivals.studies.quarantine_waiting() == 0
    name = world.row(1)["name"]
    world.desk.discard(1)
    assert world.told.decisions == [("discarded", "duplicate", STUDY, name)], (
        "the second time nothing happens"
    )
    with pytest.raises(QuarantineConflict, match="was discarded"):
        world.desk.release(1)


def test_what_was_released_is_not_discarded(world: World) -> None:
    world.desk.release(1)
    with pytest.raises(QuarantineConflict, match="was released"):
        world.desk.discard(1)
    assert world.stored(OLD) == bytes_of(NEW)


def test_a_study_is_neither_taken_in_nor_deleted(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.send(OLD, ct(2, PatientID="SOMEBODY-ELSE"))
    assert world.arrivals.study(STUDY)["state"] == "quarantined"
    for command in (world.desk.release, world.desk.discard):
        with pytest.raises(QuarantineConflict, match=f"1 is study {STUDY}") as refused:
            command(1)
        assert "never deleted" in refused.value.hint
    assert len(world.arrivals.files("objects")) == 2
    world.close()


# --- rows ---------------------------------------------------------------------------------------------------


def test_the_place_of_an_instance_is_the_one_asked_for_if_it_is_there(world: World) -> None:
    rows = QuarantineRows(world.arrivals.engine)
    other = ct(1, 2, SOPInstanceUID=OLD.SOPInstanceUID)
    world.send(other)
    first = rows.place_of(OLD.SOPInstanceUID)
    assert first is not None
    assert first.series == OLD.SeriesInstanceUID
    like = first._replace(series=other.SeriesInstanceUID)
    assert rows.place_of(OLD.SOPInstanceUID, like) == like
    assert rows.place_of("1.2.3") is None
