"""The index's owner as receivers see it: whether there is room, told from what the index writer really does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from node.errors import IndexUnavailable
from node.index import writer
from node.metrics import Metrics
from node.peers import Peers
from node.reception.board import Room
from node.reception.desk import IndexDesk
from tests.harness import eventually
from tests.index.arrivals import Arrivals
from tests.studies import ct


@pytest.fixture
def arrivals(tmp_path: Path) -> Iterator[Arrivals]:
    with closing(Arrivals(tmp_path)) as made:
        yield made


def test_a_slow_index_is_told_from_one_that_fails(
    arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MAX_WAITING", 2)
    monkeypatch.setattr(writer, "MAX_BATCH", 1)
    monkeypatch.setattr(writer, "_RETRY_SECONDS", (0.01,))
    told: list[Room] = []
    desk = IndexDesk(arrivals.writer, arrivals.objects, Metrics(Peers([], ()), "1.0"), arrivals.time)
    arrivals.changed = lambda: told.append(desk.room())
    broken = True

    def apply(*arguments: object) -> None:
        if broken:
            raise IndexUnavailable("database or disk is full")
        working(*arguments)  # type: ignore[arg-type]

    working = arrivals.intake.apply
    monkeypatch.setattr(arrivals.intake, "apply", apply)
    rooms = []
    for number in (1, 2, 3):
        desk.put(arrivals.land(ct(number)))
        rooms.append(desk.room())
    assert rooms == [Room.THERE, Room.LATER, Room.LATER]
    arrivals.writer.start()
    assert eventually(lambda: told)[0] is Room.FAILING
    broken = False
    eventually(lambda: told[-1] is Room.THERE)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_index_writer_that_has_ended_is_one_that_fails(
    arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Room] = []
    desk = IndexDesk(arrivals.writer, arrivals.objects, Metrics(Peers([], ()), "1.0"), arrivals.time)
    arrivals.changed = lambda: told.append(desk.room())

    def next_batch() -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(arrivals.writer, "_next_batch", next_batch)
    arrivals.writer.start()
    eventually(lambda: told == [Room.FAILING])
    assert desk.room() is Room.FAILING
