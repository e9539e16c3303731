"""Success means durable: the order of system calls behind every 0x0000, seen from outside by strace."""

from __future__ import annotations

import os
import re
import signal
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import NodeProcess, Nodes, eventually
from tests.scenarios import wire
from tests.scenarios.sender import instance, new_uid, send
from tests.scenarios.wire import EXPLICIT, RELEASE, STORE, Wire, message, store_rq
from tests.studies import ct, encoded

UID = "1.2.826.0.1.3680043.8.498.8"
CALLS = "fdatasync,fsync,pwrite64,sendto,sendmsg,write"
LINE = re.compile(r"^(\d+)\s+(\w+)\((.*)$")
HEX = re.compile(r"\\x([0-9a-f]{2})")


def unescaped(text: str) -> bytes:
    """What strace -xx shows of a string."""
    return HEX.sub(lambda found: chr(int(found[1], 16)), text).encode("latin-1")


def step(call: str, arguments: bytes) -> str | None:
    """One of the steps of storing an object, named with the object's file; None for anything else."""
    file = re.search(rb"/incoming/([0-9a-f-]+)\.dcm>", arguments)
    if call in ("fdatasync", "pwrite64") and file:
        return f"{call} {file[1].decode()}"
    if call == "fsync" and b"/incoming>" in arguments:
        return "fsync incoming"
    if call.startswith("send") and (status := stored_status(arguments)) is not None:
        return f"answer 0x{status:04X}"
    return None


def stored_status(arguments: bytes) -> int | None:
    """The status of the C-STORE-RSP that is sent, if it is one."""
    found = re.search(rb'"(\x04\0.*)", \d+', arguments, re.DOTALL)
    if not found:
        return None
    elements = wire._elements(found[1][12:])
    if int.from_bytes(elements[0x0100], "little") != 0x8001:
        return None
    return int.from_bytes(elements[0x0900], "little")


def steps_by_thread(trace: Path) -> list[list[str]]:
    """The steps of each thread that answered a C-STORE, in order."""
    threads: dict[str, list[str]] = defaultdict(list)
    for line in trace.read_text(errors="replace").splitlines():
        found = LINE.match(line)
        if found and (named := step(found[2], unescaped(found[3]))):
            threads[found[1]].append(named)
    return [steps for steps in threads.values() if any(name.startswith("answer") for name in steps)]


def terminate(node: NodeProcess) -> None:
    """End the node itself; strace ends after it."""
    children = Path(f"/proc/{node.process.pid}/task/{node.process.pid}/children").read_text().split()
    for child in children:
        os.kill(int(child), signal.SIGTERM)
    assert node.process.wait(60) == 0


def publishing_step(call: str, arguments: bytes, event: bytes) -> str | None:
    """One of the steps of publishing ``event``, whatever thread makes it; None for anything else."""
    if b"/index.db-wal>" in arguments:
        if call == "pwrite64" and event in arguments:
            return "event row"
        return "index synced" if call in ("fdatasync", "fsync") else None
    if b"/events.ndjson>" in arguments:
        return "event logged" if call == "write" else "log synced" if call == "fdatasync" else None
    return None


@pytest.mark.strace
def test_an_event_is_committed_before_it_is_published(nodes: Nodes, tmp_path: Path) -> None:
    """Its row is in the index's log and that is synced, then it is in the event log and that is synced, then it
    is marked: in any other order a power loss could repeat an event or lose one."""
    trace = tmp_path / "trace"
    calls = "pwrite64,write,fdatasync,fsync"
    strace = ("strace", "-f", "-y", "-xx", "-s", "5000", "-e", f"trace={calls}", "-o", str(trace))
    node = nodes.start_process("var", strace, completion__quiet_seconds="3600", dicom__receivers="0")
    uid = new_uid()
    send(node, instance(uid, 1))
    node.post(f"/api/studies/{uid}/complete")
    eventually(lambda: node.metric("outbox_pending") == 0)
    terminate(node)
    steps = []
    for line in whole_lines(trace):
        found = LINE.match(line)
        if found and (named := publishing_step(found[2], unescaped(found[3]), f"r5/{uid}/1".encode())):
            steps.append(named)
    logged = steps.index("event logged")
    assert "event row" in steps[:logged]
    row = max(at for at, name in enumerate(steps[:logged]) if name == "event row")
    assert "index synced" in steps[row:logged]
    after = steps[logged:]
    synced = after.index("log synced")
    assert "event row" not in after[:synced], "not marked before it is on disk"
    assert "index synced" in after[synced:]
    assert steps.count("event logged") == 1


def whole_lines(trace: Path) -> Iterator[str]:
    """Calls in the order in which they ended: strace cuts those that another thread's line came into."""
    begun: dict[str, str] = {}
    for line in trace.read_text(errors="replace").splitlines():
        thread, _, rest = line.partition(" ")
        if rest.endswith("<unfinished ...>"):
            begun[thread] = rest.removesuffix("<unfinished ...>")
        elif "resumed>" in rest:
            yield f"{thread} {begun.pop(thread, '').lstrip()}{rest.partition('resumed>')[2]}"
        else:
            yield line


@pytest.mark.strace
def test_every_success_is_synced_first(nodes: Nodes, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    strace = ("strace", "-f", "-y", "-xx", "-s", "512", "-e", f"trace={CALLS}", "-o", str(trace))
    node = nodes.start_process("var", strace)
    for association in range(2):
        with Wire.established(node.port) as peer:
            for number in range(3):
                uid = f"{UID}.{association}.{number}"
                data = encoded(ct(SOPInstanceUID=uid), EXPLICIT) + bytes(200_000)
                assert peer.send(message(STORE, store_rq(uid), data)).status() == "0x0000"
            assert peer.send(message(STORE, store_rq("1.2.3"), bytes(100))).status() == "0xC000"
            assert peer.send(RELEASE).answer() == "released"
    terminate(node)
    each = ["pwrite64", "fdatasync", "fsync", "answer"] * 4
    # A thread that has served one association may serve the next
    associations = [
        steps[at : at + len(each)]
        for steps in steps_by_thread(trace)
        for at in range(0, len(steps), len(each))
    ]
    assert len(associations) == 2
    for steps in associations:
        assert [name.split()[0] for name in steps] == each
        files = [name.split()[1] for name in steps if not name.startswith(("fsync", "answer"))]
        assert files[::2] == files[1::2]  # the file that is marked is the one that is synced
        assert len(set(files)) == 4
        assert [name for name in steps if name.startswith("answer")] == ["answer 0x0000"] * 3 + [
            "answer 0xC000"
        ]
