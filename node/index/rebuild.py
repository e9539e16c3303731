"""An index made anew from the objects: what goes, what stays, and which versions were published before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import orjson
import sqlalchemy as sa

from node.index import rows, schema
from node.index.engine import Engine
from node.publish.base import Published

__all__ = [
    "Published",
    "await_versions",
    "awaits_versions",
    "delivered",
    "forget_objects",
    "is_empty",
    "published",
    "restore",
    "unfinished",
]

# meta: while a rebuild is under way, the studies that were held before it (orjson list).
_REBUILDING: Final = schema.REBUILDING


_AWAITING: Final = schema.AWAITING_VERSIONS


def is_empty(engine: Engine) -> bool:
    """No study is indexed."""
    with engine.read() as connection:
        return connection.execute(sa.select(schema.study.c.uid).limit(1)).first() is None


def unfinished(engine: Engine) -> bool:
    """A rebuild was begun and not brought to its end: studies are missing, or do not know their version."""
    with engine.read() as connection:
        return _held_before(connection) is not None


def forget_objects(engine: Engine) -> None:
    """Begin a rebuild: remove every row that the objects can tell again, and note that they are missing.

    Events, full resources and quarantine stay.
    """
    study, meta = schema.study, schema.meta
    with engine.write() as connection:
        held = _held_before(connection) or []
        held += connection.scalars(sa.select(study.c.uid).where(study.c.state == "held"))
        connection.execute(sa.delete(meta).where(meta.c.key.in_((_REBUILDING, _AWAITING))))
        connection.execute(sa.insert(meta).values(key=_REBUILDING, value=orjson.dumps(held).decode()))
        for table in (schema.instance, schema.header, schema.series, study):
            connection.execute(sa.delete(table))


def await_versions(engine: Engine) -> None:
    """The objects are indexed; ``restore`` ends the rebuild when the sink has told the versions."""
    meta = schema.meta
    with engine.write() as connection:
        connection.execute(sa.delete(meta).where(meta.c.key == _AWAITING))
        connection.execute(sa.insert(meta).values(key=_AWAITING, value=""))


def awaits_versions(engine: Engine) -> bool:
    """A rebuild lacks nothing but the versions."""
    with engine.read() as connection:
        query = sa.select(schema.meta.c.key).where(schema.meta.c.key == _AWAITING)
        return connection.scalar(query) is not None


def delivered(engine: Engine) -> dict[str, Published]:
    """The newest versions that are out, by Study Instance UID: of studies that owe the sink nothing."""
    study, outbox = schema.study, schema.outbox
    owing = sa.select(outbox.c.study).where(outbox.c.sent_at.is_(None))
    query = sa.select(study.c.uid, study.c.version, study.c.instances - study.c.added).where(
        study.c.version > 0, study.c.uid.not_in(owing)
    )
    with engine.read() as connection:
        return {uid: Published(version, instances) for uid, version, instances in connection.execute(query)}


def _held_before(connection: sa.Connection) -> list[str] | None:
    found = connection.scalar(sa.select(schema.meta.c.value).where(schema.meta.c.key == _REBUILDING))
    return None if found is None else list(orjson.loads(found))


def published(engine: Engine, events_path: Path) -> dict[str, Published]:
    """What the outbox and the event log say was published, by Study Instance UID."""
    found: dict[str, Published] = {}
    for attributes in (*_outbox(engine), *_log(events_path)):
        study, version = attributes.get("subject"), attributes.get("studyversion")
        instances = attributes.get("instances")
        if isinstance(study, str) and isinstance(version, int) and isinstance(instances, int):
            found[study] = max(found.get(study, Published(0, 0)), Published(version, instances))
    return found


def _outbox(engine: Engine) -> Iterator[Mapping[str, object]]:
    with engine.read() as connection:
        for (attributes,) in connection.execute(sa.select(schema.outbox.c.attributes)):
            yield orjson.loads(attributes)


def _log(events_path: Path) -> Iterator[Mapping[str, object]]:
    if not events_path.exists():
        return
    with events_path.open("rb") as file:
        for line in file:
            try:
                event = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue  # the torn last line of a crash: the publisher cuts it off when it starts
            if isinstance(event, dict):
                yield event


def restore(engine: Engine, versions: Mapping[str, Published], wall: float) -> int:
    """End a rebuild, in one transaction: studies get their version back, those with nothing new are complete,
    those that were held are held. Returns how many had been published."""
    study, meta = schema.study, schema.meta
    restored = 0
    with engine.write() as connection:
        for uid, known in versions.items():
            instances = connection.scalar(sa.select(study.c.instances).where(study.c.uid == uid))
            if instances is None:
                continue
            added = max(instances - known.instances, 0)
            values: dict[str, object] = {"version": known.version, "added": added}
            if not added:
                values |= {"deadline": None, "state": "complete"}
                rows.release_quarantine(connection, uid, wall)
            connection.execute(sa.update(study).where(study.c.uid == uid).values(values))
            restored += 1
        for uid in _held_before(connection) or []:
            connection.execute(
                sa.update(study)
                .where(study.c.uid == uid, study.c.state == "open")
                .values(state="held", deadline=None)
            )
        connection.execute(sa.delete(meta).where(meta.c.key.in_((_REBUILDING, _AWAITING))))
    return restored
