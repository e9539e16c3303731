"""The commands' HTTP client against a server that answers as told: errors, quoting, proxies."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import islice
from typing import Any, ClassVar

import pytest

from node.client import ApiError, Client


class Handler(BaseHTTPRequestHandler):
    """Answers from ``answers`` in turn, notes what it was asked."""

    answers: ClassVar[list[tuple[int, bytes]]] = []
    asked: ClassVar[list[tuple[str, str, bytes, str | None]]] = []

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.asked.append((self.command, self.path, body, self.headers.get("authorization")))
        status, answer = self.answers.pop(0)
        if status == 0:
            self.wfile.write(answer)  # no HTTP at all
            return
        self.send_response(status)
        self.send_header("content-length", str(len(answer)))
        if status == 302:
            self.send_header("location", "/login")
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = _answer  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[str]:
    Handler.answers, Handler.asked = [], []
    made = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    thread.join()
    made.server_close()


def answer(value: Any, status: int = 200) -> None:
    Handler.answers.append((status, json.dumps(value).encode()))


def test_a_list(server: str) -> None:
    answer({"studies": [{"uid": "1.2"}], "next": None})
    assert Client(server + "/").studies("open", 5) == [{"uid": "1.2"}]
    assert Handler.asked[0][:2] == ("GET", "/api/studies?state=open&limit=5")


def test_what_is_none_is_not_asked_for(server: str) -> None:
    answer({"events": [], "after": 7})
    assert Client(server).events() == ([], 7)
    assert Handler.asked[0][1] == "/api/events?limit=20"


def test_an_address_will_do(server: str) -> None:
    answer({"uid": "1.2"})
    assert Client(server.removeprefix("http://")).study("1.2") == {"uid": "1.2"}


def test_a_command_posts_json_with_the_token(server: str) -> None:
    answer({"state": "held"})
    assert Client(server, "secret").command("1.2", "hold") == {"state": "held"}
    assert Handler.asked == [("POST", "/api/studies/1.2/hold", b"{}", "Bearer secret")]


def test_reads_do_not_carry_the_token(server: str) -> None:
    answer({"uid": "1.2"})
    Client(server, "secret").study("1.2")
    assert Handler.asked[0][3] is None


@pytest.mark.parametrize("ask", [lambda c: c.command("1.2", "complete"), lambda c: c.studies()])
def test_a_redirect_is_told_and_not_followed(server: str, ask: Callable[[Client], Any]) -> None:
    """Of a proxy with a login: it gets the token, not another place."""
    answer({}, 302)
    answer({"studies": []})
    with pytest.raises(ApiError, match="HTTP 302: it sends us on to /login") as raised:
        ask(Client(server, "secret"))
    assert raised.value.http_status == 302
    assert len(Handler.asked) == 1


def test_a_uid_can_not_leave_its_place_in_the_path(server: str) -> None:
    answer({})
    Client(server).study("../healthz?x=1#y")
    assert Handler.asked[0][1] == "/api/studies/..%2Fhealthz%3Fx%3D1%23y"


def test_replay_names_its_ids(server: str) -> None:
    answer({"replayed": ["a"], "unknown": ["b"]}, 202)
    assert Client(server).replay(["a", "b"])["unknown"] == ["b"]
    assert json.loads(Handler.asked[0][2]) == {"ids": ["a", "b"]}


def test_following_goes_on_where_it_was(server: str) -> None:
    answer({"events": [{"seq": 8}, {"seq": 9}], "after": 9})
    answer({"events": [], "after": 9})
    answer({"events": [{"seq": 10}], "after": 10})
    found = list(islice(Client(server).follow(None, 7, pause=0.001), 3))
    assert [row["seq"] for row in found] == [8, 9, 10]
    assert [path for _, path, _, _ in Handler.asked] == [
        "/api/events?after=7&limit=100",
        "/api/events?after=9&limit=100",
        "/api/events?after=9&limit=100",
    ]


def test_the_apis_own_error_and_hint(server: str) -> None:
    answer({"error": "no study 1.2", "hint": "look at the list"}, 404)
    with pytest.raises(ApiError, match=r"no study 1\.2") as raised:
        Client(server).study("1.2")
    assert (raised.value.http_status, raised.value.hint) == (404, "look at the list")


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'"no"', b'{"detail":"x"}', b"\xff"])
def test_what_is_no_node_is_said_to_be_none(server: str, body: bytes) -> None:
    Handler.answers.append((502, body))
    with pytest.raises(ApiError, match=r"HTTP 502 .* not a node's HTTP API") as raised:
        Client(server).study("1.2")
    assert "--url" in raised.value.hint


@pytest.mark.parametrize("answered", [(200, b"<html>"), (0, b"SSH-2.0-OpenSSH\r\n\r\n"), (0, b"")])
def test_an_answer_that_is_not_http_or_json(server: str, answered: tuple[int, bytes]) -> None:
    Handler.answers.append(answered)
    with pytest.raises(ApiError, match="GET "):
        Client(server).study("1.2")


def test_nobody_there() -> None:
    with pytest.raises(ApiError, match="refused") as raised:
        Client("http://127.0.0.1:1").studies()
    assert "serve" in raised.value.hint


@pytest.mark.parametrize("url", ["gopher://x", "", "http://", "http://[::"])
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(ApiError):
        Client(url).studies()


def test_a_proxy_of_the_environment_is_not_asked(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    answer({"studies": [], "next": None})
    assert Client(server).studies() == []


def test_the_node_as_a_whole(server: str) -> None:
    client = Client(server)
    answer({"ae_title": "NODE"})
    answer({"callers": [{"calling_ae": "CT1"}]})
    answer({"arrivals": [], "versions": []})
    assert client.status() == {"ae_title": "NODE"}
    assert client.callers() == [{"calling_ae": "CT1"}]
    assert client.timeline("1.2") == {"arrivals": [], "versions": []}
    assert [path for _, path, *_ in Handler.asked] == [
        "/api/status",
        "/api/callers",
        "/api/studies/1.2/timeline",
    ]


def test_quarantine_and_what_is_done_with_it(server: str) -> None:
    client = Client(server, "secret")
    answer({"quarantine": [{"id": 3}], "next": None})
    for state in ("waiting", "released", "discarded"):
        answer({"id": 3, "state": state})
    answer({"error": "3 was released", "hint": "Look at it."}, 409)
    assert client.quarantine(5) == [{"id": 3}]
    found = [client.quarantined(3), client.release(3), client.discard(3)]
    assert [row["state"] for row in found] == ["waiting", "released", "discarded"]
    with pytest.raises(ApiError, match="3 was released") as refused:
        client.discard(3)
    assert (refused.value.http_status, refused.value.hint) == (409, "Look at it.")
    assert [(method, path, token) for method, path, _, token in Handler.asked] == [
        ("GET", "/api/quarantine?limit=5&offset=0", None),
        ("GET", "/api/quarantine/3", None),
        ("POST", "/api/quarantine/3/release", "Bearer secret"),
        ("POST", "/api/quarantine/3/discard", "Bearer secret"),
        ("POST", "/api/quarantine/3/discard", "Bearer secret"),
    ]
