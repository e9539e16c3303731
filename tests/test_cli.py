"""The commands: what they print, where, and how they exit; against a real node where they need one."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

from node import cli, logs
from node.client import Client
from tests.harness import DEFAULTS, LocalNode, Nodes, eventually
from tests.scenarios.sender import instance, new_uid, send
from tests.studies import made_study
from tests.test_logs import as_before

__all__ = ["as_before"]  # commands configure logging, which is global

Run = Callable[..., Result]
LONG = {"completion__quiet_seconds": "3600"}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command with ``NODE_`` variables that keep it inside ``tmp_path``."""
    for name, value in {**DEFAULTS, "NODE_DATA_DIR": str(tmp_path / "var")}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COLUMNS", "300")
    runner = CliRunner()
    return lambda *words, **how: runner.invoke(cli.app, [str(word) for word in words], **how)


@pytest.fixture
def node(nodes: Nodes) -> LocalNode:
    logs.configure("info", "json", StringIO())  # the node shares this process, and stdout is the command's
    return nodes.start(**LONG)


def url(node: LocalNode) -> tuple[str, str]:
    return "--url", f"http://127.0.0.1:{node.http_port}"


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


# --- without a node


COMMANDS: dict[str, Any] = get_command(cli.app).commands  # type: ignore[attr-defined]


def test_help_names_every_command_under_a_heading(run: Run) -> None:
    result = run("--help")
    assert result.exit_code == 0
    headings = re.findall(r"^╭─ (.+?) ─", result.stdout, re.MULTILINE)
    assert headings == ["Options", "Run", "Look", "Operate a running node", "Send and try", "Maintain"]
    listed = re.findall(r"^│ ([a-z][a-z-]+) ", result.stdout, re.MULTILINE)
    assert listed == [
        "serve", "check-config", "status", "studies", "events", "quarantine", "complete", "hold", "reopen",
        "replay", "release", "discard", "send", "demo", "fhir", "reindex", "conformance",
    ]  # fmt: skip
    assert set(listed) == set(COMMANDS)
    for status in ("0  done", "1  refused", "2  wrong words", "130  interrupted"):
        assert status in result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_each_help_page_ends_with_examples_that_can_be_typed(run: Run, name: str) -> None:
    page = run(name, "--help").stdout
    examples = re.findall(r"\$ (?:NODE_\S+ )?dicom-fhir-node (.*?) *(?:[|>#].*)?$", page, re.MULTILINE)
    assert examples, page
    for example in examples:
        command, *words = shlex.split(example)
        assert command in COMMANDS, example
        COMMANDS[command].make_context(command, words)  # raises for words that are not the command's


def test_help_and_completion_start_without_the_node() -> None:
    """Somebody who presses Tab waits for it."""
    heavy = ("pydicom", "pynetdicom", "pydantic", "sqlalchemy", "aiokafka", "starlette", "node.config")
    script = f"import sys, node.cli; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout == b"[]\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("studis",), "Did you mean 'studies'"),
        (("studies", "--stat", "open"), "Possible options: --state"),
        (("studies", "--state", "opened"), "'open', 'held', 'complete', 'quarantined'"),
        (("complete",), "Missing argument 'UID'"),
    ],
)
def test_a_slip_of_the_keyboard_gets_a_hint(run: Run, words: tuple[str, ...], said: str) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert said in result.stderr


def test_version(run: Run) -> None:
    result = run("--version")
    assert result.exit_code == 0
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*\n", result.stdout)


def test_check_config_prints_what_is_in_force_with_secrets_masked(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text('[http]\ntoken = "very-secret"\n[completion]\nquiet_seconds = 17\n')
    result = run("check-config", "--config", file)
    assert result.exit_code == 0
    assert "17" in result.stdout
    assert "very-secret" not in result.stdout


@pytest.mark.parametrize("command", ["check-config", "serve", "reindex", "studies"])
def test_a_wrong_configuration_is_exit_2_with_every_key(run: Run, tmp_path: Path, command: str) -> None:
    file = tmp_path / "node.toml"
    file.write_text('colour = "red"\n[completion]\nquiet_seconds = "soon"\n')
    result = run(command, "--config", file)
    assert result.exit_code == 2
    assert "colour" in result.stderr
    assert "[completion] quiet_seconds" in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.output


def test_a_config_file_that_is_not_there(run: Run, tmp_path: Path) -> None:
    result = run("check-config", "--config", tmp_path / "none.toml")
    assert result.exit_code == 2
    assert "none.toml" in result.stderr


@pytest.mark.parametrize("words", [("studies",), ("complete", "1.2"), ("events",), ("replay", "r5/1.2/1")])
def test_without_a_running_node(run: Run, words: tuple[str, ...]) -> None:
    result = run(*words, "--url", "http://127.0.0.1:1")
    assert result.exit_code == 1
    assert "refused" in result.stderr
    assert "Is the node running?" in result.stderr
    assert result.stdout == ""


def test_reindex_of_nothing(run: Run, tmp_path: Path) -> None:
    result = run("reindex")
    assert result.exit_code == 0
    assert result.stdout == "0 objects indexed\n"
    assert (tmp_path / "var" / "index.db").exists()


def test_reindex_beside_a_running_node_is_refused(run: Run, node: LocalNode) -> None:
    result = run("reindex")
    assert result.exit_code == 1
    assert "in use by another running node" in result.stderr
    assert "Correct what is named" not in result.stderr  # the configuration is right


def test_reindex_counts(run: Run, node: LocalNode) -> None:
    uid = new_uid()
    send(node, instance(uid, 1), instance(uid, 2))
    node.stop()
    assert run("reindex").stdout == "2 objects indexed\n"


def test_a_port_that_is_taken_is_told_in_a_line(
    run: Run, node: LocalNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NODE_DATA_DIR", str(node.data_dir.with_name("second")))
    monkeypatch.setenv("NODE_DICOM__PORT", str(node.port))
    monkeypatch.setenv(
        "NODE_DICOM__RECEIVERS", "0"
    )  # they are forked: not where threads run, as they do here
    result = run("serve")
    assert result.exit_code == 1  # 2 would keep systemd from trying again
    assert "Traceback" not in result.output
    assert "can't be listened on: Address already in use; `ss -ltnp` tells which" in result.stderr


def test_the_conformance_statement_is_that_of_the_configuration(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text('[dicom]\nae_title = "OUR-NODE"\n')
    result = run("conformance", "--config", file)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("# ")
    assert "OUR-NODE" in result.stdout


# --- send


def test_send_and_what_it_says(run: Run, node: LocalNode, tmp_path: Path) -> None:
    made_study(tmp_path / "study", new_uid(), {"CT": 3})
    to = f"{node.ae_title}@127.0.0.1:{node.port}"
    result = run("send", tmp_path / "study", "--to", to)
    assert result.exit_code == 0, result.output
    eventually(lambda: len(node.stored()) == 3)
    refused = run("send", tmp_path / "study", "--to", f"WRONG@127.0.0.1:{node.port}", "--retries", "0")
    assert refused.exit_code == 1


@pytest.mark.parametrize("words", [("nowhere", "--to", "A@h:1"), (".", "--to", "no-address")])
def test_send_with_wrong_words_is_a_usage_error(run: Run, words: tuple[str, ...]) -> None:
    assert run("send", *words).exit_code == 2


# --- studies and commands


def test_studies_as_a_table_as_json_and_one(run: Run, node: LocalNode) -> None:
    uid = new_uid()
    send(node, instance(uid, 1), instance(uid, 2, 2))
    node.post(f"/api/studies/{uid}/hold")
    table = run("studies", *url(node)).stdout.splitlines()
    assert table[0].split() == [
        "study",
        "state",
        "version",
        "series",
        "instances",
        "added",
        "deadline",
        "from",
    ]
    assert table[1].split() == [uid, "held", "0", "2", "2", "2", "CT1"]
    (row,) = lines(run("studies", "--json", *url(node)))
    assert (row["uid"], row["instances"]) == (uid, 2)
    (one,) = lines(run("studies", uid, *url(node)))
    assert [part["uid"] for part in one["series"]] == [f"{uid}.1", f"{uid}.2"]
    assert lines(run("studies", "--json", "--state", "open", *url(node))) == []


def test_a_narrow_terminal_cuts_no_uid(run: Run, node: LocalNode, monkeypatch: pytest.MonkeyPatch) -> None:
    uid = new_uid()
    send(node, instance(uid, 1))
    node.post(f"/api/studies/{uid}/hold")
    monkeypatch.setenv("COLUMNS", "40")
    heading, row = run("studies", *url(node)).stdout.splitlines()
    assert row.split()[0] == uid
    assert len(heading) < 200, "and fills no line with blanks"


def test_an_unknown_study(run: Run, node: LocalNode) -> None:
    result = run("studies", "1.2.3", *url(node))
    assert result.exit_code == 1
    assert "no study 1.2.3" in result.stderr


def test_hold_reopen_complete(run: Run, node: LocalNode) -> None:
    uid = new_uid()
    send(node, instance(uid, 1))
    assert [lines(run(word, uid, *url(node)))[0]["state"] for word in ("hold", "reopen", "complete")] == [
        "held",
        "open",
        "complete",
    ]
    again = run("complete", uid, *url(node))
    assert again.exit_code == 1
    assert "reopen it to publish another version" in again.stderr


# --- events


def test_events_are_printed_one_a_line_and_replayed_byte_for_byte(run: Run, node: LocalNode) -> None:
    first, second = new_uid(), new_uid()
    for uid in (first, second):
        send(node, instance(uid, 1))
        node.post(f"/api/studies/{uid}/complete")
    node.wait_for_events(2)
    assert lines(run("events", *url(node))) == node.events()
    assert [event["subject"] for event in lines(run("events", "--study", second, *url(node)))] == [second]
    assert [event["subject"] for event in lines(run("events", "--limit", "1", *url(node)))] == [second]

    result = run("replay", f"r5/{first}/1", "r5/9.9/1", *url(node))
    assert result.exit_code == 1, "one of the ids is unknown"
    assert result.stdout == f"replayed r5/{first}/1\n"
    assert "unknown r5/9.9/1" in result.stderr
    node.wait_for_events(3)
    written = (node.data_dir / "events.ndjson").read_bytes().splitlines()
    assert written[2] == written[0]


def test_parked_events_are_not_printed_as_if_they_were_out(
    run: Run, node: LocalNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    parked = {
        "seq": 1,
        "sent_at": None,
        "parked_reason": "series[0].uid: not an OID",
        "event": {"id": "r5/1.2/1"},
    }
    waits = {"seq": 2, "sent_at": None, "parked_reason": None, "event": {"id": "r5/1.3/1"}}
    out = {"seq": 3, "sent_at": "2026-11-22T12:00:00Z", "parked_reason": None, "event": {"id": "r5/1.4/1"}}
    monkeypatch.setattr(Client, "events", lambda *_: ([parked, waits, out], 3))
    result = run("events", *url(node))
    assert lines(result) == [{"id": "r5/1.3/1"}, {"id": "r5/1.4/1"}]
    assert result.stderr.splitlines() == [
        "parked r5/1.2/1: series[0].uid: not an OID",
        "pending r5/1.3/1: not with the sink yet",
    ]


def test_following_starts_behind_what_was_printed(
    run: Run, node: LocalNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing falls between the first page and what follows; Ctrl-C is how it ends."""
    at = "2026-11-22T12:00:00Z"
    rows = [{"seq": n, "sent_at": at, "parked_reason": None, "event": {"id": str(n)}} for n in range(1, 4)]

    def follow(_self: Client, study: str | None, after: int) -> Iterator[Any]:
        assert after == 1
        yield from rows[1:]
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "events", lambda *_: (rows[:1], 1))
    monkeypatch.setattr(Client, "follow", follow)
    result = run("events", "--follow", *url(node))
    assert result.exit_code == 0
    assert [event["id"] for event in lines(result)] == ["1", "2", "3"]
