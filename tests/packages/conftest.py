"""The wheel as a user gets it, built and installed once for all tests of this folder (``tests/workers.py``)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packages.installed import Installed, Serving, uv
from tests.tools import ROOT


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of sdist and wheel; the wheel is built from the sdist, so that one can't lack what the other has."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="session")
def wheel(dist: Path) -> Path:
    (found,) = dist.glob("*.whl")
    return found


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel in an environment of its own, with its dependencies as conf/constraints.txt has them."""
    venv = tmp_path_factory.mktemp("installed") / "venv"
    constraints = ROOT / "conf" / "constraints.txt"
    uv("venv", "--python", sys.executable, venv)
    # Named by its path: uv would rather take the environment of the tests.
    into = ("--python", venv / "bin" / "python", "--link-mode", "copy")
    uv("pip", "install", *into, "--only-binary", ":all:", "--constraint", constraints, wheel)
    return Installed(venv)


@pytest.fixture(scope="module")
def serving(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A node from the wheel, started somewhere else, by a user without a home."""
    node = Serving(installed, tmp_path_factory.mktemp("serving"))
    try:
        yield node
    finally:
        node.stop()
