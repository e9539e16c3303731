"""Forking processes: what they inherit, how they end, and a process that forks them which dies or hangs."""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from node import logs
from node.reception import nursery as module
from node.reception.nursery import Nursery
from tests.harness import eventually
from tests.reception.alone import Alone, background, nothing
from tests.tools import ROOT


def _echo(descriptors: Sequence[int], arguments: Any) -> None:
    """Tells its arguments and what it has, then runs until its socket is closed."""
    with socket.socket(fileno=descriptors[0]) as sock:
        open_files = sorted(int(name) for name in os.listdir("/proc/self/fd"))
        comm = Path("/proc/self/comm").read_text().strip()
        sock.sendall(f"{os.getpid()} {arguments} {comm} {len(open_files)}".encode())
        while sock.recv(1):
            pass


def _spawn(nursery: Nursery, argument: object) -> tuple[module.Process, socket.socket, list[str]]:
    ours, theirs = socket.socketpair()
    ours.settimeout(20)
    with theirs:
        process = nursery.spawn([theirs.fileno()], argument)
    return process, ours, ours.recv(1000).decode().split()


def lives() -> None:
    """Several processes of one nursery, each with what it was given and nothing of its siblings."""
    nursery = Nursery.start(_echo, nothing)
    running = [_spawn(nursery, f"argument-{number}") for number in range(3)]
    for number, (process, _, (pid, argument, comm, open_files)) in enumerate(running):
        assert (int(pid), argument, comm) == (process.pid, f"argument-{number}", "dicom-receiver")
        assert int(open_files) == 5, "its three streams, its socket, and the folder that it lists"
        assert Path(f"/proc/{pid}/stat").read_text().split(") ")[1].split()[1] == str(nursery.pid)
    first, second, third = running
    first[1].close()
    assert first[0].ended(20)
    first[0].kill()  # harmless
    second[0].kill()
    assert second[0].ended(20)
    second[1].close()
    assert not third[0].ended(0)
    # Whoever ended is let go of when another is started, and a number that is used again is no danger.
    fourth = _spawn(nursery, "again")
    assert not Path(f"/proc/{first[0].pid}").exists()
    assert not Path(f"/proc/{second[0].pid}").exists()
    nursery.close()
    assert not Path(f"/proc/{nursery.pid}").exists()
    for process, sock, _ in (third, fourth):  # they run on, until their channel is closed
        assert not process.ended(0)
        sock.close()
        assert process.ended(20)
        process.close()
        process.kill()  # harmless: it is not held any more


def _fail(descriptors: Sequence[int], arguments: Any) -> None:
    raise ValueError("Doe^Jane was in the data set")


def failure_is_told_without_its_text() -> None:
    from node import logs

    logs.configure("info", "json")
    nursery = Nursery.start(_fail, nothing)
    process = nursery.spawn([], None)
    assert process.ended(20)
    nursery.close()


def signals() -> None:
    """What is sent to the whole group is the owner's to decide on."""
    nursery = Nursery.start(_echo, nothing)
    process, sock, _ = _spawn(nursery, "x")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(process.pid, number)
        os.kill(nursery.pid, number)
    other, another, _ = _spawn(nursery, "y")
    assert not process.ended(0)
    sock.close()
    another.close()
    assert process.ended(20)
    assert other.ended(20)
    nursery.close()


def threads_are_refused() -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    with pytest.raises(RuntimeError, match="2 threads run"):
        Nursery.start(_echo, nothing)
    stop.set()
    thread.join()


def _log() -> None:
    logs.configure("info", "json")


def _can_be_replaced(prepare: Callable[[], None] = _log) -> Nursery:
    sys.path.append(str(ROOT))
    _log()
    return Nursery.start(_echo, prepare)


def one_that_dies_is_replaced() -> None:
    """The request that finds it gone is refused, for who knows what it has done of it; the next is not."""
    nursery = _can_be_replaced()
    first = nursery.pid
    forked, sock, _ = _spawn(nursery, "x")
    for _ in range(2):
        before = nursery.pid
        os.kill(before, signal.SIGKILL)
        with pytest.raises(OSError, match="has gone"):
            nursery.spawn([], None)
        assert not Path(f"/proc/{before}").exists()
        with _threads(3):  # which no process that forks may have
            process, own, (pid, argument, comm, open_files) = _spawn(nursery, "y")
        assert (int(pid), argument, comm, open_files) == (process.pid, "y", "dicom-receiver", "5")
        assert nursery.pid not in (before, first)
        assert Path(f"/proc/{nursery.pid}/comm").read_text() == "dicom-nursery\n"
        assert os.listdir(f"/proc/{nursery.pid}/task") == [str(nursery.pid)]
        assert os.getsid(nursery.pid) == nursery.pid, "else Ctrl-C would end it while it loads"
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(nursery.pid, number)
            os.kill(process.pid, number)
        own.send(b"x")
        assert not process.ended(0)
        own.close()
        assert process.ended(20)
    assert not forked.ended(0), "what the first has forked goes on"
    sock.close()
    assert forked.ended(20)
    last = nursery.pid
    nursery.close()
    assert not Path(f"/proc/{last}").exists()
    with pytest.raises(OSError, match="closed"):
        nursery.spawn([], None)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    stop = threading.Event()
    threads = [threading.Thread(target=stop.wait) for _ in range(count)]
    for thread in threads:
        thread.start()
    yield
    stop.set()
    for thread in threads:
        thread.join()


def one_that_hangs_is_replaced() -> None:
    """It holds up a request for a moment, the end of the node not at all, and never goes on."""
    module._SPAWN_SECONDS = 0.2  # type: ignore[misc]
    nursery = _can_be_replaced()
    hangs = nursery.pid
    os.kill(hangs, signal.SIGSTOP)
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(OSError, match="does not answer"):
        nursery.spawn([theirs.fileno()], "x")
    assert not Path(f"/proc/{hangs}").exists()
    module._SPAWN_SECONDS = 20.0  # type: ignore[misc]
    process, sock, _ = _spawn(nursery, "y")
    sock.close()
    assert process.ended(20)
    module._SPAWN_SECONDS = 0.2  # type: ignore[misc]
    os.kill(nursery.pid, signal.SIGSTOP)
    begun = time.monotonic()
    nursery.close()
    assert time.monotonic() - begun < 5


def one_that_has_ended_is_not_killed_again() -> None:
    """Its number may be another process's by then."""
    nursery = Nursery.start(_echo, nothing)
    killed: list[int] = []
    kill = os.kill

    def recorded(pid: int, number: int) -> None:
        killed.append(pid)
        kill(pid, number)

    os.kill = recorded
    for _ in range(2):
        nursery.close()
    assert killed == [nursery.pid]


_ONLY_HERE = """
from tests.reception.test_nursery import _echo

def main(descriptors, arguments):
    _echo(descriptors, arguments)
"""


def modules_are_found_where_they_were() -> None:
    """However the owner came to its ``sys.path``."""
    folder = Path(os.environ["TMPDIR"])
    (folder / "only_here.py").write_text(_ONLY_HERE)
    sys.path[:0] = [str(folder), str(ROOT)]
    nursery = Nursery.start(importlib.import_module("only_here").main, _log)
    os.kill(nursery.pid, signal.SIGKILL)
    with pytest.raises(OSError, match="has gone"):
        nursery.spawn([], None)
    process, sock, _ = _spawn(nursery, "x")
    sock.close()
    assert process.ended(20)
    nursery.close()


def _trip() -> None:
    raise ValueError("no log")


def one_that_can_not_load() -> None:
    nursery = _can_be_replaced(_trip)
    os.kill(nursery.pid, signal.SIGKILL)
    with pytest.raises(OSError, match="has gone"):
        nursery.spawn([], None)
    for _ in range(2):
        with pytest.raises(OSError, match="can't load: see the log"):
            nursery.spawn([], None)
    nursery.close()


def one_that_does_not_load() -> None:
    module._LOAD_SECONDS = 0.2  # type: ignore[misc]
    nursery = _can_be_replaced(signal.pause)
    os.kill(nursery.pid, signal.SIGKILL)
    with pytest.raises(OSError, match="has gone"):
        nursery.spawn([], None)
    with pytest.raises(OSError, match="does not load"):
        nursery.spawn([], None)
    assert not Path(f"/proc/{nursery.pid}").exists()
    # The end of the node does not wait for it.
    module._LOAD_SECONDS = 60.0  # type: ignore[misc]
    before = nursery.pid
    refused: list[str] = []

    def ask() -> None:
        with pytest.raises(OSError, match="has gone") as raised:
            nursery.spawn([], None)
        refused.append(str(raised.value))

    asking = background(ask)
    eventually(lambda: nursery.pid != before)
    nursery.close()
    asking.join(20)
    assert len(refused) == 1


@pytest.mark.parametrize(
    "scenario",
    [
        lives,
        signals,
        threads_are_refused,
        one_that_has_ended_is_not_killed_again,
        modules_are_found_where_they_were,
    ],
)
def test_nursery(alone: Alone, scenario: Any) -> None:
    assert alone.run(scenario) == ""


def _events(told: str) -> list[str]:
    return [json.loads(line)["event"] for line in told.splitlines() if line.startswith("{")]


def test_one_that_has_gone_is_replaced(alone: Alone) -> None:
    assert _events(alone.run(one_that_dies_is_replaced)) == ["nursery_replaced"] * 2
    assert _events(alone.run(one_that_hangs_is_replaced)) == ["nursery_replaced"]


def test_another_that_can_not_be_had(alone: Alone) -> None:
    told = alone.run(one_that_can_not_load)
    assert "ValueError: no log" in told
    assert not _events(told)
    assert not _events(alone.run(one_that_does_not_load))


def test_a_failure_is_told_without_its_text(alone: Alone) -> None:
    told = alone.run(failure_is_told_without_its_text)
    assert '"event":"process_failed"' in told
    assert '"error_type":"ValueError"' in told
    assert "test_nursery.py" in told
    assert "Jane" not in told


def owner_that_is_killed() -> None:
    nursery = Nursery.start(_echo, nothing)
    process, _sock, _ = _spawn(nursery, "x")
    print(nursery.pid, process.pid, flush=True)
    signal.pause()


def owner_with_another_that_is_killed() -> None:
    nursery = _can_be_replaced()
    os.kill(nursery.pid, signal.SIGKILL)
    with pytest.raises(OSError, match="has gone"):
        nursery.spawn([], None)
    process, _sock, _ = _spawn(nursery, "x")
    print(nursery.pid, process.pid, flush=True)
    signal.pause()


@pytest.mark.parametrize("scenario", [owner_that_is_killed, owner_with_another_that_is_killed])
def test_nobody_outlives_an_owner_that_is_killed(scenario: Callable[[], None]) -> None:
    call = f"from tests.reception.test_nursery import {scenario.__name__} as run; run()"
    with subprocess.Popen([sys.executable, "-c", call], cwd=ROOT, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        held = [os.pidfd_open(int(pid)) for pid in owner.stdout.readline().split()]
        owner.kill()
        for descriptor in held:
            assert module.Process(0, descriptor).ended(20)
            os.close(descriptor)
