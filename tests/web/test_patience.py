"""Waiting for worker threads, but not for ever, nor with more and more of them."""

from __future__ import annotations

import asyncio
import threading

import pytest

from node.web.patience import Patience


def test_what_it_returns_and_raises() -> None:
    async def run() -> None:
        patience = Patience()
        assert await patience.call(lambda: 7, 5) == 7
        with pytest.raises(KeyError):
            await patience.call(lambda: {}["x"], 5)  # type: ignore[index]

    asyncio.run(run())


def test_those_that_hang_are_bounded_and_others_are_told_soon() -> None:
    release = threading.Event()
    count: list[int] = []

    def hang() -> None:
        count.append(1)
        release.wait(20)

    async def run() -> None:
        patience = Patience(2)
        for _ in range(5):
            with pytest.raises(TimeoutError):
                await patience.call(hang, 0.05)
        assert len(count) == 2
        release.set()
        assert await patience.call(lambda: "again", 20) == "again"

    try:
        asyncio.run(run())
    finally:
        release.set()


def test_who_waits_for_a_place_gets_it() -> None:
    async def run() -> None:
        patience = Patience(1)
        found = await asyncio.gather(*(patience.call(lambda one=one: one, 20) for one in range(6)))  # type: ignore[misc]
        assert found == [0, 1, 2, 3, 4, 5]

    asyncio.run(run())
