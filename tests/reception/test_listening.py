"""What the free space of the disk lets in."""

from __future__ import annotations

from typing import cast

from node.objects.files import FileObjects
from node.reception.listening import Space
from tests.index.arrivals import HandTime

LEAST = 10_000_000
MUCH = 2_000_000_000


class Disk:
    """A disk of which only the free space is known; counts how often it was asked."""

    def __init__(self) -> None:
        self.free = MUCH
        self.asked = 0

    def free_bytes(self) -> int:
        self.asked += 1
        return self.free


def space(disk: Disk, clock: HandTime) -> Space:
    return Space(cast(FileObjects, disk), LEAST, clock)


def test_ample_space_is_asked_for_ten_times_a_second() -> None:
    disk, clock = Disk(), HandTime()
    looked_at = space(disk, clock)
    for _ in range(1_000):
        assert looked_at.full() is None
        clock.at += 0.001
    assert 9 <= disk.asked <= 11


def test_a_disk_that_filled_up_is_seen_after_a_tenth_of_a_second() -> None:
    disk, clock = Disk(), HandTime()
    looked_at = space(disk, clock)
    assert looked_at.full() is None
    disk.free = LEAST // 5 - 1
    clock.at += 0.11
    assert looked_at.full() == "disk full: 1999999 bytes free, 2000000 needed"
    disk.free = MUCH
    assert looked_at.full() is None, "room is seen at once"


def test_near_the_limit_it_is_asked_for_each_object() -> None:
    disk, clock = Disk(), HandTime()
    looked_at = space(disk, clock)
    disk.free = LEAST // 5
    assert looked_at.full() is None
    disk.free -= 1
    assert looked_at.full() is not None


def test_associations_are_refused_by_what_is_free_now() -> None:
    disk, clock = Disk(), HandTime()
    looked_at = space(disk, clock)
    assert looked_at.low() is None
    assert looked_at.full() is None
    disk.free = LEAST - 1
    assert looked_at.low() == "disk low: 9999999 bytes free (objects.min_free_bytes)"
