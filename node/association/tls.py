"""The TLS side of the DICOM port: what its files hold, and the server context that is made of them (PS3.15 B)."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

# BCP 195 (RFC 9325 4.2): forward secrecy and authenticated encryption only. TLS 1.3 has no other suites.
CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!eNULL"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files as they were read at one moment: contexts of several processes are made of the same bytes,
    whatever becomes of the files. An empty ``client_ca`` lets anyone in."""

    certificate: bytes
    key: bytes = field(repr=False)
    key_password: str = field(default="", repr=False)
    client_ca: bytes = b""

    def context(self) -> ssl.SSLContext:
        """A server context for TLS 1.2 and later, mutual with ``client_ca``. Raises ``ssl.SSLError``."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(CIPHERS)
        context.options |= ssl.OP_NO_RENEGOTIATION  # work that a peer may ask for without end (RFC 9325 3.5)
        with _path(self.certificate) as certificate, _path(self.key) as key:
            # a password, if only an empty one: without any, OpenSSL would ask for it on the terminal
            context.load_cert_chain(certificate, key, self.key_password)
        if self.client_ca:
            with _path(self.client_ca) as authorities:
                context.load_verify_locations(authorities)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


@contextmanager
def _path(content: bytes) -> Iterator[str]:
    """``content`` under a path, never on a disk: OpenSSL's loaders take nothing else."""
    descriptor = os.memfd_create("pem")
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
