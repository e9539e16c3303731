from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.fhir import datatypes
from node.fhir.options import FhirOptions
from node.terms import Identifier, Issuer, Moment

# https://hl7.org/fhir/R5/datatypes.html
DATETIME = re.compile(
    r"([0-9]([0-9]([0-9][1-9]|[1-9]0)|[1-9]00)|[1-9]000)(-(0[1-9]|1[0-2])(-(0[1-9]|[1-2][0-9]|3[0-1])"
    r"(T([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\.[0-9]{1,9})?(Z|(\+|-)((0[0-9]|1[0-3]):[0-5][0-9]|14:00)))?)?)?"
)
STRING = re.compile(r"^[\s\S]+$")
CODE = re.compile(r"[^\s]+( [^\s]+)*")
UNWANTED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")

DATES = st.one_of(
    st.text(max_size=12),
    st.from_regex(r"[0-9]{4}([0-9]{2}([0-9]{2})?)?", fullmatch=True),
    st.dates().map("{:%Y%m%d}".format),
)
TIMES = st.one_of(
    st.text(max_size=16),
    st.from_regex(r"[0-9]{2}([0-9]{2}([0-9]{2}(\.[0-9]{1,7})?)?)?", fullmatch=True),
    st.from_regex(r"([01][0-9]|2[0-3])[0-5][0-9][0-5][0-9](\.[0-9]{1,6})?", fullmatch=True),
)
OFFSETS = st.one_of(
    st.just(""), st.text(max_size=6), st.from_regex(r"[+-][01][0-9][0-5][0-9]", fullmatch=True)
)
ZONES = st.sampled_from(["", "Europe/Paris", "America/St_Johns", "Pacific/Kiritimati", "Africa/Monrovia"])


@given(DATES, TIMES, OFFSETS, ZONES, ZONES)
def test_any_date_and_time_gives_a_fhir_datetime_or_nothing(
    date: str, time: str, offset: str, peer: str, default: str
) -> None:
    found = datatypes.date_time(Moment(date, time, "", offset, peer), default)
    assert found is None or DATETIME.fullmatch(found)


@given(st.builds("{}{}{}".format, DATES, TIMES, OFFSETS), ZONES)
def test_any_datetime_gives_a_fhir_datetime_or_nothing(raw: str, zone: str) -> None:
    found = datatypes.date_time(Moment(datetime=raw, timezone=zone), "")
    assert found is None or DATETIME.fullmatch(found)


@pytest.mark.parametrize(
    ("moment", "default", "expected"),
    [
        (Moment("20260310", "081530.25", offset="+0100"), "", "2026-03-10T08:15:30.25+01:00"),
        (Moment("20260310", "0815", offset="+0000"), "", "2026-03-10T08:15:00+00:00"),
        (Moment("20260310", "081560", offset="-0330"), "", "2026-03-10T08:15:60-03:30"),
        (Moment("20260310", "081530", offset="-0000"), "", "2026-03-10"),
        (Moment("20260310", "081530", offset="+1500"), "", "2026-03-10"),
        (Moment("20260310", "081530"), "", "2026-03-10"),
        (Moment("00010101", "000000"), "Pacific/Guam", "0001-01-01"),  # 14 h 21 min from UTC then
        (Moment("20260310", "", offset="+0100"), "", "2026-03-10"),
        (Moment("20260310", "240000", offset="+0100"), "", "2026-03-10"),
        (Moment("202603", "08", offset="+0100"), "", "2026-03"),
        (Moment("2026", "08", offset="+0100"), "", "2026"),
        (Moment("20260231", "08", offset="+0100"), "", None),
        (Moment("20260115", "12"), "Europe/Paris", "2026-01-15T12:00:00+01:00"),
        (Moment("20260715", "12"), "Europe/Paris", "2026-07-15T12:00:00+02:00"),
        (Moment("20261025", "0230"), "Europe/Paris", "2026-10-25T02:30:00+02:00"),
        (Moment("20260715", "12", timezone="Asia/Tokyo"), "Europe/Paris", "2026-07-15T12:00:00+09:00"),
        (Moment("20260715", "12", offset="+0300", timezone="Asia/Tokyo"), "", "2026-07-15T12:00:00+03:00"),
        (Moment("18900101", "12"), "Europe/Paris", "1890-01-01"),
        (Moment(datetime="20260310081530-0500", offset="+0100"), "", "2026-03-10T08:15:30-05:00"),
        (None, "Europe/Paris", None),
    ],
)
def test_dates_and_times(moment: Moment | None, default: str, expected: str | None) -> None:
    assert datatypes.date_time(moment, default) == expected


@given(st.text())
def test_any_text_gives_a_clean_string_or_nothing(raw: str) -> None:
    text, code = datatypes.string(raw), datatypes.code(raw)
    assert text is None or (STRING.match(text) and not UNWANTED.search(text) and text == text.strip())
    assert code is None or CODE.fullmatch(code)


@given(st.text())
def test_any_name_gives_a_clean_text_or_nothing(raw: str) -> None:
    display = datatypes.display_name(raw)
    assert display is None or (display and not UNWANTED.search(display))


@pytest.mark.parametrize(
    ("raw", "display"),
    [
        ("Adams^John Robert Quincy^^Rev.^B.A. M.Div.", "Adams, John Robert Quincy"),
        ("Doe^Jane^Q", "Doe, Jane Q"),
        ("Doe", "Doe"),
        ("^Jane", "Jane"),
        ("=山田^太郎=やまだ^たろう", "山田, 太郎"),
        ("==やまだ^たろう", "やまだ, たろう"),
        ("^^^", None),
        ("^=^", None),
        ("", None),
    ],
)
def test_display_names(raw: str, display: str | None) -> None:
    assert datatypes.display_name(raw) == display


OPTIONS = FhirOptions(issuers={"HOSP": "https://hosp.example/mrn"})


@pytest.mark.parametrize(
    ("issuer", "default", "system", "assigner"),
    [
        (Issuer("HOSP", "1.2.3", "ISO"), "", "urn:oid:1.2.3", None),
        (Issuer("", "1.2.03", "ISO"), "urn:default", "urn:default", None),
        (
            Issuer("", "F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6", "UUID"),
            "",
            "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
            None,
        ),
        (Issuer("", "https://x.example/ids", "URI"), "", "https://x.example/ids", None),
        (Issuer("", "no uri", "URI"), "", None, None),
        (Issuer("HOSP", "hosp.example", "DNS"), "", "https://hosp.example/mrn", None),
        (Issuer(" HOSP "), "urn:default", "https://hosp.example/mrn", None),
        (Issuer("hosp"), "urn:default", "urn:default", None),
        (Issuer("hosp"), "", None, "hosp"),
        (Issuer(), "", None, None),
    ],
)
def test_issuers(issuer: Issuer, default: str, system: str | None, assigner: str | None) -> None:
    found = datatypes.identifier(Identifier("7", issuer), OPTIONS, "MR", default)
    assert found is not None
    assert found.get("system") == system
    assert found.get("assigner") == ({"display": assigner} if assigner else None)
    assert found["type"]["coding"][0]["code"] == "MR"


def test_an_identifier_without_a_value_is_left_out() -> None:
    assert datatypes.identifier(Identifier(" \x01"), OPTIONS) is None
    assert datatypes.identifier(None, OPTIONS) is None
    assert datatypes.identifier(Identifier("1"), OPTIONS) == {"value": "1"}


@given(st.from_regex(r"(0|[1-9][0-9]{0,8})(\.(0|[1-9][0-9]{0,8})){0,5}", fullmatch=True))
def test_uids_are_identifiers(uid: str) -> None:
    assert datatypes.uid_identifier(uid) == {"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}
    found = datatypes.oid(uid)
    assert found is None or re.fullmatch(r"urn:oid:[0-2](\.(0|[1-9][0-9]*))+", found)


def test_ids_are_stable_and_different() -> None:
    one = datatypes.resource_id("r5", "1.2.3")
    assert one == datatypes.resource_id("r5", "1.2.3")
    assert one == "312c951c-7457-53d6-a5eb-f7dbad0f8788"
    assert len({one, datatypes.resource_id("imr", "1.2.3"), datatypes.resource_id("r5", "1.2.4")}) == 3


def test_compact_keeps_zero_and_false() -> None:
    assert datatypes.compact(a=0, b=False, c="", d=None, e=[], f={}) == {"a": 0, "b": False}


def test_a_reference_says_something() -> None:
    assert datatypes.reference("Patient") is None
    assert datatypes.reference("Patient", {"value": "1"}) == {"type": "Patient", "identifier": {"value": "1"}}


def test_distinct_values_keep_their_first_place() -> None:
    values: list[dict[str, Any]] = [{"a": 1, "b": [2]}, {"a": 2}, {"b": [2], "a": 1}, {"a": 1}]
    assert datatypes.distinct(values) == [{"a": 1, "b": [2]}, {"a": 2}, {"a": 1}]
