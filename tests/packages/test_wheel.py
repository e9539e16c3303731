"""What is in wheel and sdist, and that the wheel runs where nothing else is."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path, PurePosixPath
from urllib.request import Request, urlopen

import pytest

from node.config import effective, load
from tests import tools
from tests.packages.installed import Installed, Serving, uv
from tests.tools import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VERSION = PROJECT["version"]
DOCKERFILE = ROOT / "docker" / "Dockerfile"
JUNK = {"__pycache__", "var", "build", ".git", ".venv"}


def is_junk(path: PurePosixPath | Path) -> bool:
    return bool(JUNK & set(path.parts)) or any(re.fullmatch(r"\..*_cache", part) for part in path.parts)


def source_files(folder: str) -> set[str]:
    """Every file below ``folder`` of the checkout, as wheel and sdist should have them."""
    found = (path for path in (ROOT / folder).rglob("*") if path.is_file())
    return {path.relative_to(ROOT).as_posix() for path in found if not is_junk(path.relative_to(ROOT))}


def for_users(path: str) -> bool:
    """What makes other files of conf, or tests them, stays with the repository."""
    return not path.endswith(".py") and "tests" not in PurePosixPath(path).parts


def test_the_wheel_has_the_package_whole_and_nothing_else(wheel: Path) -> None:
    """Templates, styles, migrations and terms are files beside the code: any of them may be forgotten. A new file of
    conf needs its line in pyproject.toml, [tool.hatch.build.targets.wheel.shared-data]."""
    names = set(zipfile.ZipFile(wheel).namelist())
    name = f"dicom_fhir_node-{VERSION}"
    shared = f"{name}.data/data/share/dicom-fhir-node"
    conf = {
        f"{shared}/{PurePosixPath(path).relative_to('conf')}"
        for path in source_files("conf")
        if for_users(path)
    }
    about = {f"{name}.dist-info/{part}" for part in ("METADATA", "WHEEL", "RECORD", "entry_points.txt")}
    assert names == source_files("node") | conf | about | {f"{name}.dist-info/licenses/LICENSE"}
    assert "node/py.typed" in names


def test_the_sdist_has_what_the_wheel_is_built_from_and_what_is_read(dist: Path) -> None:
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = source_files("node") | source_files("conf") | source_files("docs")
    assert wanted | {"README.md", "LICENSE", "pyproject.toml", "docker/Dockerfile"} <= names
    assert not [name for name in names if is_junk(PurePosixPath(name)) or name.startswith("tests")]


def test_metadata(wheel: Path, dist: Path) -> None:
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, dist.iterdir())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
    archive = zipfile.ZipFile(wheel)
    metadata = Parser().parsestr(archive.read(f"dicom_fhir_node-{VERSION}.dist-info/METADATA").decode())
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata["Requires-Python"] == ">=3.11"
    (image,) = re.findall(r"^ARG PYTHON_IMAGE=python:(.+)-slim", DOCKERFILE.read_text(), re.MULTILINE)
    for version in ("3.11", image):
        assert f"Programming Language :: Python :: {version}" in metadata.get_all("Classifier", [])


@pytest.mark.parametrize("version", ["3.11", "3.13"])
@pytest.mark.parametrize("platform", ["x86_64-manylinux_2_28", "aarch64-manylinux_2_28"])
def test_nothing_has_to_be_compiled(
    wheel: Path, installed: Installed, version: str, platform: str, tmp_path: Path
) -> None:
    """All dependencies, at the versions of conf/constraints.txt, have wheels for what the image may be built on."""
    constraints = installed.share / "constraints.txt"
    for_others = ("--python-version", version, "--python-platform", platform, "--target", tmp_path)
    said = uv(
        "pip",
        "install",
        "--dry-run",
        "--only-binary",
        ":all:",
        *for_others,
        "--constraint",
        constraints,
        wheel,
    )
    would = {line.removeprefix(" + ").lower() for line in said.splitlines() if line.startswith(" + ")}
    pinned = {
        line.lower().replace("_", "-").replace(".", "-") for line in constraints.read_text().splitlines()
    }
    loose = {
        one
        for one in would
        if not one.startswith("dicom-fhir-node") and one.replace("_", "-").replace(".", "-") not in pinned
    }
    assert len(would) > 20
    assert not loose


def test_commands_from_the_wheel(installed: Installed, tmp_path: Path) -> None:
    version = installed.run("--version", cwd=tmp_path)
    assert (version.returncode, version.stdout.strip()) == (0, VERSION)
    as_shipped = installed.run("check-config", "--config", installed.share / "node.toml", cwd=tmp_path)
    assert as_shipped.returncode == 0, as_shipped.stderr
    assert as_shipped.stdout == effective(load(None, {}))
    assert not list(tmp_path.iterdir())


def page_of(serving: Serving, path: str) -> str:
    """What a browser gets; fails for anything but 200."""
    url = f"http://127.0.0.1:{serving.http_port}{path}"
    with urlopen(Request(url, headers={"Accept": "text/html"}), timeout=10) as answer:
        return str(answer.read(), errors="replace")


@pytest.mark.dcmtk
def test_the_wheel_runs_from_anywhere(serving: Serving) -> None:
    assert tools.dcmtk("echoscu", "-aec", serving.ae_title, "127.0.0.1", str(serving.port)).returncode == 0
    shown = serving.demo()
    assert shown.returncode == 0, shown.stderr
    assert [event["type"] for event in serving.wait_for_events(1)] == [
        "org.dicom-fhir-node.imagingstudy.completed.v1"
    ]
    page = page_of(serving, "/")
    assert "<html" in page
    for linked in re.findall(r'(?:href|src)="(/[^"#?]*\.(?:css|js|svg|png|ico))', page):
        assert page_of(serving, linked)
    assert serving.stop() == 0, serving.log()
    assert not list(serving.cwd.iterdir())
    left = {path.name for path in serving.data_dir.iterdir()}
    assert {"objects", "incoming", "quarantine", "index.db", "events.ndjson"} <= left
