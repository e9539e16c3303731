"""Fills a study with what its stored files contain: documents, and the imaging settings of its series."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import BinaryIO, Final, NamedTuple, cast

from node.content import Kind, Settings, document_kind
from node.content.kinds import WITH_PIXELS
from node.contents.evidence import complete
from node.contents.reader import ContentReader
from node.documents import Content, Document, Need, Report
from node.errors import ContentTooSlow, ContentUnreadable
from node.model import Finding, Instance, ObjectKey, Series, Study
from node.objects.base import ObjectReader

# SOP Instance UIDs -> (Study, Series Instance UID) of those that the node has.
Locate = Callable[[Sequence[str]], Mapping[str, tuple[str, str]]]

STUDY_SECONDS: Final = 60.0
MAX_DOCUMENTS: Final = 1000
MAX_COORDINATES: Final = 4_000_000  # of all regions of a study
MAX_REMEMBERED: Final = 1000

_UNREADABLE: Final = "document-unreadable"
_SETTINGS_UNREADABLE: Final = "settings-unreadable"
_OVER_LIMIT: Final = "documents-over-limit"


def slow(sop_classes: frozenset[str], needs: frozenset[Need]) -> bool:
    """``Contents.fill`` would read files of a study with these SOP classes."""
    return any(_wanted(sop_class, needs) or _may_be_image(sop_class, needs) for sop_class in sop_classes)


def _may_be_image(sop_class: str, needs: frozenset[Need]) -> bool:
    kind = document_kind(sop_class)
    return "settings" in needs and (kind is None or kind in WITH_PIXELS)


def _wanted(sop_class: str, needs: frozenset[Need]) -> Kind | None:
    """The kind of document to read of an instance, if any."""
    kind = document_kind(sop_class)
    if "documents" in needs or ("rejections" in needs and kind == "key-objects"):
        return kind
    return None


class _OverLimit(Exception):
    """The study's share of time or size is used up."""


class Contents:
    """Safe from any thread. Keeps nothing of what it read, only which files took too long to be read."""

    def __init__(
        self,
        objects: ObjectReader,
        reader: ContentReader,
        locate: Locate | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``locate`` finds referenced instances that a document's evidence does not list."""
        self._objects = objects
        self._reader = reader
        self._locate = locate or (lambda _instances: {})
        self._monotonic = monotonic
        self._too_slow = _Remembered(MAX_REMEMBERED)

    def fill(self, study: Study, needs: frozenset[Need]) -> Study:
        """``study`` with ``documents`` and its series' ``settings``, as far as ``needs`` asks for them.

        What can't be read is a ``Document`` without content (settings: an empty mapping) and a finding. Raises
        ``StorageError`` or OSError when the store fails, ``ContentReaderUnavailable``, what ``locate`` raises:
        nothing is known then of what the files hold.
        """
        run = _Run(study.uid, self._read, self._reader.seconds, self._monotonic)
        series = study.series
        if "settings" in needs:
            series = tuple(run.with_settings(one) for one in series)
        documents = study.documents
        if "documents" in needs or "rejections" in needs:
            read = [
                run.document(one, instance, kind)
                for one in series
                for instance in one.instances
                if (kind := _wanted(instance.sop_class, needs))
            ]
            documents = complete(read, study, self._locate)
        return replace(study, series=series, documents=documents, findings=(*study.findings, *run.findings()))

    def _read(self, key: ObjectKey, kind: Kind, seconds: float) -> Content | Settings:
        """Raises as ``ContentReader.read``, FileNotFoundError, StorageError."""
        version: _Version | None = None

        def open_file() -> BinaryIO:
            nonlocal version
            file = self._objects.open(key)
            status = os.fstat(file.fileno())
            version = _Version(key, status.st_size, status.st_mtime_ns)
            if version in self._too_slow:
                file.close()
                raise ContentTooSlow(self._reader.seconds)
            return file

        try:
            return self._reader.read(open_file, kind, seconds)
        except ContentTooSlow:
            # With less time than others have, it is the study that took too long.
            if seconds >= self._reader.seconds and version is not None:
                self._too_slow.add(version)
            raise


class _Version(NamedTuple):
    """A file as it was when reading it took too long."""

    key: ObjectKey
    size: int
    modified: int


class _Remembered:
    """The last ``most`` values added."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._values: OrderedDict[_Version, None] = OrderedDict()

    def __contains__(self, value: _Version) -> bool:
        with self._lock:
            return value in self._values

    def add(self, value: _Version) -> None:
        with self._lock:
            self._values[value] = None
            while len(self._values) > self._most:
                self._values.popitem(last=False)


class _Run:
    """One study being filled: what is left of its time and size, and what was found amiss."""

    def __init__(
        self,
        study: str,
        read: Callable[[ObjectKey, Kind, float], Content | Settings],
        seconds: float,
        monotonic: Callable[[], float],
    ) -> None:
        self._study = study
        self._read = read
        self._seconds = seconds
        self._monotonic = monotonic
        self._end = monotonic() + STUDY_SECONDS
        self._documents_left = MAX_DOCUMENTS
        self._coordinates_left = MAX_COORDINATES
        self._amiss: dict[tuple[str, str], int] = {}

    def findings(self) -> Iterator[Finding]:
        """One for each object that can't be read, and for each series with documents over the limit."""
        for (rule, uid), instances in self._amiss.items():
            yield Finding(rule, "SOPInstanceUID", uid, instances)

    def with_settings(self, series: Series) -> Series:
        """Settings of the representative instance; an empty mapping when there are none to be had."""
        if not series.representative or series.settings is not None:
            return replace(series, settings=series.settings or {})
        key = ObjectKey(self._study, series.uid, series.representative)
        try:
            settings = cast(Settings, self._bounded(key, "settings"))
        except (ContentUnreadable, FileNotFoundError, _OverLimit):
            self._count(_SETTINGS_UNREADABLE, series.representative)
            settings = {}
        return replace(series, settings=settings)

    def document(self, series: Series, instance: Instance, kind: Kind) -> Document:
        """What one instance contains, or why nothing is known of it."""
        content, unread = None, ""
        try:
            content = self._content(ObjectKey(self._study, series.uid, instance.uid), kind)
        except _OverLimit as error:
            unread = str(error)
            self._count(_OVER_LIMIT, series.uid)
        except (ContentUnreadable, FileNotFoundError) as error:
            unread = str(error) if isinstance(error, ContentUnreadable) else "its file is not there"
            self._count(_UNREADABLE, instance.uid)
        return Document(instance.uid, instance.sop_class, series.uid, content, unread)

    def _content(self, key: ObjectKey, kind: Kind) -> Content:
        if not self._documents_left:
            raise _OverLimit(f"the study has more than {MAX_DOCUMENTS} documents")
        self._documents_left -= 1
        if self._coordinates_left < 0:
            raise _OverLimit(f"the study's regions have more than {MAX_COORDINATES} values")
        content = cast(Content, self._bounded(key, kind))
        self._coordinates_left -= _coordinates(content)
        return content

    def _bounded(self, key: ObjectKey, kind: Kind) -> Content | Settings:
        left = self._end - self._monotonic()
        if left > 0:
            try:
                return self._read(key, kind, min(self._seconds, left))
            except ContentTooSlow:
                if left >= self._seconds:
                    raise
        raise _OverLimit(f"reading the study's documents took more than {STUDY_SECONDS:g} s")

    def _count(self, rule: str, uid: str) -> None:
        self._amiss[rule, uid] = self._amiss.get((rule, uid), 0) + 1


def _coordinates(content: Content) -> int:
    if not isinstance(content, Report):
        return 0
    regions = (item.region for group in content.groups for item in group.items)
    return sum(region.weight for region in regions if region is not None)
