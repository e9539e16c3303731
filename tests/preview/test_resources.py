"""Previews are what the node would publish, or say why it would not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from pydicom.dataset import Dataset

from node.errors import ResourceInvalid
from node.fhir import r5
from node.fhir.options import EndpointOptions, FhirOptions, OsirisOptions, ReasonReference
from node.fhir.targets import PROFILES
from node.model import Finding, ObjectKey
from node.preview import Preview, gather, previews
from tests.preview.made import rejection, write
from tests.studies import IMPLICIT, STUDY, assembled, ct, rtstruct

OPTIONS = FhirOptions()
CONFIGURED = FhirOptions(
    wado_rs_base="https://pacs.example.org/dicomweb",
    endpoint=EndpointOptions(name="Archive"),
    osiris=OsirisOptions(ReasonReference(system="urn:example:ris")),
)


def previewed(
    folder: Path, profile: str = "r5", options: FhirOptions = OPTIONS, check: bool = True
) -> list[Preview]:
    gathered = gather([folder], "", lambda _done, _total: None)
    return list(previews(gathered, PROFILES[profile], options, check))


def test_the_same_bytes_as_by_the_node(tmp_path: Path) -> None:
    datasets = [ct(1), ct(2), rtstruct()]
    (one,) = previewed(write(tmp_path, *datasets))
    assert orjson.dumps(one.resources[0]) == orjson.dumps(r5.build(assembled(datasets), OPTIONS))
    assert one.faults == []


@pytest.mark.parametrize("profile", [name for name, row in PROFILES.items() if row.kind == "imagingstudy"])
def test_every_profile_gives_one_resource_a_study(tmp_path: Path, profile: str) -> None:
    write(tmp_path, ct(1), ct(1, 2, StudyInstanceUID="1.2.3"))
    found = previewed(tmp_path, profile, CONFIGURED)
    assert [one.study for one in found] == [STUDY, "1.2.3"]
    assert [len(one.resources) for one in found] == [1, 1]
    assert [one.faults for one in found] == [[], []]


@pytest.mark.parametrize("syntax", [None, IMPLICIT], ids=["stored", "bare"])
def test_key_objects_are_read_from_their_files(tmp_path: Path, syntax: str | None) -> None:
    write(tmp_path, ct(1), rejection(f"{STUDY}.1.1", f"{STUDY}.1"), syntax=syntax)
    (one,) = previewed(tmp_path)
    assert one.resources[0]["status"] == "entered-in-error"
    (selected,) = previewed(tmp_path, "imagingselection")
    assert [made["code"]["coding"][0]["code"] for made in selected.resources] == ["113001"]


def test_a_target_that_makes_nothing_of_a_study(tmp_path: Path) -> None:
    (one,) = previewed(write(tmp_path, ct(1)), "imagingselection")
    assert (one.resources, one.faults) == ([], [])


def refused(datasets: Sequence[Dataset], folder: Path, options: FhirOptions = OPTIONS) -> str:
    """The one reason why nothing is published; with ``check`` off there is a resource all the same."""
    (one,) = previewed(write(folder, *datasets), options=options)
    assert one.resources == []
    (fault,) = one.faults
    return fault


def test_two_patients_in_one_study(tmp_path: Path) -> None:
    datasets = [ct(1), ct(2, PatientID="SOMEBODY")]
    fault = refused(datasets, tmp_path)
    assert "several patients" in fault
    assert "SOMEBODY" not in fault
    for how in ({"check": False}, {"options": replace(OPTIONS, on_patient_conflict="majority")}):
        (one,) = previewed(tmp_path, **how)
        assert len(one.resources) == 1
    assert {finding.rule for finding in one.findings} >= {"patient-conflict"}


def test_a_study_without_the_patient_id_that_is_required(tmp_path: Path) -> None:
    fault = refused([ct(1, PatientID="")], tmp_path, FhirOptions(require_patient_id=True))
    assert "Patient ID (0010,0020)" in fault


def test_a_resource_that_is_not_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(_: object) -> None:
        raise ResourceInvalid("r5 ImagingStudy.status: not one of the codes")

    monkeypatch.setitem(PROFILES, "r5", PROFILES["r5"]._replace(check=check))
    assert refused([ct(1)], tmp_path) == "r5 ImagingStudy.status: not one of the codes"
    (one,) = previewed(tmp_path, check=False)
    assert len(one.resources) == 1


def test_what_is_amiss_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Finding("selection-empty", "SOPInstanceUID", STUDY, 1)
    monkeypatch.setitem(PROFILES, "r5", PROFILES["r5"]._replace(findings=lambda _study, _options: (own,)))
    (one,) = previewed(write(tmp_path, ct(1, Modality="")))
    assert [finding.rule for finding in one.findings] == ["modality-missing", "selection-empty"]


def test_a_document_that_went_away_is_a_finding(tmp_path: Path) -> None:
    note = rejection(f"{STUDY}.1.1", f"{STUDY}.1")
    gathered = gather([write(tmp_path, ct(1), note)], "", lambda _done, _total: None)
    (tmp_path / f"{note.SOPInstanceUID}.dcm").unlink()
    (one,) = previews(gathered, PROFILES["r5"], OPTIONS, True)
    assert one.resources[0]["status"] == "available"
    assert "document-unreadable" in {finding.rule for finding in one.findings}


def test_a_disk_that_fails_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gathered = gather(
        [write(tmp_path, ct(1), rejection(f"{STUDY}.1.1", f"{STUDY}.1"))], "", lambda _done, _total: None
    )

    def fails(_: ObjectKey) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(type(gathered), "open", lambda _self, key: fails(key))
    (one,) = previews(gathered, PROFILES["r5"], OPTIONS, True)
    assert (one.resources, one.faults) == ([], ["a file can't be read: Input/output error"])
