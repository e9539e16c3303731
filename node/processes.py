"""The processes that a node is.

What one uses, as Linux tells it in /proc (proc(5)): the ``process_*`` metrics that every Prometheus client has are
those of one process. These functions raise ``OSError`` when there is none, or nothing about it to be had.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

import node

_PROC: Final = Path("/proc")
# Fields of stat behind the name in brackets, which may hold spaces and brackets itself
_UTIME: Final = 11
_STIME: Final = 12


def cpu_seconds(pid: int) -> float:
    """User and system time since it began."""
    fields = (_PROC / str(pid) / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    return (int(fields[_UTIME]) + int(fields[_STIME])) / os.sysconf("SC_CLK_TCK")


def memory_bytes(pid: int) -> float:
    """Pss: what several processes share counts in equal parts, so that they can be added up."""
    lines = (_PROC / str(pid) / "smaps_rollup").read_text("ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def open_fds(pid: int) -> float:
    """Open file descriptors."""
    return len(os.listdir(_PROC / str(pid) / "fd"))


def python_path() -> str:
    """``PYTHONPATH`` for an interpreter that finds the same modules as this one."""
    paths = [str(Path(node.__file__).resolve().parent.parent), *filter(None, sys.path)]
    return os.pathsep.join(dict.fromkeys(paths))
