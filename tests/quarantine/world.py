"""A store with its index, writer and desk; ``Killed`` stops it where a test wants, ``again`` is the next start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from node import recovery
from node.errors import NodeError
from node.index.intake import OnDuplicate
from node.index.quarantine import QuarantineRows
from node.index.rebuild import is_empty
from node.model import ObjectKey, Received, Rejection
from node.objects import filemeta
from node.quarantine import QuarantineDesk
from tests.index.arrivals import Arrivals, Seen
from tests.studies import encoded


class Killed(Exception):
    """``kill -9`` as the desk sees it: nothing in it is written to handle this."""


class Told(Seen):
    """What the desk reported besides."""

    def __init__(self) -> None:
        super().__init__()
        self.decisions: list[tuple[str, str, str, str]] = []
        self.left: list[tuple[str, str]] = []

    def released(self, reason: str, study: str, file: str) -> None:
        self.decisions.append(("released", reason, study, file))

    def discarded(self, reason: str, study: str, file: str) -> None:
        self.decisions.append(("discarded", reason, study, file))

    def unsettled(self, file: str, error: NodeError) -> None:
        self.left.append((file, str(error)))


class World:
    """One life of a node over ``folder``."""

    def __init__(self, folder: Path, on_duplicate: OnDuplicate = "keep") -> None:
        self.folder = folder
        self.on_duplicate = on_duplicate
        self.changes = 0
        self._closed = False
        self.arrivals = Arrivals(folder, on_duplicate)
        self.told = Told()
        self.arrivals.seen = self.told
        self.arrivals.writer = self.arrivals.new_writer()
        self.objects, self.writer = self.arrivals.objects, self.arrivals.writer
        self.rows = QuarantineRows(self.arrivals.engine)
        self.desk = QuarantineDesk(
            self.arrivals.engine,
            self.arrivals.intake,
            self.writer,
            self.objects,
            self.arrivals.time,
            self.told,
            self._changed,
        )
        self.writer.start()

    def _changed(self) -> None:
        self.changes += 1

    def again(self) -> World:
        """What is left when this life ends here, started as ``service.Node.recover`` does."""
        self.close()
        world = World(self.folder, self.on_duplicate)
        world.desk.settle()
        engine = world.arrivals.engine
        if is_empty(engine) and not world.objects.is_empty():
            recovery.rebuild(world.objects, world.writer, engine, self.folder / "events.ndjson")
            world.desk.find_lost()
        waiting = recovery.waiting_objects(world.objects, world.arrivals.time.wall())
        recovery.hand_over(waiting, world.writer.put, world.writer.wait_until_current)
        return world

    def send(self, *datasets: Dataset, calling_ae: str = "CT1") -> None:
        for dataset in datasets:
            self.writer.put(self.arrivals.land(dataset, calling_ae))
            self.writer.wait_until_current()

    def reject(self, data: bytes, reason: str = "DataSetError") -> None:
        """Bytes that can't be taken, as C-STORE sets them aside; file meta as of the ``ct`` of the same number."""
        meta = filemeta.FileMeta("1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2.840.10008.1.2.1", "CT9", "NODE")
        incoming = self.objects.begin(filemeta.encode(meta, "1.2.3", "TEST"))
        incoming.write([data])
        incoming.commit()
        self.writer.put(Rejection(incoming.name, reason, "no SOP Instance UID", "CT9", 5.0))
        self.writer.wait_until_current()

    def row(self, number: int) -> dict[str, Any]:
        return dict(self.rows.row(number))

    def stored(self, dataset: Dataset) -> bytes:
        """The data set that lies under this one's key."""
        key = ObjectKey(dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID)
        with self.objects.open(key) as file:
            filemeta.read(file)
            return file.read()

    def data_sets(self) -> list[bytes]:
        """Every data set on the disk, wherever it lies."""
        found = []
        for folder in ("objects", "incoming", "quarantine"):
            for path in self.arrivals.files(folder):
                with path.open("rb") as file:
                    filemeta.read(file)
                    found.append(file.read())
        return found

    def in_quarantine(self, row: dict[str, Any]) -> bytes:
        with self.objects.open_quarantined(row["name"]) as file:
            filemeta.read(file)
            return file.read()

    def close(self) -> None:
        """Harmless when it was closed before."""
        if not self._closed:
            self._closed = True
            self.arrivals.close()


@contextmanager
def killed_after(world: World, calls: int) -> Iterator[Callable[[], int]]:
    """Whatever the desk asks of files, index and writer works ``calls`` times and then kills; yields how often it
    worked. What the writer has been given is not cut off: other tests do that."""
    objects, engine, writer, done, given = world.objects, world.arrivals.engine, world.writer, 0, False
    names = ("retake", "quarantine_stored", "adopt", "delete_quarantined")
    real = {name: getattr(objects, name) for name in names}
    write, put = engine.write, writer.put

    def count() -> None:
        nonlocal done
        if given:
            return
        if done >= calls:
            raise Killed
        done += 1

    def counted_put(item: Received | Rejection) -> None:
        nonlocal given
        count()
        given = True
        put(item)

    def counted(name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            count()
            return real[name](*arguments)

        return call

    @contextmanager
    def counted_write() -> Iterator[Any]:
        count()
        with write() as connection:
            yield connection

    for name in names:
        setattr(objects, name, counted(name))
    engine.write, writer.put = counted_write, counted_put  # type: ignore[method-assign]
    try:
        yield lambda: done
    finally:
        for name in names:
            setattr(objects, name, real[name])
        engine.write, writer.put = write, put  # type: ignore[method-assign]


def bytes_of(dataset: Dataset) -> bytes:
    return encoded(dataset)
