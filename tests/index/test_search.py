from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.index import schema
from node.index import search as module
from node.index.engine import Engine
from node.index.schema import study
from node.index.search import STUDY_NARROWING, Search
from node.matching import EMPTY, Criteria
from tests.index.rows import CT, EXPLICIT, MR, add_study

DOE = {
    "PatientName": ["Doe^Jane"],
    "PatientID": ["P1"],
    "PatientSex": ["F"],
    "StudyDate": ["20240119"],
    "StudyTime": ["101500"],
    "AccessionNumber": ["A1"],
    "StudyDescription": ["Chest"],
    "InstitutionName": ["General"],
}
YAMADA = {
    "PatientName": ["Yamada^Tarou=山田^太郎=やまだ^たろう"],
    "PatientID": ["P2"],
    "StudyDate": ["2024.01.20"],
    "StudyTime": [],
    "AccessionNumber": ["A2"],
}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(f"sqlite:///{tmp_path / 'index.db'}", synchronous="OFF")
    engine.create()
    add_study(
        engine,
        "1.1",
        DOE,
        {
            "1.1.1": (
                {"Modality": ["CT"], "SeriesNumber": ["1"], "SeriesDescription": ["Scout"]},
                {
                    "1.1.1.1": {"InstanceNumber": ["1"], "ImageType": ["ORIGINAL", "PRIMARY"], "Rows": [512]},
                    "1.1.1.2": {"InstanceNumber": ["2"], "ImageType": ["DERIVED", "PRIMARY"], "Rows": [512]},
                },
            ),
            "1.1.2": ({"Modality": ["PT"], "SeriesNumber": ["2"]}, {"1.1.2.1": {"InstanceNumber": ["1"]}}),
        },
    )
    add_study(
        engine,
        "1.2",
        {**DOE, "StudyDate": ["20240301"], "AccessionNumber": ["A3"], "StudyDescription": ["Knee"]},
        {"1.2.1": ({"Modality": ["MR"], "SeriesNumber": ["1"]}, {"1.2.1.1": {"InstanceNumber": ["1"]}})},
        sop_class=MR,
    )
    add_study(engine, "1.3", YAMADA, {"1.3.1": ({"Modality": ["CR"]}, {"1.3.1.1": {}})})
    yield engine
    engine.close()


@pytest.fixture
def search(engine: Engine) -> Search:
    return Search(engine)


def uids(records: Iterable[dict[str, Any]], keyword: str) -> list[str]:
    return [record[keyword][0] for record in records]


STUDY_QUERIES = [
    ({}, ["1.2", "1.3", "1.1"]),  # newest first
    ({"StudyInstanceUID": ["1.1"]}, ["1.1"]),
    ({"StudyInstanceUID": ["1.1", "1.3", "9"]}, ["1.3", "1.1"]),
    ({"StudyInstanceUID": ["9"]}, []),
    ({"PatientID": ["P1"]}, ["1.2", "1.1"]),
    ({"PatientID": ["p1"]}, []),
    ({"PatientID": ["P*"]}, ["1.2", "1.3", "1.1"]),
    ({"PatientID": ["?2"]}, ["1.3"]),
    ({"PatientID": ["P1", "P2"], "AccessionNumber": ["A2"]}, ["1.3"]),
    ({"AccessionNumber": ["A1"]}, ["1.1"]),
    ({"AccessionNumber": ["*1"]}, ["1.1"]),
    ({"StudyDate": ["20240119"]}, ["1.1"]),
    ({"StudyDate": ["20240120"]}, ["1.3"]),
    ({"StudyDate": ["20240119-20240131"]}, ["1.3", "1.1"]),
    ({"StudyDate": ["20240201-"]}, ["1.2"]),
    ({"StudyDate": ["-20240119"]}, ["1.1"]),
    ({"StudyDate": ["202401*"]}, ["1.1"]),  # the wildcard sees the value as it was sent
    ({"StudyDate": ["20240118-20240121"], "StudyTime": ["2000-0900"]}, ["1.3", "1.1"]),
    ({"StudyDate": ["20240119-20240301"], "StudyTime": ["1100-"]}, ["1.2", "1.3"]),
    ({"StudyTime": ["1000-1100"]}, ["1.2", "1.1"]),
    ({"StudyTime": [EMPTY]}, ["1.3"]),
    ({"PatientName": ["DOE*"]}, ["1.2", "1.1"]),
    ({"PatientName": ["doe^j*"]}, ["1.2", "1.1"]),
    ({"PatientName": ["doe jane"]}, ["1.2", "1.1"]),
    ({"PatientName": ["*jane"]}, ["1.2", "1.1"]),
    ({"PatientName": ["山田*"]}, ["1.3"]),
    ({"PatientName": ["=山田^*"]}, ["1.3"]),
    ({"PatientName": ["YAMADA^TAROU=山田^太郎=やまだ^たろう"]}, ["1.3"]),
    ({"PatientName": ["Yamada^Tarou"]}, ["1.3"]),
    ({"ModalitiesInStudy": ["PT"]}, ["1.1"]),
    ({"ModalitiesInStudy": ["MR", "CR"]}, ["1.2", "1.3"]),
    ({"ModalitiesInStudy": ["C*"]}, ["1.3", "1.1"]),
    ({"ModalitiesInStudy": ["C"]}, []),
    ({"Modality": ["PT"]}, ["1.1"]),
    ({"SOPClassesInStudy": [MR]}, ["1.2"]),
    ({"SOPClassUID": [MR]}, ["1.2"]),
    ({"SeriesInstanceUID": ["1.1.2"]}, ["1.1"]),
    ({"SOPInstanceUID": ["1.2.1.1"]}, ["1.2"]),
    ({"StudyDescription": ["Knee"]}, ["1.2"]),
    ({"StudyDescription": ["*e*"]}, ["1.2", "1.1"]),
    ({"NumberOfStudyRelatedSeries": ["2"]}, ["1.1"]),
    ({"InstitutionName": ["General"]}, ["1.2", "1.1"]),
    ({"NotAKeyword": ["x"]}, ["1.2", "1.3", "1.1"]),
    ({"BitsStored": ["12"]}, ["1.2", "1.3", "1.1"]),  # not kept: not a restriction
]


@pytest.mark.parametrize(("query", "expected"), STUDY_QUERIES)
def test_studies(search: Search, query: dict[str, list[str]], expected: list[str]) -> None:
    assert uids(search.find("STUDY", query), "StudyInstanceUID") == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ["1.2.1", "1.3.1", "1.1.1", "1.1.2"]),
        ({"StudyInstanceUID": ["1.1"]}, ["1.1.1", "1.1.2"]),
        ({"StudyInstanceUID": ["1.1"], "Modality": ["PT"]}, ["1.1.2"]),
        ({"Modality": ["CT", "MR"]}, ["1.2.1", "1.1.1"]),
        ({"Modality": ["C*"]}, ["1.3.1", "1.1.1"]),
        ({"SeriesInstanceUID": ["1.1.2", "1.3.1"]}, ["1.3.1", "1.1.2"]),
        ({"PatientID": ["P1"], "SeriesNumber": ["1"]}, ["1.2.1", "1.1.1"]),
        ({"ModalitiesInStudy": ["PT"]}, ["1.1.1", "1.1.2"]),
        ({"SeriesDescription": ["Scout"]}, ["1.1.1"]),
        ({"NumberOfSeriesRelatedInstances": ["2"]}, ["1.1.1"]),
        ({"SOPInstanceUID": ["1.1.2.1"]}, ["1.1.2"]),
    ],
)
def test_series(search: Search, query: dict[str, list[str]], expected: list[str]) -> None:
    assert uids(search.find("SERIES", query), "SeriesInstanceUID") == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ["1.2.1.1", "1.3.1.1", "1.1.1.1", "1.1.1.2", "1.1.2.1"]),
        ({"StudyInstanceUID": ["1.1"], "SeriesInstanceUID": ["1.1.1"]}, ["1.1.1.1", "1.1.1.2"]),
        ({"SeriesInstanceUID": ["1.1.1"], "InstanceNumber": ["2"]}, ["1.1.1.2"]),
        ({"SOPInstanceUID": ["1.1.1.2", "1.3.1.1"]}, ["1.3.1.1", "1.1.1.2"]),
        ({"SOPClassUID": [MR]}, ["1.2.1.1"]),
        ({"ImageType": ["DERIVED"]}, ["1.1.1.2"]),
        ({"Rows": ["512"], "PatientName": ["doe*"]}, ["1.1.1.1", "1.1.1.2"]),
        ({"Modality": ["PT"]}, ["1.1.2.1"]),
    ],
)
def test_images(search: Search, query: dict[str, list[str]], expected: list[str]) -> None:
    assert uids(search.find("IMAGE", query), "SOPInstanceUID") == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ["P1", "P2"]),
        ({"PatientName": ["doe*"]}, ["P1"]),
        ({"StudyDate": ["20240301"]}, ["P1"]),
        ({"NumberOfPatientRelatedStudies": ["2"]}, ["P1"]),
        ({"PatientID": ["P3"]}, []),
    ],
)
def test_patients(search: Search, query: dict[str, list[str]], expected: list[str]) -> None:
    assert uids(search.find("PATIENT", query), "PatientID") == expected


def test_patients_are_told_apart_by_issuer_and_without_an_id_by_name(engine: Engine, search: Search) -> None:
    one: dict[str, Any] = {"9.9.1": ({"Modality": ["CT"]}, {})}
    add_study(engine, "9.1", {"PatientID": ["P1"], "IssuerOfPatientID": ["H"]}, {"9.1.1": one["9.9.1"]})
    add_study(engine, "9.2", {"PatientID": [], "PatientName": ["A"]}, {"9.2.1": one["9.9.1"]})
    add_study(engine, "9.3", {"PatientID": [], "PatientName": ["B"]}, {"9.3.1": one["9.9.1"]})
    add_study(engine, "9.4", {"PatientID": [], "PatientName": ["B"]}, {"9.4.1": one["9.9.1"]})
    found = list(search.find("PATIENT", {"NumberOfPatientRelatedStudies": []}))
    counts = [record["NumberOfPatientRelatedStudies"] for record in found]
    assert [record.get("IssuerOfPatientID", []) for record in found] == [[], [], [], ["H"], []]
    assert counts == [[1], [2], [2], [1], [1]]


def test_counts(search: Search) -> None:
    (patient,) = search.find("PATIENT", {"PatientID": ["P1"], "NumberOfPatientRelatedSeries": []})
    assert patient["NumberOfPatientRelatedStudies"] == [2]
    assert patient["NumberOfPatientRelatedSeries"] == [3]
    assert patient["NumberOfPatientRelatedInstances"] == [4]
    (found,) = search.find("STUDY", {"StudyInstanceUID": ["1.1"], "NumberOfPatientRelatedStudies": []})
    assert found["NumberOfStudyRelatedSeries"] == [2]
    assert found["NumberOfStudyRelatedInstances"] == [3]
    assert found["ModalitiesInStudy"] == ["CT", "PT"]
    assert found["SOPClassesInStudy"] == [CT]
    assert found["NumberOfPatientRelatedStudies"] == [2]


def test_records_carry_the_keys_of_the_levels_above(search: Search) -> None:
    (found,) = search.find("IMAGE", {"SOPInstanceUID": ["1.1.2.1"]})
    assert found["PatientName"] == ["Doe^Jane"]
    assert found["StudyInstanceUID"] == ["1.1"]
    assert found["SeriesInstanceUID"] == ["1.1.2"]
    assert found["SeriesNumber"] == ["2"]
    assert found["NumberOfSeriesRelatedInstances"] == [1]
    assert found["AvailableTransferSyntaxUID"] == [EXPLICIT]
    # not inherited from the study's first series
    assert "SeriesDescription" not in found


def test_a_series_says_what_its_own_header_says_of_the_study(engine: Engine, search: Search) -> None:
    series: dict[str, Any] = {
        "6.1.1": ({"Modality": ["PT"], "StudyDescription": ["PET"]}, {"6.1.1.1": {}}),
        "6.1.2": ({"Modality": ["KO"], "StudyDescription": ["Key objects"]}, {"6.1.2.1": {}}),
    }
    add_study(engine, "6.1", DOE, series)
    study_only = {"StudyInstanceUID": ["6.1"]}
    said = [each["StudyDescription"] for each in search.find("IMAGE", study_only)]
    assert said == [["PET"], ["Key objects"]]
    # but an answer agrees with the key that it was found by
    said = [each["StudyDescription"] for each in search.find("SERIES", {"StudyDescription": ["PE?"]})]
    assert said == [["PET"], ["PET"]]


def test_a_key_below_the_level_is_answered_from_the_first_instance(search: Search) -> None:
    (found,) = search.find("STUDY", {"StudyInstanceUID": ["1.1"], "ImageType": [], "SeriesInstanceUID": []})
    assert found["ImageType"] == ["ORIGINAL", "PRIMARY"]
    assert found["SeriesInstanceUID"] == ["1.1.1"]
    (found,) = search.find("SERIES", {"SeriesInstanceUID": ["1.1.1"], "Rows": []})
    assert found["Rows"] == [512]


def test_pages_neither_lose_nor_repeat(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STUDIES_A_PAGE", 2)
    monkeypatch.setattr(module, "_ROWS_A_PAGE", 2)
    instances: dict[str, Any] = {f"5.1.1.{at}": {} for at in range(5)}
    add_study(engine, "5.1", DOE, {f"5.1.{at}": ({"Modality": ["CT"]}, {}) for at in range(2, 7)})
    add_study(engine, "5.2", DOE, {"5.2.1": ({"Modality": ["CT"]}, instances)})
    search = Search(engine)
    assert len(uids(search.find("STUDY", {}), "StudyInstanceUID")) == 5
    assert uids(search.find("SERIES", {"StudyInstanceUID": ["5.1"]}), "SeriesInstanceUID") == [
        f"5.1.{at}" for at in range(2, 7)
    ]
    assert uids(search.find("IMAGE", {"StudyInstanceUID": ["5.2"]}), "SOPInstanceUID") == list(instances)


def test_no_transaction_is_open_between_matches(engine: Engine, search: Search) -> None:
    records = search.find("IMAGE", {})
    next(records)
    pool = engine._engine.pool
    assert isinstance(pool, sa.QueuePool)
    assert pool.checkedout() == 0
    assert len(list(records)) == 4


def test_more_uids_than_one_statement_takes(search: Search) -> None:
    many = [f"9.{at}" for at in range(40_000)] + ["1.3"]
    assert uids(search.find("STUDY", {"StudyInstanceUID": many}), "StudyInstanceUID") == ["1.3"]


def test_prefixes_use_an_index(engine: Engine) -> None:
    """SQLite's own plan: a scan of all studies would be one for every caller's ``name*``."""
    plans = {
        "StudyInstanceUID": ["1.1"],
        "PatientID": ["P*"],
        "AccessionNumber": ["A1"],
        "StudyDate": ["20240119-20240120"],
        "SeriesInstanceUID": ["1.1.1"],
        "SOPInstanceUID": ["1.1.1.1"],
    }
    with engine.read() as connection:
        for keyword, values in plans.items():
            clause = STUDY_NARROWING[keyword](values)
            assert clause is not None
            statement = (
                sa.select(study.c.uid)
                .where(clause)
                .compile(engine._engine, compile_kwargs={"literal_binds": True})
            )
            steps = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}")]
            assert not [step for step in steps if step.startswith("SCAN study")], (keyword, steps)


TEXT = st.text(alphabet="aAbB^=* ?é山", max_size=6)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(
    keyword=st.sampled_from(["PatientName", "PatientID", "AccessionNumber", "StudyDate"]),
    query=st.one_of(
        TEXT, st.sampled_from(["20240119", "20240120-", "-20240120", "20240119-20240121", "2024*"])
    ),
    stored=st.lists(
        st.one_of(TEXT, st.sampled_from(["20240119", "2024.01.20", "2024-01-21", "2024"])), max_size=5
    ),
)
def test_narrowing_never_leaves_out_a_match(
    engine: Engine, keyword: str, query: str, stored: list[str]
) -> None:
    with engine.write() as connection:
        for table in (schema.instance, schema.series, schema.study):
            connection.execute(sa.delete(table))
    records = {
        f"1.{at}": {keyword: [value.strip()] if value.strip() else []} for at, value in enumerate(stored)
    }
    for uid, attributes in records.items():
        add_study(engine, uid, attributes, {f"{uid}.1": ({}, {})})
    criteria = Criteria({keyword: [query]})
    found = uids(Search(engine).find("STUDY", {keyword: [query]}), "StudyInstanceUID")
    assert set(found) == {uid for uid, attributes in records.items() if criteria.matches(attributes)}
