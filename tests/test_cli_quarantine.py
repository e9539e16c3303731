"""``status`` and quarantine by commands, against a real node: what is printed, what becomes of the files."""

from __future__ import annotations

import re
from io import StringIO

import pytest

from node import logs
from node.cli import operate
from tests.harness import LocalNode, Nodes, eventually
from tests.scenarios.sender import instance, new_uid, send
from tests.test_cli import Run, as_before, lines, node, run, url

__all__ = ["as_before", "node", "run"]


def test_status_in_words_and_as_json(run: Run, node: LocalNode) -> None:
    send(node, instance(new_uid(), 1))
    eventually(lambda: node.get("/api/status")["studies"]["open"] == 1)
    result = run("status", *url(node))
    assert result.exit_code == 0, result.output
    assert "1 object, " in result.stdout
    assert re.search(r"^studies +1 open, 0 held", result.stdout, re.MULTILINE)
    (said,) = lines(run("status", "--json", *url(node)))
    assert (said["ae_title"], said["reasons"]) == (node.ae_title, {})


def test_a_node_that_is_not_ready_is_exit_1(run: Run, nodes: Nodes) -> None:
    logs.configure("info", "json", StringIO())
    lacking = nodes.start(objects__min_free_bytes=str(10**18))
    result = run("status", *url(lacking))
    assert result.exit_code == 1
    assert result.stdout.splitlines()[0].endswith("not ready")
    assert "  space: disk low: " in result.stdout
    assert run("status", "--json", *url(lacking)).exit_code == 1


def collision(run: Run, node: LocalNode) -> tuple[str, int]:
    """A study with an object of which other bytes came too; its UID, and the number of those in quarantine."""
    uid = new_uid()
    send(node, instance(uid, 1), instance(uid, 2))
    send(node, instance(uid, 1, PatientName="Other^Name"))
    (row,) = eventually(lambda: lines(run("quarantine", *url(node))))
    assert (row["reason"], row["state"]) == ("duplicate", "waiting")
    return uid, row["id"]


def test_release_changes_the_two_sides_of_a_collision(run: Run, node: LocalNode) -> None:
    uid, number = collision(run, node)
    (one,) = lines(run("quarantine", number, *url(node)))
    assert one["differs"] == ["PatientName"]
    (released,) = lines(run("release", number, *url(node)))
    assert released["state"] == "released"
    (waiting,) = lines(run("quarantine", *url(node)))
    assert (waiting["id"], waiting["instance"]) == (released["displaced"], f"{uid}.1.1")
    assert [row["id"] for row in lines(run("quarantine", "--released", *url(node)))] == [
        waiting["id"],
        number,
    ]
    again = run("release", number, *url(node))
    assert (again.exit_code, again.stdout) == (1, "")
    assert "released before" in again.stderr


def test_discard_asks_and_without_a_terminal_wants_yes(run: Run, node: LocalNode) -> None:
    _, number = collision(run, node)
    refused = run("discard", number, *url(node))
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "Give --yes" in refused.stderr
    assert f"{number}: duplicate, duplicate/" in refused.stderr
    (discarded,) = lines(run("discard", number, "--yes", *url(node)))
    assert discarded["state"] == "discarded"
    assert run("quarantine", *url(node)).stdout == ""
    assert len(node.stored()) == 2, "the other side stays"
    assert not [path for path in (node.data_dir / "quarantine").rglob("*") if path.is_file()]


def test_discard_on_a_terminal(run: Run, node: LocalNode, monkeypatch: pytest.MonkeyPatch) -> None:
    _, number = collision(run, node)
    monkeypatch.setattr(operate, "interactive", lambda: True)
    no = run("discard", number, *url(node), input="n\n")
    assert no.exit_code == 1
    assert lines(run("quarantine", *url(node)))[0]["state"] == "waiting"
    yes = run("discard", number, *url(node), input="y\n")
    assert (yes.exit_code, yes.stdout.count('"discarded"')) == (0, 1)


@pytest.mark.parametrize("command", ["quarantine", "release", "discard"])
def test_nothing_in_quarantine_has_this_number(run: Run, node: LocalNode, command: str) -> None:
    result = run(command, "99", *url(node))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "`dicom-fhir-node quarantine` lists what is there" in result.stderr
