"""Whether the node is ready, as a list of checks: each says nothing, or why it is not."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from node.errors import NodeError

Probe = Callable[[], str | None]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that has to be well; ``probe`` returns None, or the reason in words. It may block."""

    name: str
    probe: Probe


class Health:
    """The answer of ``/readyz``. ``reasons`` blocks as long as its probes do."""

    def __init__(self, checks: Sequence[Check]) -> None:
        self._checks = tuple(checks)

    def reasons(self) -> dict[str, str]:
        """Check name -> why the node is not ready; empty when it is."""
        found = ((check.name, _ask(check.probe)) for check in self._checks)
        return {name: reason for name, reason in found if reason is not None}


def _ask(probe: Probe) -> str | None:
    try:
        return probe()
    except (NodeError, OSError) as error:
        return str(error) or type(error).__name__


def listens(listening: Callable[[], bool]) -> Probe:
    """Ready while ``listening()``."""
    return lambda: None if listening() else "the DICOM listener does not accept connections"


def folder_writable(folder: Path) -> Probe:
    """Ready when a file can be written in ``folder``, synced and removed."""

    def probe() -> str | None:
        # A name that no object can have, new each time: two probes at once must not meet
        path = folder / f".ready-{secrets.token_hex(8)}"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.write(descriptor, b"ready\n")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
                path.unlink()
        except OSError as error:
            return f"{folder} can't be written: {error.strerror}"
        return None

    return probe


def succeeds(action: Callable[[], object]) -> Probe:
    """Ready when ``action`` returns; its ``NodeError`` or ``OSError`` becomes the reason."""

    def probe() -> None:
        action()

    return probe
