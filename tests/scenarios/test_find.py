"""C-FIND over the wire: DCMTK's findscu, pynetdicom and Orthanc ask a running node for what was stored."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE

from node.index import schema
from tests.harness import Address, LocalNode, Nodes, eventually
from tests.orthanc import Orthanc
from tests.tools import dcmtk

PATIENT_ROOT = "1.2.840.10008.5.1.4.1.2.1.1"
STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
FOLDERS = ("charset", "study_petct", "study_rt", "study_pt_kos", "enhanced_multiframe", "modalities")


def made(uid: str, **keys: Any) -> Dataset:
    """A small object; ``uid`` is its SOP Instance UID, whose parents are its series and study."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = UID(SECONDARY_CAPTURE)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = UID(uid)
    dataset.SeriesInstanceUID, dataset.StudyInstanceUID = uid.rsplit(".", 1)[0], uid.rsplit(".", 2)[0]
    for keyword, value in keys.items():
        setattr(dataset, keyword, value)
    return dataset


DOE = {"PatientName": "Doe^Jane", "PatientID": "P1", "StudyDate": "20240119", "StudyTime": "101500"}
ROE = {
    "SpecificCharacterSet": "ISO_IR 100",
    "PatientName": "Röe^Jürgen",
    "PatientID": "P2",
    "StudyDate": "20240120",
    "StudyTime": "",
}
OBJECTS = [
    made("1.9.1.1.1", **DOE, Modality="CT", SeriesNumber="1", InstanceNumber="1"),
    made("1.9.1.1.2", **DOE, Modality="CT", SeriesNumber="1", InstanceNumber="2"),
    made("1.9.1.2.1", **DOE, Modality="PT", SeriesNumber="2", InstanceNumber="1"),
    made("1.9.2.1.1", **ROE, Modality="MR", SeriesNumber="1", InstanceNumber="1"),
]


def requestor(*models: str) -> AE:
    ae = AE("TESTER")
    for model in models or (STUDY_ROOT, PATIENT_ROOT):
        ae.add_requested_context(model, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    ae.add_requested_context(SECONDARY_CAPTURE, ExplicitVRLittleEndian)
    return ae


def store(node: Address, objects: list[Dataset] = OBJECTS) -> None:
    association = requestor().associate("127.0.0.1", node.port, ae_title=node.ae_title)
    assert association.is_established
    statuses = [association.send_c_store(each).Status for each in objects]
    association.release()
    assert statuses == [0x0000] * len(objects)


def find(node: Address, level: str, model: str = STUDY_ROOT, **keys: Any) -> tuple[list[Dataset], Dataset]:
    """Matches and the final response's command set, through pynetdicom."""
    association = requestor().associate("127.0.0.1", node.port, ae_title=node.ae_title)
    assert association.is_established
    query = Dataset()
    query.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(query, keyword, value)
    responses = list(association.send_c_find(query, model))
    association.release()
    return [identifier for _, identifier in responses if identifier is not None], responses[-1][0]


def findscu(
    node: Address, folder: Path, *arguments: str | Path, file: Path | None = None
) -> tuple[list[Dataset], str]:
    """Matches as findscu saved them, and what it printed."""
    folder.mkdir()
    result = dcmtk(
        "findscu",
        "-v",
        "-X",
        "-od",
        folder,
        "-aec",
        node.ae_title,
        *arguments,
        "127.0.0.1",
        str(node.port),
        *([file] if file else []),
    )
    files = sorted(folder.glob("rsp*.dcm"))
    return [dcmread(file, force=True) for file in files], result.stdout


def keys(*pairs: str) -> list[str]:
    return [argument for pair in pairs for argument in ("-k", pair)]


@pytest.fixture
def node(nodes: Nodes) -> LocalNode:
    started = nodes.start()
    store(started)
    return started


@pytest.mark.dcmtk
def test_findscu_at_every_level(node: LocalNode, tmp_path: Path) -> None:
    patients, _ = findscu(
        node, tmp_path / "p", "-P", *keys("QueryRetrieveLevel=PATIENT", "PatientID", "PatientName=DOE*")
    )
    assert [each.PatientID for each in patients] == ["P1"]
    studies, _ = findscu(
        node,
        tmp_path / "s",
        "-S",
        *keys(
            "QueryRetrieveLevel=STUDY", "StudyDate=20240119-20240131", "ModalitiesInStudy=PT\\MR", "StudyID"
        ),
        *keys("NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances", "StudyInstanceUID"),
    )
    assert [
        (each.StudyInstanceUID, each.NumberOfStudyRelatedSeries, each.NumberOfStudyRelatedInstances)
        for each in studies
    ] == [("1.9.2", 1, 1), ("1.9.1", 2, 3)]
    assert all(each["StudyID"].is_empty for each in studies)
    series, _ = findscu(
        node,
        tmp_path / "e",
        "-S",
        *keys("QueryRetrieveLevel=SERIES", "StudyInstanceUID=1.9.1", "SeriesInstanceUID", "Modality"),
        *keys("PatientName", "NumberOfSeriesRelatedInstances"),
    )
    assert [
        (each.Modality, str(each.PatientName), each.NumberOfSeriesRelatedInstances) for each in series
    ] == [
        ("CT", "Doe^Jane", 2),
        ("PT", "Doe^Jane", 1),
    ]
    images, output = findscu(
        node,
        tmp_path / "i",
        "-P",
        *keys(
            "QueryRetrieveLevel=IMAGE", "PatientID=P1", "StudyInstanceUID=1.9.1", "SeriesInstanceUID=1.9.1.1"
        ),
        *keys("SOPInstanceUID", "InstanceNumber", "SOPClassUID"),
    )
    assert [(each.SOPInstanceUID, each.InstanceNumber) for each in images] == [
        ("1.9.1.1.1", 1),
        ("1.9.1.1.2", 2),
    ]
    assert "Success" in output


@pytest.mark.dcmtk
def test_findscu_gets_names_in_their_own_set_and_asks_in_another(node: LocalNode, tmp_path: Path) -> None:
    asked = keys("QueryRetrieveLevel=STUDY", "SpecificCharacterSet=ISO_IR 192", "PatientName=RÖE*")
    (found,), _ = findscu(node, tmp_path / "s", "-S", *asked)
    assert found.SpecificCharacterSet == "ISO_IR 100"
    assert str(found.PatientName) == "Röe^Jürgen"


@pytest.mark.dcmtk
def test_a_cancel_between_answers_ends_them(node: LocalNode, tmp_path: Path) -> None:
    """Many more matches than fit into the socket's buffers before the cancel is there."""
    count = 20_000
    with node.node.engine.write() as connection:
        (row,) = connection.execute(sa.select(schema.study).where(schema.study.c.uid == "1.9.1")).mappings()
        connection.execute(
            sa.insert(schema.study), [{**row, "uid": f"1.8.{at}", "deadline": None} for at in range(count)]
        )
    studies, output = findscu(
        node, tmp_path / "s", "-S", "--cancel", "3", *keys("QueryRetrieveLevel=STUDY", "StudyInstanceUID")
    )
    assert 3 <= len(studies) < count
    assert "Cancel" in output.splitlines()[-2] + output.splitlines()[-1]
    eventually(lambda: node.metric("finds_total", '{level="STUDY",status="0xFE00"}') == 1)
    assert len(find(node, "STUDY", PatientID="P2")[0]) == 1


def test_a_query_beyond_the_limit_is_cut(nodes: Nodes) -> None:
    node = nodes.start(dicom__max_find_answers="1")
    store(node)
    found, last = find(node, "STUDY", PatientName="")
    assert len(found) == 1
    assert last.Status == 0xFE00
    assert last.ErrorComment == "query was cut at 1 answers: narrow it"
    found, last = find(node, "STUDY", StudyInstanceUID="1.9.2")
    assert (len(found), last.Status) == (1, 0x0000)


@pytest.mark.parametrize(
    ("model", "level"), [(STUDY_ROOT, "FRAME"), (STUDY_ROOT, ""), (STUDY_ROOT, "PATIENT")]
)
def test_a_level_that_the_model_does_not_have(node: LocalNode, model: str, level: str) -> None:
    found, last = find(node, level, model, PatientID="")
    assert (found, last.Status) == ([], 0xA900)
    assert "QueryRetrieveLevel" in last.ErrorComment


def test_what_was_answered_with_success_is_found_at_once(nodes: Nodes) -> None:
    node = nodes.start()
    association = requestor().associate("127.0.0.1", node.port, ae_title=node.ae_title)
    for at in range(1, 21):
        stored = made(f"1.7.{at}.1.1", PatientID=f"N{at}", Modality="OT")
        assert association.send_c_store(stored).Status == 0x0000
        query = Dataset()
        query.QueryRetrieveLevel = "STUDY"
        query.PatientID = f"N{at}"
        query.StudyInstanceUID = ""
        (_, match), (status, _) = association.send_c_find(query, STUDY_ROOT)
        assert match is not None
        assert (match.StudyInstanceUID, status.Status) == (f"1.7.{at}", 0x0000)
    association.release()


def test_a_caller_without_the_service_is_told_so(nodes: Nodes) -> None:
    node = nodes.start(dicom__unknown_peers='["echo", "store"]')
    found, last = find(node, "STUDY", PatientID="")
    assert (found, last.Status) == ([], 0x0124)


@pytest.fixture
def orthanc(node: LocalNode, tmp_path: Path) -> Iterator[Orthanc]:
    """It knows the node as its modality «node»."""
    started = Orthanc(tmp_path / "orthanc", {"node": (node.ae_title, node.port)})
    yield started
    started.stop()


def _answers(orthanc: Orthanc, level: str, **keys: str) -> list[dict[str, str]]:
    made = orthanc.call("/modalities/node/query", {"Level": level, "Query": keys})
    return list(orthanc.call(f"{made['Path']}/answers?expand&simplify"))


@pytest.mark.orthanc
def test_orthanc_asks(orthanc: Orthanc) -> None:
    (study,) = _answers(orthanc, "Study", PatientName="röe*", StudyDate="", ModalitiesInStudy="")
    assert study["PatientName"] == "Röe^Jürgen"
    assert (study["StudyDate"], study["ModalitiesInStudy"]) == ("20240120", "MR")
    series = _answers(orthanc, "Series", StudyInstanceUID="1.9.1", SeriesInstanceUID="", Modality="")
    assert {each["SeriesInstanceUID"]: each["Modality"] for each in series} == {
        "1.9.1.1": "CT",
        "1.9.1.2": "PT",
    }
    images = _answers(
        orthanc,
        "Instance",
        StudyInstanceUID="1.9.1",
        SeriesInstanceUID="1.9.1.1",
        SOPInstanceUID="",
        InstanceNumber="",
    )
    assert sorted(each["InstanceNumber"] for each in images) == ["1", "2"]
    assert [
        each["PatientID"] for each in _answers(orthanc, "Patient", PatientID="P*", PatientName="doe*")
    ] == ["P1"]


@pytest.mark.shared
@pytest.mark.dcmtk
def test_real_objects_are_found_with_the_values_others_read(nodes: Nodes, corpus: Path) -> None:
    """By SOP Instance UID alone; the oracle's values were decoded by pydicom, not by this node."""
    node = nodes.start()
    oracle = {}
    for line in (corpus / "oracle.jsonl").read_text().splitlines():
        entry = json.loads(line)
        if entry["file"].split("/")[0] in FOLDERS and entry.get("pydicom", {}).get("SOPInstanceUID"):
            oracle[entry["pydicom"]["SOPInstanceUID"]] = entry["pydicom"]
    folders = [corpus / folder for folder in FOLDERS]
    dcmtk("dcmsend", "+sd", "+r", "--no-halt", "-aec", node.ae_title, "127.0.0.1", str(node.port), *folders)
    asked = (
        "PatientName",
        "PatientID",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "Modality",
        "StudyDescription",
    )
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's about values that real objects have
        for match in find(node, "IMAGE", SOPInstanceUID="", **dict.fromkeys(asked, ""))[0]:
            found[str(match.SOPInstanceUID)] = {key: str(match.get(key) or "").strip() for key in asked}
    assert len(found) > 30
    assert len(found.keys() & oracle.keys()) > 30
    # what an object leaves out may be known of its study from another one
    differing = [
        (uid, key, found[uid][key], said)
        for uid in found.keys() & oracle.keys()
        for key in asked
        if (said := str(oracle[uid].get(key) or "").strip()) and found[uid][key] != said
    ]
    assert differing == []


@pytest.mark.shared
@pytest.mark.dcmtk
def test_a_real_odd_identifier(node: LocalNode, corpus: Path, tmp_path: Path) -> None:
    """A viewer's query with private elements: every image of its patients, unsupported keys empty."""
    store(node, [made("1.6.1.1.1", PatientID="Zeiss7", PatientBirthDate="19800101", Modality="OPT")])
    file = corpus / "query" / "ZeissOCT-cfind-query.dcm"
    images, output = findscu(node, tmp_path / "i", "-S", file=file)
    assert output.count("Pending") == 1, output
    assert [(each.SOPInstanceUID, each.Modality, each.PatientID) for each in images] == [
        ("1.6.1.1.1", "OPT", "Zeiss7")
    ]
