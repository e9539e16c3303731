"""Rows of quarantine as an operator decides on them.

A decision is a row first and files after: a row that is settled while its file still lies in quarantine/ was not
carried out to its end, and ``settled`` finds it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import sqlalchemy as sa

from node.errors import QuarantineNotFound
from node.index import rows, schema
from node.index.engine import Engine
from node.index.outbox import portions
from node.model import ObjectKey

_TABLE: Final = schema.quarantine
_INSTANCE: Final = schema.instance
_MOST: Final = 2**63 - 1  # SQLite's integers

Kind = Literal["object", "study"]
Decision = Literal["waiting", "released", "discarded"]


def kind(row: Mapping[str, Any]) -> Kind:
    """Whether an object is in quarantine, or a study as a whole is held back."""
    return "study" if row["name"] is None else "object"


def decision(row: Mapping[str, Any]) -> Decision:
    """What an operator decided on a row."""
    if row["discarded_at"] is not None:
        return "discarded"
    return "waiting" if row["released_at"] is None else "released"


class Settled(NamedTuple):
    """An object that was decided on; ``displaced`` is the file of the one whose place it took, and its key."""

    id: int
    file: str
    discarded: bool
    displaced: str | None
    key: ObjectKey | None


class QuarantineRows:
    """Every method may raise ``IndexUnavailable``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def row(self, number: int) -> Mapping[str, Any]:
        """Raises ``QuarantineNotFound``."""
        found = None
        if 0 < number <= _MOST:
            with self._engine.read() as connection:
                query = sa.select(_TABLE).where(_TABLE.c.id == number)
                found = connection.execute(query).mappings().first()
        if found is None:
            raise QuarantineNotFound(f"nothing in quarantine has the number {number}")
        return dict(found)

    def place_of(self, instance: str, like: ObjectKey | None = None) -> ObjectKey | None:
        """Where a SOP Instance UID is indexed: under ``like`` if it is there, else the first by UID."""
        columns = (_INSTANCE.c.study, _INSTANCE.c.series, _INSTANCE.c.uid)
        query = sa.select(*columns).where(_INSTANCE.c.uid == instance).order_by(*columns)
        with self._engine.read() as connection:
            places = [ObjectKey(*row) for row in connection.execute(query)]
        return like if like in places else next(iter(places), None)

    def unknown(self, files: Sequence[str]) -> list[str]:
        """Those of ``files`` that no row names."""
        known: set[str] = set()
        with self._engine.read() as connection:
            for portion in portions(files):
                known.update(connection.scalars(sa.select(_TABLE.c.name).where(_TABLE.c.name.in_(portion))))
        return [file for file in files if file not in known]

    def add(self, found: Sequence[Mapping[str, Any]]) -> None:
        """Rows as ``rows.quarantine_row`` makes them."""
        with self._engine.write() as connection:
            rows.add_quarantine(connection, found)

    def release(self, number: int, wall: float) -> None:
        """An object is to be taken in again."""
        with self._engine.write() as connection:
            mark_released(connection, number, wall)

    def discard(self, number: int, wall: float) -> None:
        """An object's file is to be deleted."""
        with self._engine.write() as connection:
            connection.execute(sa.update(_TABLE).where(_TABLE.c.id == number).values(discarded_at=wall))

    def settled(self, number: int | None = None) -> list[Settled]:
        """Objects that were decided on, all or one; their files may say that it was not carried out."""
        other = _TABLE.alias()
        decided = sa.or_(_TABLE.c.released_at.is_not(None), _TABLE.c.discarded_at.is_not(None))
        query = sa.select(
            _TABLE.c.id,
            _TABLE.c.name,
            _TABLE.c.discarded_at,
            other.c.name.label("displaced"),
            other.c.study,
            other.c.series,
            other.c.instance,
        ).select_from(_TABLE.outerjoin(other, other.c.id == _TABLE.c.displaced))
        query = query.where(_TABLE.c.name.is_not(None), decided).order_by(_TABLE.c.id)
        if number is not None:
            query = query.where(_TABLE.c.id == number)
        with self._engine.read() as connection:
            return [
                Settled(
                    row.id,
                    row.name,
                    row.discarded_at is not None,
                    row.displaced,
                    ObjectKey(row.study, row.series, row.instance) if row.displaced else None,
                )
                for row in connection.execute(query)
            ]


def mark_released(connection: sa.Connection, number: int, wall: float, displaced: int | None = None) -> None:
    """In the caller's transaction: an object is let out; ``displaced`` is the row of the one that made room."""
    connection.execute(
        sa.update(_TABLE).where(_TABLE.c.id == number).values(released_at=wall, displaced=displaced)
    )


def sender_of(connection: sa.Connection, key: ObjectKey) -> str:
    """The calling AE title that a stored object came from, "" when it is not indexed."""
    of_key = (
        _INSTANCE.c.study == key.study,
        _INSTANCE.c.series == key.series,
        _INSTANCE.c.uid == key.instance,
    )
    return connection.scalar(sa.select(_INSTANCE.c.calling_ae).where(*of_key)) or ""


def describe_displaced(connection: sa.Connection, file: str, calling_ae: str, released: int) -> int:
    """In the caller's transaction: the row that ``file`` has there is of an object that was stored until
    ``released`` took its place, and came from ``calling_ae``; returns its id."""
    number = int(connection.execute(sa.select(_TABLE.c.id).where(_TABLE.c.name == file)).scalar_one())
    detail = (
        f"same SOP Instance UID, other bytes; it was stored until {released} was released from quarantine"
    )
    connection.execute(
        sa.update(_TABLE).where(_TABLE.c.id == number).values(detail=detail, calling_ae=calling_ae)
    )
    return number
