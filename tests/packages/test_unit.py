"""The systemd unit: what systemd says of it, and the node under its restrictions."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packages.installed import Installed, Serving
from tests.packages.unit import (
    PREFIX,
    SYSTEMD,
    UNIT,
    allowed_calls,
    confined,
    exec_start,
    only,
    seconds,
    service_environ,
    shutdown_seconds,
)
from tests.scenarios.sender import new_uid
from tests.scenarios.test_outputs import send_study

# What systemd-analyze may find exposed, of 100; 12 when this was written: the network, sockets, all of /proc.
MOST_EXPOSED = 15


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", "--no-pager", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.systemd
def test_systemd_understands_the_unit(installed: Installed, tmp_path: Path) -> None:
    """Unknown directives and values are warnings to systemd, and the restriction is silently not there."""
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace(str(PREFIX), str(installed.venv)))
    found = analyze("verify", "--man=no", "--recursive-errors=no", unit)
    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.systemd
def test_little_is_exposed() -> None:
    found = analyze("security", "--offline=true", f"--threshold={MOST_EXPOSED}", UNIT)
    assert found.returncode == 0, found.stdout


@pytest.mark.systemd
def test_the_user_is_made(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    path = SYSTEMD / "dicom-fhir-node.sysusers"
    command = ["systemd-sysusers", f"--root={tmp_path}", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    (user,) = [
        line.split(":")
        for line in (tmp_path / "etc/passwd").read_text().splitlines()
        if line.startswith("dicom")
    ]
    assert user[0] == only("User") == only("Group")
    assert user[5] == only("WorkingDirectory") == f"/var/lib/{only('StateDirectory')}"
    assert user[6].endswith("nologin")


def test_a_stop_has_the_time_to_drain() -> None:
    assert seconds(only("TimeoutStopSec")) >= shutdown_seconds() + 20
    assert only("KillMode") == "mixed"  # receivers are told by the node, not by systemd


def test_paths_agree() -> None:
    assert exec_start() == [
        str(PREFIX / "bin" / "dicom-fhir-node"),
        "serve",
        "--config",
        f"/etc/{only('ConfigurationDirectory')}/node.toml",
    ]
    assert service_environ()["NODE_DATA_DIR"] == f"/var/lib/{only('StateDirectory')}"


def test_only_a_wrong_configuration_keeps_it_down() -> None:
    """A power cut that brings the disk or the network back late must not need somebody at night."""
    assert only("Restart") == "on-failure"
    assert only("RestartPreventExitStatus") == "2"
    assert only("StartLimitIntervalSec") == "0"


@pytest.fixture(scope="module")
def confined_node(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """ExecStart, confined as the unit says."""
    folder = tmp_path_factory.mktemp("confined")
    environ = service_environ() | {"NODE_COMPLETION__QUIET_SECONDS": "1"}
    command = confined(installed, folder)
    node = Serving(installed, folder, environ, command, data_dir=folder / "state")
    try:
        yield node
    finally:
        node.stop()


@pytest.mark.bubblewrap
@pytest.mark.systemd
def test_the_node_works_under_the_restrictions(confined_node: Serving) -> None:
    """It receives in processes of its own, reads documents in a bounded one, publishes, and drains."""
    node = confined_node
    study = new_uid()
    send_study(node, study)
    node.wait_for_events(3)  # the study's, and those of a structure set and a key object document
    assert node.get("/readyz")
    assert node.metric("stores_total", '{calling_ae="other",status="0x0000"}') == 4
    modes = {path: stat.S_IMODE(path.stat().st_mode) & 0o077 for path in node.data_dir.rglob("*")}
    assert len(modes) > 10
    assert not {str(path) for path, others in modes.items() if others}, "others may read patient data"
    assert node.stop() == 0, node.log()
    ends = [line for line in node.log().splitlines() if '"level":"error"' in line or "Traceback" in line]
    assert not ends
    assert '"event":"stopped"' in node.log()


ITS_OWN = "open('/var/lib/dicom-fhir-node/probe', 'w')"
PROBES = (
    "open('/usr/probe', 'w')",
    "open('/var/probe', 'w')",
    f"open('{PREFIX}/bin/probe', 'w')",
    "open('/etc/dicom-fhir-node/node.toml', 'a')",
    "os.listdir('/home')[0]",
    "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)",
    "os.setpriority(os.PRIO_PROCESS, 0, 5)",
    "os.setuid(0)",
    "os.chroot('/')",
    ITS_OWN,
)
PROBING = """
import json, mmap, os, socket, sys
def refused(probe):
    try:
        eval(probe)
    except (OSError, LookupError) as error:
        return type(error).__name__
    return ""
print(json.dumps({probe: refused(probe) for probe in sys.argv[1:]}))
"""


@pytest.mark.bubblewrap
@pytest.mark.systemd
def test_the_restrictions_are_there(installed: Installed, tmp_path: Path) -> None:
    """Else the test above would prove nothing. Its own folder is the one place that may be written."""
    command = confined(installed, tmp_path, sys.executable, "-c", PROBING, *PROBES)
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    refused = json.loads(done.stdout)
    assert {probe for probe, by in refused.items() if not by} == {ITS_OWN}


@pytest.mark.systemd
def test_calls_are_resolved_as_systemd_does() -> None:
    calls = set(allowed_calls())
    assert {"read", "fdatasync", "socket", "prlimit64", "memfd_create"} <= calls
    assert not {"mount", "setpriority", "reboot", "setresuid", "ptrace"} & calls
