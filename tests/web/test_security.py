"""Who is refused: foreign host names, posts from other sites' pages, operators without the token."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette

from node.web.app import create_app
from tests.web.node_double import STUDY, NodeDouble, ask

HOLD = f"/api/studies/{STUDY}/hold"


def application(node: NodeDouble | None = None, **options: object) -> Starlette:
    return create_app((node or NodeDouble()).services(), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8042", "localhost", "LOCALHOST:8042", "localhost.", "[::1]:8042", "10.0.0.5"]
)
def test_addresses_of_this_machine(host: str) -> None:
    assert ask(application(), "GET", "/api/studies", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:8042", "localhost.evil.example", "", "[::1", "a b"]
)
def test_a_name_that_points_here_is_not_enough(host: str) -> None:
    answer = ask(application(), "GET", "/api/studies", headers={"host": host})
    assert answer.status_code == 403
    assert "allowed_hosts" in answer.json()["hint"]


def test_names_that_are_configured() -> None:
    app = application(allowed_hosts=["Node.Example.org"])
    assert ask(app, "GET", "/", headers={"host": "node.example.org:8042"}).status_code == 200
    assert ask(app, "GET", "/", headers={"host": "other.example.org"}).status_code == 403


def test_any_name_where_others_can_connect_unless_names_are_configured() -> None:
    host = {"host": "node.hospital.example"}
    assert ask(application(loopback=False, token="t"), "GET", "/", headers=host).status_code == 200
    strict = application(loopback=False, token="t", allowed_hosts=["node"])
    assert ask(strict, "GET", "/", headers=host).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_posts_from_other_sites_are_refused(headers: dict[str, str]) -> None:
    node = NodeDouble()
    assert ask(application(node), "POST", HOLD, headers=headers).status_code == 403
    assert node.states[STUDY] == "open"


@pytest.mark.parametrize(
    "headers", [{}, {"origin": "http://127.0.0.1:8042", "sec-fetch-site": "same-origin"}]
)
def test_posts_from_here(headers: dict[str, str]) -> None:
    assert ask(application(), "POST", HOLD, headers=headers).status_code == 200


def test_no_token_is_needed_on_loopback() -> None:
    assert ask(application(), "POST", HOLD).status_code == 200


@pytest.mark.parametrize("loopback", [True, False])
@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic s3cret", "s3cret", "Bearer s3cret x"],
)
def test_a_token_that_is_set_is_needed(loopback: bool, authorization: str | None) -> None:
    node = NodeDouble()
    headers = {} if authorization is None else {"authorization": authorization}
    answer = ask(application(node, loopback=loopback, token="s3cret"), "POST", HOLD, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "s3cret" not in answer.text
    assert node.states[STUDY] == "open"


@pytest.mark.parametrize("authorization", ["Bearer s3cret", "bearer s3cret"])
def test_the_token(authorization: str) -> None:
    app = application(loopback=False, token="s3cret")
    assert ask(app, "POST", HOLD, headers={"authorization": authorization}).status_code == 200


def test_elsewhere_without_a_token_nobody_posts() -> None:
    app = application(loopback=False)
    for authorization in ("", "Bearer ", "Bearer x"):
        answer = ask(app, "POST", HOLD, headers={"authorization": authorization})
        assert answer.status_code == 401
        assert "Set http.token" in answer.json()["hint"]


def test_reading_needs_no_token() -> None:
    assert ask(application(loopback=False, token="t"), "GET", "/api/studies").status_code == 200


@pytest.mark.parametrize(
    "path", ["/", "/healthz", "/api/studies", "/nothing", f"/api/studies/{STUDY}/imagingstudy"]
)
def test_security_headers_on_every_answer(path: str) -> None:
    headers = ask(application(), "GET", path).headers
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["date"].endswith("GMT")
    assert "access-control-allow-origin" not in headers


def test_other_methods_are_guarded_like_post() -> None:
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS"):
        answer = ask(application(token="t"), method, "/api/studies")
        assert answer.status_code == 401
