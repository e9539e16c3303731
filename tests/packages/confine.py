"""Starts a program under the system call filters that systemd would set up for the unit (systemd.exec).

Run as a program inside the sandbox of ``tests.packages.unit``: nothing of the tests can be imported there.
"""

from __future__ import annotations

import argparse
import errno
import mmap
import os
import socket

import pyseccomp as seccomp  # type: ignore[import-untyped]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--families", required=True)
    parser.add_argument("--calls", required=True)
    parser.add_argument("--umask", required=True)
    parser.add_argument("command", nargs="+")
    given = parser.parse_args()
    os.umask(int(given.umask, 8))
    _no_writable_code()
    _only_families(given.families.split())
    _only_calls(given.calls.split())  # the last: it may forbid what the others need
    os.execv(given.command[0], given.command)


def _no_writable_code() -> None:
    """MemoryDenyWriteExecute."""
    found = seccomp.SyscallFilter(seccomp.ALLOW)
    both = mmap.PROT_WRITE | mmap.PROT_EXEC
    deny = seccomp.ERRNO(errno.EPERM)
    found.add_rule(deny, "mmap", seccomp.Arg(2, seccomp.MASKED_EQ, both, both))
    for call in ("mprotect", "pkey_mprotect"):
        found.add_rule(deny, call, seccomp.Arg(2, seccomp.MASKED_EQ, mmap.PROT_EXEC, mmap.PROT_EXEC))
    found.load()


def _only_families(names: list[str]) -> None:
    """RestrictAddressFamilies: those above the highest that is allowed, and the gaps below it, are refused."""
    allowed = sorted(int(getattr(socket, name)) for name in names)
    found = seccomp.SyscallFilter(seccomp.ALLOW)
    deny = seccomp.ERRNO(errno.EAFNOSUPPORT)
    found.add_rule(deny, "socket", seccomp.Arg(0, seccomp.GT, allowed[-1]))
    for family in set(range(allowed[-1])) - set(allowed):
        found.add_rule(deny, "socket", seccomp.Arg(0, seccomp.EQ, family))
    found.load()


def _only_calls(names: list[str]) -> None:
    """SystemCallFilter with SystemCallErrorNumber=EPERM; names of other machines are not known here."""
    found = seccomp.SyscallFilter(seccomp.ERRNO(errno.EPERM))
    known = [name for name in names if seccomp.resolve_syscall(seccomp.Arch.NATIVE, name) >= 0]
    for name in known:
        found.add_rule(seccomp.ALLOW, name)
    found.load()


if __name__ == "__main__":
    main()
