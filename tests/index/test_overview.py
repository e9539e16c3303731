"""What came when, what was published of it, who sent lately: from a real index."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from node.errors import StudyNotFound
from node.index import outbox, schema
from node.index.overview import MAX_EVENTS, MAX_SENDERS, MAX_STEPS, MAX_VERSIONS, OTHER, Overview
from node.index.studies import Publication
from node.model import Event
from tests.index.arrivals import Arrivals
from tests.studies import STUDY, ct

SECOND = "1.2.826.0.1.3680043.8.498.78"


@pytest.fixture
def overview(arrivals: Arrivals) -> Overview:
    return Overview(arrivals.engine)


def instances(arrivals: Arrivals, rows: list[tuple[float, str]]) -> None:
    """Rows of one study, each (received at, calling AE title)."""
    with arrivals.engine.write() as connection:
        connection.execute(
            sa.insert(schema.instance),
            [
                {
                    "study": STUDY,
                    "series": "1",
                    "uid": str(number),
                    "header": 1,
                    "sop_class": "1",
                    "transfer_syntax": "1",
                    "size": 10,
                    "calling_ae": sender,
                    "received_at": at,
                    "attributes": b"{}",
                }
                for number, (at, sender) in enumerate(rows)
            ],
        )


def event(version: int, number: int, **attributes: Any) -> Event:
    told = {
        "studyversion": version,
        "type": "t",
        "completion": "quiet",
        "instances": 5,
        "added": 2,
        **attributes,
    }
    return Event(f"r5/{STUDY}/{number}/{version}", "r5", "imaging-study", STUDY, told, b"{}")


def publish(arrivals: Arrivals, version: int, count: int = 1, parked: bool = False) -> None:
    events = [event(version, number) for number in range(count)]
    with arrivals.engine.write() as connection:
        outbox.add(connection, events, float(version), {events[0].id: "unfit"} if parked else None)


def test_studies_are_counted_by_state(arrivals: Arrivals, overview: Overview) -> None:
    assert overview.state_counts() == {"open": 0, "held": 0, "complete": 0, "quarantined": 0}
    arrivals.deliver(ct(1), ct(1, StudyInstanceUID=SECOND))
    arrivals.studies.command(SECOND, "hold", 1.0, 7200.0)
    assert overview.state_counts() == {"open": 1, "held": 1, "complete": 0, "quarantined": 0}


def test_callers_were_last_seen_with_the_last_of_their_studies(
    arrivals: Arrivals, overview: Overview
) -> None:
    assert overview.last_seen() == {}
    arrivals.deliver(ct(1), calling_ae="CT1")
    arrivals.deliver(ct(2), calling_ae="CT2")
    first = arrivals.time.at
    arrivals.time.at += 100
    arrivals.deliver(ct(1, StudyInstanceUID=SECOND), calling_ae="CT1")
    assert overview.last_seen() == {"CT1": first + 100, "CT2": first}


def test_series_have_bytes_and_a_last_arrival(arrivals: Arrivals, overview: Overview) -> None:
    arrivals.deliver(ct(1), ct(2), ct(1, 2))
    sizes = overview.series_sizes(STUDY)
    assert set(sizes) == {f"{STUDY}.1", f"{STUDY}.2"}
    assert sizes[f"{STUDY}.1"][0] > sizes[f"{STUDY}.2"][0] > 500
    assert sizes[f"{STUDY}.1"][1] == arrivals.time.at


# --- arrivals ---------------------------------------------------------------------------------------------


def test_no_instances_no_arrivals(overview: Overview) -> None:
    assert overview.arrivals(STUDY) == []


def test_seconds_for_a_short_study(arrivals: Arrivals, overview: Overview) -> None:
    instances(arrivals, [(1000.2, "CT1"), (1000.9, "CT1"), (1000.5, "CT2"), (1003.0, "CT1")])
    assert [tuple(one) for one in overview.arrivals(STUDY)] == [
        (1000.0, 1, 2, "CT1"),
        (1000.0, 1, 1, "CT2"),
        (1003.0, 1, 1, "CT1"),
    ]


@pytest.mark.parametrize(
    ("seconds", "width"),
    [(119, 1), (120, 2), (1199, 10), (7199, 60), (86_400, 900), (5_140_000, 43_200), (40_000_000, 345_600)],
)
def test_steps_are_as_wide_as_it_takes(
    arrivals: Arrivals, overview: Overview, seconds: int, width: int
) -> None:
    """Two instances as far apart as that, and one each in between that would need a step of its own."""
    start = 1_700_000_000 // 345_600 * 345_600
    rows = [(float(start + seconds * number // 300), "CT1") for number in range(301)]
    instances(arrivals, rows)
    found = overview.arrivals(STUDY)
    assert {one.seconds for one in found} == {width}
    assert len(found) <= MAX_STEPS
    assert sum(one.instances for one in found) == 301
    assert found[0].at <= start
    assert found[-1].at <= start + seconds < found[-1].at + width


@pytest.mark.parametrize(
    ("phase", "seconds"), [(0, 239), (1, 239), (59, 7_199), (86_399, 40_000_000), (345_599, 40_000_000)]
)
def test_steps_stay_few_wherever_they_begin(
    arrivals: Arrivals, overview: Overview, phase: int, seconds: int
) -> None:
    start = 1_700_000_000 // 345_600 * 345_600 + phase
    instances(arrivals, [(float(start + seconds * number // 400), "CT1") for number in range(401)])
    assert len(overview.arrivals(STUDY)) <= MAX_STEPS


def test_many_senders_are_the_largest_and_the_others(arrivals: Arrivals, overview: Overview) -> None:
    rows = [(1000.0, f"CT{number:02}") for number in range(30) for _ in range(number + 1)]
    instances(arrivals, rows)
    found = {one.calling_ae: one.instances for one in overview.arrivals(STUDY)}
    assert len(found) == MAX_SENDERS + 1
    assert found["CT29"] == 30
    assert found[OTHER] == sum(range(1, 30 - MAX_SENDERS + 1))


# --- versions ---------------------------------------------------------------------------------------------


def test_versions_newest_first_with_their_events(
    arrivals: Arrivals, overview: Overview, make_arrivals: Callable[..., Arrivals]
) -> None:
    arrivals.deliver(ct(1))
    publish(arrivals, 1, count=2, parked=True)
    publish(arrivals, 2)
    second, first = overview.versions(STUDY)
    assert (second.version, second.created_at, second.completion) == (2, 2.0, "quiet")
    assert (first.instances, first.added, first.total) == (5, 2, 2)
    assert [row["parked_reason"] for row in first.events] == ["unfit", None]
    assert all("data" not in row for row in first.events)


def test_a_version_that_became_no_event_is_told_by_the_study(arrivals: Arrivals, overview: Overview) -> None:
    arrivals.deliver(ct(1))
    state = arrivals.studies.state(STUDY)
    assert arrivals.studies.publish(state, "forced", 77.0, Publication([], {}, {}))
    (only,) = overview.versions(STUDY)
    assert (only.version, only.created_at, only.completion, only.events) == (1, 77.0, "forced", [])


def test_nothing_published_yet_and_no_study(arrivals: Arrivals, overview: Overview) -> None:
    arrivals.deliver(ct(1))
    assert overview.versions(STUDY) == []
    with pytest.raises(StudyNotFound, match=SECOND):
        overview.versions(SECOND)


def test_events_outlive_a_study_that_retention_removed(arrivals: Arrivals, overview: Overview) -> None:
    publish(arrivals, 1)
    assert [version.version for version in overview.versions(STUDY)] == [1]


def test_thousands_of_events_are_told_by_their_number(arrivals: Arrivals, overview: Overview) -> None:
    publish(arrivals, 1, count=MAX_EVENTS + 30)
    publish(arrivals, 2, count=3)
    second, first = overview.versions(STUDY)
    assert (len(first.events), first.total) == (MAX_EVENTS, MAX_EVENTS + 30)
    assert (len(second.events), second.total) == (3, 3)


def test_hundreds_of_versions_are_the_newest(arrivals: Arrivals, overview: Overview) -> None:
    for version in range(1, MAX_VERSIONS + 4):
        publish(arrivals, version)
    found = [version.version for version in overview.versions(STUDY)]
    assert found == list(range(MAX_VERSIONS + 3, 3, -1))
