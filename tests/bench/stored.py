"""Proof: what a receiver answered with success lies below its folder, every object of it, whole."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection
from pathlib import Path
from typing import Final

from tests.bench.replay import INSTANCE, read_heads

_SECONDS: Final = 3.0  # that a receiver may take to move a file to where it is looked for
_PAUSE: Final = 0.3
_HEAD: Final = 8192
_TAIL: Final = 512
_INSTANCE: Final = re.compile(rb"2\.25\.1" + INSTANCE.encode() + rb"(\d{30,})")  # as ``replay.uid`` makes it


class Stored:
    """How the objects made of the data set at ``path`` are known again in files, whatever a receiver writes
    before them: by the UID at the beginning, the pixels at the end, and no byte missing between them."""

    def __init__(self, path: Path) -> None:
        heads = [len(head.data) for head in read_heads(path)]
        pixels = path.stat().st_size - heads[0]
        self._sizes = [size + pixels for size in heads]
        with path.open("rb") as file:
            file.seek(-_TAIL, os.SEEK_END)
            self._tail = file.read()

    def check(self, folder: Path, serials: Collection[int]) -> None:
        """RuntimeError when a file of an object of ``serials`` is not below ``folder``, or not whole.

        A receiver may still move files, from a folder that was not looked into yet to one that was: then it is
        looked again.
        """
        deadline = time.monotonic() + _SECONDS
        missing = set(serials)
        while missing := missing - self._below(folder):
            if time.monotonic() >= deadline:
                raise RuntimeError(
                    f"{len(serials)} objects answered with success, {len(serials) - len(missing)} on disk"
                )
            time.sleep(_PAUSE)

    def _below(self, folder: Path) -> set[int]:
        found = set()
        for base, _, names in os.walk(folder):
            for name in names:
                try:
                    with Path(base, name).open("rb") as file:
                        found |= self._whole(file.fileno())
                except FileNotFoundError:
                    continue  # it was moved just now
        return found

    def _whole(self, file: int) -> set[int]:
        """The serial number of the object in this file, if all of it is there."""
        size = os.fstat(file).st_size
        if size < min(self._sizes) or os.pread(file, _TAIL, size - _TAIL) != self._tail:
            return set()
        said = _INSTANCE.search(os.pread(file, _HEAD, 0))
        serial = int(said[1]) if said else -1
        return {serial} if said and size >= self._sizes[serial % len(self._sizes)] else set()
