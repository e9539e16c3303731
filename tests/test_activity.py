"""The recorder behind the status page: minutes on a clock moved by hand, callers that choose their titles."""

from __future__ import annotations

import threading

import pytest

from node.activity import MINUTES, OTHER, Activity, Caller
from tests.index.arrivals import HandTime

START = 6_000_000.0  # the first second of a minute


@pytest.fixture
def time() -> HandTime:
    return HandTime(START)


@pytest.fixture
def activity(time: HandTime) -> Activity:
    return Activity(time)


def named(activity: Activity) -> dict[str, Caller]:
    return {caller.calling_ae: caller for caller in activity.callers()}


# --- minutes ----------------------------------------------------------------------------------------------


def test_nothing_was_received_yet(activity: Activity) -> None:
    found = activity.received()
    assert found.objects == found.bytes == (0,) * MINUTES
    assert found.last_at is None


def test_objects_are_counted_in_their_minute_the_running_one_last(activity: Activity, time: HandTime) -> None:
    activity.stored("CT1", 0, 100)
    time.at = START + 59.9
    activity.stored("CT1", 0, 10)
    time.at = START + 60
    activity.stored("CT2", 0, 1)
    found = activity.received()
    assert (found.objects[-2:], found.bytes[-2:]) == ((2, 1), (110, 1))
    assert sum(found.objects) == 3
    assert found.last_at == START + 60


def test_a_minute_without_objects_is_0_and_what_is_an_hour_old_is_gone(
    activity: Activity, time: HandTime
) -> None:
    activity.stored("CT1", 0, 100)
    time.at = START + 59 * 60
    assert activity.received().objects == (1, *(0,) * 59)
    time.at = START + 60 * 60
    assert sum(activity.received().objects) == 0
    activity.stored("CT1", 0, 7)  # in the place that the first one had
    assert activity.received().bytes == (*(0,) * 59, 7)
    time.at = START + 5 * 3600
    assert sum(activity.received().objects) == 0
    assert activity.received().last_at == START + 3600


def test_what_was_not_stored_is_a_failure_and_nothing_received(activity: Activity) -> None:
    activity.stored("CT1", 0xA700, 100)
    assert sum(activity.received().objects) == 0
    assert activity.received().last_at is None
    assert named(activity) == {"CT1": Caller("CT1", START, failures=1)}


# --- callers ----------------------------------------------------------------------------------------------


def test_what_each_caller_did_last_seen_first(activity: Activity, time: HandTime) -> None:
    activity.stored("CT1", 0, 100)
    activity.association_ended("CT1", "released")
    time.at += 1
    activity.association_ended("MR1", "rejected")
    activity.association_ended("MR1", "aborted")
    activity.association_ended("MR1", "lost")
    time.at += 1
    activity.late("CT1", 3)
    assert activity.callers() == [
        Caller("MR1", START + 1, refused=3),
        Caller("CT1", START, objects=1, bytes=100, late=3),
    ]


def test_connections_that_never_said_who_calls_are_nobodys(activity: Activity) -> None:
    activity.association_ended("", "lost")
    assert activity.callers() == []


def test_who_is_connected_is_listed(activity: Activity) -> None:
    activity.connected(["CT1"])
    assert activity.callers() == [Caller("CT1", START)]


def test_a_scan_under_many_titles_hides_nobody_who_sends(time: HandTime) -> None:
    activity = Activity(time, most_callers=3)
    activity.stored("CT1", 0, 5)
    for number in range(10):
        time.at += 1
        activity.association_ended(f"SCAN{number}", "rejected")
    found = named(activity)
    assert set(found) == {"CT1", "SCAN8", "SCAN9", OTHER}
    assert (found["CT1"].objects, found[OTHER].refused) == (1, 8)


def test_titles_without_number_take_no_memory_without_bound(time: HandTime) -> None:
    activity = Activity(time, most_callers=3)
    activity.stored("REGULAR", 0, 5)
    for number in range(1000):
        time.at += 1
        activity.association_ended(f"MADE{number}", "rejected")
        activity.stored("REGULAR", 0, 5)
    found = named(activity)
    assert set(found) == {"REGULAR", "MADE998", "MADE999", OTHER}
    assert found["REGULAR"].objects == 1001
    assert found[OTHER].refused == 998
    assert found[OTHER].last_seen == START + 998


def test_one_that_calls_itself_other_is_in_the_same_row(time: HandTime) -> None:
    activity = Activity(time, most_callers=2)
    for name in (OTHER, "A", "B", "C"):
        activity.stored(name, 0, 1)
    assert {name: caller.objects for name, caller in named(activity).items()} == {OTHER: 2, "B": 1, "C": 1}


def test_what_is_known_from_before_the_start_is_older_than_what_came_since(
    activity: Activity, time: HandTime
) -> None:
    activity.stored("CT1", 0, 1)
    activity.seed({"CT1": 5.0, "CT2": 9.0, "CT3": 7.0})
    assert [(one.calling_ae, one.last_seen) for one in activity.callers()] == [
        ("CT1", START),
        ("CT2", 9.0),
        ("CT3", 7.0),
    ]
    assert activity.received().last_at == START


def test_seeded_callers_are_bounded_and_make_room_in_their_order(time: HandTime) -> None:
    activity = Activity(time, most_callers=2)
    activity.seed({"OLD": 1.0, "NEWER": 2.0, "NEWEST": 3.0})
    assert set(named(activity)) == {"NEWER", "NEWEST"}
    assert activity.received().last_at == 3.0
    activity.stored("CT1", 0, 1)
    assert set(named(activity)) == {"NEWEST", "CT1", OTHER}


def test_no_seed_says_nothing(activity: Activity) -> None:
    activity.seed({})
    assert activity.received().last_at is None


def test_counts_of_many_threads_add_up(activity: Activity) -> None:
    def send(name: str) -> None:
        for _ in range(2_000):
            activity.stored(name, 0, 2)

    threads = [threading.Thread(target=send, args=(f"CT{number % 2}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(activity.received().objects) == 8_000
    assert [caller.bytes for caller in activity.callers()] == [8_000, 8_000]
