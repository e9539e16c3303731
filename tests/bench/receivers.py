"""The receivers of the bench: how each is started, on a free port with an empty folder."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import select
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tests.ports import free_port

_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 20.0
_HOST: Final = "127.0.0.1"

Command = tuple[list[str], dict[str, str]]  # arguments, additional environment


@dataclass(frozen=True, slots=True)
class Receiver:
    """One row of the bench. ``missing`` says what is not installed (None: it can run); ``command`` gets the
    empty folder and a free port; a receiver with ``ready`` prints its port, matched by that pattern. A slow
    one gets one ``share``-th of each load, which tells its rate as well."""

    name: str
    ae_title: str
    durable: str
    missing: Callable[[], str | None]
    command: Callable[[Path, int], Command]
    ready: re.Pattern[str] | None = None
    share: int = 1


@dataclass(frozen=True, slots=True)
class Running:
    """A started receiver: its process and the port it listens on."""

    process: subprocess.Popen[str]
    port: int
    host: str = _HOST


@contextmanager
def started(receiver: Receiver, folder: Path) -> Iterator[Running]:
    """Starts ``receiver`` with ``folder``/data to store in; RuntimeError when it does not come to listen."""
    data = folder / "data"
    data.mkdir(parents=True)
    port = 0 if receiver.ready else free_port()
    arguments, environment = receiver.command(data, port)
    with (folder / "log").open("w+") as log:
        process = subprocess.Popen(
            arguments,
            env=_surroundings() | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if receiver.ready else log,
            stderr=log,
            text=True,
        )
        try:
            if receiver.ready:
                port = _announced_port(process, receiver.ready, folder)
            else:
                _await_port(process, port, folder)
            yield Running(process, port)
        finally:
            _stop(process)


def _surroundings() -> dict[str, str]:
    """The caller's environment without NODE_*: the node would take it for its configuration."""
    return {name: value for name, value in os.environ.items() if not name.startswith("NODE_")}


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout:
        process.stdout.close()


def _announced_port(process: subprocess.Popen[str], ready: re.Pattern[str], folder: Path) -> int:
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], _START_SECONDS)
    line = process.stdout.readline() if readable else ""
    found = ready.search(line)
    if not found:
        raise RuntimeError(f"did not start: {line.strip()} {_tail(folder)}")
    return int(found.group(1))


def _await_port(process: subprocess.Popen[str], port: int, folder: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    pause = threading.Event()
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection((_HOST, port), 1).close()
            return
        except OSError:
            pause.wait(0.02)  # nothing tells when a foreign process listens
    raise RuntimeError(f"did not start: {_tail(folder)}")


def _tail(folder: Path) -> str:
    return (folder / "log").read_text(errors="replace")[-500:].strip()


def _needs(program: str, package: str) -> Callable[[], str | None]:
    def missing() -> str | None:
        return None if shutil.which(program, path=PATH) else f"{program} not found (Debian package {package})"

    return missing


def _needs_module(module: str) -> Callable[[], str | None]:
    def missing() -> str | None:
        return None if importlib.util.find_spec(module) else f"module {module} not found"

    return missing


PATH: Final = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
_NAGLE_OFF: Final = {"TCP_NODELAY": "1"}  # DCMTK's switch; without it Debian's build stalls 44 ms an object


def _node(durability: str) -> Callable[[Path, int], Command]:
    def command(data: Path, port: int) -> Command:
        environment = {
            "NODE_DATA_DIR": str(data),
            "NODE_DICOM__HOST": _HOST,
            "NODE_DICOM__PORT": str(port),
            "NODE_HTTP__PORT": "0",
            "NODE_OBJECTS__DURABILITY": durability,
            "NODE_DICOM__UNKNOWN_PEERS": '["echo", "store", "find"]',
            # no study is published while another run goes on in its folder
            "NODE_COMPLETION__QUIET_SECONDS": "7200",
        }
        return [sys.executable, "-m", "node", "serve"], environment

    return command


def with_index(node: Receiver, index: Path) -> Receiver:
    """``node``, but its index lies at ``index`` and outlives the folder of its objects."""

    def command(data: Path, port: int) -> Command:
        arguments, environment = node.command(data, port)
        return arguments, environment | {"NODE_INDEX__URL": f"sqlite:///{index}"}

    return replace(node, command=command)


def _storescp(*options: str) -> Callable[[Path, int], Command]:
    def command(data: Path, port: int) -> Command:
        return ["storescp", *options, "--output-directory", str(data), str(port)], _NAGLE_OFF

    return command


def _orthanc(sync: bool) -> Callable[[Path, int], Command]:
    def command(data: Path, port: int) -> Command:
        settings = {
            "DicomPort": port,
            "DicomAet": "ORTHANC",
            "DicomCheckCalledAet": False,
            "DicomAlwaysAllowStore": True,
            "HttpPort": free_port(),
            "RemoteAccessAllowed": False,
            "StorageDirectory": str(data),
            "IndexDirectory": str(data),
            "SyncStorageArea": sync,
            "Plugins": [],
        }
        path = data.parent / "orthanc.json"
        path.write_text(json.dumps(settings))
        return [shutil.which("Orthanc", path=PATH) or "Orthanc", str(path)], _NAGLE_OFF

    return command


def _pynetdicom(data: Path, port: int) -> Command:
    return [sys.executable, "-m", "pynetdicom", "storescp", str(port), "-od", str(data)], _NAGLE_OFF


def _floor(durability: str) -> Callable[[Path, int], Command]:
    def command(data: Path, port: int) -> Command:
        return [sys.executable, "-m", "tests.bench.floor", str(data), durability], {}

    return command


_NODE_READY: Final = re.compile(r"^ready dicom=\S+:(\d+)")
_FLOOR_READY: Final = re.compile(r"^ready (\d+)")
_DCMTK: Final = _needs("storescp", "dcmtk")

NODE_FSYNC: Final = Receiver(
    "node, fsync", "DICOMFHIR", "yes", _needs_module("node.service"), _node("fsync"), _NODE_READY
)
NODE_NONE: Final = Receiver(
    "node, none", "DICOMFHIR", "no", _needs_module("node.service"), _node("none"), _NODE_READY
)
STORESCP: Final = Receiver("storescp", "ANY-SCP", "no", _DCMTK, _storescp())
FORK: Final = Receiver("storescp --fork", "ANY-SCP", "no", _DCMTK, _storescp("--fork"))
# It parses nothing and indexes nothing.
FORK_RAW: Final = Receiver(
    "storescp --fork +B 128K", "ANY-SCP", "no", _DCMTK, _storescp("--fork", "+B", "--max-pdu", "131072")
)
_ORTHANC: Final = _needs("Orthanc", "orthanc")
ORTHANC: Final = Receiver("Orthanc", "ORTHANC", "files", _ORTHANC, _orthanc(True), share=4)
# As shipped it syncs each file, which a node that syncs nothing is not to be measured by alone.
ORTHANC_NONE: Final = Receiver("Orthanc, none", "ORTHANC", "no", _ORTHANC, _orthanc(False), share=4)
PYNETDICOM: Final = Receiver(
    "pynetdicom storescp",
    "ANY-SCP",
    "no",
    _needs_module("pynetdicom.apps.storescp"),
    _pynetdicom,
    share=4,
)
FLOOR_FSYNC: Final = Receiver("floor, fsync", "FLOOR", "yes", lambda: None, _floor("fsync"), _FLOOR_READY)
FLOOR_NONE: Final = Receiver("floor, none", "FLOOR", "no", lambda: None, _floor("none"), _FLOOR_READY)
RECEIVERS: Final = (
    NODE_FSYNC,
    NODE_NONE,
    STORESCP,
    FORK,
    FORK_RAW,
    ORTHANC,
    ORTHANC_NONE,
    PYNETDICOM,
    FLOOR_FSYNC,
    FLOOR_NONE,
)
