"""Objects as files: incoming/ until the index has them, then objects/{study}/{series}/{instance}.dcm.

Names in ``incoming`` are chosen here, never taken from a UID. Whether a file there is whole it tells itself
(objects.incoming).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from node.errors import StorageError
from node.model import ObjectKey
from node.objects import filemeta
from node.objects.incoming import IncomingFile

_PART: Final = ".part"  # of former versions of the node: an object that is not whole
_DICOM: Final = ".dcm"
_TOLD_SIZE: Final = re.compile(r"\+([0-9a-f]{1,16})$")  # of former versions: a file's size, in its name
_UID: Final = re.compile(r"[0-9.]{1,64}")


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

    def prepare(self) -> IncomingFile:
        """An empty file for an object that is expected. Raises ``StorageError``."""
        name = self.new_name()
        return IncomingFile(f"{self._prefix}{name}{_DICOM}", self._incoming_fd, name, self._durable)

    def begin(self, preamble: bytes) -> IncomingFile:
        """Open a new object whose file starts with ``preamble``. Raises ``StorageError``."""
        incoming = self.prepare()
        incoming.start(preamble)
        return incoming

    def new_name(self) -> str:
        """A name for incoming/ that no object has or had; names sort by when they were made."""
        return f"{time.time_ns():016x}{self._label}{next(self._numbers) & 0xFFFFFF:06x}"

    def waiting(self, label: str = "") -> Iterator[str]:
        """Names of objects not under their key yet, oldest first; what was not whole is removed.

        ``label``: only of that process, which must have ended; without it nothing may be writing here.
        """
        found = []
        with os.scandir(self._incoming) as entries:
            for entry in entries:
                if entry.name.endswith((_PART, _DICOM)) and (not label or f"-{label}-" in entry.name):
                    # A file may be made long before its object comes: its name does not tell when that was
                    found.append((entry.stat(follow_symlinks=False).st_mtime_ns, entry.name))
        for _, file in sorted(found):
            name = file.removesuffix(_DICOM)
            if file.endswith(_PART) or not self._was_finished(name):
                os.unlink(self._incoming / file)
            else:
                yield name

    def _was_finished(self, name: str) -> bool:
        try:
            return self._told_size(name) != 0
        except OSError:
            return True  # for all that is known: whoever reads it meets the same, and says so

    def is_whole(self, name: str) -> bool:
        """Whether an object that ``waiting`` named has the size that it tells; one that was put there by hand may
        tell none. It is synced: whoever was to do it may have died just before. Raises ``OSError``."""
        told = self._told_size(name)
        if told is None:
            return True
        with self.open_waiting(name) as file:
            if os.fstat(file.fileno()).st_size != told:
                return False
            if self._durable:
                os.fdatasync(file.fileno())
                os.fsync(self._incoming_fd)
        return True

    def _told_size(self, name: str) -> int | None:
        """The size that a file in incoming was whole with; 0 when it never was, None when it does not tell."""
        told = _TOLD_SIZE.search(name)
        if told is not None:
            return int(told[1], 16)
        with self.open_waiting(name) as file:
            return filemeta.told_size(file)

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
