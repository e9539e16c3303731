"""Objects as files: durable in order, nothing half written, nothing outside the folders; faults injected."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from node.errors import StorageError
from node.model import ObjectKey
from node.objects import filemeta
from node.objects import incoming as incoming_module
from node.objects.filemeta import FileMeta
from node.objects.files import FileObjects
from node.objects.incoming import IncomingFile

KEY = ObjectKey("1.2", "1.2.3", "1.2.3.4")
PREAMBLE = filemeta.encode(FileMeta("1.2", "1.2.3.4", "1.2.840.10008.1.2.1", "A", "B"), "2.25.1", "X")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def objects(folder: Path) -> FileObjects:
    return FileObjects(folder / "objects", folder / "incoming", folder / "quarantine", durable=True)


def whole(data: bytes) -> bytes:
    """A committed object's file."""
    return PREAMBLE[:-16] + f"{len(PREAMBLE) + len(data):016x}".encode() + data


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def put(objects: FileObjects, data: bytes = b"data set") -> str:
    """A committed object's name."""
    incoming = objects.begin(PREAMBLE)
    incoming.write([memoryview(data)])
    incoming.commit()
    return incoming.name


def adopted(objects: FileObjects, data: bytes = b"data set", key: ObjectKey = KEY) -> None:
    objects.adopt(put(objects, data), key)


def test_an_object_from_its_first_byte_to_its_place(objects: FileObjects, folder: Path) -> None:
    incoming = objects.begin(PREAMBLE)
    assert files(folder) == [f"incoming/{incoming.name}.dcm"]
    incoming.write([memoryview(b"da"), b"ta ", bytearray(b"set")])
    assert (incoming.size, incoming.read(0, 4), incoming.read(5, 99)) == (8, b"data", b"set")
    assert not objects.is_whole(incoming.name)
    incoming.commit()
    assert objects.is_whole(incoming.name)
    assert files(folder) == [f"incoming/{incoming.name}.dcm"]
    assert list(objects.waiting()) == [incoming.name]
    objects.adopt(incoming.name, KEY)
    assert files(folder) == ["objects/1.2/1.2.3/1.2.3.4.dcm"]
    with objects.open(KEY) as file:
        assert file.read() == whole(b"data set")
    assert list(objects.keys()) == [KEY]


def test_files_are_for_the_node_alone(objects: FileObjects, folder: Path) -> None:
    adopted(objects)
    modes = {path.stat().st_mode & 0o077 for path in [*folder.iterdir(), *folder.rglob("*.dcm")]}
    assert modes == {0}


def test_names_are_in_the_order_of_arrival(objects: FileObjects) -> None:
    names = [put(objects) for _ in range(20)]
    assert names == sorted(set(names))
    assert list(objects.waiting()) == names


def test_many_small_fragments(objects: FileObjects) -> None:
    incoming = objects.begin(PREAMBLE)
    fragments = [bytes((number % 256,)) for number in range(5_000)]
    incoming.write(fragments)
    assert incoming.read(0, 6_000) == b"".join(fragments)
    incoming.discard()


def test_a_short_write_is_carried_on(objects: FileObjects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "writev", lambda fd, parts: os.write(fd, b"".join(parts)[:3]))
    incoming = objects.begin(PREAMBLE)
    incoming.write([b"first", b"second"])
    incoming.commit()
    with objects.open_waiting(incoming.name) as file:
        assert file.read() == whole(b"firstsecond")


def test_discard_leaves_nothing(objects: FileObjects, folder: Path) -> None:
    incoming = objects.begin(PREAMBLE)
    incoming.write([b"data"])
    incoming.discard()
    incoming.discard()
    assert files(folder) == []


def test_discard_after_commit_keeps_the_object(objects: FileObjects) -> None:
    incoming = objects.begin(PREAMBLE)
    incoming.commit()
    incoming.discard()
    assert list(objects.waiting()) == [incoming.name]


def test_no_descriptor_is_left_open(objects: FileObjects) -> None:
    before = set(os.listdir("/proc/self/fd"))
    for ending in ("commit", "discard"):
        for _ in range(5):
            getattr(objects.begin(PREAMBLE), ending)()
    assert set(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("durable", [True, False])
def test_the_order_of_a_commit(folder: Path, monkeypatch: pytest.MonkeyPatch, durable: bool) -> None:
    objects = FileObjects(folder / "o", folder / "i", folder / "q", durable)
    incoming, calls = objects.begin(PREAMBLE), []

    def spied(name: str) -> Callable[..., Any]:
        real = getattr(os, name)
        return lambda *arguments: calls.append(name) or real(*arguments)

    for name in ("fdatasync", "rename", "pwrite", "fsync"):
        monkeypatch.setattr(os, name, spied(name))
    incoming.commit()
    assert calls == (["pwrite", "fdatasync", "fsync"] if durable else ["pwrite"])


LEFT = [1, 131, 132, 150, len(PREAMBLE) - 1, len(PREAMBLE), len(PREAMBLE) + 7, len(PREAMBLE) + 9]


@pytest.mark.parametrize("left", LEFT)
def test_what_a_power_loss_left_of_a_file_is_no_object(objects: FileObjects, left: int) -> None:
    """Whole, but not synced: its size came to the disk, its bytes did not, or not all."""
    one, torn = put(objects), put(objects)
    os.truncate(objects.waiting_path(torn), left)
    os.utime(objects.waiting_path(one), (1, 1))
    assert [(name, objects.is_whole(name)) for name in objects.waiting()] == [(one, True), (torn, False)]


def test_a_file_of_zeros_is_no_object(objects: FileObjects) -> None:
    """As some file systems leave a file whose bytes had not come to the disk."""
    torn = put(objects)
    objects.waiting_path(torn).write_bytes(bytes(70_000))
    assert [(name, objects.is_whole(name)) for name in objects.waiting()] == [(torn, False)]


def test_objects_wait_in_the_order_in_which_they_came(objects: FileObjects) -> None:
    """A file that was made ready may wait for its object longer than another."""
    first, second = objects.prepare(), put(objects)
    first.start(PREAMBLE)
    first.write([b"data"])
    first.commit()
    os.utime(objects.waiting_path(second), (1, 1))
    assert list(objects.waiting()) == [second, first.name]


def test_objects_of_a_former_version(objects: FileObjects, folder: Path) -> None:
    """Their size stands in their name."""
    content = PREAMBLE[:-28] + bytes(5)
    (folder / "incoming" / f"0-a+{len(content):x}.dcm").write_bytes(content)
    (folder / "incoming" / f"0-b+{len(content) + 1:x}.dcm").write_bytes(content)
    (folder / "incoming" / "0-c.part").write_bytes(content)
    assert {name: objects.is_whole(name) for name in objects.waiting()} == {
        f"0-a+{len(content):x}": True,
        f"0-b+{len(content) + 1:x}": False,
    }
    assert not (folder / "incoming" / "0-c.part").exists()


def test_what_is_found_is_synced(objects: FileObjects, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that named it may have died before it did."""
    name, synced = put(objects), []
    for call in ("fdatasync", "fsync"):
        real = getattr(os, call)
        monkeypatch.setattr(
            os, call, lambda fd, real=real: synced.append(os.readlink(f"/proc/self/fd/{fd}")) or real(fd)
        )
    assert objects.is_whole(name)
    path = objects.waiting_path(name)
    assert synced == [str(path), str(path.parent)]


@pytest.mark.parametrize("name", ["000+zz", "000+", "+", "000+1+x", "plain"])
def test_a_name_that_tells_no_size_is_taken_as_it_is(objects: FileObjects, folder: Path, name: str) -> None:
    (folder / "incoming" / f"{name}.dcm").write_bytes(b"x")
    assert list(objects.waiting()) == [name]
    assert objects.is_whole(name)


def failing(number: int) -> Callable[..., Any]:
    def fail(*_arguments: object, **_more: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


STEPS = {
    "open": ("open", errno.EMFILE),
    "first write": ("writev", errno.ENOSPC),
    "fdatasync": ("fdatasync", errno.EIO),
    "mark": ("pwrite", errno.ENOSPC),
    "fsync of the folder": ("fsync", errno.EIO),
    "read": ("pread", errno.EIO),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_failing_step_is_a_storage_error_and_leaves_nothing(
    objects: FileObjects, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    call, number = STEPS[name]
    monkeypatch.setattr(os, call, failing(number))
    incoming: IncomingFile | None = None
    with pytest.raises(StorageError) as caught:
        incoming = objects.begin(PREAMBLE)
        incoming.write([bytes(20_000)])
        incoming.read(16_380, 10)  # the first 16 KiB are at hand
        incoming.commit()
    assert os.strerror(number) in str(caught.value)
    assert caught.value.retriable
    monkeypatch.undo()
    if incoming is not None:
        incoming.discard()
    assert files(folder) == []
    adopted(objects)  # and the next object is none the worse for it
    assert list(objects.keys()) == [KEY]


@pytest.mark.parametrize("sizes", [(0,), (9, 0, 1), (16_383, 2), (16_384,), (40_000,), (1, 16_384, 5)])
def test_what_was_written_is_read_at_any_place(objects: FileObjects, sizes: tuple[int, ...]) -> None:
    whole = random.Random(5).randbytes(sum(sizes))
    incoming = objects.begin(PREAMBLE)
    at = 0
    for size in sizes:
        incoming.write([memoryview(whole)[at : at + size]])
        at += size
        for begin in (0, 1, 16_383, 16_384, at - 1, at, at + 1):
            for wanted in (0, 1, 2, 16_384, 50_000):
                assert incoming.read(max(begin, 0), wanted) == whole[:at][max(begin, 0) :][:wanted]
    incoming.discard()


@pytest.mark.parametrize("durable", [True, False])
def test_writeback_of_large_objects_starts_early(
    folder: Path, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    """Every 4 MB, each byte once; the call does what the system has it do."""
    objects, calls = FileObjects(folder / "o", folder / "i", folder / "q", durable), []
    real = incoming_module._sync_file_range

    def spied(fd: int, start: int, size: int, flags: int) -> int:
        calls.append((start, size))
        return real(fd, start, size, flags)

    monkeypatch.setattr(incoming_module, "_sync_file_range", spied)
    incoming = objects.begin(PREAMBLE)
    for _ in range(100):
        incoming.write([bytes(100_000)])
    incoming.commit()
    assert calls == ([(len(PREAMBLE), 4_200_000), (len(PREAMBLE) + 4_200_000, 4_200_000)] if durable else [])
    descriptor = os.open(folder / "i" / f"{incoming.name}.dcm", os.O_RDWR)
    assert real(descriptor, 0, 1000, 2) == 0
    os.close(descriptor)


def test_a_mark_that_is_not_written_is_a_storage_error(
    objects: FileObjects, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "pwrite", lambda _fd, data, _at: len(data) - 1)
    with pytest.raises(StorageError, match="mark"):
        put(objects)
    assert files(folder) == []


def test_disk_full_inside_an_object(
    objects: FileObjects, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    incoming = objects.begin(PREAMBLE)
    incoming.write([b"some"])
    monkeypatch.setattr(os, "writev", failing(errno.ENOSPC))
    with pytest.raises(StorageError, match="No space left"):
        incoming.write([b"more"])
    incoming.discard()
    assert files(folder) == []


def test_a_failing_close_loses_nothing(objects: FileObjects, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, real = objects.begin(PREAMBLE), objects.begin(PREAMBLE), os.close

    def close(fd: int) -> None:
        real(fd)
        raise OSError(errno.EIO, "injected")

    monkeypatch.setattr(os, "close", close)
    first.commit()
    second.discard()
    assert list(objects.waiting()) == [first.name]


def test_unwritable_folder(objects: FileObjects, folder: Path) -> None:
    (folder / "incoming").rename(folder / "elsewhere")
    with pytest.raises(StorageError, match="create"):
        objects.begin(PREAMBLE)


def test_partial_objects_are_removed_at_start(objects: FileObjects, folder: Path) -> None:
    name, partial, expected = put(objects), objects.begin(PREAMBLE), objects.prepare()
    partial.write([b"half"])
    (folder / "incoming" / "README").touch()
    again = FileObjects(folder / "objects", folder / "incoming", folder / "quarantine", durable=True)
    assert list(again.waiting()) == [name]
    assert files(folder) == [f"incoming/{name}.dcm", "incoming/README"]
    partial.discard()
    expected.discard()


def test_adopt_is_harmless_again_and_replaces(objects: FileObjects) -> None:
    name = put(objects, b"one")
    objects.adopt(name, KEY)
    objects.adopt(name, KEY)
    objects.adopt(put(objects, b"two"), KEY)
    with objects.open(KEY) as file:
        assert file.read().endswith(b"two")
    with pytest.raises(StorageError, match="neither"):
        objects.adopt("gone", ObjectKey("1", "2", "3"))


def test_quarantine(objects: FileObjects, folder: Path) -> None:
    name = put(objects)
    assert objects.quarantine(name, "DataSetError") == f"DataSetError/{name}.dcm"
    assert objects.quarantine(name, "DataSetError") == f"DataSetError/{name}.dcm"
    adopted(objects)
    objects.quarantine_stored(KEY, "duplicate", "old")
    assert files(folder) == [f"quarantine/DataSetError/{name}.dcm", "quarantine/duplicate/old.dcm"]


def test_a_move_that_fails_is_a_storage_error(objects: FileObjects, monkeypatch: pytest.MonkeyPatch) -> None:
    name = put(objects)
    monkeypatch.setattr(os, "rename", failing(errno.EROFS))
    with pytest.raises(StorageError, match="Read-only"):
        objects.adopt(name, KEY)
    monkeypatch.undo()
    objects.adopt(name, KEY)


def test_same_bytes(objects: FileObjects) -> None:
    same, other = put(objects), put(objects, b"other")
    assert objects.same_bytes(same, KEY) is None
    adopted(objects)
    assert objects.same_bytes(same, KEY) is True
    assert objects.same_bytes(other, KEY) is False
    objects.drop_waiting(same)
    objects.drop_waiting(same)
    assert objects.same_bytes(same, KEY) is True  # dropped as the same before a crash
    assert list(objects.waiting()) == [other]


def test_keys_pass_over_what_is_not_the_nodes(objects: FileObjects, folder: Path) -> None:
    """lost+found on a disk of its own, a note left by an operator, a copy half made: none keeps a node down."""
    assert objects.is_empty()
    adopted(objects)
    adopted(objects, key=ObjectKey("1.2", "1.2.3", "1.2.3.5"))
    root = folder / "objects"
    (root / "lost+found").mkdir(mode=0)
    (root / "README").touch()
    (root / "9").touch()
    (root / "1.2" / "notes.txt").touch()
    (root / "1.2" / "1.2.3" / "x.dcm").touch()
    (root / "1.2" / "1.2.3" / "1.2.3.6.dcm~").touch()
    (root / "1.2" / "1.2.3" / "1.2.3.7.dcm").mkdir()
    assert list(objects.keys()) == [KEY, ObjectKey("1.2", "1.2.3", "1.2.3.5")]
    assert not objects.is_empty()


def test_free_bytes(objects: FileObjects, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat = os.statvfs(folder)
    assert abs(objects.free_bytes() - stat.f_bavail * stat.f_frsize) < 1_000_000_000
    monkeypatch.setattr(os, "statvfs", failing(errno.EIO))
    with pytest.raises(StorageError, match="free space"):
        objects.free_bytes()


def test_the_preamble_goes_out_with_the_first_fragments(
    objects: FileObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, real = [], os.writev
    monkeypatch.setattr(os, "writev", lambda fd, parts: calls.append(b"".join(parts)) or real(fd, parts))
    incoming = objects.begin(PREAMBLE)
    for fragment in (b"first", b"second"):
        incoming.write([fragment])
    incoming.commit()
    assert calls == [PREAMBLE + b"first", b"second"]
    assert incoming.size == len(b"firstsecond")


def test_an_object_without_a_data_set_has_its_preamble(objects: FileObjects) -> None:
    incoming = objects.begin(PREAMBLE)
    assert incoming.read(0, 10) == b""
    incoming.commit()
    assert objects.waiting_path(incoming.name).read_bytes() == whole(b"")
