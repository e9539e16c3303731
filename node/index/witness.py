"""What stands beside an SQLite index to tell of damage that the file itself can't tell.

``index.db-commits`` holds the number of the newest commit. SQLite takes a log that was cut short for one that
was never longer (https://sqlite.org/walformat.html, «The WAL-index file»): the newest commits are gone without
a word, and with them rows whose objects have left ``incoming`` long since. The number is written after its
commit and not synced, so after a power loss it may be too small, which is harmless, but never too large.

``index.db-damaged`` is left when damage was met, so that the next start does not have to meet it again.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from node.logs import get_logger

_log = get_logger(__name__)
_DIGITS: Final = 20
_COMMITS: Final = "-commits"
_DAMAGED: Final = "-damaged"

# What belongs to an SQLite index besides its file, in the order in which it is set aside.
COMPANIONS: Final = ("-wal", "-shm", _COMMITS, _DAMAGED)


class Witness:
    """The companions of the index at ``database``. Methods that write never raise: a witness that can't be
    written says less than it could, which the log tells, and nothing else comes of it."""

    def __init__(self, database: Path) -> None:
        self._commits = database.with_name(database.name + _COMMITS)
        self._damaged = database.with_name(database.name + _DAMAGED)
        self._file: int | None = None
        self._silent = False

    @property
    def watching(self) -> bool:
        """Commits are counted: this is the process that owns the index."""
        return self._file is not None

    def open(self) -> int:
        """Begin to count; returns the number of the newest commit that is known of, 0 for none."""
        if self._file is None:
            try:
                self._file = os.open(self._commits, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                self._complain(error)
                return 0
        try:
            found = os.pread(self._file, _DIGITS, 0)
        except OSError as error:
            self._complain(error)
            return 0
        return int(found) if len(found) == _DIGITS and found.isdigit() else 0

    def committed(self, number: int) -> None:
        """Commit ``number`` is on disk."""
        if self._file is None:
            return
        try:
            os.pwrite(self._file, b"%0*d\n" % (_DIGITS, number), 0)
        except OSError as error:
            self._complain(error)

    def damage_met(self, what: str) -> None:
        """Note that the index is damaged, for ``damage`` and for the next start."""
        if self.damage() is not None:
            return
        try:
            self._damaged.write_text(what + "\n")
        except OSError as error:
            self._complain(error)

    def damage(self) -> str | None:
        """The damage that was met since the index was made, or None. Any process may ask."""
        try:
            return self._damaged.read_text(errors="replace").strip() or "damage was met"
        except FileNotFoundError:
            return None
        except OSError as error:
            return f"{self._damaged} can't be read: {error.strerror}"

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _complain(self, error: OSError) -> None:
        if not self._silent:
            _log.warning("index_witness_not_written", path=str(self._commits), error=str(error))
        self._silent = True
