"""Every endpoint: what it answers, and that every failure is JSON with an error and a hint."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from node import errors
from node.web import api
from node.web.app import ENDPOINTS, create_app
from tests.web.node_double import RESOURCE, STUDY, NodeDouble, ask


@pytest.fixture
def node() -> NodeDouble:
    return NodeDouble()


@pytest.fixture
def app(node: NodeDouble) -> Starlette:
    return create_app(node.services())


def error_of(app: Starlette, status: int, method: str, path: str, **request: Any) -> dict[str, Any]:
    answer = ask(app, method, path, **request)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body: dict[str, Any] = answer.json()
    assert body["error"]
    assert body["hint"]
    return body


# --- for machines that watch ------------------------------------------------------------------------------


def test_alive(app: Starlette) -> None:
    answer = ask(app, "GET", "/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


def test_ready_and_not(app: Starlette, node: NodeDouble) -> None:
    assert ask(app, "GET", "/readyz").status_code == 200
    node.not_ready = {"sink": "events have waited for 400 s", "index": "disk I/O error"}
    body = error_of(app, 503, "GET", "/readyz")
    assert body["reasons"] == node.not_ready
    assert body["error"] == "not ready: sink, index"


def test_a_probe_that_hangs_is_not_ready(node: NodeDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "READY_SECONDS", 0.05)
    release = threading.Event()

    def hang() -> dict[str, str]:
        release.wait(30)
        return {}

    try:
        body = error_of(create_app(node.services(reasons=hang)), 503, "GET", "/readyz")
    finally:
        release.set()
    assert "no answer within 0.05 s" in body["reasons"]["silent"]  # the name that docs and alerts have


def test_metrics_that_hang_are_said_to(node: NodeDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "METRICS_SECONDS", 0.05)
    release = threading.Event()

    def hang(_accept: str) -> tuple[bytes, str]:
        release.wait(30)
        return b"", ""

    try:
        body = error_of(create_app(node.services(metrics=hang)), 503, "GET", "/metrics")
    finally:
        release.set()
    assert body["error"] == "no metrics within 0.05 s"


def test_long_questions_do_not_keep_probes_and_scrapes_waiting(node: NodeDouble) -> None:
    """Reading needs no token: whoever asks for much must not make the node look dead."""
    entered, release = threading.Semaphore(0), threading.Event()

    def long(uid: str) -> dict[str, str]:
        entered.release()
        release.wait(30)
        return {"uid": uid}

    async def run() -> None:
        transport = httpx.ASGITransport(create_app(node.services(study=long)))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            asked = [asyncio.create_task(client.get(f"/api/studies/{STUDY}")) for _ in range(50)]
            for _ in range(40):  # as many as anyio lets at a time
                await asyncio.to_thread(entered.acquire, timeout=10)
            try:
                for path in ("/readyz", "/metrics"):
                    assert (await asyncio.wait_for(client.get(path), 3)).status_code == 200
            finally:
                release.set()
                await asyncio.gather(*asked)

    asyncio.run(run())


def test_metrics_as_asked_for(app: Starlette) -> None:
    answer = ask(app, "GET", "/metrics", headers={"accept": "application/openmetrics-text"})
    assert answer.content == b"# metrics\n"
    assert answer.headers["content-type"] == "text/plain; was=application/openmetrics-text"


# --- studies ----------------------------------------------------------------------------------------------


def test_studies_by_state(app: Starlette, node: NodeDouble) -> None:
    node.states["1.3"] = "complete"
    assert ask(app, "GET", "/api/studies?state=complete").json() == {
        "studies": [{"uid": "1.3", "state": "complete"}],
        "next": None,
    }


def test_studies_page_by_page(app: Starlette, node: NodeDouble) -> None:
    node.states = {f"1.{n}": "open" for n in range(5)}
    seen, offset = [], 0
    while offset is not None:
        page = ask(app, "GET", f"/api/studies?limit=2&offset={offset}").json()
        assert len(page["studies"]) <= 2
        seen += [row["uid"] for row in page["studies"]]
        offset = page["next"]
    assert seen == list(node.states)


def test_one_study(app: Starlette) -> None:
    assert ask(app, "GET", f"/api/studies/{STUDY}").json() == {"uid": STUDY, "state": "open"}


def test_resource_is_the_bytes_that_were_built(app: Starlette, node: NodeDouble) -> None:
    answer = ask(app, "GET", f"/api/studies/{STUDY}/imagingstudy?profile=r5&version=2")
    assert (answer.status_code, answer.content) == (200, RESOURCE)
    assert answer.headers["content-type"] == "application/fhir+json"
    assert node.calls[-1:] == [("resource", STUDY, "r5", 2)]
    ask(app, "GET", f"/api/studies/{STUDY}/imagingstudy")
    assert node.calls[-1:] == [("resource", STUDY, "r5", None)]


@pytest.mark.parametrize(
    ("name", "path", "made"),
    [
        ("resource", f"/api/studies/{STUDY}/imagingstudy", RESOURCE),
        ("event_data", f"/api/events/r5/{STUDY}/1/data", RESOURCE),
        ("quarantined", "/api/quarantine/1", {"id": 1}),
    ],
)
def test_few_large_things_are_read_at_a_time(node: NodeDouble, name: str, path: str, made: Any) -> None:
    """A study of 100,000 instances, the digests of a collision."""
    entered: list[int] = []
    go = threading.Event()

    def read(*_asked: Any) -> Any:
        entered.append(1)
        assert go.wait(20)
        return made

    async def run() -> list[int]:
        transport = httpx.ASGITransport(create_app(node.services(**{name: read})))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            answers = [asyncio.create_task(client.get(path)) for _ in range(12)]
            async with asyncio.timeout(20):
                while len(entered) < 4:
                    await asyncio.to_thread(int)
                for _ in range(100):  # a fifth has had every chance by then
                    await asyncio.to_thread(int)
            assert len(entered) == 4
            go.set()
            return [(await answer).status_code for answer in answers]

    assert asyncio.run(run()) == [200] * 12
    assert len(entered) == 12


def test_operator_commands(app: Starlette, node: NodeDouble) -> None:
    for command, state in (("hold", "held"), ("reopen", "open"), ("complete", "complete")):
        answer = ask(app, "POST", f"/api/studies/{STUDY}/{command}")
        assert (answer.status_code, answer.json()["state"]) == (200, state)
    error_of(app, 409, "POST", f"/api/studies/{STUDY}/complete")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/studies/1.9"),
        ("GET", "/api/studies/1.9/imagingstudy"),
        ("GET", f"/api/studies/{STUDY}/imagingstudy?profile=imr"),
        ("POST", "/api/studies/1.9/complete"),
        ("POST", "/api/studies/1.9/hold"),
        ("POST", "/api/studies/1.9/reopen"),
    ],
)
def test_what_is_not_here(app: Starlette, method: str, path: str) -> None:
    body = error_of(app, 404, method, path)
    assert body["hint"] == errors.StudyNotFound.hint


@pytest.mark.parametrize("uid", ["abc", "1..2", "1.2%0a", "..%2f..%2fetc", "1" * 65, "%00", "1.2."])
def test_what_is_no_uid_reaches_nobody(app: Starlette, node: NodeDouble, uid: str) -> None:
    answer = ask(app, "GET", f"/api/studies/{uid}")
    assert answer.status_code in (400, 404)
    assert answer.json()["error"]
    assert node.calls == []


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=x",
        "limit=",
        "limit=1e3",
        "offset=-1",
        "offset=٣",
        "state=shut",
    ],
)
def test_parameters_that_can_not_be_used(app: Starlette, query: str) -> None:
    error_of(app, 400, "GET", f"/api/studies?{query}")


# --- events -----------------------------------------------------------------------------------------------


def test_events_are_cloudevents_with_the_published_bytes(app: Starlette) -> None:
    answer = ask(app, "GET", "/api/events?limit=1&after=0")
    assert b'"data":' + RESOURCE in answer.content
    (row,) = answer.json()["events"]
    assert (row["seq"], row["state"], row["topic"]) == (1, "sent", "imaging-study")
    assert row["sent_at"] == "2023-11-14T22:13:21.000Z"
    assert list(row["event"]) == ["specversion", "id", "subject", "studyversion", "data"]


def test_events_followed_by_after(app: Starlette, node: NodeDouble) -> None:
    newest = ask(app, "GET", "/api/events?limit=2").json()
    assert [row["seq"] for row in newest["events"]] == [4, 5]
    assert newest["after"] == 5
    nothing = ask(app, "GET", "/api/events?after=5").json()
    assert nothing == {"events": [], "after": 5}
    node.records = []
    assert ask(app, "GET", "/api/events").json() == {"events": [], "after": 0}


def test_events_of_a_study_and_without_data(app: Starlette, node: NodeDouble) -> None:
    ask(app, "GET", f"/api/events?study={STUDY}&data=false&limit=1000")
    assert node.calls[-1] == ("events", STUDY, None, 1000, False)
    error_of(app, 400, "GET", "/api/events?limit=1000")
    error_of(app, 400, "GET", "/api/events?study=x")


def test_the_data_of_an_event_is_the_bytes_that_are_kept(app: Starlette) -> None:
    answer = ask(app, "GET", f"/api/events/r5/{STUDY}/3/data")
    assert (answer.status_code, answer.content) == (200, RESOURCE)
    assert answer.headers["content-type"] == "application/fhir+json"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (f"r5/{STUDY}/9", f"r5/{STUDY}/9"),
        ("sel/1.2/3.4/1", "sel/1.2/3.4/1"),
        ("sel%2F1.2%2F0%2F1", "sel/1.2/0/1"),
        ("a/data", "a/data"),
        ("..%2f..%2fetc", "../../etc"),
        ("%00%ff", "\0\ufffd"),
        ("x" * 5000, "x" * 5000),
    ],
)
def test_an_event_that_is_not_here(app: Starlette, node: NodeDouble, path: str, name: str) -> None:
    body = error_of(app, 404, "GET", f"/api/events/{path}/data")
    assert body == {"error": "no event has this id", "hint": errors.EventNotFound.hint}
    assert node.calls == [("event_data", name)]


@pytest.mark.parametrize("path", ["r5/1/1", "data", "/data", "r5/1/1/data/"])
def test_an_event_is_asked_for_by_its_data(app: Starlette, node: NodeDouble, path: str) -> None:
    assert ask(app, "GET", f"/api/events/{path}").status_code == 404
    assert node.calls in ([], [("event_data", "")])


def test_replay(app: Starlette, node: NodeDouble) -> None:
    one, two = f"r5/{STUDY}/1", f"r5/{STUDY}/2"
    answer = ask(app, "POST", "/api/events/replay", json={"ids": [two, one, two, "r5/1.9/1"]})
    assert answer.status_code == 202
    assert answer.json() == {"replayed": [two, one], "unknown": ["r5/1.9/1"]}
    assert node.calls[-1] == ("replay", two, one, "r5/1.9/1")


def test_replay_of_nothing_known(app: Starlette) -> None:
    error_of(app, 404, "POST", "/api/events/replay", json={"ids": ["r5/1.9/1"]})
    answer = ask(app, "POST", "/api/events/replay", json={"ids": ["r5/1.9/1"]})
    assert "dicom-fhir-node events" in answer.json()["hint"]  # lists the ids; the endpoint is the right one


@pytest.mark.parametrize(
    ("status", "content"),
    [
        (400, b""),
        (400, b"{"),
        (400, b"[]"),
        (400, b'{"ids": []}'),
        (400, b'{"ids": "r5/1/1"}'),
        (400, b'{"ids": [1]}'),
        (400, json.dumps({"ids": ["x"] * (api.MAX_IDS + 1)}).encode()),
        (400, b"[" * 100_000),
        (413, b" " * (api.MAX_BODY + 1)),
    ],
)
def test_bodies_that_can_not_be_used(app: Starlette, node: NodeDouble, status: int, content: bytes) -> None:
    headers = {"content-type": "application/json"}
    error_of(app, status, "POST", "/api/events/replay", content=content, headers=headers)
    assert node.calls == []


def test_replay_takes_json_only(app: Starlette) -> None:
    error_of(app, 415, "POST", "/api/events/replay", data={"ids": "x"})


def test_quarantine_page_by_page(app: Starlette) -> None:
    assert ask(app, "GET", "/api/quarantine?limit=5").json() == {
        "quarantine": [{"id": n} for n in range(5)],
        "next": 5,
    }
    assert ask(app, "GET", "/api/quarantine?limit=5&offset=5").json()["next"] is None


# --- what goes wrong --------------------------------------------------------------------------------------


def test_unknown_addresses_and_methods(app: Starlette) -> None:
    error_of(app, 404, "GET", "/api/nothing")
    error_of(app, 404, "GET", "/api/studies/")
    error_of(app, 405, "POST", "/api/studies")
    answer = ask(app, "GET", f"/api/studies/{STUDY}/complete")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.IndexUnavailable("index: locked"), 503),
        (errors.StorageError("gone"), 503),
        (errors.ResourceInvalid("bad"), 422),
        (errors.DuplicateObject("x"), 500),
    ],
)
def test_errors_of_the_node(node: NodeDouble, error: errors.NodeError, status: int) -> None:
    def raises(_uid: str) -> dict[str, Any]:
        raise error

    body = error_of(create_app(node.services(study=raises)), status, "GET", f"/api/studies/{STUDY}")
    assert body == {"error": str(error), "hint": error.hint}


def test_faults_of_ours_show_no_data(node: NodeDouble) -> None:
    def raises(_uid: str) -> dict[str, Any]:
        raise ValueError("DOE^JOHN")

    app = create_app(node.services(study=raises))
    body = error_of(app, 500, "GET", f"/api/studies/{STUDY}")
    assert "DOE" not in json.dumps(body)
    assert ask(app, "GET", f"/api/studies/{STUDY}").headers["x-content-type-options"] == "nosniff"


# --- the first page ---------------------------------------------------------------------------------------


def test_the_index_lists_every_endpoint_as_json(app: Starlette) -> None:
    listed = ask(app, "GET", "/").json()["endpoints"]
    assert [(row["method"], row["path"]) for row in listed] == [(e.method, e.path) for e in ENDPOINTS]


def test_the_contracts_addresses() -> None:
    assert {(e.method, e.path) for e in ENDPOINTS} >= {
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/metrics"),
        ("GET", "/api/studies"),
        ("GET", "/api/studies/{uid}"),
        ("GET", "/api/studies/{uid}/imagingstudy"),
        ("POST", "/api/studies/{uid}/complete"),
        ("POST", "/api/studies/{uid}/hold"),
        ("POST", "/api/studies/{uid}/reopen"),
        ("GET", "/api/events"),
        ("GET", "/api/events/{id:path}/data"),
        ("POST", "/api/events/replay"),
        ("GET", "/api/quarantine"),
    }
