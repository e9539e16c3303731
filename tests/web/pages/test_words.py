"""Numbers and times as people read them."""

from __future__ import annotations

import pytest

from node.web.pages import words


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (None, ""),
        (0, "0 ms"),
        (0.0124, "12 ms"),
        (1, "1 s"),
        (2.25, "2.2 s"),
        (9.97, "10 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (95, "1 min 35 s"),
        (3600, "1 h"),
        (7260, "2 h 1 min"),
        (86_400 * 3 + 3600, "3 d 1 h"),
        (-5, "\u22125 s"),
    ],
)
def test_durations(seconds: float | None, told: str) -> None:
    assert words.duration(seconds) == told


@pytest.mark.parametrize(
    ("size", "told"),
    [
        (None, ""),
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1_530_000, "1.53 MB"),
        (41_200_000_000, "41.2 GB"),
        (412e9, "412 GB"),
    ],
)
def test_amounts(size: float | None, told: str) -> None:
    assert words.amount(size) == told


def test_counts() -> None:
    assert words.count(1, "object") == "1 object"
    assert words.count(1204, "object") == "1,204 objects"
    assert words.count(2, "held study", "held studies") == "2 held studies"


def test_instants_in_utc_whatever_zone_they_are_told_in() -> None:
    assert words.utc("2026-09-21T16:14:00.120+02:00") == "2026-09-21 14:14:00 UTC"


def test_names_of_uids_and_dates() -> None:
    assert words.uid_name("1.2.840.10008.5.1.4.1.1.2") == "CT Image Storage"
    assert words.uid_name("1.2.3.4") == "1.2.3.4"
    assert words.uid_name(None) == ""
    assert words.dicom_date("20260921") == "2026-09-21"
    assert words.dicom_date("2026") == "2026"


def test_addresses_quote_what_is_not_a_uid() -> None:
    assert words.study_href("1.2/../<x>") == "/studies/1.2%2F..%2F%3Cx%3E"
    assert words.event_href("r5/1.2/1?x#y") == "/api/events/r5/1.2/1%3Fx%23y/data"
