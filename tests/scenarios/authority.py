"""Certification authorities of a test's own, by the openssl command; tests that use them are marked ``openssl``."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.scenarios.wire import Wire

_EC = ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")
_RSA = ("rsa:2048",)


class Credential(NamedTuple):
    """A certificate and its private key, PEM files."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates that are good for two days; its own is ``certificate``."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self.name = name
        # RFC 5280 4.2.1.3: authorities say so; Python 3.13 verifies no others by default
        usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
        self.certificate, self._key = self._made(name, "-x509", "-days", "2", *usage)

    def issue(self, name: str, rsa: bool = False) -> Credential:
        """A certificate of 127.0.0.1 under this authority."""
        names = ("-addext", "subjectAltName=IP:127.0.0.1", "-days", "2", "-x509")
        signed = ("-CA", str(self.certificate), "-CAkey", str(self._key))
        basic = ("-addext", "basicConstraints=critical,CA:FALSE")
        return self._made(f"{self.name}-{name}", *names, *signed, *basic, key=_RSA if rsa else _EC)

    def _made(self, name: str, *arguments: str, key: tuple[str, ...] = _EC) -> Credential:
        made = Credential(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        command = ["openssl", "req", "-newkey", *key, "-nodes", "-subj", f"/CN={name}", *arguments]
        files = ["-keyout", str(made.key), "-out", str(made.certificate)]
        subprocess.run([*command, *files], check=True, capture_output=True)
        return made


def secured(wire: Wire, context: ssl.SSLContext) -> Wire:
    """``wire`` under TLS, the handshake done. Raises ``ssl.SSLError``."""
    wire.socket = context.wrap_socket(wire.socket, server_hostname="127.0.0.1")
    return wire


def trusting(authority: Authority, own: Credential | None = None) -> ssl.SSLContext:
    """A client that trusts ``authority`` and shows ``own``."""
    context = ssl.create_default_context(cafile=str(authority.certificate))
    if own is not None:
        context.load_cert_chain(own.certificate, own.key)
    return context
