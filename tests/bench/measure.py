"""One run: a receiver, a load, some associations. What it took, and proof that it was stored."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil  # type: ignore[import-untyped]  # it ships no types

from tests.bench.loads import Load, association_request
from tests.bench.receivers import Receiver, Running, started
from tests.bench.replay import probe
from tests.bench.stored import Stored
from tests.bench.watch import Watch, proportional

_RUN_SECONDS: Final = 300.0
_FIRST: Final = 100  # objects before the measured ones
_serial = time.time_ns() // 1000 * 10**9


@dataclass(frozen=True, slots=True)
class Result:
    """Objects a second; MB (10^6 bytes of data sets) a second; 95th percentile of first byte sent to answer
    read, ms; receiver's CPU per object, ms, work behind the answer included; CPU of that kind that was still to
    be done after the last answer, ms; peak resident memory of its processes, MB; answers that were not 0x0000;
    maximum PDU length it announced."""

    objects_per_second: float
    mb_per_second: float
    p95_ms: float
    cpu_ms: float
    behind_ms: float
    peak_mb: float
    refused: int
    pdu: int


def run(receiver: Receiver, load: Load, data_set: Path, associations: int, each: int) -> Result:
    """Starts ``receiver`` with an empty folder, sends ``each`` objects on every association, stops it. A few go
    before, uncounted: what a process does for the first time is not what a day in its life is like.

    The folder is made beside ``data_set``, and its files are left there, empty. RuntimeError when it does not
    start, a sender fails, or an object that was answered with success is not on disk, whole.
    """
    few = max(min(_FIRST, each // 10), 1)
    with (
        lodged(data_set.parent) as folder,
        started(receiver, folder) as running,
        Watch(running.process.pid) as watch,
    ):
        longest = probe(running.host, running.port, association_request(load, receiver.ae_title))
        first = _send(_target(receiver, running, load, data_set, few), longest, 1)
        before = watch.settled_cpu()
        stored = associations * each * data_set.stat().st_size
        answers = _send(_target(receiver, running, load, data_set, each), longest, associations, stored)
        answered = watch.cpu()
        settled = watch.settled_cpu()
        result = _result(answers, settled - before, settled - answered, watch.peak, longest)
        serials = [serial for answer in (*first, *answers) for serial in answer["stored"]]
        Stored(data_set).check(folder / "data", serials)
        return result


def growth(receiver: Receiver, load: Load, data_set: Path, each: int) -> float:
    """MB by which all processes of ``receiver`` grow at most while one association sends ``each`` objects.

    A run of its own, because to look at it (``proportional``) takes milliseconds that a rate would miss.
    """
    with (
        lodged(data_set.parent) as folder,
        started(receiver, folder) as running,
        Watch(running.process.pid, proportional, 0.05) as watch,
    ):
        longest = probe(running.host, running.port, association_request(load, receiver.ae_title))
        watch.settled_cpu()
        before = watch.peak = watch.now(proportional)
        answers = _send(_target(receiver, running, load, data_set, each), longest, 1)
        if answers[0]["statuses"] != {"0": each}:
            raise RuntimeError(f"not every object was taken: {answers[0]['statuses']}")
        return (max(watch.peak, watch.now(proportional)) - before) / 1e6


def warm(size: int) -> None:
    """Has ``size`` bytes of memory, and half as many again, that the machine has used before; or half of what is
    free, if that is less.

    On a virtual machine the host finds a page when it is touched for the first time, which takes 5 to 10 us: more
    than all that a receiver does with those 4 KiB. The page cache takes what was freed last. What stays free for
    two seconds in blocks of 2 MB is given back to the host (free page reporting): this comes last before a run, or
    who is slow to start, or writes much at a time, pays for it.
    """
    if not size:
        return
    with mmap.mmap(-1, min(size + size // 2, psutil.virtual_memory().available // 2)) as memory:
        for at in range(0, len(memory), mmap.PAGESIZE):
            memory[at] = 1


@contextlib.contextmanager
def lodged(parent: Path) -> Iterator[Path]:
    """A new folder below ``parent`` for one life of a receiver; its files are left there, empty."""
    folder = Path(tempfile.mkdtemp(prefix="receiver-", dir=parent))
    try:
        yield folder
    finally:
        _empty(folder)
        os.sync()  # else the next receiver pays for writing back what this one left


def _empty(folder: Path) -> None:
    """Give the space back, but delete nothing: ext4 searches for an inode that was not deleted of late, for
    minutes after, and the next receiver would pay for it with each file that it makes."""
    for path in folder.rglob("*"):
        if path.is_file():
            os.truncate(path, 0)


def serials() -> int:
    """The first of ten million serial numbers that no sender has used before."""
    global _serial
    _serial += 10**7
    return _serial


def _target(receiver: Receiver, running: Running, load: Load, data_set: Path, each: int) -> list[str]:
    request = association_request(load, receiver.ae_title).hex()
    return [running.host, str(running.port), request, str(data_set), load.sop_class, str(each)]


def _send(target: list[str], longest: int, associations: int, stored: int = 0) -> list[dict[str, Any]]:
    """What the senders tell. ``stored``: bytes that will be, for which memory is made ready."""
    with contextlib.ExitStack() as stack:
        senders = []
        for _ in range(associations):
            sender = subprocess.Popen(
                [sys.executable, "-m", "tests.bench.replay", *target, str(serials()), str(longest)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(sender)
            stack.callback(sender.kill)
            senders.append(sender)
        for sender in senders:
            assert sender.stdout is not None
            if sender.stdout.readline() != "ready\n":
                raise RuntimeError(f"the sender did not start: {sender.communicate()[1][-500:]}")
        warm(stored)
        for sender in senders:
            assert sender.stdin is not None
            sender.stdin.write("go\n")
            sender.stdin.flush()
        return [_outcome(sender) for sender in senders]


def _outcome(sender: subprocess.Popen[str]) -> dict[str, Any]:
    try:
        output, errors = sender.communicate(timeout=_RUN_SECONDS)
    except subprocess.TimeoutExpired as error:
        sender.kill()
        raise RuntimeError(f"not over after {_RUN_SECONDS:g} s") from error
    if sender.returncode != 0:
        raise RuntimeError(f"the sender failed: {errors.strip().splitlines()[-1]}")
    return dict(json.loads(output))


def _result(answers: list[dict[str, Any]], cpu: float, behind: float, peak: int, longest: int) -> Result:
    seconds = [second for answer in answers for second in answer["seconds"]]
    elapsed = max(answer["end"] for answer in answers) - min(answer["begin"] for answer in answers)
    success = sum(answer["statuses"].get("0", 0) for answer in answers)
    p95 = statistics.quantiles(seconds, n=20, method="inclusive")[-1] if len(seconds) > 1 else seconds[0]
    return Result(
        objects_per_second=success / elapsed,
        mb_per_second=sum(answer["bytes"] for answer in answers) / 1e6 / elapsed,
        p95_ms=p95 * 1e3,
        cpu_ms=cpu * 1e3 / len(seconds),
        behind_ms=behind * 1e3,
        peak_mb=peak / 1e6,
        refused=len(seconds) - success,
        pdu=longest,
    )
