"""What /proc tells of a process: of this one, of a child, of none."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it ships no types
import pytest

from node import processes


def test_cpu_is_what_this_process_used() -> None:
    began = time.process_time()
    while time.process_time() < began + 0.05:
        pass
    used = sum(os.times()[:2])
    assert processes.cpu_seconds(os.getpid()) == pytest.approx(used, abs=0.1)


def test_memory_counts_what_is_shared_in_parts() -> None:
    held = bytearray(50_000_000)
    ours = psutil.Process()
    assert processes.memory_bytes(os.getpid()) == pytest.approx(ours.memory_full_info().pss, rel=0.1)
    assert processes.memory_bytes(os.getpid()) > len(held)


def test_descriptors_are_counted() -> None:
    before = processes.open_fds(os.getpid())
    with open(os.devnull):
        assert processes.open_fds(os.getpid()) == before + 1


def test_a_name_with_brackets_and_spaces_is_no_riddle() -> None:
    code = "open('/proc/self/comm', 'w').write('a) b (c'); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert 0 <= processes.cpu_seconds(child.pid) < 60
        child.communicate(b"\n")


def test_one_that_has_ended_is_an_os_error() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    for ask in (processes.cpu_seconds, processes.memory_bytes, processes.open_fds):
        with pytest.raises(OSError, match=str(child.pid)):
            ask(child.pid)


def test_another_interpreter_finds_the_same_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "only_here.py").touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path), "", str(tmp_path)])
    for name in ("only_here", "node.processes"):
        shown = f"import {name}; print({name}.__file__)"
        command = [sys.executable, "-P", "-S", "-c", shown]
        env = {"PYTHONPATH": processes.python_path()}
        told = subprocess.run(command, cwd="/", env=env, capture_output=True, text=True, check=True).stdout
        assert Path(told.strip()) == (
            tmp_path / "only_here.py" if name == "only_here" else Path(processes.__file__)
        )
