"""A version of a study becomes its events: what goes out, what is parked, what is held back."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from node.documents import Document, Need
from node.envelope import Output
from node.errors import ResourceInvalid, StorageError, StudyNotFound
from node.fhir.options import FhirOptions
from node.fhir.table import Built
from node.fhir.targets import PROFILES
from node.index.outbox import Outbox
from node.model import Event, Finding, Reason, Study
from node.publication import PublicationOptions, StudyPublisher
from tests.index.arrivals import Arrivals
from tests.studies import STUDY, ct, rtstruct

R5 = PROFILES["r5"]
MAX = 7200.0


class Bench:
    """An index, a publisher over it, and what it reported."""

    def __init__(self, folder: Path) -> None:
        self.arrivals = Arrivals(folder)
        self.outbox = Outbox(self.arrivals.engine)
        self.wakes = 0
        self.said: list[tuple[Any, ...]] = []
        self.options = PublicationOptions(
            outputs=[Output("r5", "r5", "imaging-study", R5.kind, R5.fhir_version)],
            fhir=FhirOptions(),
            ae_title="NODE",
            max_event_bytes=900_000,
            dataref=lambda: "http://here/{id}",
            contents=lambda study, _: study,
        )

    def publisher(self, **changes: Any) -> StudyPublisher:
        options = replace(self.options, **changes)
        return StudyPublisher(self.arrivals.studies, options, self.arrivals.time, self, self._wake)

    def _wake(self) -> None:
        self.wakes += 1

    def published(self, study: str, version: int, reason: Reason, quiet: float, events: list[Event]) -> None:
        self.said.append(("published", study, version, reason, quiet, [event.id for event in events]))

    def unfit(self, event: Event, reason: str) -> None:
        self.said.append(("unfit", event.id, reason))

    def found_amiss(self, study: str, findings: list[Finding]) -> None:
        self.said.append(("amiss", study, {finding.keyword for finding in findings}))

    def quarantined(self, reason: str, study: str, file: str, calling_ae: str) -> None:
        self.said.append(("quarantined", reason, study))

    def unread(self, study: str, instance: str, why: str) -> None:
        self.said.append(("unread", study, instance, why))

    def build_failed(self, study: str, error: BaseException) -> None:
        self.said.append(("failed", study, type(error)))

    def events(self) -> list[Event]:
        return [record.event for record in self.outbox.recent(100)]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.arrivals.close()


def test_the_event_of_a_study(bench: Bench) -> None:
    bench.arrivals.deliver(ct(1), rtstruct())
    bench.arrivals.time.at += 60
    assert bench.publisher().publish(STUDY, "quiet")
    (event,) = bench.events()
    assert event.id == f"r5/{STUDY}/1"
    wanted = {
        "type": "org.dicom-fhir-node.imagingstudy.completed.v1",
        "studyversion": 1,
        "completion": "quiet",
        "instances": 2,
        "seriescount": 2,
        "added": 2,
        "callingae": "CT1",
    }
    assert {name: event.attributes[name] for name in wanted} == wanted
    assert str(event.attributes["time"]).startswith("1970-01-12T14:47:40"), (
        "the wall clock's, not the steady one's"
    )
    assert orjson.loads(event.data)["numberOfInstances"] == 2
    assert bench.wakes == 1
    assert bench.said[0] == ("published", STUDY, 1, "quiet", 60.0, [event.id])


def test_the_next_version_says_what_was_added(bench: Bench) -> None:
    publisher = bench.publisher()
    bench.arrivals.deliver(ct(1), ct(2))
    publisher.publish(STUDY, "quiet")
    bench.arrivals.deliver(ct(3), calling_ae="CT2")
    publisher.publish(STUDY, "quiet")
    event = bench.events()[-1]
    assert event.attributes["type"] == "org.dicom-fhir-node.imagingstudy.amended.v1"
    assert (event.attributes["studyversion"], event.attributes["added"]) == (2, 1)
    assert event.attributes["callingae"] == "CT1,CT2"


def test_a_quiet_study_is_published_only_as_it_was_found(bench: Bench) -> None:
    bench.arrivals.deliver(ct(1))
    revision = bench.arrivals.studies.state(STUDY).revision
    bench.arrivals.deliver(ct(2))
    assert not bench.publisher().publish(STUDY, "quiet", revision)
    assert bench.events() == []
    assert bench.publisher().publish(STUDY, "max-age", revision), "the cap does not ask"


@pytest.mark.parametrize("reason", ["quiet", "max-age", "forced"])
def test_a_complete_study_is_not_published_again(bench: Bench, reason: Reason) -> None:
    bench.arrivals.deliver(ct(1))
    publisher = bench.publisher()
    assert publisher.publish(STUDY, "forced")
    assert not publisher.publish(STUDY, reason)
    assert len(bench.events()) == 1


def test_a_held_study_goes_out_only_on_an_operators_word(bench: Bench) -> None:
    bench.arrivals.deliver(ct(1))
    bench.arrivals.studies.command(STUDY, "hold", 0.0, MAX)
    assert not bench.publisher().publish(STUDY, "max-age")
    assert bench.publisher().publish(STUDY, "forced")
    assert bench.events()[0].attributes["completion"] == "forced"


def test_an_unknown_study(bench: Bench) -> None:
    with pytest.raises(StudyNotFound):
        bench.publisher().publish("1.2.3", "forced")


@pytest.mark.parametrize("asked", ["quiet", "forced"])
def test_two_patients_that_the_index_did_not_see_are_held_back(bench: Bench, asked: Reason) -> None:
    """Issuers A, none and B: each pair of neighbours agrees, the study does not. Who has an open study completed
    has not said that it may go out as two patients'."""
    bench.arrivals.deliver(
        ct(1, IssuerOfPatientID="", IssuerOfPatientIDQualifiersSequence=None),
        ct(2, IssuerOfPatientID="A", IssuerOfPatientIDQualifiersSequence=None),
        ct(3, IssuerOfPatientID="B", IssuerOfPatientIDQualifiersSequence=None),
    )
    assert bench.arrivals.study(STUDY)["state"] == "open"
    assert bench.publisher().publish(STUDY, asked)
    assert bench.arrivals.study(STUDY)["state"] == "quarantined"
    assert bench.events() == []
    assert bench.said == [("quarantined", "patient-conflict", STUDY)]
    assert bench.publisher().publish(STUDY, "forced"), "an operator may release it"
    assert len(bench.events()) == 1
    assert bench.arrivals.quarantine()[0]["released_at"] is not None


def test_a_document_that_could_not_be_read_is_named(bench: Bench) -> None:
    def contents(study: Study, _: frozenset[Need]) -> Study:
        lost = (Document(f"1.2.{at}", "1.2.3", STUDY, None, "too deep") for at in range(100))
        return replace(study, documents=(Document("1.2", "1.2.3", STUDY, None), *lost))

    bench.arrivals.deliver(ct(1))
    assert bench.publisher(contents=contents).publish(STUDY, "quiet")
    said = [one for one in bench.said if one[0] == "unread"]
    assert said[0] == ("unread", STUDY, "1.2.0", "too deep")
    assert len(said) == 20, "and a thousand of them fill no log"


def test_a_patient_id_may_be_required(bench: Bench) -> None:
    publisher = bench.publisher(fhir=replace(bench.options.fhir, require_patient_id=True))
    bench.arrivals.deliver(ct(1, PatientID="", IssuerOfPatientID=None))
    publisher.publish(STUDY, "quiet")
    assert bench.arrivals.quarantine()[0]["reason"] == "no-patient-id"


def test_a_resource_that_fails_its_check_is_parked_with_its_reason(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(_resource: Mapping[str, Any]) -> None:
        raise ResourceInvalid("series[0].uid: not an OID")

    monkeypatch.setitem(PROFILES, "r5", R5._replace(check=check))
    bench.arrivals.deliver(ct(1))
    assert bench.publisher().publish(STUDY, "quiet")
    (record,) = bench.outbox.recent(10)
    assert (record.state, record.parked_reason) == ("parked", "series[0].uid: not an OID")
    assert orjson.loads(record.event.data)["resourceType"] == "ImagingStudy", "kept for who looks at it"
    assert ("unfit", f"r5/{STUDY}/1", "series[0].uid: not an OID") in bench.said
    assert bench.said[0][-1] == [], "it is not counted as an event"
    assert bench.arrivals.study(STUDY)["state"] == "complete", "it blocks nothing"


def unwritable(*_: Any) -> list[Built]:
    return [Built({"text": "\ud800"})]


def raising(*_: Any) -> list[Built]:
    raise KeyError("a fault of ours")


@pytest.mark.parametrize("build", [raising, unwritable])
def test_a_fault_of_ours_parks_that_output_and_no_other(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, build: Callable[..., Any]
) -> None:
    broken = R5._replace(build=build, check=lambda _: None)
    monkeypatch.setitem(PROFILES, "broken", broken)
    outputs = [Output("bad", "broken", "t", "imagingstudy", "5.0"), *bench.options.outputs]
    bench.arrivals.deliver(ct(1))
    assert bench.publisher(outputs=outputs).publish(STUDY, "quiet")
    assert [(record.event.output, record.state) for record in bench.outbox.recent(10)] == [
        ("bad", "parked"),
        ("r5", "pending"),
    ]
    assert any(said[0] == "failed" for said in bench.said)


def test_a_study_that_can_not_be_assembled_is_parked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.arrivals.deliver(ct(1))
    monkeypatch.setattr(sys.modules["node.assemble"], "study", raising)
    assert bench.publisher().publish(STUDY, "quiet")
    (record,) = bench.outbox.recent(10)
    assert record.state == "parked"
    assert ("failed", STUDY, KeyError) in bench.said


def test_a_huge_study_goes_without_its_instances_and_says_where_they_are(bench: Bench) -> None:
    bench.arrivals.deliver(*(ct(number) for number in range(1, 31)))
    assert bench.publisher(max_event_bytes=4_000).publish(STUDY, "quiet")
    (event,) = bench.events()
    assert "instance" not in orjson.loads(event.data)["series"][0]
    assert event.attributes["dataref"] == f"http://here/r5/{STUDY}/1"
    full = bench.arrivals.studies.full_resource(STUDY, "r5", 1)
    assert full is not None
    assert len(orjson.loads(full)["series"][0]["instance"]) == 30


def test_findings_are_told_without_values(bench: Bench) -> None:
    bench.arrivals.deliver(ct(1), ct(2), ct(3, StudyDescription="other"))
    bench.publisher().publish(STUDY, "quiet")
    amiss = next(said for said in bench.said if said[0] == "amiss")
    assert "StudyDescription" in amiss[2]


def test_the_resource_as_it_stands(bench: Bench) -> None:
    bench.arrivals.deliver(ct(1))
    publisher = bench.publisher()
    assert orjson.loads(publisher.resource(STUDY, "r5"))["numberOfInstances"] == 1
    bench.arrivals.deliver(ct(2))
    assert orjson.loads(publisher.resource(STUDY, "r5"))["numberOfInstances"] == 2
    assert bench.events() == []


SELECTIONS = Output("sel", "selections", "imaging-selection", "imagingselection", "5.0")


def selecting(monkeypatch: pytest.MonkeyPatch, *built: Built) -> None:
    """Registers a target that makes ``built`` of every study."""
    target = R5._replace(kind="imagingselection", build=lambda *_: built, check=lambda _: None)
    monkeypatch.setitem(PROFILES, "selections", target)


def test_each_selection_is_an_event_after_the_study_s_own(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    selecting(monkeypatch, Built({"n": 1}, "1.2.3", "1.4.1"), Built({"n": 2}, "1.2.3", "1.4.2"))
    bench.arrivals.deliver(ct(1))
    publisher = bench.publisher(outputs=[*bench.options.outputs, SELECTIONS])
    assert publisher.publish(STUDY, "quiet")
    assert [event.id for event in bench.events()] == [
        f"r5/{STUDY}/1",
        "sel/1.2.3/1.4.1/1",
        "sel/1.2.3/1.4.2/1",
    ]
    assert [orjson.loads(event.data) for event in bench.events()[1:]] == [{"n": 1}, {"n": 2}]
    assert {event.study for event in bench.events()} == {STUDY}


def test_a_study_without_selections_has_no_such_event(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    selecting(monkeypatch)
    bench.arrivals.deliver(ct(1))
    assert bench.publisher(outputs=[SELECTIONS]).publish(STUDY, "quiet")
    assert bench.events() == []
    assert bench.arrivals.study(STUDY)["state"] == "complete"
    assert orjson.loads(bench.publisher().resource(STUDY, "selections")) == {
        "resourceType": "Bundle",
        "type": "collection",
    }


def test_one_document_uid_in_two_studies_gives_two_ids(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """An id that is taken would keep the second study from ever being published."""
    selecting(monkeypatch, Built({}, "1.2.3", "1"), Built({}, "1.2.3", "1"))
    other = f"{STUDY}.9"
    bench.arrivals.deliver(ct(1), ct(1, StudyInstanceUID=other))
    publisher = bench.publisher(outputs=[SELECTIONS])
    for study in (STUDY, other):
        assert publisher.publish(study, "quiet")
        assert publisher.publish(study, "forced") is False
    assert [event.id for event in bench.events()] == [
        "sel/1.2.3/1/1",
        f"sel/1.2.3/1@{STUDY}/1",
        f"sel/1.2.3/1@{other}/1",
        f"sel/1.2.3/1@{other}@{other}/1",
    ]


def test_what_is_read_from_files_is_what_the_outputs_need(bench: Bench) -> None:
    asked: list[frozenset[str]] = []

    def contents(study: Study, needs: frozenset[Need]) -> Study:
        asked.append(needs)
        return replace(study, description="from the file")

    bench.arrivals.deliver(ct(1))
    assert bench.publisher(contents=contents).publish(STUDY, "quiet")
    assert asked == [R5.needs]
    assert orjson.loads(bench.events()[0].data)["description"] == "from the file"


def test_a_disk_that_does_not_answer_is_asked_again(bench: Bench) -> None:
    """Nothing is parked: the clock tries the study later."""

    def contents(_: Study, __: frozenset[Need]) -> Study:
        raise StorageError("read failed")

    bench.arrivals.deliver(ct(1))
    with pytest.raises(StorageError):
        bench.publisher(contents=contents).publish(STUDY, "quiet")
    assert bench.events() == []
    assert bench.arrivals.study(STUDY)["state"] == "open"
