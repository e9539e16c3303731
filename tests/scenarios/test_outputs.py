"""All outputs of one node at once: a study with images, a structure set and key objects, over the wire."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from tests.harness import DEFAULTS, Nodes, eventually
from tests.scenarios.sender import associated, instance, new_uid, send, store

RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
KEY_OBJECTS = "1.2.840.10008.5.1.4.1.1.88.59"
OUTPUTS = [
    # Selections first: their events still come after the study's.
    {"name": "sel", "profile": "imagingselection", "topic": "imaging-selection"},
    {"name": "r5", "profile": "r5", "topic": "imaging-study"},
    {"name": "imr", "profile": "imr", "topic": "imr"},
    {"name": "onco", "profile": "osiris", "topic": "onco"},
    {"name": "old", "profile": "dstu1", "topic": "old"},
]
ENDPOINT = {
    "fhir__wado_rs_base": "https://pacs.example.org/dicomweb",
    "fhir__endpoint__name": "PACS",
    "fhir__osiris__reason_reference__mode": "contained",
}
QUIET = {"completion__quiet_seconds": "1"}
SURNAME = "Zwiebelturm"


def part(**elements: Any) -> Dataset:
    found = Dataset()
    for keyword, value in elements.items():
        setattr(found, keyword, value)
    return found


def structure_set(study: str, rois: int = 2) -> Dataset:
    return instance(
        study,
        1,
        2,
        SOPClassUID=RTSTRUCT,
        Modality="RTSTRUCT",
        StructureSetLabel="Plan A",
        StructureSetDate="20260102",
        StructureSetTime="040506",
        StructureSetROISequence=[part(ROINumber=n, ROIName=f"roi {n}") for n in range(1, rois + 1)],
    )


def key_objects(study: str, *images: str) -> Dataset:
    def reference(uid: str) -> Dataset:
        return part(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.2", ReferencedSOPInstanceUID=uid)

    title = part(CodeValue="113000", CodingSchemeDesignator="DCM", CodeMeaning="Of Interest")
    series = part(SeriesInstanceUID=f"{study}.1", ReferencedSOPSequence=[reference(uid) for uid in images])
    return instance(
        study,
        1,
        3,
        SOPClassUID=KEY_OBJECTS,
        Modality="KO",
        ConceptNameCodeSequence=[title],
        ContentDate="20260102",
        ContentTime="050607",
        CurrentRequestedProcedureEvidenceSequence=[
            part(StudyInstanceUID=study, ReferencedSeriesSequence=[series])
        ],
        ContentSequence=[
            part(RelationshipType="CONTAINS", ValueType="IMAGE", ReferencedSOPSequence=[reference(uid)])
            for uid in images
        ],
    )


def send_study(node: Any, study: str) -> None:
    """Two images with the name of a person, then the documents about them."""
    names: dict[str, object] = {
        "PatientName": f"{SURNAME}^Eva",
        "ReferringPhysicianName": f"{SURNAME}^Jan",
        "Rows": 64,
        "Columns": 64,
    }
    send(node, instance(study, 1, **names), instance(study, 2, **names))
    for dataset in (structure_set(study), key_objects(study, f"{study}.1.2")):
        with associated(node, sop_class=str(dataset.SOPClassUID)) as association:
            assert store(association, dataset) == [0]


@pytest.mark.slow
def test_five_outputs_of_one_study(nodes: Nodes) -> None:
    node = nodes.start_process(outputs=json.dumps(OUTPUTS), **ENDPOINT, **QUIET)
    study = new_uid()
    send_study(node, study)
    node.wait_for_events(6)
    events = node.events()
    assert [(event["id"], event["type"].split(".")[2]) for event in events] == [
        (f"r5/{study}/1", "imagingstudy"),
        (f"imr/{study}/1", "imagingstudy"),
        (f"onco/{study}/1", "imagingstudy"),
        (f"old/{study}/1", "imagingstudy"),
        (f"sel/{study}.2.1/rois/1", "imagingselection"),
        (f"sel/{study}.3.1/{study}.1/1", "imagingselection"),
    ]
    versions = [event["datacontenttype"].rpartition("=")[2] for event in events]
    assert versions == ["5.0", "4.0", "4.0", "0.0", "5.0", "5.0"]
    assert {event["subject"] for event in events} == {study}
    rois, key = (event["data"] for event in events[4:])
    assert rois["instance"][0]["subset"] == ["1", "2"]
    assert [one["uid"] for one in key["instance"]] == [f"{study}.1.2"]
    log = (node.data_dir / "events.ndjson").read_text()
    assert SURNAME not in log, "no person's name leaves the node"
    assert SURNAME not in node.log()
    bundle = node.get(f"/api/studies/{study}/imagingstudy?profile=imagingselection")
    assert [entry["resource"]["id"] for entry in bundle["entry"]] == [rois["id"], key["id"]]
    settings = node.get(f"/api/studies/{study}/imagingstudy?profile=osiris")["series"][0]["extension"]
    assert {"url": "rows", "valueInteger": 64} in settings[-1]["extension"]


@pytest.mark.slow
def test_selections_by_default(nodes: Nodes) -> None:
    """And a late document makes the study's next version, selections included."""
    node = nodes.start(**QUIET)
    study = new_uid()
    send(node, instance(study, 1))
    assert [event["id"] for event in node.wait_for_events(1)] == [f"r5/{study}/1"]
    with associated(node, sop_class=RTSTRUCT) as association:
        assert store(association, structure_set(study)) == [0]
    node.wait_for_events(3)
    late = node.events()[1:]
    assert [event["id"] for event in late] == [f"r5/{study}/2", f"imagingselection/{study}.2.1/rois/2"]
    assert late[1]["type"] == "org.dicom-fhir-node.imagingselection.amended.v1"


@pytest.mark.slow
def test_a_huge_selection_is_where_its_event_says(nodes: Nodes) -> None:
    node = nodes.start(events__max_event_bytes="10000", **QUIET)
    study = new_uid()
    with associated(node, sop_class=RTSTRUCT) as association:
        assert store(association, structure_set(study, rois=5000)) == [0]
    node.wait_for_events(2)
    event = node.events()[1]
    assert "instance" not in event["data"]
    whole = node.get(event["dataref"].partition(str(node.http_port))[2])
    assert len(whole["instance"][0]["subset"]) == 5000
    assert {name: member for name, member in whole.items() if name != "instance"} == event["data"]


@pytest.mark.slow
def test_one_document_uid_in_two_studies(nodes: Nodes) -> None:
    """Two events with two ids: the second study is not held up by the first."""
    node = nodes.start(**QUIET)
    first, second = new_uid(), new_uid()
    twice = structure_set(second)
    twice.SOPInstanceUID = f"{first}.2.1"
    with associated(node, sop_class=RTSTRUCT) as association:
        assert store(association, structure_set(first), twice) == [0, 0]
    ids = {event["id"] for event in node.wait_for_events(4)}
    selections = sorted(one for one in ids if one.startswith("imagingselection/"))
    assert len(selections) == 2
    assert selections[0] == f"imagingselection/{first}.2.1/rois/1"
    assert selections[1] in {f"imagingselection/{first}.2.1/rois@{study}/1" for study in (first, second)}


def test_a_rejected_study_says_so(nodes: Nodes) -> None:
    node = nodes.start(**QUIET)
    study = new_uid()
    note = key_objects(study, f"{study}.1.1")
    note.ConceptNameCodeSequence[0].CodeValue = "113001"
    send(node, instance(study, 1))
    with associated(node, sop_class=KEY_OBJECTS) as association:
        assert store(association, note) == [0]
    eventually(lambda: node.events_of(study))
    assert node.events_of(study)[0]["data"]["status"] == "entered-in-error"


@pytest.mark.slow
def test_a_document_that_cannot_be_read_is_named_and_its_study_goes_out(nodes: Nodes) -> None:
    node = nodes.start_process(**QUIET)
    study = new_uid()
    note = key_objects(study, f"{study}.1.1")
    deep = note.ContentSequence[0]
    for _ in range(80):
        deep = part(RelationshipType="CONTAINS", ValueType="CONTAINER", ContentSequence=[deep])
    note.ContentSequence = [deep]
    send(node, instance(study, 1))
    with associated(node, sop_class=KEY_OBJECTS) as association:
        assert store(association, note) == [0]
    (event,) = node.wait_for_events(1)
    assert (event["id"], event["data"]["status"]) == (f"r5/{study}/1", "available")
    eventually(lambda: node.metric("data_quality_total", '{rule="document-unreadable"}') == 1)
    (line,) = (
        line for line in map(json.loads, node.log().splitlines()) if line["event"] == "document_unread"
    )
    assert (line["study"], line["instance"]) == (study, f"{study}.3.1")
    assert "levels deep" in line["why"]


@pytest.mark.parametrize("profile", ["imr", "osiris"])
def test_a_target_without_its_configuration_refuses_to_start(tmp_path: Path, profile: str) -> None:
    outputs = json.dumps([{"name": "a", "profile": profile, "topic": "t"}])
    environ = {**DEFAULTS, "NODE_DATA_DIR": str(tmp_path / "var"), "NODE_OUTPUTS": outputs}
    ended = subprocess.run(
        [sys.executable, "-m", "node", "serve"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert "[fhir] wado_rs_base" in ended.stderr
    assert not (tmp_path / "var").exists(), "nothing was begun"
