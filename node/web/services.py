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

    Rows of studies and of quarantine identify people only as far as ``http.show_identifiers`` allows: while it is
    false, patient ID, accession number and study ID are ``masking.mask``ed and ``patient_name`` is null. UIDs are
    shown. What was published is what it is: ``resource``, ``event_data`` and ``events`` mask nothing.

    studies
        (state or None, limit, offset) -> rows, last changed first: the columns of ``schema.study`` that are not for
        C-FIND alone, ``patient_name``, ``description``, lists of ``modalities``, ``sop_classes`` and
        ``calling_aes``, ``number_of_series``, and whether the study is ``conflicting``.
    study
        (StudyInstanceUID) -> its row with ``series``: ``uid``, ``modality``, ``instances``, ``number``,
        ``description``, ``body_part``, ``station``, ``bytes`` and ``last_at``; raises ``StudyNotFound``.
    resource
        (StudyInstanceUID, profile, version or None for the latest) -> the whole resource, never without its
        lists of instances; raises ``StudyNotFound`` also when the study has no such resource yet.
    complete, hold, reopen
        (StudyInstanceUID) -> the study after it; raise ``StudyNotFound``, ``StudyConflict``.
    events
        (StudyInstanceUID or None, after or None, limit, with data) -> at most ``limit`` rows of the outbox, fewer
        where their data are long, oldest first: those with ``seq`` above ``after``, or the newest ones when it is
        None.
    event_data
        (event id) -> its whole resource, also where the event went out shortened; raises ``EventNotFound``.
    replay
        (event ids) -> the ids that exist; they are published again, byte for byte.
    quarantine
        (limit, offset) -> what is in quarantine: what waits for a decision, then the rest, each newest first;
        ``kind`` is object or study, ``state`` waiting, released or discarded.
    quarantined
        (id) -> the row, with ``held``: what the quarantined file's header says, and ``stored``: the same of the
        object in the store with that SOP Instance UID, or null; ``differs``: keywords of the elements in which
        the two headers differ. Raises ``QuarantineNotFound``.
    release
        (id) -> the row after it. A colliding object takes the place of the stored one, which goes to quarantine
        (``displaced`` is its number); any other object is taken in again; a study is published as it is. Raises
        ``QuarantineNotFound``, and ``QuarantineConflict`` with why that can't be.
    discard
        (id) -> the row after it: the object's bytes are deleted. Raises ``QuarantineNotFound``, and
        ``QuarantineConflict`` for a study and for what was released.
    status
        () -> the node at a glance: ``ae_title``, ``version``, ``now``, ``started_at``, ``masked``, and

        * ``reasons``: check -> why the node is not ready, empty when it is (``silent``: the checks do not answer);
        * ``associations``: ``active`` and ``limit``;
        * ``receiving``: ``step_seconds`` 60, and 60 numbers each, the oldest first and the last that of the
          running minute: ``objects`` stored and their ``bytes``; ``last_at`` of the newest object;
        * ``studies``: how many are ``open``, ``held``, ``quarantined``, ``complete``;
        * ``outbox``: ``pending``, ``parked``, ``oldest_seconds`` of the pending ones, ``sink``;
        * ``quarantine``: ``waiting`` objects and studies;
        * ``disk``: ``free``, ``min_free`` and ``total`` bytes where objects are kept; ``free`` and ``total``
          are null when the disk does not tell.
    callers
        () -> each calling AE title, last seen first: ``known`` (a [[peers]] entry matches), ``associations``
        open now, ``last_seen``, and since the node was started ``objects`` and ``bytes`` stored, ``failures``
        (stores not answered 0x0000), ``refused`` (associations rejected, or ended other than by release) and
        ``late`` instances. Callers choose their titles: those beyond 200 are one row, ``other``.
    timeline
        (StudyInstanceUID) -> ``arrivals``: instances in at most 120 steps of ``seconds`` by caller, oldest
        first; ``versions``: newest first, each with its ``events`` (50 at most; ``more`` says how many are left
        out). Raises ``StudyNotFound``.
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
    quarantined: Callable[[int], Json]
    release: Callable[[int], Json]
    discard: Callable[[int], Json]
    status: Callable[[], Json]
    callers: Callable[[], Sequence[Json]]
    timeline: Callable[[str], Json]
    metrics: Callable[[str], tuple[bytes, str]]
    reasons: Callable[[], Mapping[str, str]]
