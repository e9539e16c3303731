"""Which studies' objects may go, and what the index says when they are gone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from node.index import schema
from node.index.engine import Engine
from node.model import ObjectKey

_STUDY: Final = schema.study
_OUTBOX: Final = schema.outbox
_PAGE: Final = 100

# Complete, and nothing of it waits: an event that is parked has not been published.
_FREE: Final = sa.and_(
    _STUDY.c.state == "complete",
    _STUDY.c.objects_deleted_at.is_(None),
    _STUDY.c.completed_at.is_not(None),
    ~sa.exists().where(_OUTBOX.c.study == _STUDY.c.uid, _OUTBOX.c.sent_at.is_(None)),
)


class Expirable(NamedTuple):
    """A study whose objects may go, as it was when that was found out."""

    uid: str
    revision: int
    completed_at: float


class RetentionRows:
    """Every method may raise ``IndexUnavailable``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def oldest(self, before: float | None = None) -> Iterator[Expirable]:
        """Studies whose objects may go, the first completed first; ``before``: completed by then (epoch)."""
        after: Any = sa.true()
        while True:
            query = sa.select(_STUDY.c.uid, _STUDY.c.revision, _STUDY.c.completed_at).where(_FREE, after)
            if before is not None:
                query = query.where(_STUDY.c.completed_at <= before)
            query = query.order_by(_STUDY.c.completed_at, _STUDY.c.uid).limit(_PAGE)
            with self._engine.read() as connection:
                page = [Expirable(*row) for row in connection.execute(query)]
            yield from page
            if len(page) < _PAGE:
                return
            last = page[-1]
            after = sa.tuple_(_STUDY.c.completed_at, _STUDY.c.uid) > (last.completed_at, last.uid)

    def first_completed_at(self) -> float | None:
        """When the first of the studies whose objects may go was completed."""
        with self._engine.read() as connection:
            found: float | None = connection.scalar(
                sa.select(sa.func.min(_STUDY.c.completed_at)).where(_FREE)
            )
            return found

    def still(self, study: Expirable) -> bool:
        """Nothing has happened to the study since."""
        query = sa.select(_STUDY.c.uid).where(
            _FREE, _STUDY.c.uid == study.uid, _STUDY.c.revision == study.revision
        )
        with self._engine.read() as connection:
            return connection.execute(query).first() is not None

    def objects(self, uid: str) -> list[ObjectKey]:
        """The keys of a study's objects."""
        table = schema.instance
        query = sa.select(table.c.study, table.c.series, table.c.uid).where(table.c.study == uid)
        with self._engine.read() as connection:
            return [ObjectKey(*row) for row in connection.execute(query)]

    def gone(self, study: Expirable, wall: float, keep_index: bool) -> None:
        """The objects are deleted; the rows stay, or go with them. Events stay, and with them the versions."""
        with self._engine.write() as connection:
            if keep_index:
                connection.execute(
                    sa.update(_STUDY).where(_STUDY.c.uid == study.uid).values(objects_deleted_at=wall)
                )
                return
            for table in (schema.instance, schema.header, schema.series, schema.full_resource):
                connection.execute(sa.delete(table).where(table.c.study == study.uid))
            connection.execute(sa.delete(_STUDY).where(_STUDY.c.uid == study.uid))
