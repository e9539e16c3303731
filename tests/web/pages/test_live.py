"""One producer for all who watch: what they are sent, what a slow one costs, how it ends."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from node.errors import IndexUnavailable
from node.web.app import create_app
from node.web.pages.live import Live, TooManyWatchers, Watcher
from node.web.server import serve_http
from tests.web.node_double import ask
from tests.web.pages import samples
from tests.web.pages.samples import SampleNode

SOON = 10.0


class Views:
    """What is rendered: a value a view; counts how often."""

    def __init__(self) -> None:
        self.values: dict[str, dict[str, str]] = {"a": {"one": "1", "two": "2"}, "b": {"one": "x"}}
        self.rendered: list[str] = []
        self.fault: Exception | None = None
        self.rounds = threading.Semaphore(0)

    def __call__(self, view: str) -> dict[str, str]:
        self.rendered.append(view)
        if self.fault is not None:
            raise self.fault
        return dict(self.values[view])


def made(views: Views, **options: Any) -> Live[str]:
    return Live(views, lambda: 1000.0, **{"round_seconds": 0.0, **options})


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(scenario(), SOON)

    asyncio.run(bounded())


class Stream:
    """A watcher's messages as the page gets them."""

    def __init__(self, live: Live[str], view: str) -> None:
        self.watcher: Watcher[str] = live.join(view)
        self._messages: AsyncIterator[bytes] = self.watcher.messages()

    async def next(self) -> dict[str, Any]:
        raw = await anext(self._messages)
        assert raw.startswith(b"data: ")
        assert raw.endswith(b"\n\n")
        assert raw.count(b"\n") == 2, "one line of data, whatever is in it"
        found: dict[str, Any] = json.loads(raw[6:])
        return found

    async def changed(self) -> dict[str, str]:
        """The next fragments that are sent."""
        while "fragments" not in (told := await self.next()):
            pass
        fragments: dict[str, str] = told["fragments"]
        return fragments


def test_all_at_first_then_what_changed() -> None:
    async def scenario() -> None:
        views = Views()
        stream = Stream(made(views), "a")
        assert await stream.next() == {"now": 1_000_000, "fragments": {"one": "1", "two": "2"}}
        assert await stream.next() == {"now": 1_000_000}
        views.values["a"]["two"] = "line\nand line"
        assert await stream.changed() == {"two": "line\nand line"}

    run(scenario)


def test_one_rendering_for_all_who_watch_the_same() -> None:
    async def scenario() -> None:
        views = Views()
        live = made(views, round_seconds=60.0)
        streams = [Stream(live, view) for view in ("a", "a", "b", "a")]
        assert [await stream.changed() for stream in streams] == [
            {"one": "1", "two": "2"},
            {"one": "1", "two": "2"},
            {"one": "x"},
            {"one": "1", "two": "2"},
        ]
        assert sorted(views.rendered) == ["a", "b"]

    run(scenario)


def test_who_comes_later_is_not_kept_waiting_for_the_next_round() -> None:
    async def scenario() -> None:
        live = made(Views(), round_seconds=60.0)
        first = Stream(live, "a")
        await first.next()
        assert await Stream(live, "b").changed() == {"one": "x"}

    run(scenario)


def test_a_slow_watcher_misses_rounds_but_not_the_state() -> None:
    async def scenario() -> None:
        views = Views()
        live = made(views)
        slow, quick = Stream(live, "a"), Stream(live, "a")
        await slow.next()
        await quick.next()
        for number in range(5):
            views.values["a"]["one"] = f"v{number}"
            assert await quick.changed() == {"one": f"v{number}"}
        assert await slow.changed() == {"one": "v4"}

    run(scenario)


def test_nothing_runs_while_nobody_watches() -> None:
    async def scenario() -> None:
        live = made(Views())
        stream = Stream(live, "a")
        await stream.next()
        live.leave(stream.watcher)
        others = [task for task in asyncio.all_tasks() if task.get_name() == "live"]
        await asyncio.gather(*others, return_exceptions=True)
        assert live.watchers == 0
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "live"]
        assert await Stream(live, "b").changed() == {"one": "x"}, "and it begins again"

    run(scenario)


def test_watchers_are_bounded() -> None:
    async def scenario() -> None:
        live = made(Views(), limit=2)
        first, _second = Stream(live, "a"), Stream(live, "a")
        with pytest.raises(TooManyWatchers, match="2 pages are watched"):
            live.join("a")
        live.leave(first.watcher)
        live.join("a")

    run(scenario)


def test_a_page_in_trouble_says_so_and_the_others_go_on() -> None:
    async def scenario() -> None:
        views = Views()
        live = made(views)
        stream, other = Stream(live, "a"), Stream(live, "b")
        await stream.next()
        real = live._render

        def render(view: str) -> Any:
            if view == "a":
                raise IndexUnavailable("disk I/O error")
            return real(view)

        live._render = render
        while "trouble" not in (told := await stream.next()):
            pass
        assert told["trouble"]["error"] == "disk I/O error"
        assert told["trouble"]["hint"]
        assert "fragments" not in told
        assert "trouble" not in await other.next()

        def broken(view: str) -> Any:
            raise KeyError("Doe^Jane")

        live._render = broken  # a fault of ours: told by type, not by what it quotes
        while told["trouble"]["error"] == "disk I/O error":
            told = await stream.next()
        assert told["trouble"]["error"] == "internal error (KeyError)"

    run(scenario)


def test_a_close_ends_every_stream_and_takes_no_more() -> None:
    async def scenario() -> None:
        live = made(Views(), round_seconds=60.0)
        streams = [Stream(live, "a"), Stream(live, "b")]
        await streams[0].next()
        await live.close()
        for stream in streams:
            with pytest.raises(StopAsyncIteration):
                while True:
                    await stream.next()
        with pytest.raises(TooManyWatchers, match="stopping"):
            live.join("a")

    run(scenario)


def test_a_disk_that_hangs_gets_one_thread_however_many_come_and_go() -> None:
    hanging, release = threading.Semaphore(0), threading.Event()
    entered: list[str] = []

    def render(view: str) -> dict[str, str]:
        entered.append(view)
        hanging.release()
        release.wait(SOON)
        return {}

    async def scenario() -> None:
        before = asyncio.all_tasks()
        live: Live[str] = Live(render, lambda: 0.0)
        for _ in range(3):
            watcher = live.join("a")
            await asyncio.to_thread(lambda: entered or hanging.acquire(timeout=SOON))
            live.leave(watcher)
        release.set()
        await asyncio.wait(asyncio.all_tasks() - before)  # what was begun has ended
        assert entered == ["a"]

    try:
        run(scenario)
    finally:
        release.set()


# --- over HTTP


async def lines(stream: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    async for line in stream.aiter_lines():
        if line.startswith("data: "):
            yield json.loads(line[6:])


def test_a_stream_over_a_real_socket_until_the_server_stops() -> None:
    node = SampleNode()

    async def scenario() -> None:
        app = create_app(node.services())
        server = await serve_http(app, "127.0.0.1", 0, closing=app.state.live.close)
        base = "http://{}:{}".format(*server.address)
        async with (
            httpx.AsyncClient(base_url=base, timeout=SOON) as client,
            client.stream("GET", "/live?page=status") as stream,
        ):
            assert stream.headers["content-type"].startswith("text/event-stream")
            assert stream.headers["cache-control"] == "no-store"
            told = lines(stream)
            first = (await anext(told))["fragments"]
            assert "is ready" in first["status/state"]
            assert "value=" not in first["status/filling"], "what runs down would differ in every round"
            node.state = samples.status(reasons={"sink": "down"})
            while "fragments" not in (then := await anext(told)):
                pass
            assert set(then["fragments"]) == {"status/state"}
            await asyncio.wait_for(server.stop(), 3)
            assert [one async for one in told if "trouble" in one] == []
        assert app.state.live.watchers == 0

    run(scenario)


def test_a_watcher_that_goes_leaves_its_place() -> None:
    async def scenario() -> None:
        app = create_app(SampleNode().services())
        server = await serve_http(app, "127.0.0.1", 0, closing=app.state.live.close)
        base = "http://{}:{}".format(*server.address)
        async with httpx.AsyncClient(base_url=base, timeout=SOON) as client:
            async with client.stream("GET", "/live?page=status") as stream:
                await anext(lines(stream))
                assert app.state.live.watchers == 1
            while app.state.live.watchers:
                await asyncio.sleep(0)
        await server.stop()

    run(scenario)


def test_what_is_refused() -> None:
    app = create_app(SampleNode().services())
    assert ask(app, "GET", "/live").status_code == 400
    assert ask(app, "GET", "/live?page=nothing").status_code == 400
    assert ask(app, "GET", "/live?page=study&uid=x").status_code == 400
    elsewhere = {"sec-fetch-site": "cross-site"}
    assert ask(app, "GET", "/live?page=status", headers=elsewhere).status_code == 403
    assert app.state.live.watchers == 0


def test_beyond_the_bound_a_page_is_told_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app(SampleNode().services())
    monkeypatch.setattr(app.state.live, "_limit", 0)
    answer = ask(app, "GET", "/live?page=status")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "10"
    assert "pages are watched already" in answer.json()["error"]


def test_asking_for_the_head_takes_no_place() -> None:
    app = create_app(SampleNode().services())
    assert ask(app, "HEAD", "/live?page=status").status_code == 200
    assert app.state.live.watchers == 0
