"""The NDJSON log: one CloudEvent in structured mode a line, appended and synced before it counts as out.

Format: CloudEvents 1.0 JSON Event Format, ``data`` being the resource's own bytes (never parsed and written
again). The file belongs to one node at a time; it may be renamed away at any moment (logrotate): the next
batch opens a new one.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import orjson

from node.errors import PublishUnavailable
from node.logs import get_logger
from node.model import Event
from node.publish.base import Outcome, Published
from node.publish.bindings import structured

_log = get_logger(__name__)

# How far back ``already_out`` looks. More than the relay ever hands over in one batch, which is all that can
# have been written without being marked.
_TAIL: Final = 64 * 1024 * 1024
_BLOCK: Final = 1024 * 1024

_LINE_FEED: Final = "the resource's bytes contain a line break, which NDJSON can't hold"


class _Cut(NamedTuple):
    """Where a file has to end, because an append behind it failed."""

    device: int
    inode: int
    end: int


class NdjsonPublisher:
    """Appends to ``path``, created 0600 because events hold patient data.

    File calls run in worker threads, one at a time.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._file: int | None = None
        self._owed: _Cut | None = None
        self._doubtful = False  # a sync at opening failed: the file's tail may be in memory only

    async def start(self) -> None:
        await asyncio.to_thread(self._start)

    async def already_out(self, events: Sequence[Event]) -> set[str]:
        return await asyncio.to_thread(self._already_out, {event.id for event in events})

    async def publish(self, events: Sequence[Event]) -> list[Outcome]:
        lines = [(event, structured(event)) for event in events]
        batch = b"".join(line for _, line in lines if line is not None)
        if batch:
            await asyncio.to_thread(self._append, batch)
        return [Outcome(event, _LINE_FEED if line is None else None) for event, line in lines]

    async def published(self) -> Mapping[str, Published]:
        """None: who makes the index anew reads the file itself, whichever sink is configured now."""
        return {}

    async def remembers(self) -> bool:
        return True

    async def remember(self, versions: Mapping[str, Published]) -> None:
        """Nothing: the lines are the memory."""

    def trouble(self) -> str | None:
        return None

    async def stop(self) -> None:
        await asyncio.to_thread(self._stop)

    def _start(self) -> None:
        with self._lock:
            self._opened()

    def _stop(self) -> None:
        with self._lock:
            self._close()

    def _append(self, batch: bytes) -> None:
        with self._lock:
            file = self._opened()
            try:
                end = os.fstat(file).st_size
            except OSError as error:
                self._close()
                raise self._unavailable(error) from error
            try:
                _write_all(file, batch)
                os.fdatasync(file)
            except OSError as error:
                self._take_back(file, end)
                raise self._unavailable(error) from error

    def _take_back(self, file: int, end: int) -> None:
        """Remove what a failed append left. The descriptor goes too: after a failed sync its pages may count
        as clean without being on disk, so nothing that is written through it later could be trusted.

        What can't be removed now is owed: the next ``_open`` does it first. Else the same events would be
        appended a second time behind it."""
        try:
            found = os.fstat(file)
            self._owed = _Cut(found.st_dev, found.st_ino, end)
            self._cut(file)
        except OSError as error:
            _log.warning("event_log_not_cut_back", path=str(self._path), error=str(error))
        self._close()

    def _cut(self, file: int) -> None:
        """Remove what a failed append has left in this file."""
        owed = self._owed
        found = os.fstat(file)
        if owed is not None and (owed.device, owed.inode) == (found.st_dev, found.st_ino):
            if found.st_size > owed.end:
                os.ftruncate(file, owed.end)
            os.fdatasync(file)
        self._owed = None

    def _opened(self) -> int:
        """The descriptor of the file that is at ``path`` now."""
        try:
            if self._file is not None and not self._renamed(self._file):
                return self._file
            self._close()
            self._file = self._open()
        except OSError as error:
            raise self._unavailable(error) from error
        return self._file

    def _renamed(self, file: int) -> bool:
        ours = os.fstat(file)
        try:
            there = os.stat(self._path)
        except FileNotFoundError:
            return True
        return (ours.st_dev, ours.st_ino) != (there.st_dev, there.st_ino)

    def _open(self) -> int:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # Cutting back a torn line would destroy what another writer is appending just now.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._cut(file)
            self._mend(file)
            # What a process wrote before it was killed is in the page cache only, until somebody syncs it.
            if self._doubtful:
                _write_again(self._path, os.fstat(file).st_size)
            self._doubtful = True
            os.fsync(file)
            _sync_folder(self._path.parent)
            self._doubtful = False
        except BlockingIOError as error:
            os.close(file)
            raise OSError(error.errno, "another process has it open for appending") from error
        except OSError:
            os.close(file)
            raise
        return file

    def _mend(self, file: int) -> None:
        """End or cut a last line that a crash left without its line feed."""
        size = os.fstat(file).st_size
        line = next(_lines_backwards(file, size), b"")
        if line.endswith(b"\n") or not line:
            return
        if _id_of(line) is not None:
            _write_all(file, b"\n")
            return
        if len(line) == size or os.pread(file, 1, size - len(line) - 1) == b"\n":
            os.ftruncate(file, size - len(line))
            _log.warning("event_log_torn_line_cut", path=str(self._path), bytes=len(line))
            return
        raise OSError(0, f"its last line is longer than {_TAIL} bytes: this is not an event log")

    def _already_out(self, ids: set[str]) -> set[str]:
        found: set[str] = set()
        with self._lock:
            file = self._opened()
            try:
                for line in _lines_backwards(file, os.fstat(file).st_size):
                    known = _id_of(line)
                    if known in ids:
                        found.add(known)
                    if len(found) == len(ids):
                        break
            except OSError as error:
                raise self._unavailable(error) from error
        return found

    def _close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            try:
                os.close(file)
            except OSError as error:  # what counts as out was synced before: nothing of it can be lost here
                _log.warning("event_log_not_closed", path=str(self._path), error=str(error))

    def _unavailable(self, error: OSError) -> PublishUnavailable:
        return PublishUnavailable(f"event log {self._path}: {error.strerror or error}")


def _id_of(line: bytes) -> str | None:
    """The id of a whole event; None for anything else."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    found = value.get("id") if isinstance(value, dict) else None
    return found if isinstance(found, str) else None


def _lines_backwards(file: int, size: int) -> Iterator[bytes]:
    """The file's lines from its end, each with its line feed if it has one, within the last ``_TAIL`` bytes.

    The first line is yielded cut where the bound falls into it, so a caller can tell it by its length.
    """
    position = size
    parts: list[bytes] = []  # of the line being collected, last part first
    while position > max(0, size - _TAIL):
        step = min(_BLOCK, position)
        position -= step
        pieces = os.pread(file, step, position).split(b"\n")
        for piece in reversed(pieces[1:]):
            line = piece + b"".join(reversed(parts))
            if line:
                yield line
            parts = [b"\n"]
        parts.append(pieces[0])
    rest = b"".join(reversed(parts))
    if rest:
        yield rest


def _write_all(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def _write_again(path: Path, size: int) -> None:
    """Make the tail's pages dirty: after a failed sync they count as clean, and a further one says nothing."""
    file = os.open(path, os.O_RDWR | os.O_CLOEXEC)  # not for appending: pwrite(2) ignores its offset then
    try:
        for start in range(max(0, size - _TAIL), size, _BLOCK):
            os.pwrite(file, os.pread(file, min(_BLOCK, size - start), start), start)
        os.fsync(file)
    finally:
        os.close(file)


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
