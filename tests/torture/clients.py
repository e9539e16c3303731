"""Four clients. Each sends objects until the node is gone or it is told to stop; none of them is careful."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Final

from pydicom.dataset import FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.uid import ExplicitVRLittleEndian

from node.errors import NodeError
from node.objects import filemeta
from node.services.send.address import Address as Peer
from node.services.send.requestor import Requestor
from tests.harness import Address
from tests.scenarios.sender import associated, store
from tests.scenarios.wire import CT, EXPLICIT, RELEASE, STORE, Wire, message, store_rq
from tests.torture.supply import Supply, Thing

_PER_ASSOCIATION: Final = 25  # objects, then a new association
_TIMEOUT: Final = 20.0

Client = Callable[[Address, Supply, threading.Event], None]


@contextmanager
def _offered(supply: Supply, thing: Thing) -> Iterator[list[int]]:
    """The caller puts the status answered into the list; without one the object is sent again later."""
    status: list[int] = []
    try:
        yield status
    finally:
        if not status:
            supply.unanswered(thing)


def raw(node: Address, supply: Supply, stop: threading.Event) -> None:
    """Sockets and PDUs, all of an object in one call."""
    while not stop.is_set():
        with Wire.established(node.port) as wire:
            for _ in range(_PER_ASSOCIATION):
                thing = supply.take()
                with _offered(supply, thing) as status:
                    answer = wire.send(message(STORE, store_rq(thing.uid), thing.data)).status()
                    if not answer.startswith("0x"):
                        return
                    status.append(int(answer, 16))
                supply.book.answered(thing, status[0], "raw")
            if wire.send(RELEASE).answer() != "released":
                return


def own(node: Address, supply: Supply, stop: threading.Event) -> None:
    """What ``dicom-fhir-node send`` sends with."""
    while not stop.is_set():
        to = Peer(node.ae_title, "127.0.0.1", node.port)
        requestor = Requestor.open(to, "OWN", [(CT, EXPLICIT)], _TIMEOUT)
        try:
            for _ in range(_PER_ASSOCIATION):
                thing = supply.take()
                with _offered(supply, thing) as status:
                    data = BytesIO(thing.data)
                    status.append(requestor.store((CT, EXPLICIT), thing.uid, data, len(thing.data)).status)
                supply.book.answered(thing, status[0], "own")
            requestor.release()
        finally:
            requestor.close()


def pynetdicom(node: Address, supply: Supply, stop: threading.Event) -> None:
    """Decodes and encodes again, which must give the same bytes."""
    while not stop.is_set():
        with associated(node, "PYNETDICOM") as association:
            for _ in range(_PER_ASSOCIATION):
                thing = supply.take()
                dataset = read_dataset(BytesIO(thing.data), False, True)
                dataset.file_meta = FileMetaDataset()
                dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
                with _offered(supply, thing) as status:
                    (found,) = store(association, dataset) if association.is_established else (-1,)
                    if found < 0:
                        return
                    status.append(found)
                supply.book.answered(thing, status[0], "pynetdicom")


def storescu(node: Address, supply: Supply, stop: threading.Event) -> None:
    """DCMTK, from files; what it printed is what it was answered."""
    for batch in itertools.count():
        if stop.is_set():
            return
        folder = node.data_dir.parent / f"storescu-{threading.get_ident()}-{batch}"
        folder.mkdir()
        try:
            things = [supply.take() for _ in range(_PER_ASSOCIATION)]
            if not _sent_by_storescu(node, supply, things, folder):
                return
        finally:
            shutil.rmtree(folder)


def _sent_by_storescu(node: Address, supply: Supply, things: list[Thing], folder: Path) -> bool:
    files = {}
    for number, thing in enumerate(things):
        path = folder / f"{number:03}.dcm"
        path.write_bytes(in_file_bytes(thing))
        files[str(path)] = thing
    sending = subprocess.Popen(
        ["storescu", "-v", "-xe", "-aec", node.ae_title, "127.0.0.1", str(node.port), *files],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={"TCP_NODELAY": "1", "PATH": "/usr/bin:/bin"},
    )
    assert sending.stdout is not None
    current = ""
    with sending.stdout:
        for line in sending.stdout:
            if "Sending file: " in line:
                current = line.split("Sending file: ")[1].strip()
            elif "Received Store Response (Success)" in line:
                supply.book.answered(files.pop(current), 0, "storescu")
    complete = sending.wait(_TIMEOUT) == 0
    for thing in files.values():
        supply.unanswered(thing)
    return complete


def in_file_bytes(thing: Thing) -> bytes:
    """The object as a DICOM file."""
    meta = filemeta.FileMeta(CT, thing.uid, EXPLICIT, "STORESCU", "DICOMFHIR")
    return filemeta.encode(meta, "1.2.3", "TEST") + thing.data


def all_clients() -> list[Client]:
    """Four of different make; without DCMTK the raw one twice."""
    return [raw, own, pynetdicom, storescu if shutil.which("storescu") else raw]


class Load:
    """The clients, running against one life of the node."""

    def __init__(self, node: Address, supply: Supply) -> None:
        self._node = node
        self._supply = supply
        self._stop = threading.Event()
        supply.book.dying = False
        self.errors: list[str] = []
        self._threads = [
            threading.Thread(target=self._run, args=(client,), name=client.__name__)
            for client in all_clients()
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, client: Client) -> None:
        try:
            client(self._node, self._supply, self._stop)
        except (OSError, EOFError, NodeError, AssertionError, RuntimeError) as error:
            if not self._supply.book.dying:
                self.errors.append(f"{client.__name__}: {type(error).__name__}: {error}")
        else:
            if not self._supply.book.dying:
                self.errors.append(f"{client.__name__}: the association ended before the node did")

    def expect_end(self) -> None:
        """From now on the node may be gone; until now that was an error."""
        self._supply.book.dying = True

    def stop(self) -> None:
        """Begin no further association."""
        self.expect_end()
        self._stop.set()

    def join(self) -> None:
        """Wait for the clients to see that the node is gone."""
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), f"{thread.name} hangs after the node was killed"
