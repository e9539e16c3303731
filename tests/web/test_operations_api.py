"""The endpoints of the node as a whole and of single rows of quarantine."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette

from node.web.app import create_app
from tests.web.node_double import STUDY, NodeDouble, ask


@pytest.fixture
def node() -> NodeDouble:
    return NodeDouble()


@pytest.fixture
def app(node: NodeDouble) -> Starlette:
    return create_app(node.services())


def test_status_callers_and_timeline(app: Starlette) -> None:
    assert ask(app, "GET", "/api/status").json() == {"ae_title": "DOUBLE", "reasons": {}}
    assert ask(app, "GET", "/api/callers").json() == {"callers": [{"calling_ae": "CT1", "objects": 3}]}
    assert ask(app, "GET", f"/api/studies/{STUDY}/timeline").json()["of"] == STUDY


@pytest.mark.parametrize(("uid", "status"), [("1.2.3", 404), ("not-a-uid", 400)])
def test_no_timeline(app: Starlette, uid: str, status: int) -> None:
    answer = ask(app, "GET", f"/api/studies/{uid}/timeline")
    assert answer.status_code == status
    assert answer.json()["hint"]


@pytest.mark.parametrize(
    ("method", "path", "state"),
    [("GET", "", "waiting"), ("POST", "/release", "released"), ("POST", "/discard", "discarded")],
)
def test_a_row_of_quarantine(app: Starlette, node: NodeDouble, method: str, path: str, state: str) -> None:
    assert ask(app, method, f"/api/quarantine/5{path}").json() == {"id": 5, "state": state}
    answer = ask(app, method, f"/api/quarantine/8{path}")
    assert answer.status_code == 404
    assert "number 8" in answer.json()["error"]


def test_what_does_not_apply_is_a_conflict_with_its_own_hint(app: Starlette) -> None:
    answer = ask(app, "POST", "/api/quarantine/7/discard")
    assert answer.status_code == 409
    assert answer.json() == {"error": "7 is a study", "hint": "Complete it."}


@pytest.mark.parametrize("number", ["x", "-1", "1.5", "1/2", "9" * 19, "9" * 5000])
def test_a_number_that_is_none(app: Starlette, number: str) -> None:
    answer = ask(app, "POST", f"/api/quarantine/{number}/release")
    assert (answer.status_code, bool(answer.json()["hint"])) == (404, True)


@pytest.mark.parametrize("command", ["release", "discard"])
def test_commands_are_not_for_get_nor_for_other_sites_nor_without_the_token(
    node: NodeDouble, app: Starlette, command: str
) -> None:
    path = f"/api/quarantine/5/{command}"
    assert ask(app, "GET", path).status_code == 405
    assert ask(app, "POST", path, headers={"origin": "http://elsewhere.example"}).status_code == 403
    guarded = create_app(node.services(), loopback=False, token="secret")
    assert ask(guarded, "POST", path).status_code == 401
    assert node.calls == []
    answer = ask(guarded, "POST", path, headers={"authorization": "Bearer secret"})
    assert answer.status_code == 200
