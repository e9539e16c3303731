"""What is told of an object's file: hostile, broken, long, and asked for again and again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from node import extract
from node.quarantine import Side, Sides, differences, sides
from tests.quarantine.world import World, bytes_of
from tests.studies import EXPLICIT, STUDY, ct


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def look(world: World, found: Sides | None = None) -> Side:
    """At the one file in quarantine."""
    (path,) = world.arrivals.files("quarantine")
    with path.open("rb") as file:
        return (found or Sides(lambda _: None)).look(file)


def test_a_whole_object(world: World) -> None:
    world.reject(bytes_of(ct(1)), "DataSetMismatch")
    side = look(world)
    assert side.size == len(bytes_of(ct(1)))
    assert side.digest == f"sha256:{hashlib.sha256(bytes_of(ct(1))).hexdigest()}"
    assert (side.study, side.series, side.instance) == (STUDY, f"{STUDY}.1", f"{STUDY}.1.1")
    assert (side.transfer_syntax, side.calling_ae) == (EXPLICIT, "CT9")
    assert side.unreadable == "SOP Instance UID of command and data set differ"
    assert side.attributes["PatientID"] == ["PAT-0042"]


@pytest.mark.parametrize("uid", ["1.2.<script>", "../../etc/passwd", "1" * 65, "1.2\n3"])
def test_what_is_no_uid_is_not_told(world: World, uid: str) -> None:
    data = bytes_of(ct(1)).replace(b"1.2.826.0.1.3680043.8.498.77.1.1", uid.encode().ljust(32, b"\0")[:32])
    world.reject(data)
    assert set(look(world).instance) <= set("0123456789.")


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 100, 300])
def test_a_data_set_that_breaks_off(world: World, kept: int) -> None:
    world.reject(bytes_of(ct(1))[:kept])
    side = look(world)
    assert side.size == kept
    assert side.unreadable


def test_attributes_are_read_in_the_character_set_of_the_caller(world: World) -> None:
    dataset = ct(1, SpecificCharacterSet=None, PatientName="Muller")
    world.reject(bytes_of(dataset).replace(b"Muller", "Müller".encode("latin-1")))
    asked = []

    def charset_of(calling_ae: str) -> str:
        asked.append(calling_ae)
        return "ISO_IR 100"

    assert look(world, Sides(charset_of)).attributes["PatientName"] == ["Müller"]
    assert asked == ["CT9"]


def test_a_fault_of_ours_in_reading_it_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be the very reason why the object is in quarantine."""

    def fault(*_: object) -> None:
        raise ValueError("Doe^John")

    world.reject(bytes_of(ct(1)), "index-error")
    monkeypatch.setattr(extract, "own", fault)
    side = look(world)
    assert side.attributes == {}
    assert "Doe" not in side.unreadable


def test_a_digest_is_made_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.reject(bytes_of(ct(1)))
    found = Sides(lambda _: None)
    first = look(world, found)

    def again(*_: object) -> str:
        raise AssertionError

    monkeypatch.setattr(sides, "_digest", again)
    assert look(world, found).digest == first.digest


def test_remembered_digests_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sides, "_REMEMBERED", 2)
    found = Sides(lambda _: None)
    for number in range(1, 5):
        world.send(ct(number))
    for path in world.arrivals.files("objects"):
        with path.open("rb") as file:
            found.look(file)
    assert len(found._digests) == 2


def test_a_long_object_has_none(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sides, "MAX_DIGESTED", 100)
    world.reject(bytes_of(ct(1)))
    assert look(world).digest is None


def test_differences_are_keywords(world: World) -> None:
    one, other = ct(1), ct(1, PatientName="Other^Person", Rows=None, ImageComments="x")
    found = Sides(lambda _: None)
    read = []
    for dataset in (one, other):
        world.reject(bytes_of(dataset))
        path = world.arrivals.files("quarantine")[-1]
        with path.open("rb") as file:
            read.append(found.look(file))
    assert differences(*read) == ["ImageComments", "PatientName", "Rows"]
    assert differences(read[0], read[0]) == []
