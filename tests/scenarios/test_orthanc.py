"""Orthanc as a peer: it forwards a study to the node and asks the node what it has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file

from tests.harness import LocalNode, Nodes
from tests.orthanc import Orthanc

pytestmark = pytest.mark.orthanc


@pytest.fixture
def node(nodes: Nodes) -> LocalNode:
    return nodes.start(completion__quiet_seconds="0.5")


@pytest.fixture
def orthanc(node: LocalNode, tmp_path: Path) -> Iterator[Orthanc]:
    peer = Orthanc(tmp_path / "orthanc", {"node": (node.ae_title, node.port)})
    try:
        yield peer
    finally:
        peer.stop()


def test_a_forwarded_study_is_published_and_found(node: LocalNode, orthanc: Orthanc) -> None:
    names = ("CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm", "MR_small_RLE.dcm", "rtplan.dcm")
    paths = [str(get_testdata_file(name)) for name in names]
    uploaded = {}
    for path in paths:
        answer = orthanc.call("/instances", Path(path).read_bytes())
        uploaded[answer["ID"]] = pydicom.dcmread(path, stop_before_pixels=True)
    sent = orthanc.call("/modalities/node/store", {"Resources": list(uploaded), "Synchronous": True})
    assert sent["FailedInstancesCount"] == 0
    studies = {data.StudyInstanceUID for data in uploaded.values()}
    events = node.wait_for_events(len(studies))
    assert {event["subject"] for event in events} == studies
    assert {event["callingae"] for event in events} == {"ORTHANC"}

    data = next(iter(uploaded.values()))
    query = {
        "Level": "Study",
        "Query": {"StudyInstanceUID": data.StudyInstanceUID, "PatientID": "", "ModalitiesInStudy": ""},
    }
    found = orthanc.call("/modalities/node/query", query)
    answers = orthanc.call(f"/queries/{found['ID']}/answers?expand&simplify")
    assert len(answers) == 1
    assert answers[0]["StudyInstanceUID"] == data.StudyInstanceUID
    assert answers[0]["PatientID"] == data.PatientID


def test_echo(orthanc: Orthanc) -> None:
    assert orthanc.call("/modalities/node/echo", b"") == {}
