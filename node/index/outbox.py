"""The outbox: every event, from the transaction that decided it until the sink has it, then as a log.

Rows are written by the transaction that changes the study's state, so an event exists exactly when its study
has that version. A row is pending while it is neither sent nor parked; the relay selects pending rows and
never «seq > cursor», because a transaction that commits late may bring a smaller number.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

import orjson
import sqlalchemy as sa

from node.index.engine import Engine
from node.index.schema import outbox
from node.model import Event

T = TypeVar("T")

# SQLite takes 32,766 parameters a statement, PostgreSQL 65,535: long lists of rows go in portions.
_PORTION: Final = 500

# Of the data that one look into the log reads: who asks for many large events gets them in parts
MAX_BYTES: Final = 16_000_000

_PENDING: Final = sa.and_(outbox.c.sent_at.is_(None), outbox.c.parked_reason.is_(None))


@dataclass(frozen=True, slots=True)
class Record:
    """One row of the outbox; times are seconds since the epoch.

    ``event.data`` is empty where the query was asked to leave it out. ``replayed_at`` is when an operator
    last asked for it again, ``sent_at`` when the sink confirmed it, ``parked_reason`` why it is not tried.
    """

    event: Event
    version: int
    created_at: float
    sent_at: float | None
    replayed_at: float | None
    parked_reason: str | None

    @property
    def state(self) -> Literal["pending", "sent", "parked"]:
        """Where the event is on its way."""
        if self.parked_reason is not None:
            return "parked"
        return "pending" if self.sent_at is None else "sent"

    @property
    def due_at(self) -> float:
        """Since when the event has been owed to the sink: its creation, or the request to replay it."""
        return self.created_at if self.replayed_at is None else self.replayed_at


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is owed: counts of pending and parked events, and since when the oldest pending one waits."""

    pending: int
    parked: int
    oldest_at: float | None


def add(
    connection: sa.Connection,
    events: Sequence[Event],
    now: float,
    parked: Mapping[str, str] | None = None,
) -> None:
    """Append ``events`` in the caller's transaction; ``parked`` maps the ids of unfit ones to the reason.

    The version is the attribute ``studyversion``. Raises ``sqlalchemy.exc.IntegrityError`` (through the
    engine ``IndexUnavailable``) when an id is already there: one id is one sequence of bytes, for ever.
    """
    reasons = parked or {}
    if events:
        connection.execute(
            sa.insert(outbox),
            [
                {
                    "id": event.id,
                    "output": event.output,
                    "topic": event.topic,
                    "study": event.study,
                    "version": int(event.attributes["studyversion"]),
                    "attributes": orjson.dumps(dict(event.attributes)),
                    "data": event.data,
                    "created_at": now,
                    "parked_reason": reasons.get(event.id),
                }
                for event in events
            ],
        )


class Outbox:
    """The relay's and the operator's view of the outbox. Every method may raise ``IndexUnavailable``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def pending(self, limit: int, max_bytes: int, without_topics: Collection[str] = ()) -> list[Record]:
        """The oldest pending events in the order of ``seq``: at most ``limit`` and ``max_bytes`` of data.

        One event is returned whatever its size; events of ``without_topics`` are passed over.
        """
        chosen = sa.select(outbox.c.seq, sa.func.length(outbox.c.data)).where(_PENDING)
        if without_topics:
            chosen = chosen.where(outbox.c.topic.not_in(sorted(without_topics)))
        with self._engine.read() as connection:
            sizes = connection.execute(chosen.order_by(outbox.c.seq).limit(limit)).all()
            numbers = _within([(seq, size) for seq, size in sizes], max_bytes)
            return [
                _record(row)
                for portion in portions(numbers)
                for row in connection.execute(
                    sa.select(outbox).where(outbox.c.seq.in_(portion)).order_by(outbox.c.seq)
                )
            ]

    def unconfirmed(self, limit: int, after_seq: int = 0) -> list[Event]:
        """Pending events that may have gone out before a crash, without their data, in the order of ``seq``.

        Replayed ones are left out: that the sink already has them is why they were asked for again.
        """
        query = (
            sa.select(*_columns(with_data=False))
            .where(_PENDING, outbox.c.replayed_at.is_(None), outbox.c.seq > after_seq)
            .order_by(outbox.c.seq)
            .limit(limit)
        )
        with self._engine.read() as connection:
            return [_record(row).event for row in connection.execute(query)]

    def mark_sent(self, seqs: Sequence[int], now: float) -> None:
        """The sink has these; durable when this returns."""
        with self._engine.write() as connection:
            for portion in portions(seqs):
                connection.execute(sa.update(outbox).where(outbox.c.seq.in_(portion)).values(sent_at=now))

    def park(self, seq: int, reason: str) -> None:
        """Set an event aside with the reason why the sink refuses it: it blocks nothing, is not dropped."""
        with self._engine.write() as connection:
            connection.execute(sa.update(outbox).where(outbox.c.seq == seq).values(parked_reason=reason))

    def replay(self, ids: Sequence[str], now: float) -> list[str]:
        """Make these events pending again, byte for byte with the same id; returns the ids that exist."""
        found: list[str] = []
        with self._engine.write() as connection:
            for portion in portions(ids):
                found += connection.scalars(sa.select(outbox.c.id).where(outbox.c.id.in_(portion)))
                connection.execute(
                    sa.update(outbox)
                    .where(outbox.c.id.in_(portion))
                    .values(sent_at=None, parked_reason=None, replayed_at=now)
                )
        return found

    def for_study(self, uid: str) -> list[Record]:
        """Every event of one study in the order of ``seq``, with its data."""
        query = sa.select(outbox).where(outbox.c.study == uid).order_by(outbox.c.seq)
        with self._engine.read() as connection:
            return [_record(row) for row in connection.execute(query)]

    def recent(
        self,
        limit: int,
        after_seq: int | None = None,
        with_data: bool = True,
        study: str | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> list[Record]:
        """The newest ``limit`` events (of a study), or the first ``limit`` after ``after_seq``; always oldest first.

        Fewer where they have more than ``max_bytes`` of data; one is returned whatever its size.
        """
        chosen = sa.select(outbox.c.seq, sa.func.length(outbox.c.data)).limit(limit)
        if study is not None:
            chosen = chosen.where(outbox.c.study == study)
        if after_seq is None:
            chosen = chosen.order_by(outbox.c.seq.desc())
        else:
            chosen = chosen.where(outbox.c.seq > after_seq).order_by(outbox.c.seq)
        with self._engine.read() as connection:
            sizes = [(seq, size if with_data else 0) for seq, size in connection.execute(chosen)]
            found = [
                _record(row)
                for portion in portions(_within(sizes, max_bytes))
                for row in connection.execute(
                    sa.select(*_columns(with_data)).where(outbox.c.seq.in_(portion))
                )
            ]
        return sorted(found, key=lambda record: record.event.seq)

    def data_of(self, event_id: str) -> bytes | None:
        """What the event carries; None when there is no such event."""
        with self._engine.read() as connection:
            found: bytes | None = connection.scalar(sa.select(outbox.c.data).where(outbox.c.id == event_id))
            return found

    def backlog(self) -> Backlog:
        """Counts and age, from the partial index; cheap enough for every scrape."""
        due = sa.func.coalesce(outbox.c.replayed_at, outbox.c.created_at)
        waiting = sa.select(sa.func.count(), sa.func.min(due)).select_from(outbox).where(_PENDING)
        aside = sa.select(sa.func.count()).select_from(outbox).where(outbox.c.parked_reason.is_not(None))
        with self._engine.read() as connection:
            pending, oldest_at = connection.execute(waiting).one()
            return Backlog(pending, connection.scalar(aside) or 0, oldest_at)


def _columns(with_data: bool) -> list[sa.Column[Any]]:
    return [column for column in outbox.c if with_data or column is not outbox.c.data]


def _within(sizes: Sequence[tuple[int, int]], max_bytes: int) -> list[int]:
    chosen: list[int] = []
    total = 0
    for seq, size in sizes:
        total += size
        if chosen and total > max_bytes:
            break
        chosen.append(seq)
    return chosen


def portions(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """``values`` in parts that fit into one statement."""
    for start in range(0, len(values), _PORTION):
        yield values[start : start + _PORTION]


def _record(row: Any) -> Record:
    columns = row._mapping
    event = Event(
        id=columns["id"],
        output=columns["output"],
        topic=columns["topic"],
        study=columns["study"],
        attributes=orjson.loads(columns["attributes"]),
        data=columns.get("data", b""),
        seq=columns["seq"],
    )
    return Record(
        event=event,
        version=columns["version"],
        created_at=columns["created_at"],
        sent_at=columns["sent_at"],
        replayed_at=columns["replayed_at"],
        parked_reason=columns["parked_reason"],
    )
