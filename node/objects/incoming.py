"""One object while it arrives: a file that tells itself whether it is whole.

Its file meta information ends with the size of the file, and that is written when all else is, before the sync: one
commit of the file system's journal brings the bytes and the mark to the disk together. To rename the file instead
took 7 to 14 us an object, of those in which processes wait for each other. Until then the mark says 0. What a power
loss leaves of a file that was not synced does not have the size that its mark tells, so nothing can be taken for an
object but an object.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from collections.abc import Callable
from typing import Final

from node.errors import StorageError
from node.objects import filemeta
from node.objects.base import Buffers

_IOV_MAX: Final = os.sysconf("SC_IOV_MAX")
_WRITEBACK_BYTES: Final = 4_194_304
_HEAD_BYTES: Final = 16_384  # of a data set: what the header scan reads first, and mostly all it reads
_SYNC_FILE_RANGE_WRITE: Final = 2  # sync_file_range(2): start writing dirty pages, wait for nothing


def _find_sync_file_range() -> Callable[[int, int, int, int], int]:
    """Linux's call by way of the C library; where there is none writeback starts when the system likes."""
    try:
        found = ctypes.CDLL(None).sync_file_range
    except AttributeError:
        return lambda _fd, _start, _size, _flags: 0
    found.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return lambda fd, start, size, flags: int(found(fd, start, size, flags))


_sync_file_range: Final = _find_sync_file_range()


class IncomingFile:
    """One object while it arrives, as the file ``path``, which is made; ``start`` comes next."""

    def __init__(self, path: str, folder_fd: int, name: str, durable: bool) -> None:
        self.name = name
        self._folder_fd = folder_fd
        self._path = path
        self._durable = durable
        self._offset = 0
        self._preamble = b""  # goes out with the first of the data set: one call less an object
        self._head = b""  # what the data set begins with: to read it back from the file takes a call
        self._size = 0
        self._started = 0  # bytes of the data set whose writeback was started
        self._committed = False
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(f"create {path}: {error.strerror}") from error

    def start(self, preamble: bytes) -> None:
        """The file begins with ``preamble``, as ``filemeta.encode`` makes it."""
        self._preamble = preamble
        self._offset = len(preamble)

    @property
    def size(self) -> int:
        """Bytes of the data set so far."""
        return self._size

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
            raise StorageError(f"write {self._path}: {error.strerror}") from error

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of the data set just written; they come from the page cache, not from the disk."""
        if offset + size <= len(self._head) or self._size <= len(self._head):
            return self._head[offset : offset + size]
        try:
            return os.pread(self._fd, size, self._offset + offset)
        except OSError as error:
            raise StorageError(f"read {self._path}: {error.strerror}") from error

    def commit(self) -> None:
        """Mark the file as whole, fdatasync it, fsync the folder: after this it survives a power loss."""
        try:
            if self._preamble:  # an object without a data set
                self._write_preamble((), 0)
            mark = filemeta.mark(self._offset + self._size)
            if os.pwrite(self._fd, mark, self._offset - len(mark)) < len(mark):
                raise OSError(errno.EIO, "mark not written")
            if self._durable:
                os.fdatasync(self._fd)
                os.fsync(self._folder_fd)
        except OSError as error:
            # A failed sync says that the kernel may have dropped the pages: only a new object can help.
            self.discard()
            raise StorageError(f"sync {self._path}: {error.strerror}") from error
        except StorageError:
            self.discard()
            raise
        self._committed = True
        self._close()

    def discard(self) -> None:
        """Leave nothing behind; an object that was committed stays, whatever becomes of its association."""
        if self._committed:
            return
        self._close()
        with contextlib.suppress(OSError):  # gone, or the disk is beyond help: said by who discards
            os.unlink(self._path)

    def _close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            # Synced, or not wanted any more: there is nothing left to lose
            with contextlib.suppress(OSError):
                os.close(fd)
