"""docker/Dockerfile without an engine: what it copies, what it runs, and that what it starts works."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tests.packages.installed import Installed, Serving, clean_environ
from tests.packages.test_wheel import VERSION, source_files
from tests.tools import ROOT

DOCKERFILE: Final = ROOT / "docker" / "Dockerfile"
IGNORED: Final = ROOT / ".dockerignore"


def instructions() -> Iterator[tuple[str, str]]:
    """Instruction and arguments, lines that are continued joined."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    for line in filter(None, map(str.strip, text.splitlines())):
        name, _, arguments = line.partition(" ")
        yield name, arguments.strip()


def last_stage(name: str) -> list[str]:
    """Arguments of every ``name`` in the stage that becomes the image."""
    found: list[str] = []
    for instruction, arguments in instructions():
        found = [] if instruction == "FROM" else found
        if instruction == name:
            found.append(arguments)
    return found


def environ() -> dict[str, str]:
    """The variables of the image, but for where its programs are."""
    words = [word for arguments in last_stage("ENV") for word in shlex.split(arguments)]
    return dict(word.split("=", 1) for word in words if not word.startswith("PATH="))


def in_context(path: str) -> bool:
    """Whether .dockerignore lets ``path`` through: the last line that matches it or a folder above it decides."""
    kept = True
    folders = [path, *(str(parent) for parent in Path(path).parents)]
    for line in IGNORED.read_text().splitlines():
        pattern = line.removeprefix("!")
        if pattern and not line.startswith("#") and any(_matches(folder, pattern) for folder in folders):
            kept = line.startswith("!")
    return kept


def _matches(path: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(path, pattern) or fnmatch.fnmatchcase(path, pattern.removeprefix("**/"))


def test_hadolint() -> None:
    command = [str(Path(sys.executable).with_name("hadolint")), "--no-color", str(DOCKERFILE)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (found.returncode, found.stdout) == (0, "")


def test_the_context_has_the_package_and_nothing_private() -> None:
    package = source_files("node") | source_files("conf") | {"pyproject.toml", "README.md", "LICENSE"}
    assert {path for path in package if not in_context(path)} == set()
    private = (".git/config", "var/index.db", "docker/.env", "tests/tools.py")
    for path in (*private, "node/__pycache__/a.pyc", "conf/grafana/.mypy_cache/3.11/cache.db"):
        assert not in_context(path), path


def test_the_build_stage_makes_the_wheel(tmp_path: Path, wheel: Path) -> None:
    """Its COPY and its `pip wheel`, in a folder that has only what the context has; without the dependencies,
    whose wheels test_wheel.py sees to."""
    context, wheels = tmp_path / "src", tmp_path / "wheels"
    for arguments in (arguments for name, arguments in instructions() if name == "COPY"):
        *sources, place = arguments.split()
        if sources[0].startswith("--from"):
            continue
        for source in sources:
            _copy(ROOT / source, context / place / ("" if (ROOT / source).is_dir() else source))
    (build,) = [arguments for name, arguments in instructions() if "pip wheel" in arguments]
    command = shlex.split(build.replace("/wheels", str(wheels)))
    command[:1] = [sys.executable, "-m", "pip"]
    done = subprocess.run(
        [*command, "--no-deps", "--no-build-isolation", "--quiet"],
        cwd=context,
        env=clean_environ() | {"PIP_CONSTRAINT": str(context / "conf" / "constraints.txt")},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (made,) = wheels.iterdir()
    assert set(zipfile.ZipFile(made).namelist()) == set(zipfile.ZipFile(wheel).namelist())


def _copy(source: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if source.is_file():
        shutil.copy(source, place)
        return
    shutil.copytree(source, place, ignore=shutil.ignore_patterns("__pycache__"))


def test_it_is_not_root_and_writes_to_its_volume_only() -> None:
    (user,) = last_stage("USER")
    uid, _, gid = user.partition(":")
    assert uid == gid
    assert int(uid) >= 1000
    assert f"--uid {uid}" in " ".join(last_stage("RUN"))
    assert last_stage("VOLUME") == [environ()["NODE_DATA_DIR"]]
    assert last_stage("STOPSIGNAL") == ["SIGTERM"]


def test_what_it_says_of_itself() -> None:
    assert f"VERSION={VERSION}" in last_stage("ARG")
    labels = {word.split("=")[0] for word in shlex.split(" ".join(last_stage("LABEL")))}
    wanted = ("title", "description", "licenses", "version", "revision", "created")
    assert labels == {f"org.opencontainers.image.{name}" for name in wanted}
    ports = {environ()["NODE_DICOM__PORT"], environ()["NODE_HTTP__PORT"]}
    assert set(last_stage("EXPOSE")[0].split()) == ports


def command_line() -> list[str]:
    return [*json.loads(last_stage("ENTRYPOINT")[0]), *json.loads(last_stage("CMD")[0])]


def health_check(port: int) -> list[str]:
    """What the engine runs to see whether the node lives, for a node on ``port``."""
    (check,) = last_stage("HEALTHCHECK")
    command: list[str] = json.loads(check.partition("CMD")[2])
    return [part.replace(environ()["NODE_HTTP__PORT"], str(port)) for part in command]


def in_venv(installed: Installed, command: list[str], **more: Any) -> subprocess.CompletedProcess[str]:
    path = f"{installed.venv / 'bin'}:{os.environ['PATH']}"
    settings: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 60, "check": False}
    return subprocess.run(command, env=clean_environ() | {"PATH": path, **more}, **settings)


def test_without_a_token_it_says_what_is_missing(installed: Installed) -> None:
    """HTTP leaves the container, so operator commands need one. 2 is also what the systemd unit does not restart."""
    done = in_venv(installed, command_line(), **environ())
    assert done.returncode == 2
    assert "NODE_HTTP__TOKEN" in done.stderr or "[http] token" in done.stderr


def test_what_it_starts_is_found_healthy_and_drains(installed: Installed, tmp_path: Path) -> None:
    given = environ() | {"NODE_HTTP__TOKEN": "secret", "NODE_DATA_DIR": str(tmp_path / "data")}
    given |= {
        "NODE_DICOM__PORT": "0",
        "NODE_HTTP__PORT": "0",
        "PATH": f"{installed.venv / 'bin'}:/usr/bin:/bin",
    }
    command = [str(installed.venv / "bin" / command_line()[0]), *command_line()[1:]]
    node = Serving(installed, tmp_path, given, command)
    try:
        healthy = in_venv(installed, health_check(node.http_port))
        assert healthy.returncode == 0, healthy.stderr
    finally:
        status = node.stop()
    assert status == 0, node.log()
    assert in_venv(installed, health_check(node.http_port)).returncode != 0
