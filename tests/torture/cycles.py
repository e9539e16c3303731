"""Starts the node, loads it, ends it without a warning, and starts it again on what is left."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from tests.harness import DEFAULTS, Address, eventually
from tests.scenarios.wire import RELEASE, STORE, Wire, message, store_rq
from tests.torture import audit
from tests.torture.clients import Load
from tests.torture.supply import Book, Supply

_LIFE: Final = (0.05, 0.6)  # seconds under load
_RETURN: Final = (0.05, 5.0)  # what forks receivers takes two or three to be replaced
_START: Final = (0.1, 1.5)  # seconds into a start
_ORPHANS: Final = 5.0  # seconds that processes of a killed node may live on
_LOOK_AT_LOG: Final = 20  # lines of it, when a node does not start
_ASKED_FOR: Final = 2  # studies by C-FIND after each start; the index itself is read as a whole
_REPLAYED: Final = 20  # events published again at the end
_SETTLE: Final = 60.0

# How a life ends, and how often of twenty.
_ENDS: Final = {"owner": 8, "all": 4, "receiver": 2, "nursery": 1, "start": 3, "term": 2}

ENVIRONMENT: Final = {
    **DEFAULTS,
    "NODE_COMPLETION__QUIET_SECONDS": "0.3",
    "NODE_SHUTDOWN_SECONDS": "20",
    "NODE_LOG__LEVEL": "warning",
}


@dataclass
class Summary:
    """What came of it; ``problems`` is empty when the node has kept its word."""

    seed: int
    cycles: int = 0
    answers: int = 0
    acknowledged: int = 0
    lost: int = 0
    studies: int = 0
    ends: dict[str, int] = field(default_factory=dict)
    events: audit.Published = field(default_factory=audit.Published)
    replayed: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    def text(self) -> str:
        """For people."""
        ends = ", ".join(f"{name} {count}" for name, count in sorted(self.ends.items()))
        lines = [
            f"seed                  {self.seed}",
            f"cycles                {self.cycles} ({ends})",
            f"objects acknowledged  {self.acknowledged} ({self.answers} answers 0x0000)",
            f"objects lost          {self.lost}",
            f"studies               {self.studies}",
            f"versions expected     {self.events.expected}",
            f"versions published    {self.events.published}",
            f"gaps                  {self.events.gaps}",
            f"duplicates            {self.events.duplicates}",
            f"replayed, same bytes  {self.replayed}",
            f"seconds               {self.seconds:.0f}",
            f"violations            {len(self.problems)}",
        ]
        return "\n".join(lines + [f"  {problem}" for problem in self.problems[:50]])


class Life(Address):
    """One process of the node, with all that it has forked."""

    def __init__(self, data_dir: Path, given: dict[str, str]) -> None:
        self.data_dir = data_dir
        self.orphans: list[int] = []  # receivers of a parent that was killed
        self._log = data_dir.parent / f"{data_dir.name}.log"
        environ = {key: value for key, value in os.environ.items() if not key.startswith("NODE_")}
        environ |= {**ENVIRONMENT, "NODE_DATA_DIR": str(data_dir), **given}
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "node", "serve"], env=environ, stdout=subprocess.PIPE, stderr=log
            )

    def __enter__(self) -> Life:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing running, whatever became of the test."""
        if self.process.poll() is None:
            self.end(_kill)

    def ready(self) -> None:
        """Wait for the ready line."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline().decode()
        if not line:
            told = "\n".join(self._log.read_text(errors="replace").splitlines()[-_LOOK_AT_LOG:])
            raise AssertionError(f"the node did not start, exit {self.process.wait(20)}:\n{told}")
        self._parse(line)

    def descendants(self) -> list[int]:
        return _descendants(self.process.pid)

    def end(self, signals: Callable[[list[int]], None]) -> int:
        """Send signals to the process and its descendants; wait for all. Returns the exit status."""
        pids = [self.process.pid, *self.descendants(), *self.orphans]
        signals(pids)
        status = self.process.wait(60)
        if self.process.stdout is not None:
            self.process.stdout.close()
        try:
            eventually(lambda: not any(_lives(pid) for pid in pids[1:]), _ORPHANS)
        except AssertionError:
            _kill(pids[1:])
            raise
        return status

    def terminate(self) -> int:
        """SIGTERM to the process that a supervisor knows of; returns the exit status."""
        return self.end(lambda pids: os.kill(pids[0], signal.SIGTERM))


def _descendants(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(child) for child in task.read_text().split()]
        except OSError:  # the thread has just ended
            continue
        found += [one for child in children for one in (child, *_descendants(child))]
    return found


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def _kill(pids: list[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue  # it followed the others


class Torture:
    """``cycles`` lives of one node on ``folder``, from one ``seed``; ``tell`` hears how it goes."""

    def __init__(
        self, folder: Path, cycles: int, seed: int, tell: Callable[[str], None] = lambda _: None, **given: str
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._data_dir = folder / "var"
        self._cycles = cycles
        self._random = random.Random(seed)
        self._ends = random.Random(seed).choices(list(_ENDS), list(_ENDS.values()), k=cycles)
        self._supply = Supply(seed)
        self._kept = audit.Kept(self._data_dir)
        self._tell = tell
        self._given = given
        self._summary = Summary(seed)
        self._looked_at: set[str] = set()

    @property
    def _book(self) -> Book:
        return self._supply.book

    def run(self) -> Summary:
        begun = time.monotonic()
        for number in range(1, self._cycles + 1):
            self._life(number)
            if self._summary.problems:
                break
        if not self._summary.problems:
            self._finish()
        summary = self._summary
        summary.answers, summary.acknowledged = self._book.answers, len(self._book.acknowledged)
        summary.lost = sum("was acknowledged" in problem for problem in summary.problems)
        summary.studies = len(set(self._book.study_of.values()))
        summary.seconds = time.monotonic() - begun
        return summary

    def _life(self, number: int) -> None:
        end = self._ends[number - 1]
        with Life(self._data_dir, self._given) as node:
            if end == "start" and number > 1:
                self._pause(_START)
                node.end(_kill)
            else:
                node.ready()
                self._audit(node)
                load = Load(node, self._supply)
                self._pause(_LIFE)
                self._end(node, load, end)
        self._summary.cycles = number
        self._summary.ends[end] = self._summary.ends.get(end, 0) + 1
        self._tell(f"{number:4} {end:9} {len(self._book.acknowledged):6} acknowledged")

    def _end(self, node: Life, load: Load, end: str) -> None:
        if end in ("receiver", "nursery"):  # its associations are lost, the node goes on
            load.expect_end()
            pids = node.descendants()
            nursery, receivers = pids[:1], pids[1:]  # it forks them
            victims = self._random.sample(receivers, min(1, len(receivers)))
            if end == "nursery":
                victims += nursery
                node.orphans = receivers
            _kill(victims)
            self._pause(_RETURN if end == "nursery" else _LIFE)
        self._complain(load.errors)
        if end == "term":
            load.stop()
            status = node.terminate()
            self._complain([f"SIGTERM: exit {status}"] if status else [])
        else:
            load.expect_end()
            node.end((lambda pids: _kill(pids)) if end == "all" else (lambda pids: _kill(pids[:1])))
        load.join()
        self._complain(self._book.refusals)

    def _pause(self, between: tuple[float, float]) -> None:
        threading.Event().wait(self._random.uniform(*between))  # the moment is the point of it

    def _audit(self, node: Life) -> None:
        self._complain(list(audit.after_start(self._data_dir, self._book, self._kept)))
        fresh = sorted({self._book.study_of[uid] for uid in self._kept.stored.keys() - self._looked_at})
        self._looked_at |= self._kept.stored.keys()
        asked = self._random.sample(fresh, min(_ASKED_FOR, len(fresh)))
        self._complain(list(audit.found_by_query(node, self._book, self._kept, asked)))

    def _complain(self, problems: list[str]) -> None:
        self._summary.problems += [f"cycle {self._summary.cycles + 1}: {problem}" for problem in problems]

    def _finish(self) -> None:
        """Everything that was not answered is sent again; then all studies are complete, and stay so."""
        with Life(self._data_dir, self._given) as node:
            node.ready()
            self._audit(node)
            self._send_the_rest(node)
            eventually(self._settled, _SETTLE)
            status = node.terminate()
        self._complain([f"the last SIGTERM: exit {status}"] if status else [])
        self._complain(list(audit.after_start(self._data_dir, self._book, self._kept)))
        self._summary.events = audit.published(self._data_dir)
        self._complain(self._summary.events.problems)
        self._replay()

    def _send_the_rest(self, node: Life) -> None:
        with Wire.established(node.port) as wire:
            for thing in self._supply.left():
                answer = wire.send(message(STORE, store_rq(thing.uid), thing.data)).status()
                self._book.answered(thing, int(answer, 16), "rest")
            wire.send(RELEASE).answer()

    def _settled(self) -> bool:
        if audit.rows(self._data_dir, "SELECT count(*) FROM instance") != [(len(self._book.uids()),)]:
            return False
        open_ = "SELECT (SELECT count(*) FROM study WHERE state != 'complete' OR added != 0)"
        pending = "(SELECT count(*) FROM outbox WHERE sent_at IS NULL)"
        return audit.rows(self._data_dir, f"{open_} + {pending}") == [(0,)]

    def _replay(self) -> None:
        """Redelivery gives the same bytes."""
        log = self._data_dir / "events.ndjson"
        before = log.read_bytes().splitlines()
        first = {_id_of(line): line for line in before}
        chosen = self._random.sample(sorted(first), min(_REPLAYED, len(first)))
        with Life(self._data_dir, self._given) as node:
            node.ready()
            node.post("/api/events/replay", {"ids": chosen})
            eventually(partial(_has_lines, log, len(before) + len(chosen)))
            node.terminate()
        again = log.read_bytes().splitlines()[len(before) :]
        if sorted(map(_id_of, again)) != sorted(chosen) or any(first[_id_of(line)] != line for line in again):
            self._complain(["events that were replayed are not what they were"])
        self._summary.replayed = len(again)


def _has_lines(log: Path, count: int) -> bool:
    return log.read_bytes().count(b"\n") >= count


def _id_of(line: bytes) -> str:
    return str(json.loads(line)["id"])
