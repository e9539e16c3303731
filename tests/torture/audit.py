"""What must hold after each start, and what at the end. Every violation is a line of text."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind  # type: ignore[attr-defined]

from node.errors import DataSetError
from node.objects import filemeta
from tests.harness import Address
from tests.scenarios.sender import associated
from tests.studies import EXPLICIT
from tests.torture.supply import Book, digest


@dataclass
class Kept:
    """What lies in objects/ and quarantine/: each file is read once, as files never change there."""

    data_dir: Path
    stored: dict[str, bytes] = field(default_factory=dict)  # SOP Instance UID -> digest
    aside: dict[str, set[bytes]] = field(default_factory=lambda: defaultdict(set))
    _read: dict[tuple[str, int], tuple[str, bytes]] = field(default_factory=dict)

    def look(self) -> Iterator[str]:
        """Read what is new. Yields what is no object."""
        self.stored.clear()
        self.aside.clear()
        for folder in ("objects", "quarantine"):
            for path in (self.data_dir / folder).rglob("*"):
                if path.is_dir():
                    continue
                try:
                    uid, found = self._identify(path)
                except (DataSetError, OSError) as error:
                    yield f"{path} is no whole object: {error}"
                    continue
                if folder == "quarantine":
                    self.aside[uid].add(found)
                elif path.stem != uid or path.suffix != ".dcm" or uid in self.stored:
                    yield f"{path} holds {uid}, or another file does too"
                else:
                    self.stored[uid] = found

    def _identify(self, path: Path) -> tuple[str, bytes]:
        key = str(path), path.stat().st_ino
        if key not in self._read:
            with path.open("rb") as file:
                meta = filemeta.read(file)
                if meta.transfer_syntax != EXPLICIT:
                    raise DataSetError(f"its transfer syntax is {meta.transfer_syntax}")
                self._read[key] = meta.sop_instance, digest(file.read())
        return self._read[key]


def rows(data_dir: Path, query: str) -> list[tuple[Any, ...]]:
    """From the index, beside the node that runs or not."""
    connection = sqlite3.connect(f"file:{data_dir / 'index.db'}?mode=ro", uri=True, timeout=30)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def after_start(data_dir: Path, book: Book, kept: Kept) -> Iterator[str]:
    """Nobody sends yet: store and index hold what was acknowledged, whole, and nothing else is left."""
    for path in (data_dir / "incoming").iterdir():
        yield f"{path.name} is left in incoming after the start"
    yield from kept.look()
    yield from _store_agrees(book, kept)
    indexed = Counter(uid for (uid,) in rows(data_dir, "SELECT uid FROM instance"))
    for uid, times in indexed.items():
        if times > 1:
            yield f"{uid} is indexed {times} times"
    for uid in kept.stored.keys() ^ indexed.keys():
        yield f"{uid} is {'stored, not indexed' if uid in kept.stored else 'indexed, not stored'}"
    counted = dict(rows(data_dir, "SELECT uid, instances FROM study"))
    by_study = Counter(book.study_of.get(uid, "?") for uid in kept.stored)
    if counted != by_study:
        yield f"studies count {counted}, the store has {dict(by_study)}"


def _store_agrees(book: Book, kept: Kept) -> Iterator[str]:
    for uid, found in book.acknowledged:
        if uid not in kept.stored:
            yield f"{uid} was acknowledged and is not stored"
        elif kept.stored[uid] != found and found not in kept.aside[uid]:
            yield f"{uid} was acknowledged with bytes that are neither stored nor in quarantine"
    failed = book.refused - book.acknowledged - book.unknown
    for uid, found in kept.stored.items():
        if found not in book.offered[uid]:
            yield f"{uid} is stored with bytes that nobody sent"
        if (uid, found) in failed:
            yield f"{uid} is stored, and was answered with a failure"
    for uid, several in kept.aside.items():
        if several - book.offered[uid]:
            yield f"{uid} is in quarantine with bytes that nobody sent"


def found_by_query(node: Address, book: Book, kept: Kept, studies: Collection[str]) -> Iterator[str]:
    """C-FIND at the level IMAGE gives every stored object of these studies."""
    stored = {uid for uid in kept.stored if book.study_of[uid] in studies}
    found: set[str] = set()
    with associated(node, sop_class=StudyRootQueryRetrieveInformationModelFind) as association:
        for series in sorted({uid.rsplit(".", 1)[0] for uid in stored}):
            query = Dataset()
            query.QueryRetrieveLevel, query.SOPInstanceUID = "IMAGE", ""
            query.StudyInstanceUID, query.SeriesInstanceUID = series.rsplit(".", 1)[0], series
            answers = association.send_c_find(query, StudyRootQueryRetrieveInformationModelFind)
            found |= {str(match.SOPInstanceUID) for _, match in answers if match is not None}
    for uid in stored ^ found:
        yield f"{uid} is {'stored, not found by C-FIND' if uid in stored else 'found, not stored'}"


@dataclass
class Published:
    """The event log, against the index: counts, and what is wrong."""

    expected: int = 0
    published: int = 0
    gaps: int = 0
    duplicates: int = 0
    problems: list[str] = field(default_factory=list)


def published(data_dir: Path) -> Published:
    """Every version of every study once, in order, the last with all of its instances."""
    found = Published()
    lines = (data_dir / "events.ndjson").read_bytes().split(b"\n")
    if lines.pop():
        found.problems.append("the event log ends inside a line")
    events = [json.loads(line) for line in lines]
    ids = Counter(event["id"] for event in events)
    found.published = len(ids)
    found.duplicates = sum(ids.values()) - len(ids)
    found.problems += [
        f"event {name} is in the log {times} times" for name, times in ids.items() if times > 1
    ]
    by_study: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        by_study[event["subject"]].append(event)
    for uid, version, instances in rows(data_dir, "SELECT uid, version, instances FROM study"):
        found.expected += version
        of_study = by_study.pop(uid, [])
        versions = [event["studyversion"] for event in of_study]
        if versions != list(range(1, version + 1)):
            found.gaps += len(set(range(1, version + 1)) - set(versions))
            found.problems.append(f"study {uid} has version {version}, published were {versions}")
        elif of_study[-1]["instances"] != instances:
            found.problems.append(
                f"{of_study[-1]['id']} tells of {of_study[-1]['instances']}, not {instances}"
            )
        elif sum(event["added"] for event in of_study) != instances:
            found.problems.append(f"study {uid} has {instances} instances, events added another number")
    found.problems += [f"events of {uid}, which the index does not know" for uid in by_study]
    return found
