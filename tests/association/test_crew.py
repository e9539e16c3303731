"""Threads that serve one connection after another."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from node.association.crew import Crew
from tests.harness import eventually


@pytest.fixture
def crew() -> Iterator[Crew]:
    crew = Crew(kept=2)
    yield crew
    crew.dismiss()


def test_one_thread_serves_one_after_another(crew: Crew) -> None:
    served: list[threading.Thread] = []
    for number in range(1, 20):
        crew.run(lambda: served.append(threading.current_thread()))
        eventually(lambda number=number: len(served) == number and crew._idle == 1)  # type: ignore[misc]
    assert len({thread.ident for thread in served}) == 1


def test_who_is_busy_holds_up_nobody_and_few_are_kept(crew: Crew) -> None:
    """As many at once as come: no work waits for another to end."""
    release = threading.Event()
    together = threading.Barrier(11)
    threads: list[threading.Thread] = []

    def work() -> None:
        threads.append(threading.current_thread())
        together.wait(10)
        release.wait(10)

    for _ in range(10):
        crew.run(work)
    together.wait(10)
    release.set()
    eventually(lambda: sum(thread.is_alive() for thread in threads) == 2)
    assert crew._idle == 2


def test_work_that_is_over_is_not_held(crew: Crew) -> None:
    class Work:
        def __call__(self) -> None:
            ended.set()

        def __del__(self) -> None:
            gone.set()

    ended, gone = threading.Event(), threading.Event()
    crew.run(Work())
    assert ended.wait(10)
    assert gone.wait(10)


def test_dismissed_threads_end(crew: Crew) -> None:
    threads: list[threading.Thread] = []
    release = threading.Event()

    def work() -> None:
        threads.append(threading.current_thread())
        release.wait(10)

    for _ in range(3):
        crew.run(work)
    eventually(lambda: len(threads) == 3)
    crew.dismiss()
    release.set()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
