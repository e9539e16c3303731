"""What counts as stored: every object, whole, under whatever name and behind whatever a receiver writes first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bench import stored
from tests.bench.loads import LOADS, record
from tests.bench.replay import Messages
from tests.bench.stored import Stored
from tests.bench.test_bench import joined

SMALL = next(load for load in LOADS if load.name == "MR 10 kB")
SERIALS = range(10**24, 10**24 + 5)
BEFORE = bytes(128) + b"DICM" + b"2.25.1 is not a UID of the sender"


@pytest.fixture
def data_set(tmp_path: Path) -> Path:
    """The recorded load, and below ``kept`` the files of five objects made of it."""
    path = record(SMALL, tmp_path)
    messages = Messages(path, SMALL.sop_class, 131072)
    folder = tmp_path / "kept" / "deep"
    folder.mkdir(parents=True)
    for serial in SERIALS:
        (folder / f"{serial - SERIALS[0]}").write_bytes(BEFORE + joined(bytes(messages.make(serial)))[1])
    return path


def test_whole_files_are_found_by_their_instance(data_set: Path) -> None:
    Stored(data_set).check(data_set.parent / "kept", SERIALS)


def zeros_at_the_end(whole: bytes) -> bytes:
    return whole[:-64] + bytes(64)


def a_byte_missing(whole: bytes) -> bytes:
    return whole[: len(BEFORE) + 3000] + whole[len(BEFORE) + 3001 + len(BEFORE) :]


def cut(whole: bytes) -> bytes:
    return whole[:-2]


def nameless(whole: bytes) -> bytes:
    return bytes(8192) + whole[8192:]


@pytest.mark.parametrize("damage", [zeros_at_the_end, a_byte_missing, cut, nameless])
def test_what_is_not_whole_is_missing(
    data_set: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr(stored, "_SECONDS", 0)
    kept = data_set.parent / "kept"
    file = kept / "deep" / "3"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(RuntimeError, match="5 objects answered with success, 4 on disk"):
        Stored(data_set).check(kept, SERIALS)


def test_another_copy_does_not_stand_for_a_missing_object(
    data_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "_SECONDS", 0)
    deep = data_set.parent / "kept" / "deep"
    (deep / "4").write_bytes((deep / "3").read_bytes())
    (deep / "more").write_bytes((deep / "3").read_bytes() * 4)
    with pytest.raises(RuntimeError, match="4 on disk"):
        Stored(data_set).check(deep, SERIALS)
