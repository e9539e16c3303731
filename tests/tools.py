"""Programs that nobody here wrote: where they are, how to get them, how to run them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
IN_CI = os.environ.get("CI") == "true"


def _missing(package: str, *programs: str) -> str | None:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"  # daemons are not on a user's path
    absent = [program for program in programs if shutil.which(program, path=path) is None]
    return f"{', '.join(absent)} not found: apt-get install {package}" if absent else None


# Marker -> why tests with it can't run, or None.
MISSING: dict[str, str | None] = {
    "shared": None if SHARED.is_dir() else "needs the shared test objects beside the checkout",
    "dcmtk": _missing("dcmtk", "storescu", "dcmsend", "echoscu", "findscu"),
    "orthanc": _missing("orthanc", "Orthanc"),
    "strace": _missing("strace", "strace"),
    "chromium": _missing("chromium-headless-shell", "chromium-headless-shell"),
    "openssl": _missing("openssl", "openssl"),
    "bubblewrap": _missing("bubblewrap", "bwrap"),
    "systemd": _missing("systemd", "systemd-analyze", "systemd-sysusers"),
    "promtool": _missing("prometheus", "promtool", "prometheus"),
    "clients": _missing("curl kcat", "curl", "kcat"),
    "kafka": _missing("default-jre-headless maven", "java", "mvn"),
    "hapi": _missing("default-jre-headless maven", "java", "mvn"),
}


def unavailable(reason: str) -> NoReturn:
    """Skip the test that runs; in CI fail it."""
    if IN_CI:
        pytest.fail(reason)
    pytest.skip(reason)


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate of 127.0.0.1 and its key, PEM files in ``folder``."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    )
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    return certificate, key


def dcmtk(program: str, *arguments: str | Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run one of DCMTK's clients; its output is text, stderr included."""
    environ = dict(os.environ, TCP_NODELAY="1")
    return subprocess.run(
        [program, *map(str, arguments)],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
    )
