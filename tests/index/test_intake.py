"""What a batch does to the index: rows, study columns, fates of objects that come again, conflicts."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import Any

import orjson
import pytest
import sqlalchemy as sa

from node.completion import CompletionRules, QuietRule
from node.errors import IndexUnavailable
from node.index import schema
from node.index.intake import Fate, Sorted
from node.model import Rejection
from tests.index.arrivals import WALL_AHEAD, Arrivals
from tests.studies import CT, RTSTRUCT, STUDY, ct, rtstruct

Make = Callable[..., Arrivals]


def count(arrivals: Arrivals, table: sa.Table) -> int:
    with arrivals.engine.read() as connection:
        return int(connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0)


def attributes_of(arrivals: Arrivals) -> dict[str, Any]:
    with arrivals.engine.read() as connection:
        found: dict[str, Any] = orjson.loads(
            connection.scalar(sa.select(schema.study.c.attributes)) or b"null"
        )
        return found


def test_a_study_of_two_series(arrivals: Arrivals) -> None:
    arrivals.deliver(ct(1), ct(2), rtstruct())
    study, series = arrivals.studies.summary(STUDY)
    assert (study["state"], study["version"], study["added"]) == ("open", 0, 3)
    assert (study["instances"], study["series"]) == (3, 2)
    assert (study["modalities"], study["sop_classes"]) == ("CT\\RTSTRUCT", f"{CT}\\{RTSTRUCT}")
    assert study["patient_id"] == "PAT-0042"
    assert study["deadline"] == arrivals.time.now() + 60
    assert {part["uid"]: part["instances"] for part in series} == {f"{STUDY}.1": 2, f"{STUDY}.900": 1}
    assert [path.name for path in arrivals.files("objects")] == [
        f"{STUDY}.1.1.dcm",
        f"{STUDY}.1.2.dcm",
        f"{STUDY}.900.1.dcm",
    ]
    assert arrivals.files("incoming") == []


def test_counts_grow_over_batches(arrivals: Arrivals) -> None:
    for number in range(1, 5):
        arrivals.deliver(ct(number), calling_ae=f"CT{number % 2}")
    study, series = arrivals.studies.summary(STUDY)
    assert (study["instances"], study["added"], study["revision"]) == (4, 4, 4)
    assert series[0]["instances"] == 4
    assert orjson.loads(study["calling_aes"]) == ["CT1", "CT0"]


def test_equal_headers_are_stored_once_a_series(arrivals: Arrivals) -> None:
    arrivals.deliver(*(ct(number) for number in range(1, 6)), ct(6, PatientName="Other^Spelling"))
    assert count(arrivals, schema.header) == 2
    assert len(arrivals.studies.load(STUDY).headers) == 2


def test_a_header_rolled_back_is_not_remembered(arrivals: Arrivals) -> None:
    """A transaction that fails after a header was added must not leave its id in the cache."""
    landed = arrivals.land(ct(1))

    def fail() -> None:
        with arrivals.engine.write() as connection:
            arrivals.intake.apply(connection, [Sorted(landed, Fate.NEW)], 0.0, 0.0)
            raise IndexUnavailable("disk full")

    with pytest.raises(IndexUnavailable):
        fail()
    arrivals.intake.forget()
    arrivals.deliver(rtstruct())  # takes the id that was rolled back
    arrivals.index(landed)
    rows = arrivals.studies.load(STUDY)
    by_id = {one.id: one.series for one in rows.headers}
    assert {(row.series, by_id[row.header]) for row in rows.instances} == {
        (f"{STUDY}.1", f"{STUDY}.1"),
        (f"{STUDY}.900", f"{STUDY}.900"),
    }


def test_quiet_period_of_the_slowest_sender(make_arrivals: Make) -> None:
    rules = CompletionRules(60, 7200, [QuietRule(300, modality="us"), QuietRule(5, calling_ae="FAST*")])
    arrivals = make_arrivals(rules=rules)
    arrivals.deliver(ct(1), calling_ae="FAST1")
    assert arrivals.study(STUDY)["quiet_seconds"] == 5
    arrivals.deliver(ct(2, 2, Modality="US"), calling_ae="FAST1")
    assert arrivals.study(STUDY)["quiet_seconds"] == 300
    arrivals.deliver(ct(3), calling_ae="FAST1")
    assert arrivals.study(STUDY)["deadline"] == arrivals.time.now() + 300


# --- what comes again


def test_same_bytes_change_nothing(arrivals: Arrivals) -> None:
    arrivals.deliver(ct(1))
    before = arrivals.study(STUDY)
    arrivals.time.at += 30
    arrivals.deliver(ct(1))
    assert arrivals.study(STUDY) == before
    assert arrivals.seen.duplicates == ["same"]
    assert arrivals.files("incoming") == []
    assert len(arrivals.files("objects")) == 1


def test_same_bytes_twice_in_one_batch(arrivals: Arrivals) -> None:
    arrivals.deliver(ct(1), ct(1), ct(2), ct(1))
    assert arrivals.study(STUDY)["instances"] == 2
    assert arrivals.seen.duplicates == ["same", "same"]
    assert arrivals.files("incoming") == []


def test_other_bytes_twice_in_one_batch(arrivals: Arrivals) -> None:
    arrivals.deliver(ct(1), ct(1, Rows=64), ct(1, Rows=32))
    assert arrivals.study(STUDY)["instances"] == 1
    assert arrivals.seen.duplicates == ["other-bytes", "other-bytes"]
    assert len(arrivals.files("quarantine/duplicate")) == 2


@pytest.mark.parametrize("on_duplicate", ["keep", "reject"])
def test_other_bytes_are_kept_aside(make_arrivals: Make, on_duplicate: str) -> None:
    arrivals = make_arrivals(on_duplicate=on_duplicate)
    arrivals.deliver(ct(1))
    (stored,) = arrivals.files("objects")
    first, before = stored.read_bytes(), arrivals.study(STUDY)
    arrivals.time.at += 30
    arrivals.deliver(ct(1, Rows=64), calling_ae="CT9")
    assert stored.read_bytes() == first
    assert arrivals.study(STUDY) == before, "the quiet period goes on"
    (row,) = arrivals.quarantine()
    assert (row["reason"], row["instance"], row["calling_ae"]) == ("duplicate", f"{STUDY}.1.1", "CT9")
    assert row["at"] == arrivals.time.now() + WALL_AHEAD
    assert len(arrivals.files("quarantine")) == 1
    assert str(arrivals.files("quarantine")[0]).endswith(row["name"])
    assert arrivals.seen.quarantines == ["duplicate"]
    assert arrivals.seen.set_aside == [(STUDY, row["name"], "CT9")]


def test_other_bytes_replace(make_arrivals: Make) -> None:
    arrivals = make_arrivals(on_duplicate="replace")
    arrivals.deliver(ct(1), ct(2))
    stored = arrivals.files("objects")[0]
    first = stored.read_bytes()
    arrivals.time.at += 30
    arrivals.deliver(ct(1, Rows=64, SeriesDescription="again"))
    assert stored.read_bytes() != first
    assert [path.read_bytes() for path in arrivals.files("quarantine")] == [first]
    study = arrivals.study(STUDY)
    assert (study["instances"], study["added"]) == (2, 3)
    assert study["deadline"] == arrivals.time.now() + 60, "what replaces is news"
    row = next(row for row in arrivals.studies.load(STUDY).instances if row.uid == f"{STUDY}.1.1")
    assert row.attributes["Rows"] == [64]


def test_one_instance_uid_in_two_series_is_two_objects(arrivals: Arrivals) -> None:
    arrivals.deliver(ct(1))
    arrivals.deliver(ct(1, SeriesInstanceUID=f"{STUDY}.2"))
    assert arrivals.study(STUDY)["instances"] == 2
    assert arrivals.seen.duplicates == ["instance-in-two-series"]


def test_one_series_in_two_studies_is_counted(arrivals: Arrivals) -> None:
    arrivals.deliver(ct(1))
    arrivals.deliver(ct(2, StudyInstanceUID=f"{STUDY}.8"))
    assert arrivals.seen.duplicates == ["series-in-two-studies"]


def test_every_late_instance_is_counted_not_only_the_first_batch(arrivals: Arrivals) -> None:
    arrivals.deliver(ct(1))
    with arrivals.engine.write() as connection:
        connection.execute(sa.update(schema.study).values(state="complete", version=1, added=0))
    arrivals.deliver(ct(2), ct(3))
    arrivals.deliver(ct(4))
    assert arrivals.seen.lates == [("CT1", 2), ("CT1", 1)]
    assert (arrivals.study(STUDY)["state"], arrivals.study(STUDY)["added"]) == ("open", 3)


# --- two patients, and headers that know more than others


def test_another_patient_quarantines_the_study(arrivals: Arrivals) -> None:
    arrivals.deliver(ct(1))
    arrivals.deliver(ct(2, PatientID="OTHER"))
    study = arrivals.study(STUDY)
    assert (study["state"], study["deadline"], study["instances"]) == ("quarantined", None, 2)
    (row,) = arrivals.quarantine()
    assert (row["reason"], row["study"], row["name"]) == ("patient-conflict", STUDY, None)
    assert arrivals.seen.set_aside == [(STUDY, "", row["calling_ae"])]
    assert study["patient_id"] == "PAT-0042", "C-FIND keeps the first"
    arrivals.deliver(ct(3, PatientID="THIRD"))
    assert len(arrivals.quarantine()) == 1, "one entry a study"


def test_conflicts_may_be_published_when_configured(make_arrivals: Make) -> None:
    arrivals = make_arrivals(quarantine_conflicts=False)
    arrivals.deliver(ct(1), ct(2, PatientID="OTHER"))
    assert arrivals.study(STUDY)["state"] == "open"
    assert arrivals.quarantine() == []


@pytest.mark.parametrize(
    ("changes", "conflict"),
    [
        ({"PatientID": ""}, False),
        ({"IssuerOfPatientID": ""}, False),
        ({"IssuerOfPatientID": "ELSEWHERE"}, True),
        ({"PatientName": "Miller^Georg"}, False),
        ({"PatientID": "pat-0042"}, True),
    ],
)
def test_what_makes_another_patient(arrivals: Arrivals, changes: dict[str, str], conflict: bool) -> None:
    arrivals.deliver(ct(1), ct(2, **changes))
    assert (arrivals.study(STUDY)["conflict"] is not None) is conflict


def test_columns_take_from_later_headers_what_the_first_lacks(arrivals: Arrivals) -> None:
    poor = ct(1, PatientID="", IssuerOfPatientID=None, AccessionNumber="", StudyDescription=None)
    arrivals.deliver(poor)
    arrivals.deliver(ct(2, 2, StudyID="OTHER", SeriesDescription="second"))
    study = arrivals.study(STUDY)
    assert (study["patient_id"], study["patient_issuer"]) == ("PAT-0042", "HOSP")
    assert study["accession"] == "A20260042"
    assert study["study_id"] == "S42", "what the first header said stays"
    assert attributes_of(arrivals)["StudyDescription"] == ["CT THORAX"]
    assert attributes_of(arrivals)["SeriesDescription"] == ["Thorax 1.5mm"]


def test_date_and_time_are_never_taken_from_two_headers(arrivals: Arrivals) -> None:
    arrivals.deliver(ct(1, StudyTime=""), ct(2, StudyDate="20200101", StudyTime="235959"))
    assert (arrivals.study(STUDY)["study_date"], arrivals.study(STUDY)["study_time"]) == ("20260310", "")


def test_nothing_is_taken_from_another_patient(arrivals: Arrivals) -> None:
    arrivals.deliver(ct(1, PatientBirthDate=""), ct(2, PatientID="OTHER", PatientBirthDate="20000101"))
    assert not attributes_of(arrivals)["PatientBirthDate"]


def test_search_columns_are_the_same_for_every_batching(make_arrivals: Make) -> None:
    """One batch, or one batch an object: the rows are the same."""
    datasets = [ct(1, AccessionNumber=""), ct(2, 2), rtstruct()]
    kept = ("instances", "series", "modalities", "sop_classes", "patient_id", "accession", "study_date")
    found = set()
    for number, order in enumerate(permutations(datasets)):
        for together in (True, False):
            arrivals = make_arrivals(f"{number}-{together}")
            for batch in [order] if together else [[one] for one in order]:
                arrivals.deliver(*batch)
            found.add(tuple(arrivals.study(STUDY)[name] for name in kept))
    assert len(found) == 1


def test_the_peers_timezone_and_charset_are_used(arrivals: Arrivals) -> None:
    dataset = ct(1, SpecificCharacterSet=None, PatientName=b"M\xfcller")
    arrivals.deliver(dataset, calling_ae="US1")
    (header,) = arrivals.studies.load(STUDY).headers
    assert header.attributes["_timezone"] == ["Europe/Paris"]
    assert header.attributes["PatientName"] == ["Müller"]


# --- rejections


def test_a_rejected_object_is_kept_in_quarantine_once(arrivals: Arrivals) -> None:
    landed = arrivals.land(ct(1))
    rejection = Rejection(landed.name, "DataSetError", "no UID", "CT1", 5.0)
    arrivals.index(rejection)
    arrivals.index(rejection)  # as after a crash before the file was moved
    (row,) = arrivals.quarantine()
    assert (row["reason"], row["detail"], row["at"]) == ("DataSetError", "no UID", 5.0)
    assert [path.name for path in arrivals.files("quarantine/DataSetError")] == [f"{landed.name}.dcm"]


def test_the_same_key_twice_in_one_batch_is_no_fault_of_it(
    arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second waits for the next transaction; nothing is rolled back, tried again or told."""
    rolled_back: list[None] = []
    monkeypatch.setattr(arrivals.intake, "forget", lambda: rolled_back.append(None))
    arrivals.deliver(ct(1), ct(2), ct(1), ct(3), ct(1))
    assert not rolled_back
    assert arrivals.study(STUDY)["instances"] == 3
    assert arrivals.seen.duplicates == ["same", "same"]
