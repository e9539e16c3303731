"""What the README names exists; tests/guide types its commands and loads its configurations."""

from __future__ import annotations

import re

from typer.main import get_command

from node.cli import app
from tests.tools import ROOT

README = (ROOT / "README.md").read_text()
CI = (ROOT / ".ci" / "run").read_text()


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z]+)\b", README + CI))
    assert {"run", "demo", "test", "check", "bench"} <= named <= targets


def test_commands_exist() -> None:
    commands = set(get_command(app).commands)  # type: ignore[attr-defined]
    named = set(re.findall(r"dicom-fhir-node ([a-z-]+)", README))
    assert {"send", "serve", "studies", "events"} <= named <= commands


def test_ci_calls_what_the_readme_names() -> None:
    called = re.findall(r"^make ([a-z]+)$", CI, re.MULTILINE)
    assert called == ["check", "test"]
    assert all(f"make {target}" in README for target in called)
