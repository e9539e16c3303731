from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import orjson
import pytest

from node.errors import PublishUnavailable
from node.model import Event
from node.publish import ndjson
from node.publish.bindings import structured
from node.publish.ndjson import NdjsonPublisher
from tests.publish.events import event


def _with(path: Path, *steps: Callable[[NdjsonPublisher], Awaitable[object]]) -> list[object]:
    async def run() -> list[object]:
        publisher = NdjsonPublisher(path)
        try:
            await publisher.start()
            return [await step(publisher) for step in steps]
        finally:
            await publisher.stop()

    return asyncio.run(run())


def _ids(path: Path) -> list[str]:
    return [orjson.loads(line)["id"] for line in path.read_bytes().splitlines()]


def _line(found: Event) -> bytes:
    line = structured(found)
    assert line is not None
    return line


def test_the_file_is_private_and_its_folder_is_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "events.ndjson"
    _with(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_line_is_attributes_then_the_resource_byte_for_byte() -> None:
    line = _line(event())
    assert line.startswith(b'{"specversion":"1.0","id":"r5/1.2.3/1","source":')
    assert line.endswith(b',"data":' + event().data + b"}\n")
    assert b'"n":1.5' in line


def test_a_resource_with_a_line_break_is_refused_and_the_others_are_written(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    good = event("1.1")
    bad = Event("r5/1.2/1", "r5", "t", "1.2", {"id": "r5/1.2/1"}, b'{\n"a":1}')
    (outcomes,) = _with(path, lambda p: p.publish([bad, good]))
    assert isinstance(outcomes, list)
    assert "line break" in outcomes[0].refused
    assert outcomes[1].refused is None
    assert _ids(path) == [good.id]


@pytest.mark.parametrize("cut", [1, 2, 10, 150])
def test_a_torn_last_line_is_cut_and_nothing_else(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "events.ndjson"
    whole, torn = _line(event("1.1")), _line(event("1.2"))
    path.write_bytes(whole + torn[:-cut])
    (out, _) = _with(
        path,
        lambda p: p.already_out([event("1.1"), event("1.2")]),
        lambda p: p.publish([event("1.3")]),
    )
    # Without its line feed alone the event is whole: the line is ended, and counts.
    kept = ["r5/1.1/1", "r5/1.2/1"] if cut == 1 else ["r5/1.1/1"]
    assert out == set(kept)
    assert _ids(path) == [*kept, "r5/1.3/1"]


def test_a_tail_of_zeros_after_a_power_loss_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(_line(event("1.1")) + bytes(5000))
    _with(path, lambda p: p.publish([event("1.2")]))
    assert _ids(path) == ["r5/1.1/1", "r5/1.2/1"]


def test_a_file_of_nothing_but_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(b'{"specversion":"1.0","id":"r5')
    _with(path)
    assert path.read_bytes() == b""


def test_already_out_reads_lines_longer_than_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ndjson, "_BLOCK", 64)
    path = tmp_path / "events.ndjson"
    events = [event(f"1.{n}", size=n * 37) for n in range(12)]
    path.write_bytes(b"".join(_line(e) for e in events))
    (out,) = _with(path, lambda p: p.already_out([*events, event("2.2")]))
    assert out == {e.id for e in events}


def test_already_out_looks_at_the_tail_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ndjson, "_BLOCK", 512)
    monkeypatch.setattr(ndjson, "_TAIL", 2048)
    path = tmp_path / "events.ndjson"
    events = [event(f"1.{n}") for n in range(50)]
    path.write_bytes(b"".join(_line(e) for e in events))
    (out,) = _with(path, lambda p: p.already_out(events))
    assert isinstance(out, set)
    assert events[-1].id in out
    assert events[0].id not in out


def test_a_file_that_is_no_event_log_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ndjson, "_BLOCK", 512)
    monkeypatch.setattr(ndjson, "_TAIL", 2048)
    path = tmp_path / "events.ndjson"
    path.write_bytes(b"x" * 10_000)
    with pytest.raises(PublishUnavailable, match="not an event log"):
        _with(path)
    assert path.stat().st_size == 10_000


def test_rotation_by_rename_opens_a_new_file(tmp_path: Path) -> None:
    path, old = tmp_path / "events.ndjson", tmp_path / "events.ndjson.1"

    async def rotate(_: NdjsonPublisher) -> None:
        path.rename(old)

    _with(path, lambda p: p.publish([event("1.1")]), rotate, lambda p: p.publish([event("1.2")]))
    assert _ids(old) == ["r5/1.1/1"]
    assert _ids(path) == ["r5/1.2/1"]


def test_a_second_writer_is_turned_away(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"

    async def second(_: NdjsonPublisher) -> None:
        other = NdjsonPublisher(path)
        with pytest.raises(PublishUnavailable, match="another process"):
            await other.start()
        await other.stop()

    _with(path, second)


@pytest.mark.parametrize("fault", ["write", "fdatasync"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_failed_append_leaves_no_partial_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, number: int
) -> None:
    path = tmp_path / "events.ndjson"
    real_write = os.write
    calls: list[int] = []

    def write(file: int, data: memoryview) -> int:
        calls.append(len(data))
        if len(calls) > 1:
            raise OSError(number, os.strerror(number))
        return real_write(file, data[:100])

    def sync(file: int) -> None:
        calls.append(0)
        if len(calls) == 1:  # the sync after the cut succeeds
            raise OSError(number, os.strerror(number))

    async def broken(publisher: NdjsonPublisher) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(os, fault, write if fault == "write" else sync)
            with pytest.raises(PublishUnavailable, match=os.strerror(number)):
                await publisher.publish([event("1.2"), event("1.3")])
        assert _ids(path) == ["r5/1.1/1"]

    _with(
        path, lambda p: p.publish([event("1.1")]), broken, lambda p: p.publish([event("1.2"), event("1.3")])
    )
    assert _ids(path) == ["r5/1.1/1", "r5/1.2/1", "r5/1.3/1"]


def test_a_folder_that_can_not_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PublishUnavailable, match="file/events"):
        _with(tmp_path / "file" / "events.ndjson")


def test_synced_before_it_counts_as_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening syncs what a killed process may have left, and the folder; an event is out after its own sync."""
    calls: list[tuple[str, str]] = []

    def told(name: str) -> Callable[..., object]:
        real = getattr(os, name)

        def call(file: int, *rest: object) -> object:
            calls.append((name, Path(os.readlink(f"/proc/self/fd/{file}")).name))
            return real(file, *rest)

        return call

    for name in ("write", "fsync", "fdatasync"):
        monkeypatch.setattr(os, name, told(name))
    path = tmp_path / "log" / "events.ndjson"

    async def publish(publisher: NdjsonPublisher) -> list[tuple[str, str]]:
        await publisher.publish([event("1.2")])
        return [call for call in calls if call[1] in ("log", "events.ndjson")]

    (seen,) = _with(path, publish)
    opened = [("fsync", "events.ndjson"), ("fsync", "log")]
    assert seen == [*opened, ("write", "events.ndjson"), ("fdatasync", "events.ndjson")]


def test_a_failed_append_that_could_not_be_taken_back_is_before_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole lines were written, neither synced nor cut: they must not stand there twice."""
    path = tmp_path / "events.ndjson"

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async def broken(publisher: NdjsonPublisher) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", fail)
            patch.setattr(os, "ftruncate", fail)
            with pytest.raises(PublishUnavailable):
                await publisher.publish([event("1.2"), event("1.3")])
            with pytest.raises(PublishUnavailable):
                await publisher.publish([event("1.2"), event("1.3")])
        assert _ids(path) == ["r5/1.1/1", "r5/1.2/1", "r5/1.3/1"]

    _with(
        path, lambda p: p.publish([event("1.1")]), broken, lambda p: p.publish([event("1.2"), event("1.3")])
    )
    assert _ids(path) == ["r5/1.1/1", "r5/1.2/1", "r5/1.3/1"]


def test_after_a_failed_sync_at_opening_the_tail_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync that failed once tells nothing when it succeeds later: the pages count as clean."""
    path = tmp_path / "events.ndjson"
    path.write_bytes(_line(event("1.1")))
    calls: list[str] = []
    real_write, real_sync = os.pwrite, os.fsync

    def sync(file: int) -> None:
        calls.append("fsync")
        if len(calls) == 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real_sync(file)

    def write(file: int, data: bytes, offset: int) -> int:
        calls.append(f"pwrite {len(data)} at {offset}")
        return real_write(file, data, offset)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "pwrite", write)

    async def start_twice() -> None:
        publisher = NdjsonPublisher(path)
        with pytest.raises(PublishUnavailable):
            await publisher.start()
        await publisher.start()
        await publisher.stop()

    asyncio.run(start_twice())
    assert calls == ["fsync", f"pwrite {path.stat().st_size} at 0", "fsync", "fsync", "fsync"]
    assert path.read_bytes() == _line(event("1.1"))
