"""Real objects, sent by clients that nobody here wrote: stored as sent, found, published once."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pynetdicom import AE
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind  # type: ignore[attr-defined]

from node.objects import filemeta
from node.services.send import SendOptions, send
from node.services.send.address import Address
from tests.harness import LocalNode, Nodes, eventually
from tests.tools import dcmtk

FOLDERS = (
    "study_multiseries_mr",
    "study_petct",
    "study_pt_kos",
    "study_rt",
    "charset",
    "transfer_syntax",
    "enhanced_multiframe",
    "modalities",
)
pytestmark = [pytest.mark.shared, pytest.mark.filterwarnings("ignore::UserWarning:pydicom")]

Oracle = dict[str, Any]


@pytest.fixture(scope="module")
def oracle(corpus: Path) -> dict[str, Oracle]:
    """File -> what pydicom read from it; files that are no SOP instance are left out."""
    found = {}
    for line in (corpus / "oracle.jsonl").read_text().splitlines():
        row = json.loads(line)
        values = row.get("pydicom")
        if isinstance(values, dict) and values.get("SOPInstanceUID") and values.get("SOPClassUID"):
            found[row["file"]] = values
    return found


def files_of(corpus: Path, oracle: dict[str, Oracle], folder: str) -> list[Path]:
    return [corpus / name for name in sorted(oracle) if name.startswith(f"{folder}/")]


def data_set(path: Path) -> bytes:
    """The bytes after the preamble and group 0002, of any file."""
    data = path.read_bytes()
    position = 132 if data[128:132] == b"DICM" else 0
    while data[position : position + 2] == b"\x02\x00":
        long = data[position + 4 : position + 6] in (b"OB", b"UN", b"OW", b"UT", b"SQ")
        size = int.from_bytes(
            data[position + 8 : position + 12] if long else data[position + 6 : position + 8], "little"
        )
        position += (12 if long else 8) + size
    return data[position:]


def stored_data_sets(node: LocalNode) -> Counter[str]:
    """Digests of every data set the node keeps, colliding ones in quarantine included."""
    found: Counter[str] = Counter()
    for path in (*node.stored(), *(node.data_dir / "quarantine").rglob("*.dcm")):
        with path.open("rb") as file:
            filemeta.read(file)
            found[hashlib.sha256(file.read()).hexdigest()] += 1
    return found


def wait_until_published(node: LocalNode) -> list[dict[str, Any]]:
    """Every study is complete (or in quarantine) and nothing waits in the outbox."""

    def settled() -> bool:
        studies = node.get("/api/studies?limit=1000")["studies"]
        return bool(studies) and all(study["state"] in ("complete", "quarantined") for study in studies)

    eventually(settled, 60)
    eventually(lambda: node.metric("outbox_pending") == 0, 60)
    return node.events()


def check_events(node: LocalNode, values: list[Oracle]) -> None:
    """One event a study and version, listing exactly the instances that were sent; selections beside it."""
    published = wait_until_published(node)
    assert len({event["id"] for event in published}) == len(published)
    events = [event for event in published if event["data"]["resourceType"] == "ImagingStudy"]
    versions = Counter((event["subject"], event["studyversion"]) for event in events)
    assert set(versions.values()) == {1}
    sent: dict[str, set[str]] = defaultdict(set)
    for value in values:
        sent[value["StudyInstanceUID"]].add(value["SOPInstanceUID"])
    quarantined = {study["uid"] for study in node.get("/api/studies?state=quarantined")["studies"]}
    newest = {event["subject"]: event for event in sorted(events, key=lambda event: event["studyversion"])}
    assert set(newest) | quarantined == set(sent)
    for study, event in newest.items():
        resource = event["data"]
        listed = {one["uid"] for series in resource["series"] for one in series["instance"]}
        assert listed == sent[study]
        assert resource["numberOfInstances"] == len(listed) == event["instances"]
        assert resource["status"] == "available"


@pytest.mark.parametrize("folder", FOLDERS)
def test_bytes_as_sent_one_event_a_version(
    folder: str, nodes: Nodes, corpus: Path, oracle: dict[str, Oracle]
) -> None:
    node = nodes.start(completion__quiet_seconds="0.5")
    files = files_of(corpus, oracle, folder)
    assert files
    to = Address(node.ae_title, "127.0.0.1", node.port)
    summary = send(files, to, SendOptions(calling_ae="CORPUS", associations=2))
    assert summary.statuses == {0: len(files)}, summary
    check_events(node, [oracle[str(path.relative_to(corpus))] for path in files])
    expected = {hashlib.sha256(data_set(path)).hexdigest() for path in files}
    assert set(stored_data_sets(node)) == expected


@pytest.mark.dcmtk
@pytest.mark.parametrize("folder", FOLDERS)
def test_dcmsend_stores_every_file(
    folder: str, nodes: Nodes, corpus: Path, oracle: dict[str, Oracle], tmp_path: Path
) -> None:
    node = nodes.start(completion__quiet_seconds="0.5")
    files = [path for path in files_of(corpus, oracle, folder) if path.read_bytes()[128:132] == b"DICM"]
    report = tmp_path / "report.txt"
    result = dcmtk(
        "dcmsend",
        "--decompress-never",
        "-aec",
        node.ae_title,
        "+crf",
        report,
        "127.0.0.1",
        str(node.port),
        *files,
    )
    assert result.returncode == 0, result.stdout
    values = [oracle[str(path.relative_to(corpus))] for path in files]
    check_events(node, values)
    # DCMTK writes sequences and group lengths its own way: what must be the same are the elements.
    originals: dict[str, list[pydicom.Dataset]] = defaultdict(list)
    for path in files:
        data = pydicom.dcmread(path, force=True)
        originals[data.SOPInstanceUID].append(data)
    for path in node.stored():
        kept = pydicom.dcmread(path)
        assert any(same_elements(kept, one) for one in originals[kept.SOPInstanceUID]), path


def same_elements(one: pydicom.Dataset, other: pydicom.Dataset) -> bool:
    """Equal values of every element of the data sets but group lengths and padding."""

    def plain(data: pydicom.Dataset) -> dict[int, Any]:
        return {
            int(element.tag): None if element.VR in ("OB", "OW", "UN") else element.value
            for element in data
            if element.tag.element != 0 and element.tag.group > 2 and element.tag != 0xFFFCFFFC
        }

    return plain(one) == plain(other)


@pytest.mark.parametrize("folder", FOLDERS)
def test_c_find_answers_what_the_decoders_read(
    folder: str, nodes: Nodes, corpus: Path, oracle: dict[str, Oracle]
) -> None:
    node = nodes.start()
    files = files_of(corpus, oracle, folder)
    to = Address(node.ae_title, "127.0.0.1", node.port)
    assert send(files, to).failed == 0
    by_study: dict[str, list[Oracle]] = defaultdict(list)
    for path in files:
        value = oracle[str(path.relative_to(corpus))]
        by_study[value["StudyInstanceUID"]].append(value)
    entity = AE("FINDER")
    entity.add_requested_context(StudyRootQueryRetrieveInformationModelFind)
    association = entity.associate("127.0.0.1", node.port, ae_title=node.ae_title)
    assert association.is_established
    try:
        for study, values in by_study.items():
            found = ask(association, "STUDY", StudyInstanceUID=study)
            assert len(found) == 1
            check_study(found[0], values)
            images = ask(association, "IMAGE", StudyInstanceUID=study, SeriesInstanceUID="", SOPClassUID="")
            assert {(str(one.SOPInstanceUID), str(one.SOPClassUID)) for one in images} == {
                (value["SOPInstanceUID"], value["SOPClassUID"]) for value in values
            }
    finally:
        association.release()


def ask(association: Any, level: str, **keys: str) -> list[pydicom.Dataset]:
    query = pydicom.Dataset()
    query.SpecificCharacterSet = "ISO_IR 192"
    query.QueryRetrieveLevel = level
    for keyword in ("PatientID", "PatientName", "StudyDescription", "ModalitiesInStudy"):
        setattr(query, keyword, "")
    for keyword, value in keys.items():
        setattr(query, keyword, value)
    answers = list(association.send_c_find(query, StudyRootQueryRetrieveInformationModelFind))
    assert answers[-1][0].Status == 0x0000
    return [identifier for status, identifier in answers if status.Status in (0xFF00, 0xFF01)]


def check_study(found: pydicom.Dataset, values: list[Oracle]) -> None:
    """The values of one of the study's instances; modalities of all."""

    def read(keyword: str) -> str:
        value = found.get(keyword)
        return "" if value is None else str(value).strip()

    def plain(text: str | None) -> str:
        # pydicom keeps empty component groups and padding that mean nothing
        return (text or "").strip().rstrip("=^").strip()

    for keyword in ("PatientID", "PatientName", "StudyDescription"):
        assert plain(read(keyword)) in {plain(value.get(keyword)) for value in values}, keyword
    modalities = found.ModalitiesInStudy
    listed = {modalities} if isinstance(modalities, str) else set(modalities or ())
    assert listed - {""} == {value["Modality"] for value in values if value.get("Modality")}
