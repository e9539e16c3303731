"""What the HTTP side asks of the node: callables, all blocking, all safe from any thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from node.index.outbox import Record
from node.timing import rfc3339

Json = dict[str, Any]


def instant(seconds: float | None) -> str | None:
    """A time of a row, in all answers alike; None stays null."""
    return None if seconds is None else rfc3339(seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebServices:
    """Each may raise a ``NodeError``, which becomes its HTTP status and JSON body (``errors.STATUS``).

    studies
        (state or None, limit, offset) -> rows, last changed first.
    study
        (StudyInstanceUID) -> the study; raises ``StudyNotFound``.
    resource
        (StudyInstanceUID, profile, version or None for the latest) -> the whole resource, never without its
        lists of instances; raises ``StudyNotFound`` also when the study has no such resource yet.
    complete, hold, reopen
        (StudyInstanceUID) -> the study after it; raise ``StudyNotFound``, ``StudyConflict``.
    events
        (StudyInstanceUID or None, after or None, limit, with data) -> at most ``limit`` rows of the outbox,
        oldest first: those with ``seq`` above ``after``, or the newest ones when it is None.
    event_data
        (event id) -> its whole resource, also where the event went out shortened; raises ``EventNotFound``.
    replay
        (event ids) -> the ids that exist; they are published again, byte for byte.
    quarantine
        (limit, offset) -> what is in quarantine, newest first.
    metrics
        (Accept header) -> exposition, content type.
    reasons
        () -> check name -> why the node is not ready.
    """

    studies: Callable[[str | None, int, int], Sequence[Json]]
    study: Callable[[str], Json]
    resource: Callable[[str, str, int | None], bytes]
    complete: Callable[[str], Json]
    hold: Callable[[str], Json]
    reopen: Callable[[str], Json]
    events: Callable[[str | None, int | None, int, bool], Sequence[Record]]
    event_data: Callable[[str], bytes]
    replay: Callable[[Sequence[str]], Sequence[str]]
    quarantine: Callable[[int, int], Sequence[Json]]
    metrics: Callable[[str], tuple[bytes, str]]
    reasons: Callable[[], Mapping[str, str]]
