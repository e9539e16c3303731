"""What the status page asks and the operator commands of quarantine do: the node as a whole, not one study."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from node.activity import OTHER, STEP_SECONDS, Activity
from node.errors import QuarantineConflict, StorageError
from node.index import quarantine
from node.index.outbox import Outbox
from node.index.overview import Overview
from node.index.quarantine import QuarantineRows
from node.index.studies import Studies
from node.model import ObjectKey
from node.objects.files import FileObjects
from node.quarantine import QuarantineDesk, Side, Sides, differences
from node.timing import Time
from node.web.services import Json, instant
from node.web.show import Show


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What does not change while the node runs; times are seconds since the epoch, sizes bytes."""

    ae_title: str
    version: str
    started_at: float
    sink: str
    max_associations: int
    min_free_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Where the answers come from.

    ``reasons`` answers at once, whatever the checks do; ``associations`` counts those open now, ``callers`` by
    calling AE title; ``knows`` tells whether a [[peers]] entry may be meant for a title; ``published`` is told of a
    study that an operator let out.
    """

    studies: Studies
    outbox: Outbox
    overview: Overview
    quarantine: QuarantineRows
    objects: FileObjects
    desk: QuarantineDesk
    sides: Sides
    activity: Activity
    clock: Time
    reasons: Callable[[], Mapping[str, str]]
    associations: Callable[[], int]
    callers: Callable[[], Mapping[str, int]]
    knows: Callable[[str], bool]
    published: Callable[[str, str, str], None]


class Operations:
    """The part of ``WebServices`` that ``Backend`` has not."""

    def __init__(self, about: About, parts: Parts, show: Show) -> None:
        self._about = about
        self._parts = parts
        self._show = show

    def status(self) -> Json:
        """The node at a glance."""
        about, parts = self._about, self._parts
        received = parts.activity.received()
        backlog = parts.outbox.backlog()
        oldest = 0.0 if backlog.oldest_at is None else max(0.0, parts.clock.wall() - backlog.oldest_at)
        return {
            "ae_title": about.ae_title,
            "version": about.version,
            "now": instant(parts.clock.wall()),
            "started_at": instant(about.started_at),
            "masked": not self._show.identifiers,
            "reasons": dict(parts.reasons()),
            "associations": {"active": parts.associations(), "limit": about.max_associations},
            "receiving": {
                "step_seconds": STEP_SECONDS,
                "objects": list(received.objects),
                "bytes": list(received.bytes),
                "last_at": instant(received.last_at),
            },
            "studies": parts.overview.state_counts(),
            "outbox": {
                "pending": backlog.pending,
                "parked": backlog.parked,
                "oldest_seconds": oldest,
                "sink": about.sink,
            },
            "quarantine": {"waiting": parts.studies.quarantine_waiting()},
            "disk": self._disk(),
        }

    def _disk(self) -> Json:
        objects = self._parts.objects
        return {
            "free": _told(objects.free_bytes),
            "min_free": self._about.min_free_bytes,
            "total": _told(objects.total_bytes),
        }

    def callers(self) -> Sequence[Json]:
        """Those that have called, and those that are connected and have sent nothing yet."""
        parts = self._parts
        now, open_now = parts.clock.now(), dict(parts.callers())
        parts.activity.connected(open_now)
        found = parts.activity.callers()
        listed = {caller.calling_ae for caller in found}
        open_now[OTHER] = sum(
            count for name, count in open_now.items() if name == OTHER or name not in listed
        )
        return [
            {
                "calling_ae": caller.calling_ae,
                "known": parts.knows(caller.calling_ae),
                "associations": open_now.get(caller.calling_ae, 0),
                "last_seen": instant(now if open_now.get(caller.calling_ae) else caller.last_seen),
                "objects": caller.objects,
                "bytes": caller.bytes,
                "failures": caller.failures,
                "refused": caller.refused,
                "late": caller.late,
            }
            for caller in sorted(found, key=lambda one: not open_now.get(one.calling_ae))
        ]

    def timeline(self, uid: str) -> Json:
        """When a study's instances came, and what was published of it."""
        overview = self._parts.overview
        versions = overview.versions(uid)
        return {
            "arrivals": [
                {**arrival._asdict(), "at": instant(arrival.at)} for arrival in overview.arrivals(uid)
            ],
            "versions": [
                {
                    "version": version.version,
                    "completion": version.completion,
                    "instances": version.instances,
                    "added": version.added,
                    "created_at": instant(version.created_at),
                    "events": [_event(row) for row in version.events],
                    "more": version.total - len(version.events),
                }
                for version in versions
            ],
        }

    def quarantined(self, number: int) -> Json:
        """A row with both sides."""
        parts, row = self._parts, self._parts.quarantine.row(number)
        held = stored = None
        if row["name"] is not None:
            held = self._side(lambda: parts.objects.open_quarantined(row["name"]))
        instance = row["instance"] or (held.instance if held else "")
        place = parts.quarantine.place_of(instance, _key(row, held)) if instance else None
        if place is not None:
            stored = self._side(lambda: parts.objects.open(place))
        return {
            **self._show.quarantined(row),
            "held": None if held is None else self._show.side(held),
            "stored": None if stored is None else self._show.side(stored),
            "differs": differences(held, stored) if held and stored else [],
        }

    def _side(self, open_file: Callable[[], BinaryIO]) -> Side | None:
        """None when there is no such file. Raises ``StorageError``."""
        try:
            with open_file() as file:
                return self._parts.sides.look(file)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"read {error.filename}: {error.strerror}") from error

    def release(self, number: int, complete: Callable[[str], Any]) -> Json:
        """An object is taken in; a study is published by ``complete``."""
        row = self._parts.quarantine.row(number)
        if quarantine.kind(row) == "object":
            self._parts.desk.release(number)
        else:
            if quarantine.decision(row) != "waiting":
                raise QuarantineConflict(f"study {row['study']} was released before")
            complete(row["study"])
            self._parts.published(row["reason"], row["study"], "")
        return self._row(number)

    def discard(self, number: int) -> Json:
        """An object's bytes are deleted."""
        self._parts.desk.discard(number)
        return self._row(number)

    def _row(self, number: int) -> Json:
        return self._show.quarantined(self._parts.quarantine.row(number))


def _key(row: Mapping[str, Any], held: Side | None) -> ObjectKey | None:
    """Where the quarantined object would be stored, as far as that is known."""
    if row["instance"]:
        return ObjectKey(row["study"], row["series"], row["instance"])
    return ObjectKey(held.study, held.series, held.instance) if held else None


def _told(ask: Callable[[], int]) -> int | None:
    """None when the disk does not tell: ``reasons`` says that something is wrong with it."""
    try:
        return ask()
    except StorageError:
        return None


def _event(row: Mapping[str, Any]) -> Json:
    due_at = row["created_at"] if row["replayed_at"] is None else row["replayed_at"]
    parked, sent_at = row["parked_reason"] is not None, row["sent_at"]
    return {
        "id": row["id"],
        "output": row["output"],
        "type": row["attributes"].get("type"),
        "topic": row["topic"],
        "state": "parked" if parked else "pending" if sent_at is None else "sent",
        "created_at": instant(row["created_at"]),
        "sent_at": instant(sent_at),
        "replayed_at": instant(row["replayed_at"]),
        "lag_seconds": None if sent_at is None else max(0.0, sent_at - due_at),
        "parked_reason": row["parked_reason"],
    }
