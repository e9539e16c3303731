from __future__ import annotations

import os
import pickle
import random
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.content import Kind
from node.content.items import MAX_TEXT
from node.contents import ContentReader, child, protocol
from node.contents import reader as module
from node.documents import KeyObjects, StructureSet
from node.errors import ContentReaderUnavailable, ContentTooSlow, ContentUnreadable
from tests.content.made import DEFLATED, SEGMENTATION, STORAGE, code, document, file_of, image, stored
from tests.content.test_reading import nested, report
from tests.contents.processes import (
    KOS,
    InThread,
    await_end,
    await_request,
    key_object_file,
    opener,
    pid_of,
    standing_still,
)
from tests.studies import IMPLICIT, encoded, item
from tests.tools import ROOT


@pytest.fixture(scope="module")
def shared() -> Iterator[ContentReader]:
    """One for tests that leave it as it was."""
    with ContentReader() as reader:
        yield reader
    assert not reader._running


@pytest.fixture
def reader() -> Iterator[ContentReader]:
    """One for tests that end its processes."""
    with ContentReader() as found:
        yield found
    assert not found._running


@pytest.fixture
def kos(tmp_path: Path) -> Path:
    path = tmp_path / "kos.dcm"
    path.write_bytes(key_object_file())
    return path


def why_not(reader: ContentReader, path: Path, kind: Kind = "key-objects") -> str:
    with pytest.raises(ContentUnreadable) as raised:
        reader.read(opener(path), kind)
    return str(raised.value)


def test_reads_values(shared: ContentReader, kos: Path) -> None:
    found = shared.read(opener(kos), "key-objects")
    assert isinstance(found, KeyObjects)
    assert len(found.references) == 1
    assert shared.read(opener(kos), "settings") == {}


def test_one_process_reads_many(shared: ContentReader, kos: Path) -> None:
    shared.read(opener(kos), "key-objects")
    first = pid_of(shared)
    shared.read(opener(kos), "key-objects")
    assert pid_of(shared) == first


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no DICOM file"),
        (b"Dear Sir or Madam, " * 500, "."),
        (random.Random(1).randbytes(4096), "."),
        (key_object_file()[:-20], "ends inside|can't be followed"),
        (nested(20_000), "nested too deep"),
    ],
    ids=["empty", "text", "noise", "truncated", "nested"],
)
def test_bad_files_are_unreadable(shared: ContentReader, tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "bad").write_bytes(data)
    with pytest.raises(ContentUnreadable, match=reason):
        shared.read(opener(tmp_path / "bad"), "key-objects")
    (tmp_path / "good").write_bytes(key_object_file())
    shared.read(opener(tmp_path / "good"), "key-objects")


def deflated(*parts: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return b"".join(packer.compress(part) for part in parts) + packer.flush()


@pytest.mark.parametrize("start", [b"", encoded(item(SOPClassUID=KOS))], ids=["zeros", "zeros-behind"])
def test_deflate_bomb(shared: ContentReader, tmp_path: Path, start: bytes) -> None:
    inside = start + struct.pack("<HH2sHL", 0x0009, 0x1001, b"OB", 0, 300_000_000) if start else b""
    bomb = deflated(inside, *[bytes(1 << 20)] * 256)
    assert len(bomb) < 1_000_000
    (tmp_path / "bomb").write_bytes(file_of(bomb, DEFLATED, KOS))
    assert why_not(shared, tmp_path / "bomb")


def test_missing_file_is_what_the_store_says(shared: ContentReader, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        shared.read(opener(tmp_path / "absent"), "key-objects")


def test_a_disk_that_fails_is_no_unreadable_document(shared: ContentReader) -> None:
    # Nothing is mapped at address 0, so reading there is an I/O error.
    with pytest.raises(OSError, match="Input/output"):
        shared.read(opener(Path("/proc/self/mem")), "settings")


def sparse(path: Path, data: bytes, size: int) -> Path:
    path.write_bytes(data)
    os.truncate(path, size)
    return path


def test_documents_are_bounded_in_size_but_not_what_has_pixels(shared: ContentReader, tmp_path: Path) -> None:
    long = sparse(tmp_path / "long", key_object_file(), module.MAX_FILE + 2)
    assert why_not(shared, long) == f"the file is longer than {module.MAX_FILE} bytes"
    segmentation = stored(item(SOPClassUID=SEGMENTATION, Rows=2, SegmentSequence=[item(SegmentNumber=1)]))
    pixels = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, module.MAX_FILE)
    size = len(segmentation) + len(pixels) + module.MAX_FILE
    large = sparse(tmp_path / "large", segmentation + pixels, size)
    assert shared.read(opener(large), "segmentation")
    assert shared.read(opener(large), "settings") == {"Rows": ("2",)}


def long_value(tag: int, size: int, sop_class: str) -> bytes:
    """A file up to the value of one sequence, ``size`` long."""
    data = encoded(item(SOPClassUID=sop_class))
    return file_of(
        data + struct.pack("<HH2sHL", tag >> 16, tag & 0xFFFF, b"SQ", 0, size), sop_class=sop_class
    )


def test_memory_is_bounded(tmp_path: Path) -> None:
    size = 300_000_000
    start = long_value(0x0040A730, size, KOS)
    greedy = sparse(tmp_path / "greedy", start, len(start) + size)
    (tmp_path / "good").write_bytes(key_object_file())
    with ContentReader(memory=200_000_000) as reader:
        assert why_not(reader, greedy) == "needs too much memory"
        assert reader.read(opener(tmp_path / "good"), "key-objects")


def test_a_process_that_grew_ends_after_its_answer(reader: ContentReader, tmp_path: Path) -> None:
    size = 420_000_000
    start = long_value(0x0040A730, size, KOS)
    greedy = sparse(tmp_path / "greedy", start, len(start) + size)
    assert why_not(reader, greedy) == "a sequence with something else than items"
    first = pid_of(reader)
    await_end(first)
    (tmp_path / "good").write_bytes(key_object_file())
    assert reader.read(opener(tmp_path / "good"), "key-objects")
    assert pid_of(reader) != first


def test_an_answer_is_bounded(kos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer() -> protocol.Answer:
        body = child._answer(os.open(kos, os.O_RDONLY), "key-objects")
        return protocol.decode(body[protocol.LENGTH.size :])

    assert answer().outcome == "read"
    monkeypatch.setattr(child, "MAX_ANSWER", 100)
    assert answer() == protocol.Answer("unreadable", "holds more than 100 bytes of values")


def test_a_long_name_makes_no_long_answer(shared: ContentReader, tmp_path: Path) -> None:
    length = 2 * protocol.MAX_ANSWER
    name = struct.pack("<HHL", 0x3006, 0x0026, length) + b"A" * length
    roi = struct.pack("<HHL2s", 0x3006, 0x0022, 2, b"1 ") + name
    start = encoded(item(SOPClassUID=STORAGE + "481.3"), IMPLICIT)
    sequence = struct.pack("<HHLHHL", 0x3006, 0x0020, len(roi) + 8, 0xFFFE, 0xE000, len(roi))
    (tmp_path / "long").write_bytes(file_of(start + sequence + roi, IMPLICIT))
    found = shared.read(opener(tmp_path / "long"), "structure-set")
    assert isinstance(found, StructureSet)
    assert len(found.rois[0].name) == MAX_TEXT


def test_too_slow_is_ended_and_the_next_gets_another_process(reader: ContentReader, kos: Path) -> None:
    reader.read(opener(kos), "key-objects")
    with standing_still(reader) as first:
        with pytest.raises(ContentTooSlow, match=r"more than 0\.05 s"):
            reader.read(opener(kos), "key-objects", seconds=0.05)
        await_end(first)
    assert not reader._running
    assert reader.read(opener(kos), "key-objects")
    assert pid_of(reader) != first


def test_a_document_that_takes_its_time_is_cut_short(reader: ContentReader, tmp_path: Path) -> None:
    children = [image()] * 3000
    (tmp_path / "long").write_bytes(stored(document(code("113000"), children, "88.59")))
    (tmp_path / "good").write_bytes(key_object_file())
    reader.read(opener(tmp_path / "good"), "key-objects")
    with pytest.raises(ContentTooSlow):
        reader.read(opener(tmp_path / "long"), "key-objects", seconds=0.02)
    assert reader.read(opener(tmp_path / "long"), "key-objects")


def test_a_process_that_dies_on_a_document(reader: ContentReader, kos: Path) -> None:
    reader.read(opener(kos), "key-objects")
    with standing_still(reader) as pid:
        reading = InThread(lambda: reader.read(opener(kos), "key-objects"))
        await_request(reader)
        os.kill(pid, signal.SIGKILL)
        error = reading.result()
    assert isinstance(error, ContentUnreadable)
    assert str(error) == "the reading process was ended by SIGKILL"
    assert reader.read(opener(kos), "key-objects")


def test_a_process_that_died_before_does_not_matter(reader: ContentReader, kos: Path) -> None:
    reader.read(opener(kos), "key-objects")
    pid = pid_of(reader)
    os.kill(pid, signal.SIGKILL)
    await_end(pid)
    assert reader.read(opener(kos), "key-objects")


def test_idle_processes_end_and_are_started_again(kos: Path) -> None:
    with ContentReader(idle_seconds=0.05) as reader:
        reader.read(opener(kos), "key-objects")
        first = pid_of(reader)
        await_end(first)
        assert reader.read(opener(kos), "key-objects")
        assert pid_of(reader) != first


def test_one_that_ends_just_when_it_is_asked(kos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ContentReader(idle_seconds=0.05) as reader:
        reader.read(opener(kos), "key-objects")
        await_end(pid_of(reader))
        monkeypatch.setattr(module._Process, "ended", property(lambda self: False))
        assert reader.read(opener(kos), "key-objects")


def test_close_ends_what_is_being_read(kos: Path) -> None:
    reader = ContentReader()
    reader.read(opener(kos), "key-objects")
    with standing_still(reader) as pid:
        reading = InThread(lambda: reader.read(opener(kos), "key-objects"))
        await_request(reader)
        reader.close()
        assert isinstance(reading.result(), ContentReaderUnavailable)
        await_end(pid)
    assert not reader._running
    with pytest.raises(ContentReaderUnavailable, match="closed"):
        reader.read(opener(kos), "key-objects")


@pytest.mark.parametrize("processes", [1, 2])
def test_many_threads(processes: int, tmp_path: Path, kos: Path) -> None:
    (tmp_path / "report").write_bytes(stored(report()))
    (tmp_path / "bad").write_bytes(nested(5000))
    with ContentReader(processes) as reader:
        expected = (
            reader.read(opener(kos), "key-objects"),
            reader.read(opener(tmp_path / "report"), "report"),
        )

        def read_both() -> object:
            found = set()
            for _ in range(20):
                found.add(
                    (
                        reader.read(opener(kos), "key-objects"),
                        reader.read(opener(tmp_path / "report"), "report"),
                    )
                )
                why_not(reader, tmp_path / "bad")
            return found

        threads = [InThread(read_both) for _ in range(3)]
        assert [one.result() for one in threads] == [{expected}] * 3
        assert 1 <= len(reader._running) <= processes


def test_the_process_has_nothing_of_its_parents(
    kos: Path, reader: ContentReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NODE_EVENTS__KAFKA__SASL_PASSWORD", "secret")
    with kos.open("rb") as other:
        os.set_inheritable(other.fileno(), True)
        reader.read(opener(kos), "key-objects")
        process = Path(f"/proc/{pid_of(reader)}")
        assert {path.name for path in (process / "fd").iterdir()} == {"0", "1", "2"}
    assert b"secret" not in (process / "environ").read_bytes()
    assert os.getsid(pid_of(reader)) != os.getsid(0)
    limits = (process / "limits").read_text().splitlines()
    (space,) = (line for line in limits if line.startswith("Max address space"))
    assert str(module.MEMORY) in space


def test_a_process_that_cannot_start_says_so(monkeypatch: pytest.MonkeyPatch, kos: Path) -> None:
    with ContentReader() as reader:
        monkeypatch.setattr(sys, "executable", "/nonexistent/python")
        with pytest.raises(ContentReaderUnavailable, match="can't start"):
            reader.read(opener(kos), "key-objects")
        monkeypatch.setattr(sys, "executable", "/bin/false")
        with pytest.raises(ContentReaderUnavailable, match="did not start"):
            reader.read(opener(kos), "key-objects")
        monkeypatch.undo()
        assert reader.read(opener(kos), "key-objects")


PARENT = """
import sys
from node.contents import ContentReader
reader = ContentReader(seconds=float(sys.argv[2]))
reader.read(lambda: open(sys.argv[1], "rb"), "key-objects")
print(*(process.pid for process in reader._running), flush=True)
reader.read(lambda: open(sys.argv[3], "rb"), "key-objects") if len(sys.argv) > 3 else sys.stdin.read()
"""


def parent_of(*arguments: object) -> tuple[subprocess.Popen[str], int]:
    """A process that has a reader, and the reader's process."""
    command = [sys.executable, "-c", PARENT, *map(str, arguments)]
    pipe = subprocess.PIPE
    parent = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT)
    assert parent.stdout is not None
    return parent, int(parent.stdout.readline())


def test_ends_with_a_parent_that_was_killed(kos: Path) -> None:
    parent, pid = parent_of(kos, 10)
    with parent:
        parent.kill()
    await_end(pid)


def test_ends_soon_after_its_parent_when_it_is_reading(kos: Path, tmp_path: Path) -> None:
    items = struct.pack("<HHL", 0xFFFE, 0xE000, 0) * 600_000
    data = long_value(0x0040A375, len(items), KOS) + items
    (tmp_path / "endless").write_bytes(data)
    parent, pid = parent_of(kos, 0.2, tmp_path / "endless")
    with parent:
        parent.kill()
    await_end(pid, seconds=8)


def test_only_values_are_unpickled() -> None:

    forged = pickle.dumps(("read", os.system))
    with pytest.raises(pickle.UnpicklingError):
        protocol.decode(forged)
    answer = protocol.Answer("read", KeyObjects(None, "", (), (), (), (), None))  # type: ignore[arg-type]
    assert protocol.decode(protocol.encode(answer)[protocol.LENGTH.size :]) == answer
