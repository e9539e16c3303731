"""Forking processes: what they inherit, how they end, and a process that forks them which dies or hangs."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from node.reception import nursery as module
from node.reception.nursery import Nursery
from tests.reception.alone import Alone
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
    nursery = Nursery.start(_echo)
    running = [_spawn(nursery, f"argument-{number}") for number in range(3)]
    for number, (process, _, (pid, argument, comm, open_files)) in enumerate(running):
        assert (int(pid), argument, comm) == (process.pid, f"argument-{number}", "dicom-receiver")
        assert int(open_files) == 5, "its three streams, its socket, and the folder that it lists"
        assert Path(f"/proc/{pid}/stat").read_text().split(") ")[1].split()[1] == str(nursery._pid)
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
    assert not Path(f"/proc/{nursery._pid}").exists()
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
    nursery = Nursery.start(_fail)
    process = nursery.spawn([], None)
    assert process.ended(20)
    nursery.close()


def signals() -> None:
    """What is sent to the whole group is the owner's to decide on."""
    nursery = Nursery.start(_echo)
    process, sock, _ = _spawn(nursery, "x")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(process.pid, number)
        os.kill(nursery._pid, number)
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
        Nursery.start(_echo)
    stop.set()
    thread.join()


def dead_nursery() -> None:
    nursery = Nursery.start(_echo)
    process, sock, _ = _spawn(nursery, "x")
    assert not nursery.gone
    os.kill(nursery._pid, signal.SIGKILL)
    for _ in range(2):
        with pytest.raises(OSError, match="restart the node"):
            nursery.spawn([], None)
    assert nursery.gone
    assert not process.ended(0)  # what it has forked goes on
    sock.close()
    assert process.ended(20)
    nursery.close()


def stopped_nursery() -> None:
    """One that hangs holds up a request for a moment, and the end of the node not at all."""
    module._SPAWN_SECONDS = 0.2  # type: ignore[misc]
    nursery = Nursery.start(_echo)
    os.kill(nursery._pid, signal.SIGSTOP)
    begun = time.monotonic()
    with pytest.raises(OSError, match="restart the node"):
        nursery.spawn([], None)
    with pytest.raises(OSError, match="restart the node"):
        nursery.spawn([], None)
    nursery.close()
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("scenario", [lives, signals, threads_are_refused, dead_nursery, stopped_nursery])
def test_nursery(alone: Alone, scenario: Any) -> None:
    assert alone.run(scenario) == ""


def test_a_failure_is_told_without_its_text(alone: Alone) -> None:
    told = alone.run(failure_is_told_without_its_text)
    assert '"event":"process_failed"' in told
    assert '"error_type":"ValueError"' in told
    assert "test_nursery.py" in told
    assert "Jane" not in told


def owner_that_is_killed() -> None:
    nursery = Nursery.start(_echo)
    process, _sock, _ = _spawn(nursery, "x")
    print(nursery._pid, process.pid, flush=True)
    signal.pause()


def test_nobody_outlives_an_owner_that_is_killed() -> None:
    call = "from tests.reception.test_nursery import owner_that_is_killed as run; run()"
    with subprocess.Popen([sys.executable, "-c", call], cwd=ROOT, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        held = [os.pidfd_open(int(pid)) for pid in owner.stdout.readline().split()]
        owner.kill()
        for descriptor in held:
            assert module.Process(0, descriptor).ended(20)
            os.close(descriptor)
