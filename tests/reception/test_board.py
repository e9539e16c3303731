"""Shared numbers: seen by every process at once, limits that hold across processes and threads."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import threading
from collections.abc import Sequence

from node.reception.board import SLOTS, Board, Room
from node.reception.nursery import Nursery
from tests.reception.alone import Alone, nothing

ALL = {0: 1_000_000}  # a limit that nobody reaches


def test_slots_are_summed_and_cleared() -> None:
    board = Board()
    for slot in range(SLOTS):
        assert board.take(slot, ALL) is None
    assert board.take(3, ALL) is None
    assert (board.associations, board.associations_of(3), board.associations_of(4)) == (SLOTS + 1, 2, 1)
    board.give_back(4, [0])
    board.clear(3)
    assert (board.associations, board.associations_of(3), board.associations_of(4)) == (SLOTS - 2, 0, 0)
    board.close()


def test_a_limit_holds_over_all_slots_and_says_which_one() -> None:
    board = Board(limited=1)
    assert board.take(0, {0: 3, 1: 1}) is None
    assert board.take(1, {0: 3, 1: 1}) == 1
    assert board.take(1, {0: 3}) is None
    assert board.take(2, {0: 3}) is None
    assert board.take(0, {0: 3}) == 0
    board.give_back(0, [0, 1])
    assert board.take(1, {0: 3, 1: 1}) is None
    assert board.associations == 3
    board.close()


def test_who_has_fewer_connections_among_those_that_run() -> None:
    board = Board(limited=2)
    board.connected(SLOTS - 1, 1)
    assert not board.has_fewer(SLOTS - 1), "nobody else runs"
    board.connected(0, 1)
    assert not board.has_fewer(0)
    assert not board.has_fewer(SLOTS - 1)
    board.connected(0, 2)
    assert board.has_fewer(0)
    assert not board.has_fewer(SLOTS - 1)
    board.connected(SLOTS - 1, 0)
    board.connected(0, 1)
    assert board.has_fewer(0), "one that runs may have none"
    assert (board.associations, board.room) == (0, Room.THERE)
    board.clear(SLOTS - 1)
    assert not board.has_fewer(0), "it has died"
    board.close()


def test_how_the_index_stands_is_a_word_of_its_own() -> None:
    board, count = Board(), 5
    for _ in range(count):
        board.take(0, ALL)
    other = Board(fd=os.dup(board.fd))
    for room in (Room.LATER, Room.FAILING, Room.THERE):
        board.room = room
        assert (other.room, other.associations) == (room, count)
    other.close()
    board.close()


def test_threads_of_one_process_exclude_each_other() -> None:
    board = Board()
    taking = [
        threading.Thread(target=board.take, args=(0, ALL)),
        threading.Thread(target=board.give_back, args=(0, [0])),
    ]
    assert board.take(0, ALL) is None
    with board._lock:  # one is at it
        for thread in taking:
            thread.start()
        for thread in taking:
            thread.join(0.1)
            assert thread.is_alive()
    for thread in taking:
        thread.join(20)
    assert board.associations == 1
    board.close()


def take_many(limit: int) -> None:
    """Four processes fill one board while a fifth holds its lock, and dies with it."""
    nursery = Nursery.start(_fill, nothing)
    board = Board()
    ours, theirs = socket.socketpair()
    ours.settimeout(20)
    holder = nursery.spawn([board.fd, theirs.fileno()], (None, limit))
    assert ours.recv(1) == b"x"
    processes = [nursery.spawn([board.fd, theirs.fileno()], (slot, limit)) for slot in range(4)]
    for _ in processes:
        assert ours.recv(1) == b"x"
    assert not any(process.ended(0.1) for process in processes)
    assert board.associations == 0
    holder.kill()
    assert all(process.ended(20) for process in processes)
    assert board.associations == limit
    assert sum(board.associations_of(slot) for slot in range(4)) == limit
    nursery.close()


def _fill(descriptors: Sequence[int], arguments: tuple[int | None, int]) -> None:
    board_fd, signal_fd = descriptors
    slot, limit = arguments
    board = Board(fd=board_fd)
    if slot is None:
        fcntl.lockf(board_fd, fcntl.LOCK_EX)
    os.write(signal_fd, b"x")
    if slot is None:
        signal.pause()
        return
    for _ in range(limit):
        board.take(slot, {0: limit})


def test_processes_exclude_each_other_also_when_one_dies(alone: Alone) -> None:
    alone.run(take_many, 300)
