"""What the node and its reading process say to each other over a Unix stream socket.

The child sends ``READY`` when it can read. A request is ``REQUEST`` (seconds it may take, kind) with one file
descriptor (SCM_RIGHTS); an answer is its length and a pickle, read by a loader that makes nothing but the
values of ``documents`` and ``terms``: the child has looked at bytes from anywhere.
"""

from __future__ import annotations

import io
import pickle
import struct
from dataclasses import dataclass
from typing import Any, Final, Literal

READY: Final = b"R"
REQUEST: Final = struct.Struct("<d24s")
LENGTH: Final = struct.Struct("<Q")
MAX_ANSWER: Final = 67_108_864

_MODULES: Final = frozenset({"node.documents", "node.terms"})

Outcome = Literal["read", "unreadable", "failed"]


@dataclass(frozen=True, slots=True)
class Answer:
    """``value`` is what was read, the reason why nothing was, or the errno of a disk that failed."""

    outcome: Outcome
    value: Any


def encode(answer: Answer) -> bytes:
    """Length and pickle."""
    body = pickle.dumps((answer.outcome, answer.value), protocol=pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(body)) + body


def decode(body: bytes | bytearray) -> Answer:
    """Raises ``pickle.UnpicklingError`` when it holds anything but values."""
    return Answer(*_Values(io.BytesIO(body)).load())


class _Values(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module not in _MODULES or "." in name:
            raise pickle.UnpicklingError("an answer with something else than values")
        return super().find_class(module, name)
