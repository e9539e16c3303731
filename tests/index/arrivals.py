"""Objects that arrive at an index writer: real files in a real store, a clock that a test moves by hand."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from node import header
from node.completion import CompletionRules
from node.errors import NodeError
from node.index.engine import Engine
from node.index.intake import Intake, IntakeRules, OnDuplicate
from node.index.studies import Studies
from node.index.writer import IndexWriter
from node.model import Received, Rejection
from node.objects import filemeta
from node.objects.files import FileObjects
from node.peers import Peer, Peers
from tests.studies import EXPLICIT, encoded

WALL_AHEAD = 3600.0  # wall clock minus steady clock: who mixes them up is found out


class HandTime:
    """``node.timing.Time`` that stands until it is moved."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.at = now

    def now(self) -> float:
        return self.at

    def wall(self) -> float:
        return self.at + WALL_AHEAD


@dataclass
class Seen:
    """What the writer reported."""

    duplicates: list[str] = field(default_factory=list)
    lates: list[tuple[str, int]] = field(default_factory=list)
    quarantines: list[str] = field(default_factory=list)
    set_aside: list[tuple[str, str, str]] = field(default_factory=list)  # study, file, calling AE title
    index_failures: list[str] = field(default_factory=list)
    object_failures: list[tuple[str, BaseException]] = field(default_factory=list)
    recoveries: int = 0
    failed_once: threading.Event = field(default_factory=threading.Event)

    def duplicate(self, kind: str) -> None:
        self.duplicates.append(kind)

    def late(self, calling_ae: str, count: int) -> None:
        self.lates.append((calling_ae, count))

    def quarantined(self, reason: str, study: str, file: str, calling_ae: str) -> None:
        self.quarantines.append(reason)
        self.set_aside.append((study, file, calling_ae))

    def index_failed(self, error: NodeError, waiting: int) -> None:
        self.index_failures.append(str(error))
        self.failed_once.set()

    def index_recovered(self) -> None:
        self.recoveries += 1

    def object_failed(self, name: str, error: BaseException) -> None:
        self.object_failures.append((name, error))


class Arrivals:
    """A store, an index and its writer under ``folder``; ``deliver`` is what C-STORE does, then the index."""

    def __init__(
        self,
        folder: Path,
        on_duplicate: OnDuplicate = "keep",
        rules: CompletionRules | None = None,
        quarantine_conflicts: bool = True,
        changed: Callable[[], None] = lambda: None,
        durable: bool = False,
    ) -> None:
        self.folder = folder
        self.time = HandTime()
        self.seen = Seen()
        self.objects = FileObjects(folder / "objects", folder / "incoming", folder / "quarantine", durable)
        self.engine = Engine(f"sqlite:///{folder / 'index.db'}", "OFF")
        self.engine.create()
        self.studies = Studies(self.engine)
        self.rules = IntakeRules(
            completion=rules or CompletionRules(60, 7200),
            peers=Peers([Peer("US*", timezone="Europe/Paris", charset="ISO_IR 100")], ("store",)),
            on_duplicate=on_duplicate,
            quarantine_conflicts=quarantine_conflicts,
        )
        self.intake = Intake(self.rules, self.same_bytes)
        self.changed = changed
        self.writer = self.new_writer()

    def new_writer(self) -> IndexWriter:
        return IndexWriter(
            self.engine, self.intake, self.objects, self.time, self.seen, lambda: self.changed()
        )

    def same_bytes(self, received: Received) -> bool | None:
        return self.objects.same_bytes(received.name, received.key) if received.name else True

    def land(self, dataset: Dataset, calling_ae: str = "CT1", called_ae: str = "NODE") -> Received:
        """The object is durable in ``incoming`` and was answered; the index does not know it."""
        meta = filemeta.FileMeta(
            str(dataset.SOPClassUID), str(dataset.SOPInstanceUID), EXPLICIT, calling_ae, called_ae
        )
        incoming = self.objects.begin(filemeta.encode(meta, "1.2.3", "TEST"))
        incoming.write([encoded(dataset)])
        raw = header.scan(incoming.read, EXPLICIT)
        key, sop_class = header.identify(raw)
        incoming.commit()
        return Received(
            name=incoming.name,
            key=key,
            sop_class=sop_class,
            transfer_syntax=EXPLICIT,
            size=incoming.size,
            header=raw,
            calling_ae=calling_ae,
            called_ae=called_ae,
            received_at=self.time.now(),
            association=1,
        )

    def deliver(self, *datasets: Dataset, calling_ae: str = "CT1") -> None:
        """Land and index, as one batch."""
        self.index(*(self.land(dataset, calling_ae) for dataset in datasets))

    def index(self, *items: Received | Rejection) -> None:
        """One batch through a writer of its own, to its end."""
        writer = self.new_writer()
        for item in items:
            writer.put(item)
        writer.start()
        writer.stop()

    def study(self, uid: str) -> dict[str, Any]:
        return dict(self.studies.summary(uid)[0])

    def quarantine(self) -> list[dict[str, Any]]:
        return [dict(row) for row in self.studies.quarantined(100, 0)]

    def files(self, folder: str) -> list[Path]:
        return sorted(path for path in (self.folder / folder).rglob("*") if path.is_file())

    def close(self) -> None:
        self.writer.stop()
        self.engine.close()
        self.objects.close()
