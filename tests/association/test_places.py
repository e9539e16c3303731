"""Who counts associations keeps the limits: one contract for a process of its own and for several."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Final

import pytest

from node.association.places import OwnPlaces, Places
from node.peers import Peer, Peers
from node.reception.board import SLOTS, Board, Room
from node.reception.worker import _Places

FREE: Final = Peer("FREE")
FEW: Final = Peer("FEW*", max_associations=2)
ONE: Final = Peer("ONE", max_associations=1)
LIMITED: Final = Peers([FREE, FEW, ONE], []).limited
LIMIT: Final = 4

NODE_FULL = "4 associations are open (dicom.max_associations)"
FEW_FULL = "2 associations of 'FEW*' are open ([[peers]] max_associations)"


@pytest.fixture
def board() -> Iterator[Board]:
    made = Board(len(LIMITED))
    yield made
    made.close()


@pytest.fixture(params=["own", "shared"])
def places(request: pytest.FixtureRequest, board: Board) -> Places:
    return OwnPlaces(LIMIT) if request.param == "own" else _Places(board, SLOTS - 1, LIMIT, LIMITED)


def test_entries_with_a_limit() -> None:
    assert LIMITED == (FEW, ONE)


def test_each_limit_is_kept(places: Places) -> None:
    assert [places.take(FEW) for _ in range(3)] == [None, None, FEW_FULL]
    assert places.take(ONE) is None
    assert places.take(ONE) is not None
    assert [places.take(FREE) for _ in range(2)] == [None, NODE_FULL]
    assert places.take(ONE) == NODE_FULL


def test_places_are_given_back(places: Places) -> None:
    for _ in range(3):
        assert [places.take(peer) for peer in (FEW, FEW, ONE, FREE)] == [None] * 4
        for peer in (FREE, ONE, FEW, FEW):
            places.give_back(peer)


def test_who_is_refused_takes_nothing(places: Places) -> None:
    assert [places.take(ONE) for _ in range(9)].count(None) == 1
    assert [places.take(FREE) for _ in range(9)].count(None) == LIMIT - 1
    places.give_back(ONE)
    assert places.take(ONE) is None


def test_receivers_count_together(board: Board) -> None:
    first, second = (_Places(board, slot, LIMIT, LIMITED) for slot in (0, 1))
    assert first.take(FEW) is None
    assert second.take(FEW) is None
    assert first.take(FEW) == second.take(FEW) == FEW_FULL
    assert (board.associations, board.associations_of(0), board.associations_of(1)) == (2, 1, 1)
    assert board.room is Room.THERE


def test_a_receiver_that_died_has_none(board: Board) -> None:
    first, second = (_Places(board, slot, LIMIT, LIMITED) for slot in (0, 1))
    board.room = Room.FAILING
    assert [first.take(peer) for peer in (FEW, ONE)] == [None, None]
    assert second.take(FEW) is None
    board.clear(0)
    assert board.associations == 1
    assert second.take(ONE) is None
    assert [second.take(FEW) for _ in range(2)] == [None, FEW_FULL]
    assert board.room is Room.FAILING


RACER = """
import sys
from node.reception.board import Board
board = Board(1, int(sys.argv[1]))
slot, limits = int(sys.argv[2]), {0: 10**6, 1: 1}
sys.stdin.readline()
taken = too_many = 0
for _ in range(20_000):
    if board.take(slot, limits) is None:
        taken += 1
        too_many += board.associations > 1
        board.give_back(slot, limits)
print(taken, too_many)
"""


def test_processes_that_race_never_pass_a_limit() -> None:
    """One place, taken and given back by three processes as fast as they can: nobody ever sees two taken."""
    board = Board(1)
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(board.fd), str(slot)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=[board.fd],
        )
        for slot in range(3)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    told = [racer.communicate(timeout=60)[0].split() for racer in racers]
    assert all(int(taken) > 100 for taken, _ in told), told
    assert [too_many for _, too_many in told] == ["0"] * 3
    assert board.associations == 0
    board.close()
