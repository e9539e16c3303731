"""What is said when the node can't start: what, where, why, and what to do."""

from __future__ import annotations

import errno
import socket

import pytest

from node.errors import CannotListen


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EADDRINUSE, "Address already in use (while ...)"), "already in use; `ss -ltnp` tells"),
        (OSError(errno.EADDRNOTAVAIL, "?"), "`ip address` lists the addresses"),
        (
            PermissionError(errno.EACCES, "Permission denied"),
            "Permission denied; ports below 1024 need CAP_NET",
        ),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "on: Name or service not known"),
        (TimeoutError("a receiver process did not start within 30 s"), "a receiver process did not start"),
    ],
)
def test_why_an_address_cannot_be_listened_on(error: OSError, said: str) -> None:
    told = CannotListen("dicom", "0.0.0.0:104", error)
    assert str(told).startswith("[dicom] host, port: 0.0.0.0:104 can't be listened on: ")
    assert said in str(told)
    assert "(while" not in str(told)  # Python says the address once more
    assert told.retriable
