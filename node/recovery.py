"""What start and ``reindex`` do before anything listens: the objects are the truth, the index follows them."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from node import header
from node.errors import ConfigError, DataSetError
from node.index.engine import Engine
from node.index.rebuild import forget_objects, published, restore
from node.index.writer import IndexWriter
from node.logs import get_logger
from node.model import ObjectKey, Received, Rejection
from node.objects import filemeta
from node.objects.files import FileObjects

_log = get_logger(__name__)
_REPORT_EVERY: Final = 10_000
_UNREADABLE: Final = (
    "Look at the file and the disk; it is taken in at the next start (or reindex) that can read it."
)


class DataDirLock:
    """One node a data folder: two would take each other's incoming objects for leftovers."""

    def __init__(self, data_dir: Path) -> None:
        try:
            data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._fd = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise ConfigError([f"data_dir: {data_dir} can't be written: {error.strerror}"]) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            what = f"data_dir: {data_dir} is in use by another running node"
            raise ConfigError([f"{what}: stop it first, or give this one a folder of its own"]) from None

    def release(self) -> None:
        os.close(self._fd)


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


def waiting_objects(objects: FileObjects, wall: float) -> Iterator[Received | Rejection]:
    """What a former run acknowledged but did not index, oldest first."""
    for name in objects.waiting():
        try:
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


def rebuild(objects: FileObjects, writer: IndexWriter, engine: Engine, events_path: Path) -> int:
    """Index every stored object, then recall what was published; returns how many objects.

    ``forget_objects`` begins it, ``restore`` ends it: until then the next start does it all again, for a study
    that does not know its version would be published as its first one a second time.
    """
    forget_objects(engine)
    versions = published(engine, events_path)
    count = hand_over(stored_objects(objects), writer.put, writer.wait_until_current)
    restored = restore(engine, versions, time.time())
    _log.info("reindexed", objects=count, studies=restored)
    return count
