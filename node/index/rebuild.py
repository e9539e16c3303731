"""An index made anew from the objects: what goes, what stays, and which versions were published before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import orjson
import sqlalchemy as sa

from node.index import schema
from node.index.engine import Engine


class Published(NamedTuple):
    """The newest version of a study that an event tells of, and how many instances it had."""

    version: int
    instances: int


def is_empty(engine: Engine) -> bool:
    """No study is indexed."""
    with engine.read() as connection:
        return connection.execute(sa.select(schema.study.c.uid).limit(1)).first() is None


def forget_objects(engine: Engine) -> None:
    """Remove every row that the objects can tell again. Events, full resources and quarantine stay."""
    with engine.write() as connection:
        for table in (schema.instance, schema.header, schema.series, schema.study):
            connection.execute(sa.delete(table))


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


def restore_versions(engine: Engine, versions: Mapping[str, Published]) -> int:
    """Tell rebuilt studies which version they have; those with nothing new are complete. Returns how many."""
    study = schema.study
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
            connection.execute(
                sa.update(study).where(study.c.uid == uid).values(values | {"revision": study.c.revision + 1})
            )
            restored += 1
    return restored
