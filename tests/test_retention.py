"""Retention: what may go, in which order, and that nothing else does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node.envelope import Output
from node.errors import StorageError, StudyNotFound
from node.fhir.options import FhirOptions
from node.index.outbox import Outbox
from node.index.retention import RetentionRows
from node.model import ObjectKey
from node.publication import PublicationOptions, StudyPublisher
from node.retention import Retention, RetentionOptions
from tests.harness import eventually
from tests.index.arrivals import Arrivals
from tests.studies import STUDY, ct

DAY = 86_400.0
OTHER = f"{STUDY}.7"


class Silent:
    """An observer of publication that nobody asks."""

    def __getattr__(self, _name: str) -> Callable[..., None]:
        return lambda *_: None


class Bench:
    """An index with its store, a publisher, and retention whose jobs run at once."""

    def __init__(self, folder: Path) -> None:
        self.arrivals = Arrivals(folder)
        self.outbox = Outbox(self.arrivals.engine)
        self.free = 0
        self.broken = False
        self.said: list[tuple[Any, ...]] = []
        self.before_job: Callable[[], None] = lambda: None
        self.publisher = StudyPublisher(
            self.arrivals.studies,
            PublicationOptions(
                outputs=[Output("r5", "r5", "imaging-study", "imagingstudy", "5.0")],
                fhir=FhirOptions(),
                ae_title="NODE",
                max_event_bytes=900_000,
                dataref=lambda: "http://here/{id}",
                contents=lambda study, _: study,
            ),
            self.arrivals.time,
            Silent(),
            lambda: None,
        )

    def retention(self, **options: Any) -> Retention:
        return Retention(
            RetentionRows(self.arrivals.engine),
            self,
            RetentionOptions(**options),
            self._in_writer,
            self.arrivals.time,
            self,
        )

    def _in_writer(self, job: Callable[[], bool]) -> Future[bool]:
        self.before_job()
        done: Future[bool] = Future()
        done.set_result(job())
        return done

    def delete(self, key: ObjectKey) -> None:
        if self.broken:
            raise StorageError("delete: Input/output error")
        self.free += 1
        self.arrivals.objects.delete(key)

    def free_bytes(self) -> int:
        return self.free

    def objects_deleted(self, study: str, objects: int, why: str) -> None:
        self.said.append((study, objects, why))

    def retention_failed(self, error: BaseException) -> None:
        self.said.append(("failed", type(error)))

    def publish(self, uid: str, delivered: bool = True) -> None:
        assert self.publisher.publish(uid, "quiet")
        if delivered:
            self.outbox.mark_sent([record.event.seq for record in self.outbox.recent(100)], 1.0)

    def stored(self) -> set[str]:
        return {path.stem for path in self.arrivals.files("objects")}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.arrivals.close()


def test_old_studies_go_and_young_ones_stay(bench: Bench) -> None:
    bench.arrivals.deliver(ct(1), ct(2))
    bench.publish(STUDY)
    bench.arrivals.time.at += 5 * DAY
    bench.arrivals.deliver(ct(1, StudyInstanceUID=OTHER, SOPInstanceUID=f"{OTHER}.1"))
    bench.publish(OTHER)
    retention = bench.retention(max_age_days=7)
    assert retention.tick() == pytest.approx(2 * DAY), "the next is due then"
    assert len(bench.stored()) == 3
    bench.arrivals.time.at += 2 * DAY
    assert retention.tick() == pytest.approx(5 * DAY)
    assert bench.said == [(STUDY, 2, "age")]
    assert bench.stored() == {f"{OTHER}.1"}
    assert not (bench.arrivals.folder / "objects" / STUDY).exists(), "nor its folders"
    assert bench.arrivals.study(STUDY)["instances"] == 2, "it is still found"
    assert bench.arrivals.study(STUDY)["objects_deleted_at"] == bench.arrivals.time.wall()
    retention.tick()
    assert len(bench.said) == 1, "and not deleted again"


@pytest.mark.parametrize("state", ["open", "held", "quarantined", "waiting", "parked", "replayed"])
def test_what_is_not_finished_stays(bench: Bench, state: str) -> None:
    bench.arrivals.deliver(ct(1))
    if state in ("waiting", "parked", "replayed"):
        bench.publish(STUDY, delivered=state == "replayed")
        if state == "parked":
            bench.outbox.park(bench.outbox.recent(1)[0].event.seq, "too large")
        if state == "replayed":
            bench.outbox.replay([f"r5/{STUDY}/1"], 2.0)
    elif state == "held":
        bench.arrivals.studies.command(STUDY, "hold", 0.0, 7200.0)
    elif state == "quarantined":
        bench.arrivals.deliver(ct(2, PatientID="SOMEBODY-ELSE"))
    bench.arrivals.time.at += 100 * DAY
    bench.retention(max_age_days=1, min_free_bytes=10**12).tick()
    assert bench.said == []
    assert bench.stored()


def test_a_reopened_study_stays(bench: Bench) -> None:
    bench.arrivals.deliver(ct(1))
    bench.publish(STUDY)
    bench.arrivals.studies.command(STUDY, "reopen", bench.arrivals.time.now(), 7200.0)
    bench.arrivals.time.at += 100 * DAY
    bench.retention(max_age_days=1).tick()
    assert bench.stored()


def test_space_takes_the_oldest_first_and_no_more_than_needed(bench: Bench) -> None:
    for number in range(1, 6):
        uid = f"{STUDY}.{number}"
        bench.arrivals.deliver(ct(1, StudyInstanceUID=uid, SOPInstanceUID=f"{uid}.1"))
        bench.publish(uid)
        bench.arrivals.time.at += 1
    bench.free = 10
    assert bench.retention(min_free_bytes=12).tick() is None
    assert bench.said == [(f"{STUDY}.{number}", 1, "space") for number in (1, 2)]
    assert bench.stored() == {f"{STUDY}.{number}.1" for number in (3, 4, 5)}


def test_a_late_instance_stops_it(bench: Bench) -> None:
    """It is acknowledged while the study is about to go: it stays, and opens the next version."""
    bench.arrivals.deliver(ct(1))
    bench.publish(STUDY)
    bench.arrivals.time.at += 10 * DAY
    bench.before_job = lambda: bench.arrivals.deliver(ct(2))
    bench.retention(max_age_days=1).tick()
    assert bench.said == []
    assert len(bench.stored()) == 2
    assert bench.arrivals.study(STUDY)["state"] == "open"


def test_what_comes_again_is_kept_again(bench: Bench) -> None:
    """The same object, sent again after it went: stored, no new version; and in time it goes again."""
    bench.arrivals.deliver(ct(1), ct(2))
    bench.publish(STUDY)
    bench.arrivals.time.at += 10 * DAY
    retention = bench.retention(max_age_days=1)
    retention.tick()
    assert bench.stored() == set()
    bench.arrivals.deliver(ct(1))
    assert len(bench.stored()) == 1
    study = bench.arrivals.study(STUDY)
    assert (study["state"], study["version"], study["objects_deleted_at"]) == ("complete", 1, None)
    retention.tick()
    assert bench.stored() == set()


def test_a_late_instance_after_it_amends_the_study(bench: Bench) -> None:
    bench.arrivals.deliver(ct(1), ct(2))
    bench.publish(STUDY)
    bench.arrivals.time.at += 10 * DAY
    bench.retention(max_age_days=1).tick()
    bench.arrivals.deliver(ct(3))
    bench.publish(STUDY)
    event = bench.outbox.recent(1)[0].event
    assert (event.id, event.attributes["instances"], event.attributes["added"]) == (f"r5/{STUDY}/2", 3, 1)


def test_versions_go_on_where_they_were_without_the_index(bench: Bench) -> None:
    bench.arrivals.deliver(ct(1), ct(2))
    bench.publish(STUDY)
    bench.arrivals.time.at += 10 * DAY
    bench.retention(max_age_days=1, keep_index=False).tick()
    with pytest.raises(StudyNotFound):
        bench.arrivals.study(STUDY)
    bench.arrivals.deliver(ct(3))
    bench.publish(STUDY)
    event = bench.outbox.recent(1)[0].event
    assert (event.id, event.attributes["instances"]) == (f"r5/{STUDY}/2", 1)


def test_a_disk_that_fails_is_tried_again(bench: Bench) -> None:
    bench.arrivals.deliver(ct(1))
    bench.publish(STUDY)
    bench.arrivals.time.at += 10 * DAY
    bench.broken = True
    retention = bench.retention(max_age_days=1)
    assert retention.tick() == 60
    assert bench.said == [("failed", StorageError)]
    assert bench.arrivals.study(STUDY)["objects_deleted_at"] is None
    bench.broken = False
    retention.tick()
    assert bench.said[-1] == (STUDY, 1, "age")


def test_nothing_is_deleted_by_default(bench: Bench) -> None:
    assert not RetentionOptions().wanted
    retention = bench.retention()
    retention.start()
    retention.wake()
    retention.stop()
    assert bench.said == []


def test_it_sleeps_until_something_is_due(bench: Bench) -> None:
    """With its thread and a real writer: woken by what comes, it deletes in the writer's thread."""
    arrivals = bench.arrivals
    arrivals.deliver(ct(1))
    bench.publish(STUDY)
    arrivals.time.at += 10 * DAY
    arrivals.writer.start()
    options = RetentionOptions(min_free_bytes=5)
    bench.free = 10
    retention = Retention(
        RetentionRows(arrivals.engine), bench, options, arrivals.writer.run, arrivals.time, bench
    )
    retention.start()
    bench.free = 1
    arrivals.time.at += 60
    retention.wake()
    eventually(lambda: bench.said)
    retention.stop()
    assert bench.said == [(STUDY, 1, "space")]


def test_a_writer_that_ends_does_no_more_jobs(bench: Bench) -> None:
    writer = bench.arrivals.new_writer()
    waiting = writer.run(lambda: True)
    writer.start()
    assert waiting.result(10)
    writer.stop()
    assert writer.run(lambda: True).cancelled()


def test_options_are_values() -> None:
    assert replace(RetentionOptions(), max_age_days=0.5).wanted
    assert replace(RetentionOptions(), min_free_bytes=1).wanted
