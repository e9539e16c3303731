"""The systemd unit as a table, and what of its restrictions can be had without systemd: bwrap and a filter of calls."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.packages.installed import Installed
from tests.tools import ROOT

SYSTEMD: Final = ROOT / "conf" / "systemd"
UNIT: Final = SYSTEMD / "dicom-fhir-node.service"
PREFIX: Final = Path("/opt/dicom-fhir-node")
NOBODY: Final = 65534
# What programs need to run at all; the rest of the machine is not there: homes, /tmp, other services' data.
_SYSTEM: Final = ("usr", "bin", "sbin", "lib", "lib64")
_ETC: Final = ("ld.so.cache", "passwd", "group", "hosts", "nsswitch.conf", "resolv.conf", "localtime", "ssl")


def directives() -> dict[str, list[str]]:
    """Directive -> its values in order: one that is given twice adds to the first (systemd.syntax)."""
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        name, is_directive, value = line.partition("=")
        if is_directive and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def only(name: str) -> str:
    (value,) = directives()[name]
    return value


def seconds(value: str) -> float:
    """A time span without a unit, which is in seconds (systemd.time)."""
    return float(value)


def allowed_calls() -> list[str]:
    """Names of the system calls that SystemCallFilter leaves, with groups resolved as systemd does."""
    allowed: set[str] = set()
    for value in directives()["SystemCallFilter"]:
        denies = value.startswith("~")
        calls = {call for word in value.removeprefix("~").split() for call in _members(word)}
        allowed = allowed - calls if denies else allowed | calls
    # What systemd itself leaves whatever the filter says, or no program could be started (systemd.exec)
    return sorted(allowed | set(_members("@default")) | {"execve", "exit", "exit_group", "rt_sigreturn"})


def _members(word: str) -> Iterator[str]:
    if not word.startswith("@"):
        yield word
        return
    listed = subprocess.run(
        ["systemd-analyze", "syscall-filter", "--no-pager", word], capture_output=True, text=True, check=True
    )
    for line in listed.stdout.splitlines()[1:]:
        name = line.strip()
        if name and not name.startswith("#"):
            yield from _members(name)


def service_environ() -> dict[str, str]:
    """The variables that the unit sets."""
    return dict(word.split("=", 1) for value in directives()["Environment"] for word in shlex.split(value))


def confined(installed: Installed, folder: Path, *command: str) -> list[str]:
    """``command`` (default: ExecStart) with the unit's view of the files, user, capabilities and system calls.

    ``folder`` gets ``state`` and ``etc``, which stand for the service's folders. What is not had here: the limits
    of resources and the cgroup, for which it takes systemd.
    """
    state, etc = folder / "state", folder / "etc"
    for made in (state, etc):
        made.mkdir(exist_ok=True)
    state.chmod(int(only("StateDirectoryMode"), 8))
    (etc / "node.toml").write_bytes((installed.share / "node.toml").read_bytes())
    if os.geteuid() == 0:
        os.chown(state, NOBODY, NOBODY)
    name = only("StateDirectory")
    arguments = ["bwrap", "--die-with-parent", "--new-session", "--unshare-ipc", "--unshare-uts"]
    arguments += ["--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"]
    shown = [Path("/", name) for name in _SYSTEM] + [Path("/etc", name) for name in _ETC]
    # Of the tests, and in folders that a service does not see: interpreter and environment
    shown += sorted({Path(sys.base_prefix), Path(sys.prefix), installed.venv})
    for path in shown:
        arguments += _mount(path, path)
    arguments += _mount(state, Path("/var/lib", name), "--bind") + _mount(etc, Path("/etc", name))
    arguments += [*_mount(installed.venv, PREFIX), "--remount-ro", "/", "--chdir", only("WorkingDirectory")]
    if os.geteuid() == 0:
        arguments += ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        arguments += ["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
    filters = [f"--families={only('RestrictAddressFamilies')}", f"--calls={' '.join(allowed_calls())}"]
    filters += [f"--umask={only('UMask')}"]
    launcher = Path(__file__).with_name("confine.py").read_text()
    return [*arguments, sys.executable, "-I", "-c", launcher, *filters, "--", *(command or exec_start())]


def _mount(source: Path, place: Path, how: str = "--ro-bind") -> list[str]:
    """Arguments of bwrap that show ``source`` in ``place``; by itself it would make folders on the way private."""
    if not source.exists():
        return []
    if source.is_symlink():
        return ["--symlink", os.readlink(source), str(place)]
    on_the_way = [argument for folder in reversed(place.parents[:-1]) for argument in ("--dir", str(folder))]
    return [*on_the_way, how, str(source), str(place)]


def exec_start() -> list[str]:
    return shlex.split(only("ExecStart"))


def shutdown_seconds() -> float:
    """The default that the unit's and the container's deadlines must leave room for."""
    found = re.search(r"^shutdown_seconds = (\d+)", (ROOT / "conf" / "node.toml").read_text(), re.MULTILINE)
    assert found
    return float(found[1])
