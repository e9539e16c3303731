"""What people look at beside the studies themselves: counts by state, who sent lately, what came when."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, get_args

import orjson
import sqlalchemy as sa

from node.errors import StudyNotFound
from node.index import schema
from node.index.engine import Engine
from node.model import State

_STUDY: Final = schema.study
_INSTANCE: Final = schema.instance
_OUTBOX: Final = schema.outbox

MAX_STEPS: Final = 120
MAX_SENDERS: Final = 8  # told apart in a study's arrivals; callers choose their titles
MAX_VERSIONS: Final = 100
MAX_EVENTS: Final = 50  # of a version: a structure set can become thousands
OTHER: Final = "other"
# Widths that people can read off a time axis, in seconds; then whole days
_WIDTHS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200)
_DAY: Final = 86_400
_RECENT: Final = 500
_LISTED: Final = tuple(column for column in _OUTBOX.c if column.name != "data")


class Arrivals(NamedTuple):
    """Instances of ``calling_ae`` received from ``at`` (seconds since the epoch) on, for ``seconds``."""

    at: float
    seconds: int
    instances: int
    calling_ae: str


class Version(NamedTuple):
    """One published version: rows of its first events without their data, and how many there are in all."""

    version: int
    created_at: float
    completion: str | None
    instances: int | None
    added: int | None
    events: list[Mapping[str, Any]]
    total: int


class Overview:
    """Every method is one snapshot and may raise ``IndexUnavailable``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def state_counts(self) -> dict[str, int]:
        """How many studies are in each state."""
        query = sa.select(_STUDY.c.state, sa.func.count()).group_by(_STUDY.c.state)
        with self._engine.read() as connection:
            found = {row.state: row[1] for row in connection.execute(query)}
        return {state: found.get(state, 0) for state in get_args(State)}

    def last_seen(self) -> dict[str, float]:
        """Calling AE titles of the studies that changed last -> when (seconds since the epoch): an upper bound
        for all but the last of a study's senders."""
        query = sa.select(_STUDY.c.calling_aes, _STUDY.c.last_at).order_by(_STUDY.c.last_at.desc())
        found: dict[str, float] = {}
        with self._engine.read() as connection:
            for callers, at in connection.execute(query.limit(_RECENT)):
                for name in orjson.loads(callers):
                    found.setdefault(name, at)
        return found

    def series_sizes(self, uid: str) -> dict[str, tuple[int, float]]:
        """Series Instance UID -> bytes of its objects, and when the last of them came."""
        table = _INSTANCE
        query = (
            sa.select(table.c.series, sa.func.sum(table.c.size), sa.func.max(table.c.received_at))
            .where(table.c.study == uid)
            .group_by(table.c.series)
        )
        with self._engine.read() as connection:
            return {series: (int(size), at) for series, size, at in connection.execute(query)}

    def arrivals(self, uid: str) -> list[Arrivals]:
        """When a study's instances came, in at most ``MAX_STEPS`` steps of equal width; empty steps are left out."""
        # Whole seconds, whichever way the database rounds: widths are whole seconds too
        second = sa.cast(_INSTANCE.c.received_at, sa.Integer)
        of_study = _INSTANCE.c.study == uid
        with self._engine.read() as connection:
            first, last = connection.execute(
                sa.select(sa.func.min(second), sa.func.max(second)).where(of_study)
            ).one()
            if first is None:
                return []
            width = _width(first, last)
            step = (second // width).label("step")
            query = sa.select(step, _INSTANCE.c.calling_ae, sa.func.count()).where(of_study)
            counted = connection.execute(query.group_by(step, _INSTANCE.c.calling_ae)).all()
        return _bounded([(at, sender, count) for at, sender, count in counted], width)

    def versions(self, uid: str) -> list[Version]:
        """The published versions of a study, newest first. Raises ``StudyNotFound``."""
        counts = (
            sa.select(_OUTBOX.c.version, sa.func.count().label("count"))
            .where(_OUTBOX.c.study == uid)
            .group_by(_OUTBOX.c.version)
            .order_by(_OUTBOX.c.version.desc())
            .limit(MAX_VERSIONS)
        )
        with self._engine.read() as connection:
            study = connection.execute(
                sa.select(_STUDY.c.version, _STUDY.c.completed_at, _STUDY.c.completion).where(
                    _STUDY.c.uid == uid
                )
            ).first()
            counted = {row.version: row[1] for row in connection.execute(counts)}
            if study is None and not counted:
                raise StudyNotFound(f"no study {uid}")
            events = _events(connection, uid, min(counted)) if counted else []
        found = [_version(number, count, events) for number, count in counted.items()]
        if study is not None and study.version and study.version not in counted and study.completed_at:
            # No output made an event of it; the index does not know of those before it
            found.insert(0, Version(study.version, study.completed_at, study.completion, None, None, [], 0))
        return found


def _events(connection: sa.Connection, uid: str, oldest: int) -> list[Mapping[str, Any]]:
    """The first events of each version from ``oldest`` on, without their data."""
    place = sa.func.row_number().over(partition_by=_OUTBOX.c.version, order_by=_OUTBOX.c.seq)
    numbered = (
        sa.select(*_LISTED, place.label("place"))
        .where(_OUTBOX.c.study == uid, _OUTBOX.c.version >= oldest)
        .subquery()
    )
    query = sa.select(numbered).where(numbered.c.place <= MAX_EVENTS).order_by(numbered.c.seq)
    return [
        {**row, "attributes": orjson.loads(row["attributes"])} for row in connection.execute(query).mappings()
    ]


def _version(number: int, count: int, events: list[Mapping[str, Any]]) -> Version:
    own = [event for event in events if event["version"] == number]
    told = own[0]["attributes"]
    return Version(
        number,
        own[0]["created_at"],
        told.get("completion"),
        told.get("instances"),
        told.get("added"),
        own,
        count,
    )


def _width(first: int, last: int) -> int:
    """The narrowest step that covers the time from ``first`` to ``last`` in ``MAX_STEPS``, whatever their phase."""
    for width in _WIDTHS:
        if last // width - first // width < MAX_STEPS:
            return width
    return math.ceil((last - first + 1) / (MAX_STEPS - 1) / _DAY) * _DAY


def _bounded(counted: list[tuple[int, str, int]], width: int) -> list[Arrivals]:
    """Steps as times, and the senders of the fewest instances as one."""
    totals: dict[str, int] = {}
    for _, sender, count in counted:
        totals[sender] = totals.get(sender, 0) + count
    named = set(sorted(totals, key=lambda one: (-totals[one], one))[:MAX_SENDERS])
    steps: dict[tuple[int, str], int] = {}
    for step, sender, count in counted:
        key = step, sender if sender in named else OTHER
        steps[key] = steps.get(key, 0) + count
    return [
        Arrivals(float(step * width), width, count, sender) for (step, sender), count in sorted(steps.items())
    ]
