"""An index made anew: versions come back, nothing is published twice, an interrupted rebuild is taken up."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
import sqlalchemy as sa

from node.index import rebuild, schema
from node.index.outbox import Outbox, add
from node.index.rebuild import Published
from node.model import Event
from tests.index.arrivals import Arrivals
from tests.studies import STUDY, ct

NOWHERE = Path("/nonexistent/events.ndjson")


def attributes(version: int, instances: int, output: str = "r5") -> dict[str, object]:
    return {
        "id": f"{output}/{STUDY}/{version}",
        "subject": STUDY,
        "studyversion": version,
        "instances": instances,
    }


def log(path: Path, *lines: bytes) -> Path:
    path.write_bytes(b"".join(lines))
    return path


def line(version: int, instances: int) -> bytes:
    return orjson.dumps(attributes(version, instances)) + b"\n"


def test_versions_are_read_from_the_log(tmp_path: Path, arrivals: Arrivals) -> None:
    path = log(tmp_path / "events.ndjson", line(1, 5), line(2, 7), line(1, 5))
    assert rebuild.published(arrivals.engine, path) == {STUDY: Published(2, 7)}


@pytest.mark.parametrize(
    "torn", [b'{"id":"r5/1', b"\xff\xfe", b"[]\n", b'"text"\n', b'{"subject":1,"studyversion":9}\n', b"\n"]
)
def test_what_is_no_event_in_the_log_is_passed_over(tmp_path: Path, arrivals: Arrivals, torn: bytes) -> None:
    path = log(tmp_path / "events.ndjson", line(1, 5), torn)
    assert rebuild.published(arrivals.engine, path) == {STUDY: Published(1, 5)}


def test_a_parked_output_counts_as_published(arrivals: Arrivals) -> None:
    """Its id is taken: the version must not be made a second time."""
    events = [
        Event(f"r5/{STUDY}/{n}", "r5", "t", STUDY, attributes(n, n), b"{}")  # type: ignore[arg-type]
        for n in (1, 2)
    ]
    with arrivals.engine.write() as connection:
        add(connection, events, 1.0, {f"r5/{STUDY}/2": "not valid"})
    assert rebuild.published(arrivals.engine, NOWHERE) == {STUDY: Published(2, 2)}


def test_the_newer_of_outbox_and_log_holds(tmp_path: Path, arrivals: Arrivals) -> None:
    with arrivals.engine.write() as connection:
        add(connection, [Event(f"r5/{STUDY}/3", "r5", "t", STUDY, attributes(3, 9), b"{}")], 1.0)  # type: ignore[arg-type]
    path = log(tmp_path / "events.ndjson", line(2, 7))
    assert rebuild.published(arrivals.engine, path) == {STUDY: Published(3, 9)}


def test_studies_with_nothing_new_are_complete(arrivals: Arrivals) -> None:
    arrivals.deliver(ct(1), ct(2))
    assert rebuild.restore(arrivals.engine, {STUDY: Published(4, 2)}, 9.0) == 1
    study = arrivals.study(STUDY)
    assert (study["state"], study["version"], study["added"], study["deadline"]) == ("complete", 4, 0, None)


def test_studies_with_news_stay_open_for_the_next_version(arrivals: Arrivals) -> None:
    arrivals.deliver(ct(1), ct(2), ct(3))
    rebuild.restore(arrivals.engine, {STUDY: Published(1, 2)}, 9.0)
    study = arrivals.study(STUDY)
    assert (study["state"], study["version"], study["added"]) == ("open", 1, 1)
    assert study["deadline"] == arrivals.time.now() + 60


def test_studies_never_published_stay_as_they_are(arrivals: Arrivals) -> None:
    arrivals.deliver(ct(1))
    before = arrivals.study(STUDY)
    assert rebuild.restore(arrivals.engine, {"1.2.3": Published(1, 1)}, 9.0) == 0
    assert arrivals.study(STUDY) == before


def test_fewer_objects_than_published_are_no_news(arrivals: Arrivals) -> None:
    arrivals.deliver(ct(1))
    rebuild.restore(arrivals.engine, {STUDY: Published(1, 5)}, 9.0)
    assert (arrivals.study(STUDY)["state"], arrivals.study(STUDY)["added"]) == ("complete", 0)


def test_a_conflict_that_an_operator_released_stays_released(arrivals: Arrivals) -> None:
    arrivals.deliver(ct(1), ct(2, PatientID="OTHER"))
    assert arrivals.study(STUDY)["state"] == "quarantined"
    rebuild.restore(arrivals.engine, {STUDY: Published(1, 2)}, 9.0)
    assert arrivals.study(STUDY)["state"] == "complete"
    assert [row["released_at"] for row in arrivals.quarantine()] == [9.0]


def test_forgetting_keeps_what_the_objects_can_not_tell(arrivals: Arrivals) -> None:
    arrivals.deliver(ct(1), ct(2, PatientID="OTHER"))
    with arrivals.engine.write() as connection:
        add(connection, [Event("e", "r5", "t", STUDY, attributes(1, 2), b"{}")], 1.0)  # type: ignore[arg-type]
    assert not rebuild.is_empty(arrivals.engine)
    rebuild.forget_objects(arrivals.engine)
    assert rebuild.is_empty(arrivals.engine)
    with arrivals.engine.read() as connection:
        for table in (schema.series, schema.header, schema.instance):
            assert connection.execute(sa.select(table)).first() is None
    assert len(Outbox(arrivals.engine).recent(10)) == 1
    assert len(arrivals.quarantine()) == 1


def test_a_conflict_found_again_has_one_entry(arrivals: Arrivals) -> None:
    batch = [arrivals.land(ct(1)), arrivals.land(ct(2, PatientID="OTHER"))]
    arrivals.index(*batch)
    rebuild.forget_objects(arrivals.engine)
    arrivals.intake.forget()
    arrivals.index(*batch)
    assert arrivals.study(STUDY)["state"] == "quarantined"
    assert len(arrivals.quarantine()) == 1


def test_a_rebuild_is_unfinished_until_versions_are_restored(arrivals: Arrivals) -> None:
    assert not rebuild.unfinished(arrivals.engine)
    rebuild.forget_objects(arrivals.engine)
    arrivals.deliver(ct(1))
    assert rebuild.unfinished(arrivals.engine), "a crash here must not publish version 1 again"
    rebuild.restore(arrivals.engine, {}, 9.0)
    assert not rebuild.unfinished(arrivals.engine)


def test_what_was_held_is_held_even_when_the_rebuild_is_interrupted(arrivals: Arrivals) -> None:
    arrivals.deliver(ct(1))
    arrivals.studies.command(STUDY, "hold", 0.0, 7200)
    landed = arrivals.land(ct(1))
    rebuild.forget_objects(arrivals.engine)
    rebuild.forget_objects(arrivals.engine)  # interrupted, and begun again
    arrivals.intake.forget()
    arrivals.index(landed)
    rebuild.restore(arrivals.engine, {}, 9.0)
    assert (arrivals.study(STUDY)["state"], arrivals.study(STUDY)["deadline"]) == ("held", None)
