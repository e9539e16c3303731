from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.dsutils import encode

from node.elements import BY_KEYWORD
from node.errors import IndexUnavailable
from node.index.engine import Engine
from node.index.search import COMPUTED, Search
from node.services import identifier as identifiers
from node.services.base import Answer, Context
from node.services.dimse import C_FIND_RQ, Command
from node.services.find import FindService, _FindOperation
from tests.index.rows import CT, add_study

PATIENT_ROOT = "1.2.840.10008.5.1.4.1.2.1.1"
STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2.1"
PATIENT_STUDY_ONLY = "1.2.840.10008.5.1.4.1.2.3.1"
FIND = Command(C_FIND_RQ, 1, STUDY_ROOT, "", True)
CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus"

# What Orthanc 1.10 (MainDicomTags) and DCMTK 3.6.7 (dcmqrscp) answer, by level.
YARDSTICK = {
    "PATIENT": """PatientName PatientID PatientBirthDate PatientBirthTime PatientSex OtherPatientIDs
        OtherPatientNames EthnicGroup PatientComments IssuerOfPatientID NumberOfPatientRelatedStudies
        NumberOfPatientRelatedSeries NumberOfPatientRelatedInstances""",
    "STUDY": """StudyDate StudyTime StudyID StudyDescription AccessionNumber RequestedProcedureDescription
        InstitutionName RequestingPhysician ReferringPhysicianName StudyInstanceUID OtherStudyNumbers
        NameOfPhysiciansReadingStudy AdmittingDiagnosesDescription PatientAge PatientSize PatientWeight
        Occupation AdditionalPatientHistory ModalitiesInStudy SOPClassesInStudy TimezoneOffsetFromUTC
        NumberOfStudyRelatedSeries NumberOfStudyRelatedInstances""",
    "SERIES": """SeriesDate SeriesTime Modality Manufacturer StationName SeriesDescription BodyPartExamined
        SequenceName ProtocolName SeriesNumber CardiacNumberOfImages ImagesInAcquisition
        NumberOfTemporalPositions NumberOfSlices NumberOfTimeSlices SeriesInstanceUID SeriesType
        ImageOrientationPatient OperatorsName PerformingPhysicianName PerformedProcedureStepDescription
        AcquisitionDeviceProcessingDescription ContrastBolusAgent NumberOfSeriesRelatedInstances""",
    "IMAGE": """InstanceCreationDate InstanceCreationTime AcquisitionNumber ImageIndex InstanceNumber
        NumberOfFrames TemporalPositionIdentifier SOPInstanceUID SOPClassUID ImagePositionPatient
        ImageComments ImageOrientationPatient ContentLabel""",
}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(f"sqlite:///{tmp_path / 'index.db'}", synchronous="OFF")
    engine.create()
    yield engine
    engine.close()


@pytest.fixture
def filled(engine: Engine) -> Engine:
    for at, name in enumerate(["Doe^Jane", "Müller^Jürgen", "山田^太郎"]):
        add_study(
            engine,
            f"1.{at}",
            {
                "PatientName": [name],
                "PatientID": [f"P{at}"],
                "SpecificCharacterSet": ["ISO_IR 100"],
                "StudyDate": [f"2024011{at}"],
                "ProcedureCodeSequence": [{"CodeValue": [f"C{at}"], "CodeMeaning": ["Scan"]}],
            },
            {
                f"1.{at}.1": (
                    {"Modality": ["CT"], "SeriesNumber": ["1"]},
                    {f"1.{at}.1.1": {"InstanceNumber": ["1"], "Rows": [512]}},
                )
            },
        )
    return engine


def service(engine: Engine, limit: int = 0, **more: Any) -> FindService:
    return FindService(Search(engine), limit, "NODE", lambda: None, **more)


def query(level: object, **keys: object) -> Dataset:
    dataset = Dataset()
    if level is not None:
        dataset.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(dataset, keyword, value)
    return dataset


def ask(
    find: FindService, dataset: Dataset, model: str = STUDY_ROOT, syntax: UID = ImplicitVRLittleEndian
) -> tuple[list[Dataset], Answer]:
    """The matches, decoded, and the final answer."""
    data = encode(dataset, syntax.is_implicit_VR, syntax.is_little_endian)
    assert data is not None
    *matches, last = find.answers(model, data, syntax)
    assert all(answer.status in (0xFF00, 0xFF01) and answer.comment is None for answer in matches)
    assert last.identifier is None
    return [
        read_dataset(BytesIO(answer.identifier), syntax.is_implicit_VR, syntax.is_little_endian)
        for answer in matches
        if answer.identifier is not None
    ], last


def test_a_match_has_the_keys_asked_for_and_what_identifies_it(filled: Engine) -> None:
    asked = query("STUDY", PatientID="P0", PatientName="", StudyTime="", InstanceAvailability="")
    (found,), last = ask(service(filled), asked)
    assert last == Answer(0x0000)
    assert {element.keyword: str(element.value or "") for element in found} == {
        "SpecificCharacterSet": "ISO_IR 100",
        "StudyTime": "",
        "QueryRetrieveLevel": "STUDY",
        "RetrieveAETitle": "NODE",
        "InstanceAvailability": "ONLINE",
        "PatientName": "Doe^Jane",
        "PatientID": "P0",
        "StudyInstanceUID": "1.0",
    }


@pytest.mark.parametrize(
    ("model", "level", "unique"),
    [
        (PATIENT_ROOT, "PATIENT", {"PatientID"}),
        (PATIENT_ROOT, "SERIES", {"PatientID", "StudyInstanceUID", "SeriesInstanceUID"}),
        (STUDY_ROOT, "STUDY", {"StudyInstanceUID"}),
        (STUDY_ROOT, "IMAGE", {"StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"}),
        (PATIENT_STUDY_ONLY, "STUDY", {"PatientID", "StudyInstanceUID"}),
    ],
)
def test_unique_keys_of_the_level_and_above_are_always_there(
    filled: Engine, model: str, level: str, unique: set[str]
) -> None:
    found, last = ask(service(filled), query(level), model)
    assert (len(found), last.status) == (3, 0x0000)
    expected = unique | {"QueryRetrieveLevel", "RetrieveAETitle", "SpecificCharacterSet"}
    assert all({element.keyword for element in each} == expected for each in found)


@pytest.mark.parametrize(
    ("model", "level"),
    [
        (STUDY_ROOT, None),
        (STUDY_ROOT, ""),
        (STUDY_ROOT, "FRAME"),
        (STUDY_ROOT, "PATIENT"),
        (STUDY_ROOT, ["STUDY", "SERIES"]),
        (PATIENT_STUDY_ONLY, "SERIES"),
        ("1.2.840.10008.5.1.4.31", "STUDY"),
    ],
)
def test_a_level_that_the_model_does_not_have(filled: Engine, model: str, level: object) -> None:
    found, last = ask(service(filled), query(level, PatientID=""), model)
    assert found == []
    assert last.status == 0xA900
    assert last.comment
    assert len(last.comment) <= 64


def test_an_identifier_that_cannot_be_decoded(filled: Engine) -> None:
    (answer,) = service(filled).answers(STUDY_ROOT, b"no identifier", ExplicitVRLittleEndian)
    assert answer.status == 0xC000
    assert answer.comment


def test_names_come_in_the_study_s_set_or_in_utf_8(filled: Engine) -> None:
    found, _ = ask(service(filled), query("STUDY", PatientName=""))
    assert {str(each.PatientName): each.SpecificCharacterSet for each in found} == {
        "Doe^Jane": "ISO_IR 100",
        "Müller^Jürgen": "ISO_IR 100",
        "山田^太郎": "ISO_IR 192",
    }


@pytest.mark.parametrize("charset", ["ISO_IR 192", "ISO_IR 100"])
def test_names_are_found_in_any_set(filled: Engine, charset: str) -> None:
    asked = query("STUDY", SpecificCharacterSet=charset, PatientName="MÜLLER*")
    (found,), _ = ask(service(filled), asked)
    assert found.StudyInstanceUID == "1.1"


def test_names_are_found_through_iso_2022_escapes(filled: Engine) -> None:
    asked = query("STUDY", SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName="山田*")
    (found,), _ = ask(service(filled), asked)
    assert found.StudyInstanceUID == "1.2"


def test_sequences_are_matched_and_answered(filled: Engine) -> None:
    item = query(None, CodeValue="C1", CodingSchemeDesignator="")
    (found,), last = ask(service(filled), query("STUDY", ProcedureCodeSequence=Sequence([item])))
    (code,) = found.ProcedureCodeSequence
    assert (found.StudyInstanceUID, last.status) == ("1.1", 0x0000)
    assert {element.keyword: str(element.value or "") for element in code} == {
        "CodeValue": "C1",
        "CodingSchemeDesignator": "",
    }
    whole, _ = ask(service(filled), query("STUDY", ProcedureCodeSequence=Sequence([])))
    assert [each.ProcedureCodeSequence[0].CodeMeaning for each in whole] == ["Scan"] * 3


@pytest.mark.parametrize("level", YARDSTICK)
def test_every_key_that_orthanc_and_dcmqrscp_answer_is_supported(filled: Engine, level: str) -> None:
    keywords = YARDSTICK[level].split()
    assert {keyword for keyword in keywords if keyword not in BY_KEYWORD and keyword not in COMPUTED} == set()
    asked = query(level, **dict.fromkeys(keywords, None))
    data = encode(asked, True, True)
    assert data is not None
    first, *_ = service(filled).answers(PATIENT_ROOT, data, ImplicitVRLittleEndian)
    assert first.status == 0xFF00
    found = {key.keyword for key in identifiers.decode(first.identifier or b"", ImplicitVRLittleEndian)}
    assert found >= set(keywords)


def test_unsupported_keys_are_answered_empty_with_a_warning_status(filled: Engine) -> None:
    asked = query("STUDY", PatientID="P0", PixelSpacing=None, BitsStored=None)
    asked.private_block(0x0009, "MAKER", create=True).add_new(0x01, "LO", "secret")
    data = encode(asked, False, True)
    assert data is not None
    match, last = service(filled).answers(STUDY_ROOT, data, ExplicitVRLittleEndian)
    assert (match.status, last.status) == (0xFF01, 0x0000)
    found = read_dataset(BytesIO(match.identifier or b""), False, True)
    assert found["PixelSpacing"].is_empty
    assert found["BitsStored"].VR == "US"
    assert found[0x00090010].value == "MAKER"
    assert found[0x00091001].is_empty


def test_a_query_beyond_the_limit_is_cut_and_says_so(filled: Engine) -> None:
    found, last = ask(service(filled, limit=2), query("STUDY"))
    assert len(found) == 2
    assert (last.status, last.comment) == (0xFE00, "query was cut at 2 answers: narrow it")
    found, last = ask(service(filled, limit=3), query("STUDY"))
    assert (len(found), last) == (3, Answer(0x0000))


def test_it_is_lazy_and_may_be_closed(filled: Engine) -> None:
    ended: list[tuple[str, int]] = []
    data = encode(query("IMAGE"), True, True)
    assert data is not None
    answers = service(filled, finished=lambda *how: ended.append(how)).answers(
        STUDY_ROOT, data, ImplicitVRLittleEndian
    )
    next(answers)
    assert ended == []
    assert isinstance(answers, Generator)
    answers.close()
    assert ended == [("IMAGE", 0xFE00)]


def test_it_waits_for_the_index_before_it_looks(engine: Engine) -> None:
    def catch_up() -> None:
        add_study(engine, "7.1", {"PatientID": ["P7"]}, {"7.1.1": ({"Modality": ["CT"]}, {})})

    found, _ = ask(FindService(Search(engine), 0, "NODE", catch_up), query("STUDY"))
    assert [each.StudyInstanceUID for each in found] == ["7.1"]


def test_an_index_that_cannot_be_read(filled: Engine) -> None:
    def broken() -> None:
        raise IndexUnavailable("/secret/path/index.db: disk I/O error")

    ended: list[tuple[str, int]] = []
    find = FindService(Search(filled), 0, "NODE", broken, lambda *how: ended.append(how))
    found, last = ask(find, query("STUDY"))
    assert (found, last.status) == ([], 0xA700)
    assert "secret" not in (last.comment or "")
    assert ended == [("STUDY", 0xA700)]


def context(syntax: str = ImplicitVRLittleEndian) -> Context:
    return Context(1, STUDY_ROOT, syntax, "CALLER", "NODE", 1)


def test_as_an_operation_the_identifier_comes_in_fragments(filled: Engine) -> None:
    data = encode(query("STUDY", PatientID="P1"), True, True)
    assert data is not None
    operation = service(filled).begin(context(), FIND)
    for at in range(len(data)):
        operation.write([memoryview(data)[at : at + 1]])
    assert [answer.status for answer in operation.finish()] == [0xFF00, 0x0000]


def test_an_endless_identifier_is_not_collected(filled: Engine) -> None:
    operation = service(filled).begin(context(), FIND)
    block = bytes(100_000)
    for _ in range(40):
        operation.write([memoryview(block)])
    assert isinstance(operation, _FindOperation)
    assert len(operation._identifier) < 2 * identifiers.MAX_BYTES
    assert [answer.status for answer in operation.finish()] == [0xC000]


def test_several_callers_at_once(filled: Engine) -> None:
    find = service(filled)
    counts: list[int] = []

    def run() -> None:
        counts.append(len(ask(find, query("IMAGE", SOPClassUID=CT))[0]))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [3] * 8


@pytest.mark.shared
def test_a_real_odd_identifier(filled: Engine) -> None:
    """A viewer's: IMAGE level without unique keys, private elements, empty items in sequences."""
    add_study(
        filled,
        "8.1",
        {"PatientID": ["Zeiss1"], "PatientBirthDate": ["19800101"], "PatientName": ["A^B"]},
        {"8.1.1": ({"Modality": ["OPT"]}, {"8.1.1.1": {"InstanceNumber": ["1"]}})},
    )
    file = CORPUS / "query" / "ZeissOCT-cfind-query.dcm"
    asked = dcmread(file, force=True)
    data = encode(asked, False, True)
    assert data is not None
    match, last = service(filled).answers(PATIENT_ROOT, data, ExplicitVRLittleEndian)
    assert (match.status, last.status) == (0xFF01, 0x0000)
    found = read_dataset(BytesIO(match.identifier or b""), False, True)
    assert found.SOPInstanceUID == "8.1.1.1"
    assert found.ModalitiesInStudy == "OPT"
    assert set(found.keys()) >= set(asked.keys()) - {0x00080005}
