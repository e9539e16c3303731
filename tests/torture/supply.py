"""What the clients send, and a book of what was offered and what was acknowledged."""

from __future__ import annotations

import hashlib
import random
import struct
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Final

from tests.scenarios.sender import instance
from tests.studies import encoded

ROOT: Final = "1.2.826.0.1.3680043.8.498.6"
_SIZES: Final = (40, 4_000, 30_000, 200_000)  # bytes of pixel data; most objects are small
_SIZE_WEIGHTS: Final = (5, 5, 3, 1)
_MOST_IN_STUDY: Final = 60
_OPEN_STUDIES: Final = 5


def digest(data_set: bytes) -> bytes:
    return hashlib.sha256(data_set).digest()


@dataclass(frozen=True, slots=True)
class Thing:
    """One object to send: its identity and the exact bytes of its data set, explicit little endian."""

    study: str
    uid: str
    data: bytes = field(repr=False)
    digest: bytes = field(repr=False)


@dataclass
class Book:
    """Who was offered what; safe from any thread. ``acknowledged`` holds (UID, digest): answered 0x0000."""

    acknowledged: set[tuple[str, bytes]] = field(default_factory=set)
    offered: dict[str, set[bytes]] = field(default_factory=lambda: defaultdict(set))
    study_of: dict[str, str] = field(default_factory=dict)
    refused: set[tuple[str, bytes]] = field(default_factory=set)
    unknown: set[tuple[str, bytes]] = field(default_factory=set)  # nobody answered
    answers: int = 0
    dying: bool = False  # the node was told to end: it may refuse
    refusals: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def offer(self, thing: Thing) -> None:
        with self._lock:
            self.offered[thing.uid].add(thing.digest)
            self.study_of[thing.uid] = thing.study

    def uids(self) -> set[str]:
        """SOP Instance UIDs that were acknowledged, whatever their bytes."""
        return {uid for uid, _ in self.acknowledged}

    def answered(self, thing: Thing, status: int, client: str) -> None:
        with self._lock:
            if status == 0:
                self.answers += 1
                self.acknowledged.add((thing.uid, thing.digest))
            else:
                self.refused.add((thing.uid, thing.digest))
            if status and not self.dying:
                self.refusals.append(f"{client}: {thing.uid} was answered 0x{status:04X}")


class Supply:
    """Makes objects; the four clients take from it in turn. Several of them fill one study at once."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._studies: list[str] = []
        self._count: dict[str, int] = defaultdict(int)
        self._made = 0
        self._sent: list[Thing] = []
        self._unanswered: list[Thing] = []
        self.book = Book()

    def take(self) -> Thing:
        """The next object to send: mostly a new one."""
        with self._lock:
            thing = self._next()
        self.book.offer(thing)
        return thing

    def unanswered(self, thing: Thing) -> None:
        """Nobody answered: some client sends it again later."""
        with self._lock:
            self._unanswered.append(thing)
            self.book.unknown.add((thing.uid, thing.digest))

    def left(self) -> list[Thing]:
        """What nobody has answered yet."""
        with self._lock:
            left, self._unanswered = self._unanswered, []
            return left

    def _next(self) -> Thing:
        chance = self._random.random()
        if self._unanswered and chance < 0.5:
            return self._unanswered.pop(0)
        if self._sent and chance < 0.15:
            return self._random.choice(self._sent[-200:])  # the same again, perhaps from somebody else
        if self._sent and chance < 0.2:
            return self._made_as(*_identity(self._random.choice(self._sent[-200:])))  # other bytes
        study = self._study()
        self._count[study] += 1
        return self._made_as(study, f"{study}.{self._random.randrange(1, 4)}.{self._count[study]}")

    def _study(self) -> str:
        self._studies = [uid for uid in self._studies if self._count[uid] < _MOST_IN_STUDY]
        if len(self._studies) < _OPEN_STUDIES:
            self._made += 1
            self._studies.append(f"{ROOT}.{self._made}")
        # One that had its day gets late objects now and then, the others are filled
        return self._random.choice(self._studies)

    def _made_as(self, study: str, uid: str) -> Thing:
        series, number = uid.rsplit(".", 2)[1:]
        header = encoded(instance(study, int(number), int(series)))
        size = self._random.choices(_SIZES, _SIZE_WEIGHTS)[0]
        pixels = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, size) + self._random.randbytes(size)
        data = header + pixels
        thing = Thing(study, uid, data, digest(data))
        self._sent.append(thing)
        return thing


def _identity(thing: Thing) -> tuple[str, str]:
    return thing.study, thing.uid
