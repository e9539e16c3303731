"""The end of a node: SIGTERM under load drains, the ready line, one node a data folder."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from node.errors import ConfigError
from tests.harness import DEFAULTS, READY, Nodes, eventually
from tests.scenarios.sender import associated, instance, new_uid, send, store

LONG = {"completion__quiet_seconds": "3600"}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_under_load_drains(nodes: Nodes, number: signal.Signals) -> None:
    """The association that is open ends in its own time, everything it sent is kept, exit 0."""
    uid = new_uid()
    node = nodes.start_process(shutdown_seconds="20", **LONG)
    answered: list[int] = []
    signalled = threading.Event()

    def run() -> None:
        with associated(node) as association:
            for instance_number in range(1, 10_000):
                answered.extend(store(association, instance(uid, instance_number)))
                if signalled.is_set() and len(answered) > 60:
                    return

    sender = threading.Thread(target=run)
    sender.start()
    eventually(lambda: len(answered) > 20)
    node.process.send_signal(number)
    signalled.set()
    eventually(lambda: not accepts(node.port))
    sender.join(30)
    assert node.stop() == 0
    assert set(answered) == {0}
    assert len(node.stored()) == len(answered)
    assert list((node.data_dir / "incoming").iterdir()) == []
    assert "Traceback" not in node.log()

    node = nodes.start_process(**LONG)
    assert node.get(f"/api/studies/{uid}")["instances"] == len(answered)


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionError:
        return False
    return True


@pytest.mark.slow
def test_who_does_not_end_in_time_is_cut(nodes: Nodes) -> None:
    uid = new_uid()
    node = nodes.start_process(shutdown_seconds="1", **LONG)
    with associated(node) as association:
        assert store(association, instance(uid, 1)) == [0]
        assert node.stop() == 0
        association.abort()
    assert len(node.stored()) == 1
    assert "associations_cut" in node.log()


def test_events_made_before_the_end_are_delivered(nodes: Nodes) -> None:
    uid = new_uid()
    node = nodes.start_process(**LONG)
    send(node, instance(uid, 1))
    node.post(f"/api/studies/{uid}/complete")
    assert node.stop() == 0
    assert [event["id"] for event in node.events()] == [f"r5/{uid}/1"]


def test_the_ready_line_is_the_only_line_on_stdout(tmp_path: Path) -> None:
    environ = {key: value for key, value in os.environ.items() if not key.startswith("NODE_")}
    environ |= {**DEFAULTS, "NODE_DATA_DIR": str(tmp_path / "var")}
    process = subprocess.Popen(
        [sys.executable, "-m", "node", "serve"],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    found = READY.fullmatch(line.rstrip("\n"))
    assert found, line
    assert found[1] == "127.0.0.1"
    assert accepts(int(found[2]))
    assert accepts(int(found[4]))
    process.terminate()
    assert process.stdout.read() == ""
    process.stdout.close()
    assert process.wait(30) == 0


def test_a_second_node_on_the_same_folder_is_refused(nodes: Nodes) -> None:
    node = nodes.start()
    with pytest.raises(ConfigError, match="in use by another running node"):
        nodes.start()
    assert node.get("/healthz") == {"status": "alive"}, "the first is not disturbed"
    node.stop()
    nodes.start()


@pytest.mark.parametrize(("key", "table"), [("dicom__port", "dicom"), ("http__port", "http")])
def test_a_port_that_is_taken_ends_the_start_and_leaves_nothing_running(
    nodes: Nodes, key: str, table: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        before = {thread.name for thread in threading.enumerate()}
        port = taken.getsockname()[1]
        with pytest.raises(
            ConfigError, match=rf"\[{table}\] host, port: 127\.0\.0\.1:{port} can't be listened on"
        ):
            nodes.start(**{key: str(port)})
        left = {thread.name for thread in threading.enumerate()} - before
        assert not left & {"index-writer", "completion-clock", "listener", "node"}
    nodes.start()  # the folder was given back
