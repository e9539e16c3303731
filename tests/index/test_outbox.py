from __future__ import annotations

import pytest

from node.errors import IndexUnavailable
from node.index.engine import Engine
from node.index.outbox import Backlog, Outbox, add
from node.model import Event
from tests.publish.events import event

MANY = 1_000_000


@pytest.fixture
def outbox(engine: Engine) -> Outbox:
    return Outbox(engine)


def _add(engine: Engine, *events: Event, now: float = 100.0, parked: dict[str, str] | None = None) -> None:
    with engine.write() as connection:
        add(connection, events, now, parked)


def _pending(outbox: Outbox, **more: object) -> list[str]:
    return [record.event.id for record in outbox.pending(100, MANY, **more)]  # type: ignore[arg-type]


def test_an_event_comes_back_with_its_bytes_and_the_order_of_its_attributes(
    engine: Engine, outbox: Outbox
) -> None:
    sent = event("1.2.3", 4)
    _add(engine, sent, now=12.5)
    (record,) = outbox.pending(10, MANY)
    assert (record.event.data, record.event.topic, record.event.output) == (sent.data, sent.topic, "r5")
    assert list(record.event.attributes.items()) == list(sent.attributes.items())
    assert (record.event.seq, record.version, record.created_at, record.due_at) == (1, 4, 12.5, 12.5)
    assert record.state == "pending"


def test_nothing_is_written_when_the_transaction_fails(engine: Engine, outbox: Outbox) -> None:
    def fail() -> None:
        with engine.write() as connection:
            add(connection, [event()], 1.0)
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        fail()
    assert outbox.pending(10, MANY) == []


def test_the_same_id_twice_is_an_error(engine: Engine) -> None:
    _add(engine, event())
    with pytest.raises(IndexUnavailable):
        _add(engine, event())


def test_pending_is_in_order_and_bounded(engine: Engine, outbox: Outbox) -> None:
    _add(engine, *[event(f"1.{n}", size=1000) for n in range(6)])
    assert _pending(outbox) == [f"r5/1.{n}/1" for n in range(6)]
    assert [r.event.seq for r in outbox.pending(4, MANY)] == [1, 2, 3, 4]
    assert [r.event.seq for r in outbox.pending(4, 2500)] == [1, 2]
    assert [r.event.seq for r in outbox.pending(4, 1)] == [1], "one event whatever its size"


def test_topics_can_be_passed_over(engine: Engine, outbox: Outbox) -> None:
    _add(engine, event("1.1", topic="a"), event("1.2", topic="b"), event("1.3", topic="a"))
    assert _pending(outbox, without_topics={"a"}) == ["r5/1.2/1"]
    assert _pending(outbox, without_topics={"a", "b"}) == []


def test_sent_and_parked_events_are_not_pending_whatever_their_number(engine: Engine, outbox: Outbox) -> None:
    _add(engine, event("1.1"), event("1.2"), event("1.3"), event("1.4"))
    outbox.mark_sent([2, 4], now=7.0)
    outbox.park(1, "too large")
    assert _pending(outbox) == ["r5/1.3/1"]
    states = {r.event.seq: (r.state, r.sent_at, r.parked_reason) for r in outbox.recent(10)}
    assert states == {
        1: ("parked", None, "too large"),
        2: ("sent", 7.0, None),
        3: ("pending", None, None),
        4: ("sent", 7.0, None),
    }


def test_an_event_can_be_parked_from_its_first_moment(engine: Engine, outbox: Outbox) -> None:
    _add(engine, event("1.1"), event("1.2"), parked={"r5/1.1/1": "no subject"})
    assert _pending(outbox) == ["r5/1.2/1"]
    assert outbox.for_study("1.1")[0].parked_reason == "no subject"


def test_replay_makes_sent_and_parked_events_pending_with_the_same_bytes(
    engine: Engine, outbox: Outbox
) -> None:
    sent = [event("1.1"), event("1.2"), event("1.3")]
    _add(engine, *sent)
    outbox.mark_sent([1, 3], now=5.0)
    outbox.park(2, "refused")
    assert sorted(outbox.replay([sent[0].id, sent[1].id, "r5/none/1"], now=9.0)) == [sent[0].id, sent[1].id]
    records = outbox.pending(10, MANY)
    assert [(r.event.id, r.event.data) for r in records] == [(e.id, e.data) for e in sent[:2]]
    assert [r.due_at for r in records] == [9.0, 9.0]


def test_unconfirmed_leaves_out_replayed_events_and_data(engine: Engine, outbox: Outbox) -> None:
    _add(engine, event("1.1"), event("1.2"), event("1.3"))
    outbox.mark_sent([1], now=5.0)
    outbox.replay(["r5/1.1/1"], now=6.0)
    assert [(e.seq, e.data) for e in outbox.unconfirmed(10)] == [(2, b""), (3, b"")]
    assert [e.seq for e in outbox.unconfirmed(10, after_seq=2)] == [3]
    assert [e.seq for e in outbox.unconfirmed(1)] == [2]


def test_recent_gives_the_newest_or_what_follows(engine: Engine, outbox: Outbox) -> None:
    _add(engine, *[event(f"1.{n}") for n in range(1, 6)])
    assert [r.event.seq for r in outbox.recent(2)] == [4, 5]
    assert [r.event.seq for r in outbox.recent(2, after_seq=1)] == [2, 3]
    assert outbox.recent(2, after_seq=5) == []
    assert [r.event.data for r in outbox.recent(1, with_data=False)] == [b""]
    assert outbox.recent(1)[0].event.data == event("1.5").data


def test_recent_of_one_study(engine: Engine, outbox: Outbox) -> None:
    _add(engine, event("1.1"), event("1.2"), event("1.1", 2), event("1.1", 3))
    assert [r.event.seq for r in outbox.recent(2, study="1.1")] == [3, 4]
    assert [r.event.seq for r in outbox.recent(2, 0, study="1.1")] == [1, 3]
    assert [r.event.data for r in outbox.recent(1, with_data=False, study="1.1")] == [b""]
    assert outbox.recent(2, study="9.9") == []


def test_recent_reads_no_more_data_than_it_may(engine: Engine, outbox: Outbox) -> None:
    events = [event(f"1.{n}") for n in range(1, 6)]
    _add(engine, *events)
    two = 2 * len(events[0].data)
    assert [r.event.seq for r in outbox.recent(5, max_bytes=two)] == [4, 5]
    assert [r.event.seq for r in outbox.recent(5, 1, max_bytes=two)] == [2, 3]
    assert [r.event.seq for r in outbox.recent(5, max_bytes=1)] == [5], "one whatever its size"
    assert len(outbox.recent(5, with_data=False, max_bytes=1)) == 5


def test_for_study_has_every_version_in_order(engine: Engine, outbox: Outbox) -> None:
    _add(engine, event("1.1"), event("1.2"), event("1.1", 2))
    assert [(r.version, r.event.seq) for r in outbox.for_study("1.1")] == [(1, 1), (2, 3)]
    assert outbox.for_study("9.9") == []


def test_backlog_counts_and_dates_what_is_owed(engine: Engine, outbox: Outbox) -> None:
    assert outbox.backlog() == Backlog(0, 0, None)
    _add(engine, event("1.1"), now=10.0)
    _add(engine, event("1.2"), event("1.3"), now=20.0)
    assert outbox.backlog() == Backlog(3, 0, 10.0)
    outbox.mark_sent([1], now=30.0)
    outbox.park(2, "refused")
    assert outbox.backlog() == Backlog(1, 1, 20.0)
    outbox.replay(["r5/1.1/1"], now=40.0)
    assert outbox.backlog() == Backlog(2, 1, 20.0), "a replayed event is owed since the request"


def test_long_lists_of_rows(engine: Engine, outbox: Outbox) -> None:
    events = [event(f"1.{n}") for n in range(1, 1202)]
    _add(engine, *events)
    assert len(outbox.pending(5000, 10 * MANY)) == 1201
    outbox.mark_sent(list(range(1, 1202)), now=1.0)
    assert outbox.backlog().pending == 0
    assert len(outbox.replay([e.id for e in events], now=2.0)) == 1201
    assert outbox.backlog().pending == 1201


def test_the_data_of_one_event(engine: Engine, outbox: Outbox) -> None:
    sent = event("1.2.3", 4)
    _add(engine, sent, event("1.2.4", 4), parked={sent.id: "unfit"})
    assert outbox.data_of(sent.id) == sent.data
    assert outbox.data_of("r5/1.2.3/5") is None
