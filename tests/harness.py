"""Running nodes for scenarios: in this process (fast, inspectable) or as a process of their own (killable)."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from node.config import Config, load
from node.service import Node

T = TypeVar("T")
READY = re.compile(r"ready dicom=(\S+):(\d+) http=(\S+):(\d+)")

# What scenarios change of the defaults: free ports, no wait for a quiet minute, any disk.
DEFAULTS = {
    "NODE_DICOM__HOST": "127.0.0.1",
    "NODE_DICOM__PORT": "0",
    "NODE_HTTP__PORT": "0",
    "NODE_OBJECTS__MIN_FREE_BYTES": "0",
    "NODE_SHUTDOWN_SECONDS": "5",
    "NODE_DICOM__UNKNOWN_PEERS": '["echo", "store", "find"]',
}


def eventually(probe: Callable[[], T | None], seconds: float = 20.0) -> T:
    """The first true result of ``probe``; fails with the last one after ``seconds``."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while True:
        result = probe()
        if result:
            return result
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {probe}, last {result!r}"
        pause.wait(0.02)


class Address:
    """Where a node listens, and what its HTTP API says."""

    ae_title = "DICOMFHIR"
    port: int
    http_port: int
    data_dir: Path

    def _parse(self, line: str) -> None:
        found = READY.fullmatch(line.strip())
        assert found, line
        self.port, self.http_port = int(found[2]), int(found[4])

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=30) as response:
            body = response.read()
        return json.loads(body) if "json" in response.headers["content-type"] else body.decode()

    def post(self, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http_port}{path}", data=json.dumps(body or {}).encode(), method="POST"
        )
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.loads(response.read())

    def events(self) -> list[dict[str, Any]]:
        """Whole lines of the event log."""
        path = self.data_dir / "events.ndjson"
        if not path.exists():
            return []
        lines = path.read_bytes().split(b"\n")
        return [json.loads(line) for line in lines[:-1]]

    def events_of(self, study: str) -> list[dict[str, Any]]:
        return [event for event in self.events() if event["subject"] == study]

    def wait_for_events(self, count: int, seconds: float = 30.0) -> list[dict[str, Any]]:
        eventually(lambda: len(self.events()) >= count, seconds)
        return self.events()

    def stored(self) -> list[Path]:
        """Files of stored objects, each under its key."""
        return sorted((self.data_dir / "objects").rglob("*.dcm"))

    def incoming(self) -> list[Path]:
        """Files of objects, whole or not, that are not under their key; not the empty ones of those expected next."""
        return sorted(path for path in (self.data_dir / "incoming").iterdir() if path.stat().st_size)

    def metric(self, name: str, labels: str = "") -> float:
        """A sample of /metrics; 0 when it has none."""
        for line in str(self.get("/metrics")).splitlines():
            if line.startswith(f"dicom_node_{name}{labels} "):
                return float(line.rsplit(" ", 1)[1])
        return 0.0


def settings(data_dir: Path, given: Mapping[str, str], file: Path | None = None) -> Config:
    return load(file, {**DEFAULTS, "NODE_DATA_DIR": str(data_dir), **given})


class LocalNode(Address):
    """A node in a thread of this process."""

    def __init__(self, data_dir: Path, given: Mapping[str, str]) -> None:
        self.data_dir = data_dir
        self.node = Node(settings(data_dir, given))
        self._lines: queue.Queue[str | BaseException] = queue.Queue()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="node")
        self._failure: BaseException | None = None
        self._thread.start()
        line = self._lines.get(timeout=60)
        if isinstance(line, BaseException):
            self._thread.join()
            raise line
        self._parse(line)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self.node.run(self._lines.put, self._stop))
        except BaseException as error:  # noqa: BLE001  handed to the thread that waits
            self._failure = error
            self._lines.put(error)

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(60)
        assert not self._thread.is_alive(), "the node did not drain"
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure


class NodeProcess(Address):
    """A node in a process of its own: ``python -m node serve``."""

    def __init__(self, data_dir: Path, given: Mapping[str, str], wrapper: tuple[str, ...] = ()) -> None:
        self.data_dir = data_dir
        environ = {key: value for key, value in os.environ.items() if not key.startswith("NODE_")}
        environ |= {**DEFAULTS, "NODE_DATA_DIR": str(data_dir), **given}
        data_dir.parent.mkdir(parents=True, exist_ok=True)
        self._log = (data_dir.parent / f"{data_dir.name}.log").open("ab")
        self.process = subprocess.Popen(
            [*wrapper, sys.executable, "-m", "node", "serve"],
            env=environ,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline().decode()
        assert line, f"the node did not start:\n{self.log()}"
        self._parse(line)

    def log(self) -> str:
        return Path(self._log.name).read_text()

    def kill(self) -> None:
        """SIGKILL, as a power cut looks to the process."""
        self.process.kill()
        self._reap()

    def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self._reap()

    def _reap(self) -> int:
        status = self.process.wait(60)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._log.close()
        return status


class Nodes:
    """Starts nodes for one test and stops what is left of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[LocalNode | NodeProcess] = []

    def start(self, name: str = "var", /, **given: str) -> LocalNode:
        """A node in this process; ``given`` are NODE_ variables without the prefix."""
        node = LocalNode(self._folder / name, _variables(given))
        self._running.append(node)
        return node

    def start_process(self, name: str = "var", wrapper: tuple[str, ...] = (), /, **given: str) -> NodeProcess:
        """A node in a process of its own; ``wrapper`` is the command that runs it."""
        node = NodeProcess(self._folder / name, _variables(given), wrapper)
        self._running.append(node)
        return node

    def stop_all(self) -> None:
        for node in self._running:
            node.stop()


def _variables(given: Mapping[str, str]) -> dict[str, str]:
    return {f"NODE_{name.upper()}": value for name, value in given.items()}


def running_nodes(folder: Path) -> Iterator[Nodes]:
    nodes = Nodes(folder)
    try:
        yield nodes
    finally:
        nodes.stop_all()
