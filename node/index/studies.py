"""Studies as the clock, the operator and the HTTP API see them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
import sqlalchemy as sa

from node import completion, envelope
from node.errors import StudyNotFound
from node.index import outbox, rows, schema
from node.index.engine import Engine
from node.model import Event, HeaderSet, InstanceRow, Reason, StudyState

_STUDY = schema.study
_CLOCK: Final = "clock"  # meta: on which machine, and with which offset, times were written
_CLOCK_TOLERANCE: Final = 1.0  # seconds: less is the clock being disciplined, not set

# Asked after batches of objects, so made once: to build one takes longer than to run it.
_NEXT_DEADLINE: Final = sa.select(sa.func.min(_STUDY.c.deadline)).where(_STUDY.c.deadline.is_not(None))
_DUE: Final = (
    sa.select(_STUDY)
    .where(_STUDY.c.deadline <= sa.bindparam("now"))
    .order_by(_STUDY.c.deadline)
    .limit(sa.bindparam("most"))
)


@dataclass(frozen=True, slots=True)
class StudyRows:
    """All that the index knows of one study, read in one snapshot."""

    state: StudyState
    calling_aes: Sequence[str]
    headers: Sequence[HeaderSet]
    instances: Sequence[InstanceRow]


@dataclass(frozen=True, slots=True)
class Publication:
    """What one version of a study becomes: events with their final bytes, unfit ones with the reason, and
    full resources by event id where an event was too large to carry its own."""

    events: Sequence[Event]
    parked: Mapping[str, str]
    full: Mapping[str, bytes]


class Studies:
    """Every method is one transaction and may raise ``IndexUnavailable``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def next_deadline(self, without: Collection[str] = ()) -> float | None:
        """The earliest deadline of an open study that is not in ``without`` (some hundreds of UIDs at most)."""
        with self._engine.read() as connection:
            found: float | None = connection.scalar(_passing_over(_NEXT_DEADLINE, without))
            return found

    def due(self, now: float, limit: int = 100, without: Collection[str] = ()) -> list[StudyState]:
        """Studies whose deadline has come, the longest overdue first, passing over those in ``without``."""
        with self._engine.read() as connection:
            found = connection.execute(_passing_over(_DUE, without), {"now": now, "most": limit}).mappings()
            return [rows.state_of(dict(row)) for row in found]

    def state(self, uid: str) -> StudyState:
        """Raises ``StudyNotFound``."""
        with self._engine.read() as connection:
            return _state(connection, uid)

    def sop_classes(self, uid: str) -> frozenset[str]:
        """The SOP Class UIDs that the study has. Raises ``StudyNotFound``."""
        with self._engine.read() as connection:
            joined = connection.scalar(sa.select(_STUDY.c.sop_classes).where(_STUDY.c.uid == uid))
        if joined is None:
            raise StudyNotFound(f"no study {uid}")
        return frozenset(joined.split("\\")) - {""}

    def load(self, uid: str) -> StudyRows:
        """Everything that the mapping needs. Raises ``StudyNotFound``."""
        header, instance = schema.header, schema.instance
        with self._engine.read() as connection:
            state = _state(connection, uid)
            callers = connection.scalar(sa.select(_STUDY.c.calling_aes).where(_STUDY.c.uid == uid))
            headers = connection.execute(
                sa.select(header.c.id, header.c.series, header.c.attributes).where(header.c.study == uid)
            ).all()
            instances = connection.execute(
                sa.select(
                    instance.c.series,
                    instance.c.uid,
                    instance.c.sop_class,
                    instance.c.transfer_syntax,
                    instance.c.header,
                    instance.c.attributes,
                    instance.c.calling_ae,
                ).where(instance.c.study == uid)
            ).all()
        return StudyRows(
            state=state,
            calling_aes=orjson.loads(callers or "[]"),
            headers=[HeaderSet(row.id, row.series, orjson.loads(row.attributes)) for row in headers],
            instances=[
                InstanceRow(
                    series=row.series,
                    uid=row.uid,
                    sop_class=row.sop_class,
                    transfer_syntax=row.transfer_syntax,
                    header=row.header,
                    attributes=orjson.loads(row.attributes),
                    calling_ae=row.calling_ae,
                )
                for row in instances
            ],
        )

    def postpone(self, study: StudyState, until: float) -> None:
        """Look at the study again at ``until``, unless something has changed since it was read."""
        with self._engine.write() as connection:
            connection.execute(
                sa.update(_STUDY)
                .where(_STUDY.c.uid == study.uid, _STUDY.c.revision == study.revision)
                .values(deadline=until)
            )

    def publish(self, study: StudyState, reason: Reason, wall: float, publication: Publication) -> bool:
        """State change and outbox rows, one transaction; False when the version built from ``study`` must not
        go out any more (completion.published). Raises ``StudyNotFound``."""
        with self._engine.write() as connection:
            after = completion.published(study, _state(connection, study.uid), reason)
            if after is None:
                return False
            connection.execute(
                sa.update(_STUDY)
                .where(_STUDY.c.uid == study.uid)
                .values(
                    state=after.state,
                    version=after.version,
                    revision=after.revision,
                    added=after.added,
                    first_at=after.first_at,
                    deadline=after.deadline,
                    completed_at=wall,
                    completion=reason,
                )
            )
            outbox.add(connection, publication.events, wall, publication.parked)
            _keep_full(connection, publication)
            rows.release_quarantine(connection, study.uid, wall)
        return True

    def quarantine(self, study: StudyState, reason: str, detail: str, wall: float) -> bool:
        """Hold a study back that must not be published as it is; False when its state changed meanwhile."""
        with self._engine.write() as connection:
            current = _state(connection, study.uid)
            if (current.version, current.state) != (study.version, study.state):
                return False
            connection.execute(
                sa.update(_STUDY)
                .where(_STUDY.c.uid == study.uid)
                .values(state="quarantined", revision=current.revision + 1, deadline=None, conflict=detail)
            )
            rows.add_quarantine(connection, [rows.quarantine_row(reason, detail, "", wall, study.uid)])
        return True

    def command(self, uid: str, name: completion.Command, now: float, max_seconds: float) -> StudyState:
        """Hold or reopen a study (completion.COMMANDS). Raises ``StudyNotFound``, ``StudyConflict``."""
        with self._engine.write() as connection:
            before = _state(connection, uid)
            after = completion.command(before, name, now, max_seconds)
            if after is not before:
                connection.execute(
                    sa.update(_STUDY)
                    .where(_STUDY.c.uid == uid)
                    .values(
                        state=after.state,
                        first_at=after.first_at,
                        last_at=after.last_at,
                        deadline=after.deadline,
                        revision=before.revision + 1,
                    )
                )
            return after

    def carry_over(self, machine: str, offset: float) -> float:
        """At start, before ``bring_forward``: what the times of open studies were moved by, in seconds.

        ``offset`` is the wall clock minus the monotonic clock of ``machine``, one boot of one computer. When it
        is not what it was at the last start, the wall clock was set between the two, and deadlines written on
        the old one would come too early or too late by as much. Over a reboot nothing tells.
        """
        meta = schema.meta
        with self._engine.write() as connection:
            known = connection.scalar(sa.select(meta.c.value).where(meta.c.key == _CLOCK))
            step = 0.0
            if known is not None and known.rpartition(" ")[0] == machine:
                step = offset - float(known.rpartition(" ")[2])
            if abs(step) < _CLOCK_TOLERANCE:
                step = 0.0
            else:
                times = {name: _STUDY.c[name] + step for name in ("first_at", "last_at", "deadline")}
                connection.execute(sa.update(_STUDY).where(_STUDY.c.state == "open").values(times))
            connection.execute(sa.delete(meta).where(meta.c.key == _CLOCK))
            connection.execute(sa.insert(meta).values(key=_CLOCK, value=f"{machine} {offset!r}"))
        return step

    def bring_forward(self, now: float) -> None:
        """At start: no deadline further away than its own quiet period, wherever the clock stood before."""
        with self._engine.write() as connection:
            connection.execute(
                sa.update(_STUDY)
                .where(_STUDY.c.state == "open", _STUDY.c.deadline > now + _STUDY.c.quiet_seconds)
                .values(
                    deadline=now + _STUDY.c.quiet_seconds,
                    last_at=sa.case((_STUDY.c.last_at > now, now), else_=_STUDY.c.last_at),
                    first_at=sa.case((_STUDY.c.first_at > now, now), else_=_STUDY.c.first_at),
                )
            )

    def summaries(self, state: str | None, limit: int, offset: int) -> list[Mapping[str, Any]]:
        """Study rows, last changed first."""
        query = sa.select(_STUDY).order_by(_STUDY.c.last_at.desc(), _STUDY.c.uid)
        if state is not None:
            query = query.where(_STUDY.c.state == state)
        with self._engine.read() as connection:
            return [dict(row) for row in connection.execute(query.limit(limit).offset(offset)).mappings()]

    def summary(self, uid: str) -> tuple[Mapping[str, Any], list[Mapping[str, Any]]]:
        """One study's row and its series' rows. Raises ``StudyNotFound``."""
        series = schema.series
        with self._engine.read() as connection:
            found = connection.execute(sa.select(_STUDY).where(_STUDY.c.uid == uid)).mappings().first()
            if found is None:
                raise StudyNotFound(f"no study {uid}")
            query = sa.select(series.c.uid, series.c.modality, series.c.instances, series.c.attributes)
            parts = connection.execute(query.where(series.c.study == uid).order_by(series.c.uid)).mappings()
            return dict(found), [dict(part) for part in parts]

    def open_count(self) -> int:
        """Studies that are filling or held."""
        with self._engine.read() as connection:
            query = sa.select(sa.func.count()).select_from(_STUDY).where(_STUDY.c.state.in_(("open", "held")))
            return int(connection.scalar(query) or 0)

    def quarantine_waiting(self) -> int:
        """Rows of quarantine that nobody has decided on."""
        table = schema.quarantine
        with self._engine.read() as connection:
            waiting = sa.and_(table.c.released_at.is_(None), table.c.discarded_at.is_(None))
            return int(connection.scalar(sa.select(sa.func.count()).select_from(table).where(waiting)) or 0)

    def quarantined(self, limit: int, offset: int) -> list[Mapping[str, Any]]:
        """Quarantine rows: those that nobody has decided on, then the others; each newest first."""
        table = schema.quarantine
        decided = sa.or_(table.c.released_at.is_not(None), table.c.discarded_at.is_not(None))
        query = sa.select(table).order_by(decided, table.c.id.desc()).limit(limit).offset(offset)
        with self._engine.read() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def full_resource(self, uid: str, output: str, version: int) -> bytes | None:
        """The resource behind a study's own event; None when the event carries it itself."""
        return self.full_resource_of(envelope.event_id(output, uid, version))

    def full_resource_of(self, event_id: str) -> bytes | None:
        """The resource behind a shortened event of any kind; None when the event carries it itself."""
        table = schema.full_resource
        with self._engine.read() as connection:
            found: bytes | None = connection.scalar(
                sa.select(table.c.data).where(table.c.event_id == event_id)
            )
            return found

    def locate(self, instances: Sequence[str]) -> dict[str, tuple[str, str]]:
        """SOP Instance UIDs -> (Study, Series Instance UID) of those that are here; of several places the first
        by UID."""
        table = schema.instance
        found: dict[str, tuple[str, str]] = {}
        with self._engine.read() as connection:
            for portion in outbox.portions(instances):
                query = sa.select(table.c.uid, table.c.study, table.c.series).where(table.c.uid.in_(portion))
                for uid, study, series in connection.execute(query.order_by(table.c.study, table.c.series)):
                    found.setdefault(uid, (study, series))
        return found

    def taken(self, ids: Sequence[str], study: str) -> set[str]:
        """Those of these event ids that the outbox holds for another study than ``study``: a SOP Instance UID
        that stands in two studies would give both the same id, and an id is one event's for ever."""
        table = schema.outbox
        found: set[str] = set()
        with self._engine.read() as connection:
            for portion in outbox.portions(ids):
                query = sa.select(table.c.id).where(table.c.id.in_(portion), table.c.study != study)
                found.update(connection.scalars(query))
        return found

    def check_writable(self) -> None:
        """Raises ``IndexUnavailable`` when a write transaction can't be made."""
        with self._engine.write() as connection:
            connection.execute(
                sa.update(schema.meta).where(schema.meta.c.key == "schema").values(key="schema")
            )


def _passing_over(query: sa.Select[Any], without: Collection[str]) -> sa.Select[Any]:
    return query.where(_STUDY.c.uid.not_in(sorted(without))) if without else query


def _keep_full(connection: sa.Connection, publication: Publication) -> None:
    events = {event.id: event for event in publication.events}
    kept = [
        {
            "event_id": name,
            "study": events[name].study,
            "output": events[name].output,
            "version": int(events[name].attributes["studyversion"]),
            "data": data,
        }
        for name, data in publication.full.items()
    ]
    if kept:
        connection.execute(sa.insert(schema.full_resource), kept)


def _state(connection: sa.Connection, uid: str) -> StudyState:
    found = connection.execute(sa.select(_STUDY).where(_STUDY.c.uid == uid)).mappings().first()
    if found is None:
        raise StudyNotFound(f"no study {uid}")
    return rows.state_of(dict(found))
