"""What start and ``reindex`` do before anything listens: the objects are the truth, the index follows them."""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Final

from node import header
from node.errors import CannotStart, DataSetError, IndexCorrupt, PublishUnavailable
from node.index.engine import Engine
from node.index.rebuild import (
    await_versions,
    awaits_versions,
    delivered,
    forget_objects,
    published,
    restore,
)
from node.index.studies import Studies
from node.index.writer import IndexWriter
from node.logs import get_logger
from node.model import ObjectKey, Received, Rejection
from node.objects import filemeta
from node.objects.files import FileObjects
from node.publish.base import Published, Publisher

_log = get_logger(__name__)
_ORPHANS_SECONDS: Final = 5.0
_REPORT_EVERY: Final = 10_000
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")  # proc(5): another one at each boot
_UNREADABLE: Final = (
    "Look at the file and the disk; it is taken in at the next start (or reindex) that can read it."
)
_TORN: Final = (
    "The machine stopped before the object was synced. With objects.durability = fsync it was not answered either: "
    "its sender has it still."
)

_AWAITED: Final = "the sink has told which versions were out before the index was lost"


# Lock files that this very process holds: record locks don't see those.
_HELD: Final[set[Path]] = set()


class DataDirLock:
    """One node a data folder: two would take each other's incoming objects for leftovers.

    Two locks on one file. The record lock is this process's alone: it says whether a node runs. The other is
    shared with the receiver processes through ``fd``: they may outlive a node that was killed, by the moment
    that they need to notice, and until then they may be writing.
    """

    def __init__(self, data_dir: Path) -> None:
        what = f"data_dir: {data_dir} is in use by another running node"
        self._path = (data_dir / "lock").resolve()
        try:
            # Asked first: closing any descriptor of the file would give up this process's record lock on it.
            if self._path in _HELD:
                raise BlockingIOError
            self.fd = self._open(data_dir)
            try:
                fcntl.lockf(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                what += ", or by what is left of one that was killed (processes named dicom-receiver)"
                self._flock()
            except BaseException:
                os.close(self.fd)
                raise
        except (BlockingIOError, PermissionError):
            raise CannotStart([f"{what}: stop it first, or give this one a folder of its own"]) from None
        _HELD.add(self._path)

    def _open(self, data_dir: Path) -> int:
        try:
            data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            return os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise CannotStart([f"data_dir: {data_dir} can't be written: {error.strerror}"]) from error

    def _flock(self) -> None:
        """Raises ``BlockingIOError``."""
        deadline = time.monotonic() + _ORPHANS_SECONDS
        while True:
            try:
                return fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)  # a lock that is waited for can't be given up

    def release(self) -> None:
        _HELD.discard(self._path)
        os.close(self.fd)


def read_object(file: BinaryIO, name: str, key: ObjectKey | None) -> Received:
    """What the index needs of an object's file, as it was when it was received.

    ``name`` is its name in incoming, "" when it lies under ``key``. Raises ``DataSetError``.
    """
    meta = filemeta.read(file)
    size = os.fstat(file.fileno()).st_size - meta.length

    def read(offset: int, wanted: int) -> bytes:
        return os.pread(file.fileno(), wanted, meta.length + offset)

    raw = header.scan(read, meta.transfer_syntax)
    found, sop_class = header.identify(raw)
    header.compare(found, sop_class, meta.sop_class, meta.sop_instance)
    if key is not None and key != found:
        raise DataSetError(f"lies under {key} but is {found}")
    return Received(
        name=name,
        key=found,
        sop_class=sop_class,
        transfer_syntax=meta.transfer_syntax,
        size=size,
        header=raw,
        calling_ae=meta.sending_ae,
        called_ae=meta.receiving_ae,
        received_at=os.fstat(file.fileno()).st_mtime,
        association=0,
    )


def waiting_objects(objects: FileObjects, wall: float, label: str = "") -> Iterator[Received | Rejection]:
    """What a former run acknowledged but did not index, oldest first; ``label``: only of that process."""
    for name in objects.waiting(label):
        try:
            if not objects.is_whole(name):
                _log.warning("object_torn", name=name, hint=_TORN)
                objects.drop_waiting(name)
                continue
            with objects.open_waiting(name) as file:
                found = read_object(file, name, None)
        except DataSetError as error:
            yield Rejection(name, type(error).__name__, str(error), "", wall)
        except OSError as error:  # one file that can't be read keeps no node from starting
            _log.error("object_unreadable", name=name, error=error, hint=_UNREADABLE)
        else:
            yield found


def stored_objects(objects: FileObjects) -> Iterator[Received]:
    """Everything that lies under its key, for an index made anew; what can't be read is said and left."""
    for count, key in enumerate(objects.keys(), 1):
        try:
            with objects.open(key) as file:
                found = read_object(file, "", key)
        except (DataSetError, OSError) as error:
            hint = error.hint if isinstance(error, DataSetError) else _UNREADABLE
            _log.error("object_unreadable", instance=key.instance, error=str(error), hint=hint)
        else:
            yield found
        if count % _REPORT_EVERY == 0:
            _log.info("reindexing", objects=count)


def hand_over(
    found: Iterator[Received | Rejection],
    put: Callable[[Received | Rejection], None],
    wait_until_current: Callable[[], None],
) -> int:
    """Feed the index writer without filling its queue; returns how many objects."""
    count = 0
    for count, item in enumerate(found, 1):
        put(item)
        if count % 1_000 == 0:
            wait_until_current()
    wait_until_current()
    return count


def open_index(engine: Engine) -> None:
    """Make the index, or open it after a look at its file; one that is damaged is set aside and made empty.

    What it knew comes back from the objects (``rebuild``), but for what they can't tell: what was in quarantine,
    and which studies were held. Raises ``IndexUnavailable`` for what setting aside can't mend.
    """
    try:
        engine.examine()
        engine.create()
    except IndexCorrupt as error:
        aside = engine.set_aside(time.strftime("damaged-%Y%m%dT%H%M%S"))
        _log.error(
            "index_set_aside",
            path=str(aside),
            error=str(error),
            hint="A new index is made from the stored objects; the damaged one is kept for who wants to look.",
        )
        engine.create()


def carry_clock(studies: Studies, offset: float) -> None:
    """Keep the deadlines of open studies true when the machine's clock was set since the last start.

    ``offset``: the wall clock minus the monotonic one, as this process has them.
    """
    try:
        boot = _BOOT_ID.read_text().strip()
    except OSError as error:  # not Linux: deadlines are as true as the clock
        _log.info("clock_not_compared", path=str(_BOOT_ID), error=str(error))
        return
    step = studies.carry_over(boot, offset)
    if step:
        _log.warning("clock_was_set", seconds=round(step, 3), hint="Deadlines of open studies moved with it.")


def rebuild(
    objects: FileObjects,
    writer: IndexWriter,
    engine: Engine,
    events_path: Path,
    *,
    sink_remembers: bool = False,
) -> int:
    """Index every stored object, then recall what was published; returns how many objects.

    ``forget_objects`` begins it, ``restore`` ends it: until then the next start does it all again, for a study
    that does not know its version would be published as its first one a second time. ``sink_remembers``: only
    the sink knows the versions, and ``Recall`` ends it when the sink can be asked.
    """
    forget_objects(engine)
    count = hand_over(stored_objects(objects), writer.put, writer.wait_until_current)
    if sink_remembers:
        await_versions(engine)
        _log.info("reindexed", objects=count)
        return count
    restored = restore(engine, published(engine, events_path), time.time())
    _log.info("reindexed", objects=count, studies=restored)
    return count


class Recall:
    """The versions that were published before the index was lost, where only the sink knows them.

    While it is ``pending`` nothing may be published, however long the sink is away: a study would go out as
    its first version a second time. Objects are stored and found meanwhile. ``begin`` is called when
    publishing may begin.
    """

    def __init__(self, engine: Engine, sink: Publisher, events_path: Path, begin: Callable[[], None]) -> None:
        self._engine = engine
        self._sink = sink
        self._events_path = events_path
        self._begin = begin
        self.pending = False

    def look(self) -> bool:
        """Whether a rebuild has left the versions to the sink."""
        self.pending = awaits_versions(self._engine)
        if self.pending:
            hint = "Objects are stored; studies are published when the sink has told their versions."
            _log.warning("versions_awaited", hint=hint)
        return self.pending

    @property
    def why(self) -> str | None:
        """Why nothing is published, in words; None when that may be."""
        return f"nothing is published before {_AWAITED}" if self.pending else None

    def check(self) -> None:
        """Raises ``PublishUnavailable`` while nothing may be published."""
        if self.pending:
            raise PublishUnavailable(f"the study can't be published before {_AWAITED}")

    async def settle(self) -> None:
        """Ask the sink, or see to it that it can be asked one day. Raises ``PublishUnavailable``."""
        if self.pending:
            told = await self._sink.published()
            restored = await asyncio.to_thread(self._restore, told)
            _log.info("versions_recalled", studies=restored)
            self.pending = False
            self._begin()
        if not await self._sink.remembers():
            await self._sink.remember(await asyncio.to_thread(delivered, self._engine))

    def _restore(self, told: Mapping[str, Published]) -> int:
        versions = published(self._engine, self._events_path)
        for study, known in told.items():
            versions[study] = max(versions.get(study, known), known)
        return restore(self._engine, versions, time.time())


async def recall_now(recall: Recall, sink: Publisher) -> bool:
    """Ask the sink once, without a node that runs; False when it can't be reached: the next start asks."""
    try:
        await sink.start()
        await recall.settle()
    except PublishUnavailable as error:
        hint = f"The next start of the node asks again. {error.hint}"
        _log.warning("versions_not_recalled", error=str(error), hint=hint)
        return False
    finally:
        await sink.stop()
    return True
