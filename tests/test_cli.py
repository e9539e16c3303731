"""The commands: what they print, where, and how they exit; against a real node where they need one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from node import cli, logs
from node.client import Client
from tests.harness import DEFAULTS, LocalNode, Nodes, eventually
from tests.preview.made import write
from tests.scenarios.sender import instance, new_uid, send
from tests.studies import STUDY, ct, made_study
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
    return lambda *words: runner.invoke(cli.app, [str(word) for word in words])


@pytest.fixture
def node(nodes: Nodes) -> LocalNode:
    logs.configure("info", "json", StringIO())  # the node shares this process, and stdout is the command's
    return nodes.start(**LONG)


def url(node: LocalNode) -> tuple[str, str]:
    return "--url", f"http://127.0.0.1:{node.http_port}"


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


# --- without a node


def test_help_names_every_command(run: Run) -> None:
    result = run("--help")
    assert result.exit_code == 0
    for command in (
        "serve", "check-config", "send", "studies", "complete", "hold", "reopen", "events", "replay", "reindex",
        "fhir",
    ):  # fmt: skip
        assert re.search(rf"^\s+{command} ", result.stdout, re.MULTILINE), command


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
    assert result.exit_code == 2
    assert "in use by another running node" in result.stderr


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
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert "in use" in result.stderr


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
    parked = {"seq": 1, "parked_reason": "series[0].uid: not an OID", "event": {"id": "r5/1.2/1"}}
    out = {"seq": 2, "parked_reason": None, "event": {"id": "r5/1.3/1"}}
    monkeypatch.setattr(Client, "events", lambda *_: ([parked, out], 2))
    result = run("events", *url(node))
    assert lines(result) == [{"id": "r5/1.3/1"}]
    assert "parked r5/1.2/1: series[0].uid: not an OID" in result.stderr


def test_following_starts_behind_what_was_printed(
    run: Run, node: LocalNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing falls between the first page and what follows; Ctrl-C is how it ends."""
    rows = [{"seq": n, "parked_reason": None, "event": {"id": str(n)}} for n in range(1, 4)]

    def follow(_self: Client, study: str | None, after: int) -> Iterator[Any]:
        assert after == 1
        yield from rows[1:]
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "events", lambda *_: (rows[:1], 1))
    monkeypatch.setattr(Client, "follow", follow)
    result = run("events", "--follow", *url(node))
    assert result.exit_code == 0
    assert [event["id"] for event in lines(result)] == ["1", "2", "3"]


# --- fhir


def test_files_become_what_the_node_publishes(run: Run, node: LocalNode, tmp_path: Path) -> None:
    uid = new_uid()
    made_study(tmp_path / "study", uid, {"CT": 3, "MR": 1})
    run("send", tmp_path / "study", "--to", f"{node.ae_title}@127.0.0.1:{node.port}")
    eventually(lambda: len(node.stored()) == 4)
    node.post(f"/api/studies/{uid}/complete")
    (event,) = node.wait_for_events(1)
    result = run("fhir", tmp_path / "study")
    assert result.exit_code == 0, result.output
    assert lines(result) == [event["data"]]


def test_several_studies_or_one_of_them(run: Run, tmp_path: Path) -> None:
    uids = [new_uid(), new_uid()]
    for uid in uids:
        made_study(tmp_path / uid, uid, {"CT": 1})
    all_of_them = lines(run("fhir", tmp_path / uids[0], tmp_path / uids[1], "--profile", "dstu1"))
    assert [one["uid"] for one in all_of_them] == [f"urn:oid:{uid}" for uid in uids]
    one = run("fhir", tmp_path, "--study", uids[1], "--profile", "dstu1")
    assert (lines(one), one.exit_code) == (all_of_them[1:], 0)
    assert "passed over: 1 of other studies" in one.stderr
    assert not (tmp_path / "var").exists(), "nothing is kept"


def test_the_fhir_keys_of_a_configuration(run: Run, tmp_path: Path) -> None:
    made_study(tmp_path / "study", new_uid(), {"CT": 1})
    result = run("fhir", tmp_path / "study", "--profile", "imr")
    assert result.exit_code == 2
    assert "[fhir] wado_rs_base: " in result.stderr
    assert result.stdout == ""
    file = tmp_path / "node.toml"
    file.write_text('[fhir]\nwado_rs_base = "https://pacs.example.org/dicomweb"\n')
    (resource,) = lines(run("fhir", tmp_path / "study", "--profile", "imr", "--config", file))
    assert resource["contained"][0]["address"] == "https://pacs.example.org/dicomweb"


def test_what_would_not_be_published(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_FHIR__REQUIRE_PATIENT_ID", "true")
    write(tmp_path / "in", ct(1, PatientID=""), ct(1, 2, StudyInstanceUID="1.2.3"))
    result = run("fhir", tmp_path / "in")
    assert result.exit_code == 1
    assert [one["identifier"][0]["value"] for one in lines(result)] == ["urn:oid:1.2.3"]
    assert f"not published: study {STUDY}: the node would hold it: no Patient ID" in result.stderr
    assert f"patient-id-missing: PatientID, 1 instance of {STUDY}" in result.stderr
    for name in ("Müller", "PAT-0042"):
        assert name not in result.stderr


def test_without_a_check_everything_is_printed(run: Run, tmp_path: Path) -> None:
    write(tmp_path, ct(1), ct(2, PatientID="ANOTHER"))
    assert (run("fhir", tmp_path).exit_code, run("fhir", tmp_path).stdout) == (1, "")
    result = run("fhir", tmp_path, "--no-check")
    assert (result.exit_code, len(lines(result))) == (0, 1)


def test_nothing_to_be_found(run: Run, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no DICOM")
    result = run("fhir", tmp_path)
    assert result.exit_code == 1
    assert result.stderr.splitlines() == ["passed over: 1 not DICOM", "no DICOM objects found"]
    write(tmp_path, ct(1))
    result = run("fhir", tmp_path, "--profile", "imagingselection")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "nothing in 1 study for profile imagingselection" in result.stderr


def test_where_each_element_comes_from(run: Run) -> None:
    result = run("fhir", "--explain", "--profile", "dstu1")
    assert result.exit_code == 0
    assert "| `uid` | 1..1 | Study Instance UID (0020,000D) | as `urn:oid:` |" in result.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give DICOM files or folders"),
        (("nowhere",), "no such file or folder: nowhere"),
        ((".", "--profile", "r6"), "'r6' is not a profile; there are r5, "),
    ],
)
def test_fhir_with_wrong_words_is_a_usage_error(run: Run, words: tuple[str, ...], said: str) -> None:
    result = run("fhir", *words)
    assert result.exit_code == 2
    assert said in result.stderr
