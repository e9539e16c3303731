from __future__ import annotations

import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.elements import BY_KEYWORD
from node.matching import (
    CONTEXT,
    MOMENTS,
    RULES,
    Criteria,
    date_interval,
    date_key,
    glob,
    is_universal,
    name_key,
    vr_of,
)

# keyword, key of the query, stored values, matches?
TABLE = [
    # universal (C.2.2.2.3)
    ("PatientID", [], [], True),
    ("PatientID", [], ["A"], True),
    ("PatientID", ["*"], [], True),
    ("PatientName", ["**"], [], True),
    ("StudyDate", ["*"], [], True),
    ("StudyInstanceUID", ["*"], ["1.2"], True),
    # single value (C.2.2.2.1)
    ("PatientID", ["A1"], ["A1"], True),
    ("PatientID", ["A1"], ["a1"], False),
    ("PatientID", ["A1"], ["A12"], False),
    ("PatientID", ["A1"], [], False),
    ("PatientID", [" A1 "], ["A1"], True),
    ("PatientSex", ["F"], ["M"], False),
    ("PatientID", ["[A]"], ["[A]"], True),
    ("PatientID", ["A.1"], ["AX1"], False),
    # empty value matching (C.2.2.2.7)
    ("PatientID", ['""'], [], True),
    ("PatientID", ['""'], [""], True),
    ("PatientID", ['""'], ["A"], False),
    ("StudyDate", ['""'], [], True),
    ("StudyDate", ['""'], ["20240101"], False),
    # wildcards (C.2.2.2.4)
    ("PatientID", ["A*"], ["A"], True),
    ("PatientID", ["A*"], ["ABC"], True),
    ("PatientID", ["A*"], ["BA"], False),
    ("PatientID", ["*B*"], ["ABC"], True),
    ("PatientID", ["*BC"], ["ABC"], True),
    ("PatientID", ["*BC"], ["ABCD"], False),
    ("PatientID", ["A?C"], ["ABC"], True),
    ("PatientID", ["A?C"], ["AC"], False),
    ("PatientID", ["?*"], ["A"], True),
    ("PatientID", ["A*B*A"], ["ABA"], True),
    ("PatientID", ["AB*BA"], ["ABA"], False),
    ("PatientID", ["A*"], [], False),
    ("StudyDescription", ["*chest*"], ["CT Chest"], False),
    # several stored values, several queried ones
    ("ImageType", ["PRIMARY"], ["ORIGINAL", "PRIMARY"], True),
    ("ImageType", ["SECONDARY"], ["ORIGINAL", "PRIMARY"], False),
    ("ModalitiesInStudy", ["CT", "PT"], ["MR", "PT"], True),
    ("ModalitiesInStudy", ["C*", "PT"], ["CR"], True),
    ("ModalitiesInStudy", ["CT", "PT"], ["MR"], False),
    # UIDs: a list, no wildcards (C.2.2.2.2)
    ("StudyInstanceUID", ["1.2", "1.3"], ["1.3"], True),
    ("StudyInstanceUID", ["1.2\0"], ["1.2"], True),
    ("StudyInstanceUID", ["1.*"], ["1.3"], False),
    # names: case is ignored, empty components at the end too
    ("PatientName", ["doe^john"], ["DOE^John"], True),
    ("PatientName", ["DOE^JOHN^^^"], ["Doe^John"], True),
    ("PatientName", ["Doe^John"], ["Doe^John^^Dr"], False),
    ("PatientName", ["Doe"], ["Doe^John"], False),
    ("PatientName", ["DOE*"], ["Doe^John"], True),
    ("PatientName", ["DOE^*"], ["Doe"], True),
    ("PatientName", ["DOE^*"], ["Does^A"], False),
    ("PatientName", ["doe john"], ["Doe^John"], True),
    ("PatientName", ["doe j*"], ["Doe^John"], True),
    ("PatientName", ["john doe"], ["Doe^John"], False),
    ("PatientName", ["ÅNGSTRÖM*"], ["Ångström^Anders"], True),
    ("PatientName", ["A\u030angstro\u0308m^anders"], ["Ångström^Anders"], True),
    ("PatientName", ["STRASSE"], ["Straße"], True),
    ("PatientName", ["山田*"], ["Yamada^Tarou=山田^太郎=やまだ^たろう"], True),
    ("PatientName", ["=山田^太郎"], ["Yamada^Tarou=山田^太郎=やまだ^たろう"], True),
    ("PatientName", ["yamada^tarou=山*"], ["Yamada^Tarou=山田^太郎=やまだ^たろう"], True),
    ("PatientName", ["=Yamada*"], ["Yamada^Tarou=山田^太郎"], False),
    ("PatientName", ["*たろう"], ["Yamada^Tarou=山田^太郎=やまだ^たろう"], True),
    ("OtherPatientNames", ["Roe*"], ["Doe^A", "Roe^B"], True),
    # dates (C.2.2.2.5)
    ("StudyDate", ["20240119"], ["20240119"], True),
    ("StudyDate", ["20240119"], ["2024.01.19"], True),
    ("StudyDate", ["2024.01.19"], ["20240119"], True),
    ("StudyDate", ["20240119-20240120"], ["20240120"], True),
    ("StudyDate", ["20240119-20240120"], ["20240121"], False),
    ("StudyDate", ["20240119 - 20240120"], ["20240120"], True),
    ("StudyDate", ["20240119-"], ["20240119"], True),
    ("StudyDate", ["20240119-"], ["20240118"], False),
    ("StudyDate", ["-20240119"], ["20240119"], True),
    ("StudyDate", ["-20240119"], ["20240120"], False),
    ("StudyDate", ["-20240119"], [], False),
    ("StudyDate", ["-20240119"], ["unknown"], False),
    ("StudyDate", ["202401*"], ["20240119"], True),
    ("StudyDate", ["nonsense"], ["20240119"], False),
    ("StudyDate", ["20240101", "20240119"], ["20240119"], True),
    # times
    ("StudyTime", ["101500"], ["101500"], True),
    ("StudyTime", ["101500"], ["101500.250000"], True),
    ("StudyTime", ["1015"], ["101559.9"], True),
    ("StudyTime", ["1015"], ["101600"], False),
    ("StudyTime", ["10:15"], ["101530"], True),
    ("StudyTime", ["1000-1030"], ["103059.99"], True),
    ("StudyTime", ["1000-1030"], ["103100"], False),
    ("StudyTime", ["1000-"], ["235959"], True),
    ("StudyTime", ["-1000"], ["000000"], True),
    ("StudyTime", ["-1000"], [], False),
    ("StudyTime", ["100000.5-100000.7"], ["100000.600000"], True),
    ("StudyTime", ["100000.5-100000.7"], ["100000.800000"], False),
    # date and time in one
    ("AcquisitionDateTime", ["20240119"], ["20240119101500"], True),
    ("AcquisitionDateTime", ["20240119101500"], ["20240119101500.25"], True),
    ("AcquisitionDateTime", ["20240119-20240120"], ["20240120235959"], True),
    ("AcquisitionDateTime", ["20240119-20240120"], ["20240121"], False),
    ("AcquisitionDateTime", ["-20240120"], ["20240119"], True),
    ("AcquisitionDateTime", ["20240119120000+0100"], ["20240119110000+0000"], True),
    ("AcquisitionDateTime", ["20240119120000+0100"], ["20240119120000+0000"], False),
    ("AcquisitionDateTime", ["20240119120000-0500-20240119130000-0500"], ["20240119173000+0000"], True),
    # numbers
    ("InstanceNumber", ["1"], ["+01"], True),
    ("InstanceNumber", ["1"], ["11"], False),
    ("Rows", ["512"], [512], True),
    ("PatientWeight", ["70"], ["70.0"], True),
    ("SeriesNumber", ["x"], ["1"], False),
    # sequences (C.2.2.2.6)
    ("ProcedureCodeSequence", [{}], [], True),
    ("ProcedureCodeSequence", [{"CodeValue": []}], [], True),
    ("ProcedureCodeSequence", [{"CodeValue": ["P1"]}], [{"CodeValue": ["P0"]}, {"CodeValue": ["P1"]}], True),
    ("ProcedureCodeSequence", [{"CodeValue": ["P1"]}], [{"CodeValue": ["P0"]}], False),
    (
        "ProcedureCodeSequence",
        [{"CodeValue": ["P1"], "CodingSchemeDesignator": ["L"]}],
        [{"CodeValue": ["P1"], "CodingSchemeDesignator": ["X"]}, {"CodingSchemeDesignator": ["L"]}],
        False,
    ),
    # how the query is to be read, not keys
    ("SpecificCharacterSet", ["ISO_IR 192"], ["ISO_IR 100"], True),
    ("TimezoneOffsetFromUTC", ["+0100"], ["+0000"], True),
    ("RetrieveAETitle", ["X"], [], True),
]


@pytest.mark.parametrize(("keyword", "query", "stored", "expected"), TABLE)
def test_rule(keyword: str, query: list[Any], stored: list[Any], expected: bool) -> None:
    assert Criteria({keyword: query}).matches({keyword: stored}) is expected


@pytest.mark.parametrize(
    ("date", "time", "stored_date", "stored_time", "expected"),
    [
        # from the evening of the first day to the morning of the third
        ("20240119-20240121", "2000-0600", "20240119", "210000", True),
        ("20240119-20240121", "2000-0600", "20240120", "120000", True),
        ("20240119-20240121", "2000-0600", "20240121", "055900", True),
        ("20240119-20240121", "2000-0600", "20240119", "120000", False),
        ("20240119-20240121", "2000-0600", "20240121", "120000", False),
        ("20240119-", "2000-", "20240119", "190000", False),
        ("20240119-", "2000-", "20250101", "000000", True),
        ("-20240119", "-0600", "20240119", "070000", False),
        ("20240119-20240121", "2000-0600", "20240120", None, True),
        ("20240119-20240121", "2000-0600", None, "210000", False),
        # one day or one time: each on its own
        ("20240119", "2000-2200", "20240119", "210000", True),
        ("20240119", "2000-2200", "20240119", "193000", False),
        ("20240119-20240121", "2000", "20240120", "200030", True),
        ("20240119-20240121", "2000", "20240120", "210000", False),
    ],
)
def test_date_and_time_ranges_are_one_interval(
    date: str, time: str, stored_date: str | None, stored_time: str | None, expected: bool
) -> None:
    stored = {
        "StudyDate": [stored_date] if stored_date else [],
        "StudyTime": [stored_time] if stored_time else [],
    }
    assert Criteria({"StudyDate": [date], "StudyTime": [time]}).matches(stored) is expected


def test_every_key_has_to_match() -> None:
    criteria = Criteria({"PatientID": ["A"], "PatientSex": ["F"], "StudyDate": []})
    assert criteria.keys == {"PatientID", "PatientSex"}
    assert criteria.matches({"PatientID": ["A"], "PatientSex": ["F"]})
    assert not criteria.matches({"PatientID": ["A"], "PatientSex": ["M"]})
    assert not criteria.matches({"PatientSex": ["F"]})


def test_only_some_keys() -> None:
    assert Criteria({"PatientID": ["A"], "PatientSex": ["F"]}, only={"PatientID"}).matches(
        {"PatientID": ["A"]}
    )


def test_every_indexed_element_has_a_rule() -> None:
    assert {element.vr for element in BY_KEYWORD.values()} <= RULES.keys()
    assert {vr_of(date) for date in MOMENTS} == {"DA"}
    assert {vr_of(time) for time in MOMENTS.values()} == {"TM"}
    assert all(vr_of(keyword) != "UN" for keyword in CONTEXT)


@pytest.mark.parametrize(
    ("value", "key"),
    [("Doe^John^^", "doe^john"), ("=山田", "=山田"), ("A^B==", "a^b"), ("", ""), ("^^", ""), (" X ", "x")],
)
def test_name_key(value: str, key: str) -> None:
    assert name_key(value) == key


@given(st.text(alphabet="ab*?", max_size=8), st.text(alphabet="ab", max_size=8))
def test_glob_is_the_regular_expression_it_stands_for(pattern: str, value: str) -> None:
    expected = re.fullmatch("".join({"*": ".*", "?": "."}.get(char, char) for char in pattern), value)
    assert glob(pattern)(value) is (expected is not None)


def test_glob_time_is_bounded() -> None:
    began = time.process_time()
    assert not glob("*a" * 40 + "*b")("a" * 5000)
    assert time.process_time() - began < 1


@given(st.dates(), st.dates())
def test_date_range_is_the_days_between(first: object, last: object) -> None:
    low, high = (f"{day:%Y%m%d}".rjust(8, "0") for day in (first, last))
    found = date_interval(f"{low}-{high}")
    assert found == (low, high)
    assert date_key(low) == low


@given(st.sampled_from(sorted(RULES.keys() - {"SQ"})), st.text(max_size=20), st.text(max_size=20))
def test_no_text_breaks_a_rule(vr: str, query: str, stored: str) -> None:
    if not is_universal(vr, [query]):
        RULES[vr]([query])(stored)
