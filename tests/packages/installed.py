"""Programs from the installed wheel: commands that end, and a node that serves."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it ships no types
from uv import find_uv_bin

from tests.harness import Address

# Free ports, and any disk; the rest is the default.
PORTS = {"NODE_DICOM__PORT": "0", "NODE_HTTP__PORT": "0", "NODE_OBJECTS__MIN_FREE_BYTES": "0"}


def clean_environ() -> dict[str, str]:
    """This environment without what would lead a program to the checkout or to other settings."""
    led = ("NODE_", "PYTHON", "VIRTUAL_ENV", "COVERAGE", "UV_PROJECT")
    return {name: value for name, value in os.environ.items() if not name.startswith(led)}


def uv(*arguments: str | Path) -> str:
    """Run uv, with the authorities that pip is told to trust; returns what it says. Fails when uv does."""
    environ = clean_environ()
    if "PIP_CERT" in environ:
        environ.setdefault("SSL_CERT_FILE", environ["PIP_CERT"])
    command = [find_uv_bin(), "--no-config", *map(str, arguments)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


class Installed:
    """An environment that the wheel was installed into."""

    def __init__(self, venv: Path) -> None:
        self.venv = venv
        self.python = venv / "bin" / "python"
        self.command = venv / "bin" / "dicom-fhir-node"
        self.share = venv / "share" / "dicom-fhir-node"

    def run(
        self, *arguments: str | Path, cwd: Path, environ: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the command in ``cwd``; there is no home."""
        return subprocess.run(
            [self.command, *map(str, arguments)],
            cwd=cwd,
            env=clean_environ() | {"HOME": "/nonexistent"} | dict(environ or {}),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


class Serving(Address):
    """``dicom-fhir-node serve`` from the wheel, or ``command``, which ends in it; what it says is in ``log``."""

    def __init__(
        self,
        installed: Installed,
        folder: Path,
        environ: Mapping[str, str] | None = None,
        command: Sequence[str | Path] | None = None,
        data_dir: Path | None = None,
    ) -> None:
        self.installed = installed
        self.cwd = folder / "cwd"
        self.cwd.mkdir(parents=True)
        self.data_dir = data_dir or folder / "data"
        self._log = (folder / "log").open("wb")
        given = PORTS | {"NODE_DATA_DIR": str(self.data_dir), "HOME": "/nonexistent"}
        self.process = subprocess.Popen(
            [*(command or (installed.command, "serve"))],
            cwd=self.cwd,
            env=clean_environ() | given | dict(environ or {}),
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline().decode()
        if not line:
            self._reap()
            raise AssertionError(f"it did not start:\n{self.log()}")
        self._parse(line)
        self.pid = self._program()

    def _program(self) -> int:
        """The process behind the sandbox, which hands no signal on."""
        process = psutil.Process(self.process.pid)
        while process.name() == "bwrap":
            (process,) = process.children()
        return int(process.pid)

    def log(self) -> str:
        return Path(self._log.name).read_text()

    def demo(self) -> subprocess.CompletedProcess[str]:
        """Send the made-up study, see its event."""
        to, url = f"{self.ae_title}@127.0.0.1:{self.port}", f"http://127.0.0.1:{self.http_port}"
        return self.installed.run("demo", "--to", to, "--url", url, cwd=self.cwd)

    def stop(self) -> int:
        """SIGTERM to the node's own process alone; returns its exit status."""
        if self.process.poll() is None:
            os.kill(self.pid, signal.SIGTERM)
        return self._reap()

    def _reap(self) -> int:
        status = self.process.wait(60)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._log.close()
        return status
