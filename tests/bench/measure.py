"""One run: a receiver, a load, some associations. What it took, and proof that it was stored."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil  # type: ignore[import-untyped]  # it ships no types

from tests.bench.loads import Load, association_request
from tests.bench.receivers import Receiver, started
from tests.bench.replay import probe

_SAMPLE_SECONDS: Final = 0.02
_QUIET_SECONDS: Final = 0.2  # work behind the answers is over when no more than two ticks fall into this
_QUIET_CPU: Final = 0.02
_SETTLE_SECONDS: Final = 20.0
_RUN_SECONDS: Final = 300.0
_serial = time.time_ns() // 1000 * 10**9


@dataclass(frozen=True, slots=True)
class Result:
    """Objects a second; MB (10^6 bytes of data sets) a second; 95th percentile of first byte sent to answer
    read, ms; receiver's CPU per object, ms, work behind the answer included; peak resident memory of its
    processes, MB; answers that were not 0x0000; maximum PDU length it announced."""

    objects_per_second: float
    mb_per_second: float
    p95_ms: float
    cpu_ms: float
    peak_mb: float
    refused: int
    pdu: int


def run(receiver: Receiver, load: Load, data_set: Path, associations: int, each: int) -> Result:
    """Starts ``receiver`` with an empty folder, sends ``each`` objects on every association, stops it.

    The folder is made beside ``data_set``, and its files are left there, empty. RuntimeError when it does not
    start, a sender fails, or less is on disk than was answered with success.
    """
    folder = Path(tempfile.mkdtemp(prefix="receiver-", dir=data_set.parent))
    try:
        with started(receiver, folder) as running, _Watch(running.process.pid) as watch:
            request = association_request(load, receiver.ae_title)
            longest = probe(running.host, running.port, request)
            cpu = watch.settled_cpu()
            target = [
                running.host,
                str(running.port),
                request.hex(),
                str(data_set),
                load.sop_class,
                str(each),
            ]
            answers = _send(target, longest, associations)
            cpu = watch.settled_cpu() - cpu
            result = _result(answers, data_set.stat().st_size, cpu, watch.peak, longest)
            stored = associations * each - result.refused
            _check_stored(folder / "data", stored * data_set.stat().st_size)
            return result
    finally:
        _empty(folder)
        os.sync()  # else the next receiver pays for writing back what this one left


def _empty(folder: Path) -> None:
    """Give the space back, but delete nothing: ext4 searches for an inode that was not deleted of late, for
    minutes after, and the next receiver would pay for it with each file that it makes."""
    for path in folder.rglob("*"):
        if path.is_file():
            os.truncate(path, 0)


def _send(target: list[str], longest: int, associations: int) -> list[dict[str, Any]]:
    global _serial
    with contextlib.ExitStack() as stack:
        senders = []
        for _ in range(associations):
            _serial += 10**7
            sender = subprocess.Popen(
                [sys.executable, "-m", "tests.bench.replay", *target, str(_serial), str(longest)],
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


def _result(answers: list[dict[str, Any]], size: int, cpu: float, peak: int, longest: int) -> Result:
    seconds = [second for answer in answers for second in answer["seconds"]]
    elapsed = max(answer["end"] for answer in answers) - min(answer["begin"] for answer in answers)
    success = sum(answer["statuses"].get("0", 0) for answer in answers)
    p95 = statistics.quantiles(seconds, n=20, method="inclusive")[-1] if len(seconds) > 1 else seconds[0]
    return Result(
        objects_per_second=success / elapsed,
        mb_per_second=success * size / 1e6 / elapsed,
        p95_ms=p95 * 1e3,
        cpu_ms=cpu * 1e3 / len(seconds),
        peak_mb=peak / 1e6,
        refused=len(seconds) - success,
        pdu=longest,
    )


def _check_stored(folder: Path, expected: int) -> None:
    """An answer of success is a claim: the bytes have to be there, or the numbers mean nothing."""
    found = sum(Path(base, name).stat().st_size for base, _, names in os.walk(folder) for name in names)
    if found < expected:
        raise RuntimeError(f"{expected} bytes answered with success, {found} bytes on disk")


class _Watch:
    """CPU and memory of a process and all it started; ended children count through their parent."""

    def __init__(self, pid: int) -> None:
        self.peak = 0
        self._root = psutil.Process(pid)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def settled_cpu(self) -> float:
        """CPU seconds so far, after waiting (bounded) until the processes have come to rest."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        before, now = -1.0, self._cpu()
        while now - before > _QUIET_CPU and time.monotonic() < deadline:
            self._stop.wait(_QUIET_SECONDS)
            before, now = now, self._cpu()
        return now

    def _tree(self) -> list[psutil.Process]:
        return [self._root, *self._root.children(recursive=True)]

    def _cpu(self) -> float:
        total = 0.0
        for process in self._tree():
            with contextlib.suppress(psutil.NoSuchProcess):  # it ended: its parent's children_* have it
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
        return total

    def _sample(self) -> None:
        while not self._stop.wait(_SAMPLE_SECONDS):
            total = 0
            with contextlib.suppress(psutil.NoSuchProcess):
                for process in self._tree():
                    total += process.memory_info().rss
            self.peak = max(self.peak, total, self._high_water())

    def _high_water(self) -> int:
        """VmHWM of the first process: what the samples missed."""
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{self._root.pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        return 0
