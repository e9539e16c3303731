from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.assemble import values
from node.assemble.values import Date, DateTime, Time
from node.terms import Moment


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("20260310", Date(2026, 3, 10)),
        ("2026.03.10", Date(2026, 3, 10)),
        ("202603", Date(2026, 3, 0)),
        ("2026", Date(2026, 0, 0)),
        (" 20260310 ", Date(2026, 3, 10)),
        ("20240229", Date(2024, 2, 29)),
        ("20230229", None),
        ("20261301", None),
        ("20260300", None),
        ("00000000", None),
        ("2026-03-10", None),
        ("2026031", None),
        ("20260310-20260311", None),
        ("٢٠٢٦٠٣١٠", None),
        ("", None),
    ],
)
def test_dates(raw: str, expected: Date | None) -> None:
    assert values.parse_date(raw) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("081530.25", Time(8, 15, 30, "25")),
        ("0815", Time(8, 15, 0, "")),
        ("08", Time(8, 0, 0, "")),
        ("08:15:30", Time(8, 15, 30, "")),
        ("08:15", Time(8, 15, 0, "")),
        ("235960", Time(23, 59, 60, "")),
        ("081530.1234567", None),
        ("240000", None),
        ("236000", None),
        ("8", None),
        ("081530.", None),
        ("", None),
    ],
)
def test_times(raw: str, expected: Time | None) -> None:
    assert values.parse_time(raw) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("+0100", 60),
        ("-0330", -210),
        ("+0000", 0),
        ("+1400", 840),
        ("-1200", -720),
        ("-0000", None),
        ("+1401", None),
        ("-1201", None),
        ("+0060", None),
        ("0100", None),
        ("Z", None),
    ],
)
def test_offsets(raw: str, expected: int | None) -> None:
    assert values.parse_offset(raw) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("20260310081530.25+0100", DateTime(Date(2026, 3, 10), Time(8, 15, 30, "25"), 60)),
        ("2026031008", DateTime(Date(2026, 3, 10), Time(8, 0, 0, ""), None)),
        ("202603", DateTime(Date(2026, 3, 0), None, None)),
        ("2026-0500", DateTime(Date(2026, 0, 0), None, -300)),
        ("20260310250000", DateTime(Date(2026, 3, 10), None, None)),
        ("20260310081530-0000", DateTime(Date(2026, 3, 10), Time(8, 15, 30, ""), None)),
        ("20261310", None),
        ("2026031", None),
    ],
)
def test_datetimes(raw: str, expected: DateTime | None) -> None:
    assert values.parse_datetime(raw) == expected


def test_a_datetimes_own_suffix_beats_the_offset_of_the_header() -> None:
    own = values.resolve(Moment(datetime="20260310081530+0200", offset="+0100"))
    other = values.resolve(Moment(datetime="20260310081530", offset="+0100"))
    assert own is not None
    assert other is not None
    assert (own.offset, other.offset) == (120, 60)


def test_an_unreadable_datetime_falls_back_to_date_and_time() -> None:
    found = values.resolve(Moment(date="20260310", time="08", datetime="yesterday"))
    assert found == DateTime(Date(2026, 3, 10), Time(8, 0, 0, ""), None)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("3", 3),
        ("+3", 3),
        ("-3", -3),
        ("1.0", 1),
        ("1.", 1),
        ("1.5", None),
        ("1e3", None),
        ("", None),
        ("x", None),
    ],
)
def test_integers(raw: str, expected: int | None) -> None:
    assert values.parse_integer(raw) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [("0", 0), ("2147483647", 2147483647), ("2147483648", None), ("-1", None), ("9" * 40, None)],
)
def test_unsigned_integers(raw: str, expected: int | None) -> None:
    assert values.parse_unsigned(raw) == expected


@given(st.text(), st.text(), st.text(), st.text())
def test_no_text_is_an_error(date: str, time: str, datetime: str, offset: str) -> None:
    key = values.moment_key(Moment(date, time, datetime, offset))
    assert key is None or key <= key  # comparable, whatever was in it
    number = values.parse_unsigned(time)
    assert number is None or 0 <= number < 2**31


def test_uids_sort_by_number_and_then_by_text() -> None:
    uids = ["1.10", "1.2", "1.02", "1", "1.2.0"]
    assert sorted(uids, key=values.uid_key) == ["1", "1.02", "1.2", "1.2.0", "1.10"]


def test_the_earliest_moment_is_the_same_in_every_order() -> None:
    first = Moment("20260310", "081500", offset="+0100")
    moments = [
        Moment("20260310", "080000", offset="+0000"),
        first,
        Moment("20260310"),
        Moment("20260311", "000000", offset="+0100"),
        Moment("not a date", "010000"),
    ]
    assert values.earliest(moments) == first
    assert values.earliest(reversed(moments)) == first
    assert values.earliest([Moment("?")]) is None


def test_a_day_with_a_time_comes_before_the_same_day_without() -> None:
    timed = Moment("20260310", "235959")
    assert values.earliest([Moment("20260310"), timed]) == timed
    assert values.earliest([Moment("20260311", "00"), Moment("20260310")]) == Moment("20260310")
    assert values.earliest([Moment("202603"), timed]) == timed
