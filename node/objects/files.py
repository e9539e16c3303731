"""Objects as files: incoming/ until the index has them, then objects/{study}/{series}/{instance}.dcm.

Names in ``incoming`` are chosen here, never taken from a UID. A file is called ``.part`` until it is whole. Then its
size becomes part of its name, and only then it is synced: one commit of the file system's journal brings bytes and
name to the disk together, where a rename behind the sync would take a second. What a power loss leaves of a file
that was not synced does not have the size that its name tells, so nothing can be taken for an object but an object.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from node.errors import StorageError
from node.model import ObjectKey
from node.objects import filemeta
from node.objects.base import Buffers

_PART: Final = ".part"
_DICOM: Final = ".dcm"
_TOLD_SIZE: Final = re.compile(r"\+([0-9a-f]{1,16})$")  # in a name in incoming: the size of the file
_IOV_MAX: Final = os.sysconf("SC_IOV_MAX")
_WRITEBACK_BYTES: Final = 4_194_304
_HEAD_BYTES: Final = 16_384  # of a data set: what the header scan reads first, and mostly all it reads
_SYNC_FILE_RANGE_WRITE: Final = 2  # sync_file_range(2): start writing dirty pages, wait for nothing
_UID: Final = re.compile(r"[0-9.]{1,64}")


def _find_sync_file_range() -> Callable[[int, int, int, int], int]:
    """Linux's call by way of the C library; where there is none writeback starts when the system likes."""
    try:
        found = ctypes.CDLL(None).sync_file_range
    except AttributeError:
        return lambda _fd, _start, _size, _flags: 0
    found.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return lambda fd, start, size, flags: int(found(fd, start, size, flags))


_sync_file_range: Final = _find_sync_file_range()


class FileObjects:
    """An object store on one local file system.

    ``root`` holds the objects under their keys; ``incoming`` and ``quarantine`` must lie on the same file
    system, because objects move by rename. With ``durable`` off nothing is synced. ``label`` (letters and
    digits) marks the incoming objects of one of several processes that write here.
    """

    def __init__(self, root: Path, incoming: Path, quarantine: Path, durable: bool, label: str = "") -> None:
        self._root = root
        self._incoming = incoming
        self._quarantine = quarantine
        self._durable = durable
        self._numbers = itertools.count()
        self._label = f"-{label}-" if label else "-"
        for folder in (root, incoming, quarantine):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._incoming_fd = os.open(incoming, os.O_RDONLY | os.O_DIRECTORY)
        # Joining paths by pathlib took a tenth of a small object's time
        self._prefix, self._root_prefix = f"{incoming}/", f"{root}/"

    def begin(self, preamble: bytes) -> IncomingFile:
        """Open a new object whose file starts with ``preamble``. Raises ``StorageError``."""
        name = self.new_name()
        return IncomingFile(self._prefix + name, self._incoming_fd, name, preamble, self._durable)

    def new_name(self) -> str:
        """A name for incoming/ that no object has or had; names sort by when they were made."""
        return f"{time.time_ns():016x}{self._label}{next(self._numbers) & 0xFFFFFF:06x}"

    def waiting(self, label: str = "") -> Iterator[str]:
        """Names of objects not under their key yet, oldest first; what never got a name is removed.

        ``label``: only of that process, which must have ended; without it nothing may be writing here.
        """
        for name in sorted(os.listdir(self._incoming)):
            if label and f"-{label}-" not in name:
                continue
            path = self._incoming / name
            if name.endswith(_PART):
                path.unlink()
            elif name.endswith(_DICOM):
                yield name.removesuffix(_DICOM)

    def is_whole(self, name: str) -> bool:
        """Whether an object that ``waiting`` named has the size that its name tells; one that came from quarantine
        tells none. It is synced: whoever was to do it may have died just before. Raises ``OSError``."""
        told = _TOLD_SIZE.search(name)
        if told is None:
            return True
        with self.open_waiting(name) as file:
            if os.fstat(file.fileno()).st_size != int(told[1], 16):
                return False
            if self._durable:
                os.fdatasync(file.fileno())
                os.fsync(self._incoming_fd)
        return True

    def path(self, key: ObjectKey) -> Path:
        """Where an object lies. Its UIDs are digits and dots (header.identify): no path can leave the root."""
        return self._root / key.study / key.series / (key.instance + _DICOM)

    def waiting_path(self, name: str) -> Path:
        """Where an incoming object lies."""
        return self._incoming / (name + _DICOM)

    def adopt(self, name: str, key: ObjectKey) -> None:
        """Move an incoming object under its key; harmless when it was moved before."""
        target = f"{self._root_prefix}{key.study}/{key.series}/{key.instance}{_DICOM}"
        try:
            self._move(f"{self._prefix}{name}{_DICOM}", target)
        except FileNotFoundError:
            if not os.path.exists(target):
                raise StorageError(f"object {name} is neither in incoming nor at {target}") from None

    def quarantine(self, name: str, reason: str) -> str:
        """Move an incoming object aside, into a folder named for the reason; returns its name there."""
        moved = f"{reason}/{name}{_DICOM}"
        with contextlib.suppress(FileNotFoundError):  # moved before a crash
            self._move(self.waiting_path(name), self._quarantine / moved)
        return moved

    def quarantine_stored(self, key: ObjectKey, reason: str, name: str) -> str:
        """Move a stored object aside (another takes its place); returns its name there."""
        moved = f"{reason}/{name}{_DICOM}"
        with contextlib.suppress(FileNotFoundError):  # moved before a crash
            self._move(self.path(key), self._quarantine / moved)
        return moved

    def quarantined(self) -> Iterator[str]:
        """Names of the objects in quarantine, each ``reason/name.dcm``."""
        for folder in sorted(path for path in self._quarantine.iterdir() if path.is_dir()):
            yield from sorted(f"{folder.name}/{path.name}" for path in folder.glob(f"*{_DICOM}"))

    def open_quarantined(self, file: str) -> BinaryIO:
        """Read an object in quarantine by its name there; raises ``FileNotFoundError``."""
        return (self._quarantine / file).open("rb")

    def is_quarantined(self, file: str) -> bool:
        """An object lies in quarantine under this name."""
        return (self._quarantine / file).exists()

    def is_waiting(self, name: str) -> bool:
        """An object lies in incoming under this name."""
        return self.waiting_path(name).exists()

    def retake(self, file: str, name: str) -> None:
        """Move an object from quarantine into incoming as ``name``; harmless when it was moved before."""
        target = self.waiting_path(name)
        try:
            self._move(self._quarantine / file, target)
        except FileNotFoundError:
            if not target.exists():
                raise StorageError(f"object {file} is not in quarantine") from None

    def delete_quarantined(self, file: str) -> None:
        """Delete an object in quarantine; harmless when it is gone. Raises ``StorageError``."""
        path = self._quarantine / file
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"delete {path}: {error.strerror}") from error

    def _move(self, source: Path | str, target: Path | str) -> None:
        try:
            try:
                os.rename(source, target)
            except FileNotFoundError:
                Path(target).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                os.rename(source, target)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StorageError(f"move {source} to {target}: {error.strerror}") from error

    def open_waiting(self, name: str) -> BinaryIO:
        return self.waiting_path(name).open("rb")

    def open(self, key: ObjectKey) -> BinaryIO:
        return self.path(key).open("rb")

    def keys(self) -> Iterator[ObjectKey]:
        """Every stored object, in the order of the folders. What is not named by a UID is not the node's."""
        for study in _uids(self._root):
            for series in _uids(self._root / study):
                for instance in _uids(self._root / study / series, _DICOM):
                    yield ObjectKey(study, series, instance)

    def is_empty(self) -> bool:
        """No object lies under a key."""
        return next(self.keys(), None) is None

    def drop_waiting(self, name: str) -> None:
        """Delete an incoming object that is the same bytes again."""
        self.waiting_path(name).unlink(missing_ok=True)

    def delete(self, key: ObjectKey) -> None:
        """Delete an object, and the folders that it leaves empty; harmless when it is gone. Raises
        ``StorageError``."""
        path = self.path(key)
        try:
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # others are in there, or it went with the last one
                path.parent.rmdir()
                path.parent.parent.rmdir()
        except OSError as error:
            raise StorageError(f"delete {path}: {error.strerror}") from error

    def same_bytes(self, name: str, key: ObjectKey) -> bool | None:
        """Whether an incoming object has the data set that is stored under ``key``; None when none is there."""
        try:
            stored = self.open(key)
        except FileNotFoundError:
            return None
        with stored:
            try:
                incoming = self.open_waiting(name)
            except FileNotFoundError:
                return True  # dropped as the same bytes before
            with incoming:
                return filemeta.same_data_set(stored, incoming)

    def free_bytes(self) -> int:
        """Bytes that a user without privileges can still write. Raises ``StorageError``."""
        try:
            stat = os.statvfs(self._incoming)
        except OSError as error:
            raise StorageError(f"free space of {self._incoming}: {error.strerror}") from error
        return stat.f_bavail * stat.f_frsize

    def total_bytes(self) -> int:
        """Size of the file system that the objects are on. Raises ``StorageError``."""
        try:
            stat = os.statvfs(self._incoming)
        except OSError as error:
            raise StorageError(f"size of {self._incoming}: {error.strerror}") from error
        return stat.f_blocks * stat.f_frsize

    def close(self) -> None:
        os.close(self._incoming_fd)


def _uids(folder: Path, suffix: str = "") -> list[str]:
    """The UIDs that name files (with a ``suffix``) or folders (without) in ``folder``, sorted."""
    with os.scandir(folder) as entries:
        names = [entry.name.removesuffix(suffix) for entry in entries if _is_named_by_uid(entry, suffix)]
    return sorted(names)


def _is_named_by_uid(entry: os.DirEntry[str], suffix: str) -> bool:
    if not entry.name.endswith(suffix) or not _UID.fullmatch(entry.name.removesuffix(suffix)):
        return False
    return entry.is_file() if suffix else entry.is_dir()


class IncomingFile:
    """One object while it arrives, as ``incoming/BEGINNING.part``."""

    def __init__(self, path: str, folder_fd: int, name: str, preamble: bytes, durable: bool) -> None:
        self._beginning = name
        self._folder_fd = folder_fd
        self._path = path
        self._part = path + _PART
        self._durable = durable
        self._offset = len(preamble)
        self._preamble = preamble  # goes out with the first of the data set: one call less an object
        self._head = b""  # what the data set begins with: to read it back from the file takes a call
        self._size = 0
        self._started = 0  # bytes of the data set whose writeback was started
        self._committed = False
        try:
            self._fd = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(f"create {self._part}: {error.strerror}") from error

    @property
    def size(self) -> int:
        """Bytes of the data set so far."""
        return self._size

    @property
    def name(self) -> str:
        """Its name if this was all of it."""
        return self._beginning + self._told_size

    @property
    def _told_size(self) -> str:
        return f"+{self._offset + self._size:x}"

    def write(self, fragments: Buffers) -> None:
        """Append fragments; many small ones go out in one call."""
        most = _IOV_MAX - 1  # and the preamble
        for start in range(0, len(fragments), most):
            part = fragments[start : start + most] if len(fragments) > most else fragments
            size = sum(map(len, part))
            if len(self._head) < _HEAD_BYTES:
                self._keep_head(part)
            if self._preamble:
                self._write_preamble(part, size)
            else:
                self._write(part, size)
            self._size += size
        if self._durable and self._size - self._started >= _WRITEBACK_BYTES:
            self._start_writeback()

    def _keep_head(self, fragments: Buffers) -> None:
        for fragment in fragments:
            self._head += fragment[: _HEAD_BYTES - len(self._head)]

    def _write_preamble(self, fragments: Buffers, size: int) -> None:
        """... and what follows it, if that is known."""
        preamble, self._preamble = self._preamble, b""
        self._write([preamble, *fragments], len(preamble) + size)

    def _start_writeback(self) -> None:
        """Let the disk work while the rest arrives. Its errors are told by the sync at the end."""
        start = self._offset + self._started
        _sync_file_range(self._fd, start, self._size - self._started, _SYNC_FILE_RANGE_WRITE)
        self._started = self._size

    def _write(self, fragments: Buffers, size: int) -> None:
        try:
            written = os.writev(self._fd, fragments)
            if written < size:  # a signal, or the disk is nearly full: the next write tells which
                rest = memoryview(b"".join(fragments))[written:]
                while rest:
                    rest = rest[os.write(self._fd, rest) :]
        except OSError as error:
            raise StorageError(f"write {self._part}: {error.strerror}") from error

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of the data set just written; they come from the page cache, not from the disk."""
        if offset + size <= len(self._head) or self._size <= len(self._head):
            return self._head[offset : offset + size]
        try:
            return os.pread(self._fd, size, self._offset + offset)
        except OSError as error:
            raise StorageError(f"read {self._part}: {error.strerror}") from error

    def commit(self) -> None:
        """Name the file, fdatasync it, fsync the folder: after this it survives a power loss."""
        try:
            if self._preamble:  # an object without a data set
                self._write_preamble((), 0)
            os.rename(self._part, self._final)
            if self._durable:
                os.fdatasync(self._fd)
                os.fsync(self._folder_fd)
        except OSError as error:
            # A failed sync says that the kernel may have dropped the pages: only a new object can help.
            self.discard()
            raise StorageError(f"sync {self._final}: {error.strerror}") from error
        except StorageError:
            self.discard()
            raise
        self._committed = True
        self._close()

    @property
    def _final(self) -> str:
        return f"{self._path}{self._told_size}{_DICOM}"

    def discard(self) -> None:
        """Leave nothing behind; an object that was committed stays, whatever becomes of its association."""
        if self._committed:
            return
        self._close()
        for path in (self._part, self._final):
            with contextlib.suppress(OSError):  # never made, or the disk is beyond help: said by who discards
                os.unlink(path)

    def _close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            # Synced, or not wanted any more: there is nothing left to lose
            with contextlib.suppress(OSError):
                os.close(fd)
