"""uvicorn in our loop: a real socket, port 0, an ordered stop."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from typing import Any

import httpx
import pytest

from node.errors import ConfigError
from node.web import api as web_api
from node.web import server as web_server
from node.web.app import create_app
from node.web.server import serve_http
from tests.web.node_double import STUDY, NodeDouble


def test_a_request_over_a_real_socket() -> None:
    async def run() -> None:
        handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
        server = await serve_http(create_app(NodeDouble().services()), "127.0.0.1", 0)
        host, port = server.address
        assert (host, port > 0) == ("127.0.0.1", True)
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers
        async with httpx.AsyncClient(base_url=f"http://{host}:{port}") as client:
            answer = await client.get(f"/api/studies/{STUDY}")
            assert answer.json()["uid"] == STUDY
            assert "server" not in answer.headers
            assert len(answer.headers.get_list("date")) == 1
            assert (await client.post(f"/api/studies/{STUDY}/hold")).status_code == 200
        await server.stop()
        with pytest.raises(ConnectionRefusedError), socket.create_connection((host, port), timeout=5):
            pass

    asyncio.run(run())


def test_a_stop_lets_open_requests_end() -> None:
    started, release = threading.Event(), threading.Event()

    def slow(uid: str) -> dict[str, Any]:
        started.set()
        release.wait(20)
        return {"uid": uid}

    async def run() -> None:
        server = await serve_http(create_app(NodeDouble().services(study=slow)), "127.0.0.1", 0)
        async with httpx.AsyncClient(base_url="http://{}:{}".format(*server.address)) as client:
            answer = asyncio.create_task(client.get(f"/api/studies/{STUDY}"))
            await asyncio.to_thread(started.wait, 20)
            stop = asyncio.create_task(server.stop())
            await asyncio.wait({stop}, timeout=0.01)
            assert not stop.done()
            release.set()
            assert (await answer).status_code == 200
            await asyncio.wait_for(stop, 20)

    asyncio.run(run())


def test_a_port_that_is_taken_is_named() -> None:
    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(ConfigError, match=f"127.0.0.1:{port} can't be listened on"):
                await serve_http(create_app(NodeDouble().services()), "127.0.0.1", port)

    asyncio.run(run())


def test_an_idle_server_does_not_wake_up() -> None:
    """uvicorn's own main loop ticks ten times a second; ours waits."""

    async def run() -> None:
        server = await serve_http(create_app(NodeDouble().services()), "127.0.0.1", 0)
        loop: Any = asyncio.get_running_loop()
        await asyncio.sleep(0)  # let what the start left over run
        assert loop._scheduled == []
        await server.stop()

    asyncio.run(run())


def closed_after(sent: bytes, port: int) -> bytes:
    """What comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(sent)
        received = b""
        while chunk := client.recv(65536):
            received += chunk
        return received


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"])
def test_half_a_head_is_not_waited_for(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_server, "HEAD_SECONDS", 0.1)

    async def run() -> None:
        server = await serve_http(create_app(NodeDouble().services()), "127.0.0.1", 0)
        assert await asyncio.to_thread(closed_after, sent, server.address[1]) == b""
        await server.stop()

    asyncio.run(run())


def test_half_a_head_after_a_request_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_server, "HEAD_SECONDS", 0.1)

    def talk(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=4) as client:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            received = client.recv(65536)
            while b"alive" not in received:
                received += client.recv(65536)
            client.sendall(b"GET /he")
            return client.recv(65536)  # shorter than uvicorn's own 5 s for idle connections

    async def run() -> None:
        server = await serve_http(create_app(NodeDouble().services()), "127.0.0.1", 0)
        assert await asyncio.to_thread(talk, server.address[1]) == b""
        await server.stop()

    asyncio.run(run())


def test_a_slow_answer_is_not_a_slow_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_server, "HEAD_SECONDS", 0.05)
    release = threading.Event()

    def slow(uid: str) -> dict[str, Any]:
        release.wait(20)
        return {"uid": uid}

    async def run() -> None:
        server = await serve_http(create_app(NodeDouble().services(study=slow)), "127.0.0.1", 0)
        asyncio.get_running_loop().call_later(0.2, release.set)
        async with httpx.AsyncClient(base_url="http://{}:{}".format(*server.address)) as client:
            assert (await client.get(f"/api/studies/{STUDY}")).status_code == 200
        await server.stop()

    asyncio.run(run())


def test_half_a_body_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_api, "BODY_SECONDS", 0.1)
    head = (
        b"POST /api/events/replay HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    )

    async def run() -> None:
        server = await serve_http(create_app(NodeDouble().services()), "127.0.0.1", 0)
        received = await asyncio.to_thread(closed_after, head, server.address[1])
        assert received.startswith(b"HTTP/1.1 408 ")
        await server.stop()

    asyncio.run(run())


@pytest.mark.parametrize("asked", [b"GET /healthz", b"POST /api/studies/1.2/hold"])
def test_a_body_that_goes_on_after_its_answer_is_not_waited_for(
    asked: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_server, "HEAD_SECONDS", 0.1)
    head = asked + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"

    def talk(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=4) as client:
            client.sendall(head)
            assert client.recv(65536).startswith(b"HTTP/1.1 ")
            client.sendall(b"x")  # ends uvicorn's own watch over idle connections
            while received := client.recv(65536):
                assert b"HTTP/1.1" not in received
            return received

    async def run() -> None:
        server = await serve_http(create_app(NodeDouble().services()), "127.0.0.1", 0)
        assert await asyncio.to_thread(talk, server.address[1]) == b""
        await server.stop()

    asyncio.run(run())


def test_an_answer_that_nobody_reads_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_server, "STALL_SECONDS", 0.1)
    long = b"x" * 20_000_000

    async def run() -> None:
        double = NodeDouble()
        app = create_app(double.services(metrics=lambda accept: (long, "text/plain")))
        server = await serve_http(app, "127.0.0.1", 0)
        with socket.create_connection(server.address, timeout=20) as client:
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            connections = server._server.server_state.connections
            while not connections:
                await asyncio.sleep(0)
            async with asyncio.timeout(20):
                while connections:
                    await asyncio.sleep(0.01)
        await server.stop()

    asyncio.run(run())


def test_an_answer_that_is_read_slowly_is_not_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_server, "STALL_SECONDS", 0.05)
    long = b"x" * 20_000_000

    def read_slowly(port: int) -> int:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            received, pause = 0, threading.Event()
            while chunk := client.recv(1_000_000):
                received += len(chunk)
                pause.wait(0.005)
            return received

    async def run() -> None:
        double = NodeDouble()
        app = create_app(double.services(metrics=lambda accept: (long, "text/plain")))
        server = await serve_http(app, "127.0.0.1", 0)
        assert await asyncio.to_thread(read_slowly, server.address[1]) > len(long)
        await server.stop()

    asyncio.run(run())


def test_two_servers_side_by_side() -> None:
    async def run() -> None:
        servers = [
            await serve_http(create_app(NodeDouble().services()), host, 0)
            for host in ("127.0.0.1", "localhost")
        ]
        assert servers[0].address[1] != servers[1].address[1]
        await asyncio.gather(*(server.stop() for server in servers))

    asyncio.run(run())
