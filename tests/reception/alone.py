"""Running functions of test modules in processes of their own: what forks must do so where no other thread runs.

One process imports the modules, which takes longer than most of the functions, and forks another for each call.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

from tests.tools import ROOT


class Alone:
    """``run`` calls a function of a test module; what it raises is the test's failure."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.reception.alone"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, function: Callable[..., None], *arguments: object) -> str:
        """Returns what was written on stderr. The function's TMPDIR is a folder of its own."""
        self._count += 1
        folder = self._folder / f"{function.__name__}-{self._count}"
        folder.mkdir()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = [function.__module__, function.__name__, arguments, str(folder)]
        print(json.dumps(order), file=self._process.stdin, flush=True)
        status = self._process.stdout.readline().strip()
        told = (folder / "stderr").read_text()
        assert status == "0", told
        return told

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()


def nothing() -> None:
    """For what a nursery prepares, where that is nothing."""


def background(run: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def _serve() -> None:
    for line in sys.stdin:
        module, name, arguments, folder = json.loads(line)
        function = getattr(importlib.import_module(module), name)
        pid = os.fork()
        if pid == 0:
            _call(function, arguments, Path(folder))
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def _call(function: Callable[..., None], arguments: list[object], folder: Path) -> None:
    """In the process forked for it, which ends here."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)  # the answer is its parent's to give
    os.close(null)
    told = os.open(folder / "stderr", os.O_WRONLY | os.O_CREAT)
    os.dup2(told, 2)
    os.close(told)
    os.environ["TMPDIR"] = str(folder)
    status = 1
    try:
        function(*arguments)
        status = 0
    except BaseException:  # noqa: BLE001  told to the test
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    _serve()
