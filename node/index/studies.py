"""Studies as the clock, the operator and the HTTP API see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa

from node import completion
from node.errors import StudyNotFound
from node.index import outbox, rows, schema
from node.index.engine import Engine
from node.model import Event, HeaderSet, InstanceRow, Reason, StudyState

_STUDY = schema.study
_SUMMARY = tuple(column for column in _STUDY.c if column.name != "attributes")


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
    full resources by output name where an event was too large to carry its own."""

    events: Sequence[Event]
    parked: Mapping[str, str]
    full: Mapping[str, bytes]


class Studies:
    """Every method is one transaction and may raise ``IndexUnavailable``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def next_deadline(self) -> float | None:
        """The earliest deadline of an open study."""
        with self._engine.read() as connection:
            found: float | None = connection.scalar(
                sa.select(sa.func.min(_STUDY.c.deadline)).where(_STUDY.c.deadline.is_not(None))
            )
            return found

    def due(self, now: float, limit: int = 100) -> list[StudyState]:
        """Studies whose deadline has come, the longest overdue first."""
        query = sa.select(_STUDY).where(_STUDY.c.deadline <= now).order_by(_STUDY.c.deadline).limit(limit)
        with self._engine.read() as connection:
            return [rows.state_of(dict(row)) for row in connection.execute(query).mappings()]

    def state(self, uid: str) -> StudyState:
        """Raises ``StudyNotFound``."""
        with self._engine.read() as connection:
            return _state(connection, uid)

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
            for output, data in publication.full.items():
                connection.execute(
                    sa.insert(schema.full_resource).values(
                        study=study.uid, output=output, version=study.version + 1, data=data
                    )
                )
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
        """Study rows without attributes, last changed first."""
        query = sa.select(*_SUMMARY).order_by(_STUDY.c.last_at.desc(), _STUDY.c.uid)
        if state is not None:
            query = query.where(_STUDY.c.state == state)
        with self._engine.read() as connection:
            return [dict(row) for row in connection.execute(query.limit(limit).offset(offset)).mappings()]

    def summary(self, uid: str) -> tuple[Mapping[str, Any], list[Mapping[str, Any]]]:
        """One study's row and its series' rows, without attributes. Raises ``StudyNotFound``."""
        series = schema.series
        with self._engine.read() as connection:
            found = connection.execute(sa.select(*_SUMMARY).where(_STUDY.c.uid == uid)).mappings().first()
            if found is None:
                raise StudyNotFound(f"no study {uid}")
            query = sa.select(series.c.uid, series.c.modality, series.c.instances)
            parts = connection.execute(query.where(series.c.study == uid).order_by(series.c.uid)).mappings()
            return dict(found), [dict(part) for part in parts]

    def open_count(self) -> int:
        """Studies that are filling or held."""
        with self._engine.read() as connection:
            query = sa.select(sa.func.count()).select_from(_STUDY).where(_STUDY.c.state.in_(("open", "held")))
            return int(connection.scalar(query) or 0)

    def quarantined(self, limit: int, offset: int) -> list[Mapping[str, Any]]:
        """Quarantine rows, newest first."""
        table = schema.quarantine
        query = sa.select(table).order_by(table.c.id.desc()).limit(limit).offset(offset)
        with self._engine.read() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def full_resource(self, uid: str, output: str, version: int | None) -> bytes | None:
        """The resource behind a shortened event; None when the event carries it itself."""
        table = schema.full_resource
        query = sa.select(table.c.data).where(table.c.study == uid, table.c.output == output)
        if version is not None:
            query = query.where(table.c.version == version)
        with self._engine.read() as connection:
            found: bytes | None = connection.scalar(query.order_by(table.c.version.desc()).limit(1))
            return found

    def check_writable(self) -> None:
        """Raises ``IndexUnavailable`` when a write transaction can't be made."""
        with self._engine.write() as connection:
            connection.execute(
                sa.update(schema.meta).where(schema.meta.c.key == "schema").values(key="schema")
            )


def _state(connection: sa.Connection, uid: str) -> StudyState:
    found = connection.execute(sa.select(_STUDY).where(_STUDY.c.uid == uid)).mappings().first()
    if found is None:
        raise StudyNotFound(f"no study {uid}")
    return rows.state_of(dict(found))
