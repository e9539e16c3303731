"""The address of a DICOM application entity as people write it: AE@HOST:PORT."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Address:
    """Where to send: called AE title, host name or address, TCP port."""

    ae_title: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Reads ``AE@HOST:PORT`` (an IPv6 address in brackets); ValueError says what is wrong."""
        title, at, rest = text.rpartition("@")
        host, colon, port = rest.rpartition(":")
        if not (at and colon and host) or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ValueError(
                f"{text!r} is not an address: write AE@HOST:PORT, for example DICOMFHIR@localhost:11112"
            )
        check_ae_title(title)
        return cls(title, host.removeprefix("[").removesuffix("]"), int(port))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.ae_title}@{host}:{self.port}"


def check_ae_title(title: str) -> None:
    """ValueError unless 1 to 16 printable ASCII characters, no backslash, not all blank (PS3.5 6.2, AE)."""
    legal = title.isascii() and title.isprintable() and "\\" not in title
    if not legal or not title.strip() or len(title) > 16:
        raise ValueError(f"{title!r} is not an AE title: 1 to 16 printable ASCII characters, no backslash")
