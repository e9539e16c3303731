"""DICOM files and folders -> the rows that the index would hold of them, study by study.

Any file with a data set is taken: as the node stores them, with the file meta information of another program,
with neither preamble nor meta. Nothing is written anywhere.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import orjson

from node import extract, header
from node.errors import DataSetError
from node.model import HeaderSet, InstanceRow, ObjectKey, RawHeader
from node.services.send.sendable import NotSent, Sendable, scan

MAX_NAMED: Final = 20  # files that can't be read are named up to here, then only counted

_FOR_SENDING: Final = ": it can't be proposed to the peer"


class Unread(NamedTuple):
    """A file that is, or seems to be, DICOM, and why it is in no study; the reason holds no values."""

    path: Path
    reason: str


class _File(NamedTuple):
    """One instance: its attributes as JSON, which takes a fraction of the memory, and where it lies."""

    sop_class: str
    transfer_syntax: str
    header: int
    attributes: bytes
    path: str


class StudyFiles:
    """The files of one study, each instance once: the first that came, as ``objects.on_duplicate`` = keep."""

    def __init__(self, uid: str) -> None:
        self.uid = uid
        self.headers: list[HeaderSet] = []
        self._known: dict[tuple[str, bytes], int] = {}
        self._files: dict[tuple[str, str], _File] = {}

    def __len__(self) -> int:
        return len(self._files)

    def __contains__(self, key: ObjectKey) -> bool:
        return (key.series, key.instance) in self._files

    def add(self, key: ObjectKey, sop_class: str, raw: RawHeader, found: Sendable) -> None:
        """Take an instance in."""
        digest = (key.series, extract.digest(raw))
        if digest not in self._known:
            self._known[digest] = len(self.headers)
            # Through JSON, as the index has it.
            shared = orjson.loads(orjson.dumps(extract.shared(raw)))
            self.headers.append(HeaderSet(len(self.headers), key.series, shared))
        self._files[key.series, key.instance] = _File(
            sop_class,
            found.transfer_syntax,
            self._known[digest],
            bytes(memoryview(orjson.dumps(extract.own(raw)))),  # orjson's own keeps a buffer of 4 KB
            str(found.path),
        )

    def rows(self) -> list[InstanceRow]:
        """The instances as the index would hold them; nobody sent them, so no peer's settings apply."""
        return [
            InstanceRow(
                series,
                uid,
                file.sop_class,
                file.transfer_syntax,
                file.header,
                orjson.loads(file.attributes),
                calling_ae="",
            )
            for (series, uid), file in self._files.items()
        ]

    def open(self, key: ObjectKey) -> BinaryIO:
        """Raises ``FileNotFoundError``."""
        file = self._files.get((key.series, key.instance))
        if file is None:
            raise FileNotFoundError(f"no file of instance {key.instance}")
        return Path(file.path).open("rb")

    def instances(self) -> list[ObjectKey]:
        return [ObjectKey(self.uid, series, instance) for series, instance in self._files]


@dataclass(slots=True)
class Gathered:
    """What lies under the paths. ``passed_over`` counts by kind, ``unread`` are the first that can't be read
    (``unread_count`` all of them), ``repeated`` counts files of an instance that another file was taken for."""

    studies: dict[str, StudyFiles] = field(default_factory=dict)
    passed_over: Counter[str] = field(default_factory=Counter)
    unread: list[Unread] = field(default_factory=list)
    unread_count: int = 0
    repeated: int = 0

    def open(self, key: ObjectKey) -> BinaryIO:
        """The file of an instance. Raises ``FileNotFoundError``."""
        if key.study not in self.studies:
            raise FileNotFoundError(f"no file of study {key.study}")
        return self.studies[key.study].open(key)

    def locate(self, instances: Sequence[str]) -> Mapping[str, tuple[str, str]]:
        """SOP Instance UIDs -> (Study, Series Instance UID) of those that are here."""
        wanted = set(instances)
        keys = (key for study in self.studies.values() for key in study.instances())
        return {key.instance: (key.study, key.series) for key in keys if key.instance in wanted}

    def fail(self, path: Path, reason: str) -> None:
        self.unread_count += 1
        if len(self.unread) < MAX_NAMED:
            self.unread.append(Unread(path, reason))


def gather(paths: Sequence[Path], study: str, progress: Callable[[int, int], None]) -> Gathered:
    """The files under ``paths`` (folders with all below them), only of ``study`` unless it is empty.

    ``progress`` is told how many files have been looked at, and of how many. Never raises for a file.
    """
    gathered = Gathered()
    total = sum(map(_count, paths))
    for done, item in enumerate(scan(paths), 1):
        if isinstance(item, NotSent):
            if item.skipped:
                gathered.passed_over[item.skipped] += 1
            else:
                gathered.fail(item.path, item.reason.removesuffix(_FOR_SENDING))
        else:
            _take(gathered, item, study)
        progress(done, max(done, total))
    return gathered


def _count(path: Path) -> int:
    return sum(len(names) for _, _, names in os.walk(path)) if path.is_dir() else 1


def _take(gathered: Gathered, item: Sendable, wanted: str) -> None:
    try:
        with item.path.open("rb") as file:
            raw = header.scan(_reader(file, item.offset), item.transfer_syntax)
        key, sop_class = header.identify(raw)
    except DataSetError as error:
        gathered.fail(item.path, str(error))
        return
    except OSError as error:
        gathered.fail(item.path, f"file can't be read: {error.strerror}")
        return
    if wanted and key.study != wanted:
        gathered.passed_over["of other studies"] += 1
        return
    of = gathered.studies.setdefault(key.study, StudyFiles(key.study))
    if key in of:
        gathered.repeated += 1
    else:
        of.add(key, sop_class, raw, item)


def _reader(file: BinaryIO, start: int) -> header.Read:
    return lambda offset, size: os.pread(file.fileno(), size, start + offset)
