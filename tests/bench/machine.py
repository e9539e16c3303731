"""On what the bench ran: without it its numbers say nothing to anybody else."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]  # it ships no types

from tests.bench.receivers import PATH

IN_MEMORY: Final = ("tmpfs", "ramfs")
_OPTIMISED: Final = ("--enable-optimizations", "--with-lto")
_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Machine:
    """``cpus``: those that the bench may use. ``load``: of the last minute, before the first run. ``folder``:
    where all receivers write, of what ``file_system`` and ``disk``. ``python`` runs the node, pynetdicom, the
    floor and the senders. ``versions``: by program; what is not installed is not in it."""

    cpus: int
    cpu: str
    memory_gb: float
    kernel: str
    load: float
    folder: str
    file_system: str
    disk: str
    python: str
    versions: dict[str, str]

    def lines(self) -> list[str]:
        """The heading of the bench."""
        found = [
            f"{self.cpus} x {self.cpu}, {self.memory_gb:.0f} GB, Linux {self.kernel}, load average {self.load:.2f}",
            f"writes in {self.folder}: {self.file_system}, {self.disk}",
            self.python,
            ", ".join(f"{name} {version}" for name, version in self.versions.items()),
        ]
        if self.file_system.split()[0] in IN_MEMORY:
            found.append("to sync costs nothing in memory: the lines of fsync mean nothing here (set TMPDIR)")
        return found


def machine(folder: Path) -> Machine:
    """This machine, for receivers that write below ``folder``."""
    file_system, disk = lies_on(folder)
    found = {name: version() for name, version in VERSIONS.items()}
    return Machine(
        cpus=len(os.sched_getaffinity(0)),
        cpu=_cpu(),
        memory_gb=psutil.virtual_memory().total / 1e9,
        kernel=platform.release(),
        load=os.getloadavg()[0],
        folder=str(folder),
        file_system=file_system,
        disk=disk,
        python=interpreter(),
        versions={name: version for name, version in found.items() if version},
    )


def _cpu() -> str:
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def lies_on(folder: Path) -> tuple[str, str]:
    """File system with its options (noatime and barriers make a difference), and the disk below with its cache:
    a sync has to empty one that is "write back"."""
    there = folder.resolve()
    mounts = [part for part in psutil.disk_partitions(all=True) if there.is_relative_to(part.mountpoint)]
    if not mounts:
        return "unknown", "unknown"
    mount = max(mounts, key=lambda part: len(part.mountpoint))
    device = os.stat(there).st_dev
    disk = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve()
    caches = [place / "queue/write_cache" for place in (disk, disk.parent)]  # a partition's is its disk's
    cache = next((f", cache {path.read_text().strip()}" for path in caches if path.exists()), "")
    return f"{mount.fstype} ({mount.opts})", f"{mount.device}{cache}"


def interpreter() -> str:
    """Version, file, and whether it was built with profile-guided and link-time optimisation, which make it
    faster. Its flags tell, but not those of a distribution that takes these steps by itself (Debian)."""
    path = os.path.realpath(sys.executable)
    arguments = str(sysconfig.get_config_var("CONFIG_ARGS") or "")
    has = [flag for flag in _OPTIMISED if flag in arguments]
    package = None if has else _package(path)
    if package:
        built = f"of the package {package}, whose flags do not tell how it is optimised"
    else:
        said = {flag: "with" if flag in has else "without" for flag in _OPTIMISED}
        built = "built " + ", ".join(f"{word} {flag}" for flag, word in said.items())
    return f"{platform.python_implementation()} {platform.python_version()}, {path}: {built}"


def _package(path: str) -> str | None:
    """Debian's package of this file and its version; None when it is of none."""
    if not shutil.which("dpkg-query"):
        return None
    owner = _said(["dpkg-query", "--search", path])
    if owner is None:
        return None
    name = owner.split(":")[0]
    return f"{name} {_said(['dpkg-query', '--show', '--showformat', '${Version}', name])}"


def _said(command: list[str]) -> str | None:
    """The first line it prints; None when it fails."""
    ended = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    return ended.stdout.splitlines()[0] if ended.returncode == 0 and ended.stdout else None


def _of_program(program: str) -> str | None:
    path = shutil.which(program, path=PATH)
    said = _said([path, "--version"]) if path else None
    number = re.search(r"\d+(?:\.\d+)+", said or "")
    return number[0] if number else said


def _of_package(package: str) -> str | None:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return None


VERSIONS: Final[dict[str, Callable[[], str | None]]] = {
    "dicom-fhir-node": partial(_of_package, "dicom-fhir-node"),
    "storescp": partial(_of_program, "storescp"),
    "Orthanc": partial(_of_program, "Orthanc"),
    "pynetdicom": partial(_of_package, "pynetdicom"),
    "pydicom": partial(_of_package, "pydicom"),
}
