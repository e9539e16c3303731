"""Who calls the node during a soak: scanners that must never notice anything, a reader, and those who mean harm."""

from __future__ import annotations

import contextlib
import itertools
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Final

from pydicom.dataset import Dataset
from pynetdicom import AE

from tests.harness import NodeProcess
from tests.scenarios import wire
from tests.scenarios.hostile import BREACHES, ODD_MESSAGES, OPENINGS, in_data_set
from tests.scenarios.monsters import MONSTERS, ROOT
from tests.scenarios.sender import new_uid
from tests.scenarios.wire import ECHO, RELEASE, STORE, Wire, associate, echo_rq, message, store_rq
from tests.studies import ct, encoded

INSTANCES: Final = 20  # of each study
PIXELS: Final = 10_000  # bytes of each object
PAUSE: Final = 0.5  # between the studies of one scanner
MODEL: Final = "1.2.840.10008.5.1.4.1.2.2.1"
# Too large to be made again and again
_SMALL: Final = {
    name: one for name, one in MONSTERS.items() if not name[0].isdigit() and "million" not in name
}


class Record:
    """What the good ones saw. Any thread may write."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.errors: list[str] = []
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.attacks = 0

    @contextlib.contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """How long it took; or the error, which is not raised: the client goes on."""
        began = time.monotonic()
        try:
            yield
        except Exception as error:  # noqa: BLE001  whatever it is, it is what the soak looks for
            with self._lock:
                self.errors.append(f"{what}: {type(error).__name__}: {error}")
        else:
            with self._lock:
                self.seconds[what].append(time.monotonic() - began)

    def attacked(self) -> None:
        with self._lock:
            self.attacks += 1


class Scanner:
    """Sends one study after another; every object must be answered with success."""

    def __init__(self, node: NodeProcess, record: Record, newest: list[str]) -> None:
        self._node, self._record, self._newest = node, record, newest

    def run(self, over: threading.Event) -> None:
        while not over.wait(PAUSE):
            study = new_uid()
            with self._record.timed("association"), Wire(self._node.port, timeout=10) as peer:
                answer = peer.send(associate(calling="CT1")).answer()
                assert answer == "accepted 1:0 3:0", answer
                for number in range(1, INSTANCES + 1):
                    with self._record.timed("C-STORE"):
                        self._store(peer, study, number)
                with self._record.timed("C-ECHO"):
                    assert peer.send(message(ECHO, echo_rq())).status() == "0x0000"
                assert peer.send(RELEASE).answer() == "released"
                self._newest.append(study)
                del self._newest[:-8]

    @staticmethod
    def _store(peer: Wire, study: str, number: int) -> None:
        uid = f"{study}.1.{number}"
        data = encoded(ct(number, StudyInstanceUID=study, SeriesInstanceUID=f"{study}.1", SOPInstanceUID=uid))
        pixels = b"\xe0\x7f\x10\x00OW\0\0" + PIXELS.to_bytes(4, "little") + bytes(PIXELS)
        status = peer.send(message(STORE, store_rq(uid), data + pixels)).status()
        assert status == "0x0000", status


class Reader:
    """Asks for what was stored last, and finds it whole."""

    def __init__(self, node: NodeProcess, record: Record, newest: list[str]) -> None:
        self._node, self._record, self._newest = node, record, newest

    def run(self, over: threading.Event) -> None:
        while not over.wait(PAUSE):
            if self._newest:
                with self._record.timed("C-FIND"):
                    found = self._ask(self._newest[-1])
                    assert found == INSTANCES, f"{found} of {INSTANCES} instances found"

    def _ask(self, study: str) -> int:
        query = Dataset()
        query.QueryRetrieveLevel = "IMAGE"
        query.StudyInstanceUID = study
        query.SeriesInstanceUID = f"{study}.1"
        query.SOPInstanceUID = ""
        entity = AE("READER")
        entity.add_requested_context(MODEL, "1.2.840.10008.1.2")
        association = entity.associate("127.0.0.1", self._node.port, ae_title=self._node.ae_title)
        assert association.is_established
        try:
            answers = [status.Status for status, _ in association.send_c_find(query, MODEL)]
        finally:
            association.release()
        assert answers[-1] == 0, f"status 0x{answers[-1]:04X}"
        return len(answers) - 1


class Attacker:
    """Goes through everything that the tables of the scenarios know, in an order of its own."""

    def __init__(self, node: NodeProcess, record: Record, number: int) -> None:
        self._node, self._record = node, record
        self._random = random.Random(number)
        self._numbers = itertools.count(number * 1_000_000)

    def run(self, over: threading.Event) -> None:
        ways: tuple[Callable[[], None], ...] = (
            self._opening, self._breach, self._odd_message, self._monster, self._leave, self._dawdle
        )  # fmt: skip
        while not over.wait(0.02):
            with contextlib.suppress(OSError, EOFError, AssertionError):  # whatever the node did about it
                self._random.choice(ways)()
            self._record.attacked()

    def _opening(self) -> None:
        data, _ = self._random.choice(list(OPENINGS.values()))
        with Wire(self._node.port, timeout=3) as peer:
            peer.send(data).answer()

    def _breach(self) -> None:
        data, _ = self._random.choice(list(BREACHES.values()))
        with Wire.established(self._node.port) as peer:
            peer.send(data).answer()

    def _odd_message(self) -> None:
        data, _ = self._random.choice(list(ODD_MESSAGES.values()))
        with Wire.established(self._node.port) as peer:
            peer.send(data).status()

    def _monster(self) -> None:
        monster = self._random.choice(list(_SMALL.values()))
        uid = f"{ROOT}.{next(self._numbers)}"
        contexts = ((STORE, wire.CT, (monster.syntax,)), (ECHO, wire.VERIFICATION, (wire.IMPLICIT,)))
        with Wire.established(self._node.port, contexts) as peer:
            peer.send(message(STORE, store_rq(uid), monster.make(uid))).status()

    def _leave(self) -> None:
        """Inside an object, with or without a word."""
        with Wire.established(self._node.port) as peer:
            peer.send(in_data_set())
            if self._random.random() < 0.5:
                peer.reset()

    def _dawdle(self) -> None:
        """Half a header, then nothing until the node has had enough."""
        with Wire(self._node.port, timeout=10) as peer:
            peer.send(b"\1\0\0").answer()


def crew(node: NodeProcess, record: Record) -> list[Callable[[threading.Event], None]]:
    """What each of the nine clients runs."""
    newest: list[str] = []
    good = [Scanner(node, record, newest).run for _ in range(4)]
    return [*good, Reader(node, record, newest).run, *(Attacker(node, record, n).run for n in range(1, 5))]
