"""The heading of the bench says on what it ran, and what it can't know it does not claim."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench import machine as subject
from tests.bench.machine import VERSIONS, interpreter, lies_on, machine


def test_heading(tmp_path: Path) -> None:
    ran_on = machine(tmp_path)
    first, second, third, fourth = replace(ran_on, file_system="ext4 (rw)").lines()
    assert first.startswith(f"{len(os.sched_getaffinity(0))} x ")
    assert f"Linux {platform.release()}" in first
    assert str(tmp_path) in second
    assert platform.python_version() in third
    assert "pynetdicom 3." in fourth


def test_file_system_is_that_of_the_folder(tmp_path: Path) -> None:
    said = subprocess.run(
        ["stat", "--file-system", "--format", "%T", tmp_path], capture_output=True, text=True, check=True
    )
    name = lies_on(tmp_path)[0].split()[0]
    assert said.stdout.strip().startswith(name[:3])  # "ext2/ext3" is what stat calls ext4
    assert lies_on(Path("/proc"))[0].startswith("proc ")


def test_syncs_that_cost_nothing_are_told(tmp_path: Path) -> None:
    ran_on = replace(machine(tmp_path), file_system="tmpfs (rw)")
    assert "the lines of fsync mean nothing here" in ran_on.lines()[-1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("'--enable-optimizations' '--with-lto'", "built with --enable-optimizations, with --with-lto"),
        ("'--enable-optimizations'", "built with --enable-optimizations, without --with-lto"),
        ("'--enable-shared'", "built without --enable-optimizations, without --with-lto"),
        (None, "built without --enable-optimizations, without --with-lto"),
    ],
)
def test_optimisation_is_what_the_flags_say(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: str | None, said: str
) -> None:
    monkeypatch.setattr(sysconfig, "get_config_var", {"CONFIG_ARGS": arguments}.get)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))  # of no package
    assert interpreter().endswith(f"{tmp_path / 'python'}: {said}")


@pytest.mark.skipif(not shutil.which("dpkg-query"), reason="no Debian")
def test_a_distributions_build_is_named_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysconfig, "get_config_var", {"CONFIG_ARGS": "'--enable-shared'"}.get)
    monkeypatch.setattr(sys, "executable", "/usr/bin/env")
    assert "of the package coreutils" in interpreter()
    assert "do not tell" in interpreter()


def test_a_program_that_is_not_there_has_no_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(subject, "PATH", str(tmp_path))
    assert VERSIONS["storescp"]() is None
    assert "storescp" not in machine(tmp_path).versions


@pytest.mark.dcmtk
def test_version_of_storescp() -> None:
    version = VERSIONS["storescp"]()
    assert version is not None
    assert version.startswith("3.")
