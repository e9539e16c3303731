"""check-config: TOML to stdout, the summary and warnings to stderr, files that can't be used as errors."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from node import cli
from node.cli import common

FULL = """
data_dir = "{data}"
[dicom]
aliases = ["OLDNAME"]
host = "0.0.0.0"
unknown_peers = []
max_associations = 40
[[peers]]
ae_title = "CT*"
address = "10.0.0.0/8"
services = ["echo", "store"]
max_associations = 4
username = "ct"
password = "very-secret"
[objects]
min_free_bytes = 0
[retention]
max_age_days = 30
[completion]
quiet_seconds = 90
[[completion.rules]]
calling_ae = "US1"
modality = "US"
quiet_seconds = 300
[[outputs]]
name = "r5"
profile = "r5"
topic = "studies"
[events]
sink = "kafka"
[events.kafka]
bootstrap_servers = "broker:9092"
create_topics = true
[http]
host = "0.0.0.0"
port = 80
token = "very-secret"
allowed_hosts = ["node.example"]
"""


def check(tmp_path: Path, text: str, *words: str) -> Result:
    file = tmp_path / "node.toml"
    file.write_text(text.replace("{data}", str(tmp_path / "var")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(common.err, "width", 200)  # it took that of the terminal the tests run in
        return CliRunner().invoke(cli.app, ["check-config", "--config", str(file), *words])


def warned(result: Result) -> list[str]:
    return [line.removeprefix("warning: ") for line in result.stderr.splitlines()]


def test_the_summary_says_what_would_run_and_stdout_stays_toml(tmp_path: Path) -> None:
    result = check(tmp_path, FULL, "--summary")
    assert result.exit_code == 0, result.stderr
    assert tomllib.loads(result.stdout)["dicom"]["aliases"] == ["OLDNAME"]
    for line in (
        "listens      DICOMFHIR or OLDNAME on 0.0.0.0:11112, 40 associations at most",
        "             without TLS",
        "callers      CT* from 10.0.0.0/8: echo, store, 4 associations at most, by user name",
        "             everybody else is rejected",
        f"stores       {tmp_path}/var/objects, synced before the answer",
        "deletes      objects of studies published more than 30 days ago",
        "completes    after 90 s without anything new, at the latest after 2 h 00 min",
        "             studies from US1 with US: after 5 min",
        "publishes    to Kafka at broker:9092, PLAINTEXT, exactly once",
        "             output r5 (r5) to topic studies",
        "             topics that are missing are created",
        "web and API  http://0.0.0.0:80/, commands need the token",
    ):
        assert line in [one.rstrip() for one in result.stderr.splitlines()], line
    assert f"free at {tmp_path};" in result.stderr, "the nearest folder that exists"
    assert "very-secret" not in result.output


def test_without_a_terminal_only_warnings_are_told(tmp_path: Path) -> None:
    result = check(tmp_path, FULL)
    assert warned(result) == [
        "[[peers]] username: names and passwords cross the network as they are; use [dicom.tls]"
    ]
    quiet = check(tmp_path, '[dicom]\nhost = "127.0.0.1"\n[objects]\nmin_free_bytes = 0\n')
    assert (quiet.exit_code, quiet.stderr) == (0, "")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[objects]\ndurability = "none"', "[objects] durability"),
        ("[objects]\nmin_free_bytes = 900_000_000_000_000", "[objects] min_free_bytes"),
        ('[dicom]\nhost = "::"', "[dicom] unknown_peers: whoever reaches [::]:11112 may echo, store"),
        ('[dicom]\nhost = "0.0.0.0"\nunknown_peers = ["find"]', "[dicom] unknown_peers: find"),
        ('[http]\nhost = "node.example"\ntoken = "t"', "[http] allowed_hosts"),
        ("[retention]\nmin_free_bytes = 1_000", "[retention] min_free_bytes"),
        ('[events]\nsink = "kafka"\n[events.kafka]\nexactly_once = false', "[events.kafka] exactly_once"),
    ],
)
def test_what_is_legal_but_may_not_be_meant(tmp_path: Path, text: str, key: str) -> None:
    quiet = "[dicom]\nhost = '127.0.0.1'\n" if "[dicom]" not in text else ""
    result = check(tmp_path, quiet + text)
    assert result.exit_code == 0, result.stderr
    assert any(line.startswith(key) for line in warned(result)), warned(result)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[dicom.tls]\ncertificate = '{pem}'\nkey = '{pem}'", "are no PEM certificate and its key"),
        ("[dicom.tls]\ncertificate = '{none}'\nkey = '{pem}'", "there is no file"),
        (
            "[events]\nsink = 'kafka'\n[events.kafka]\nsecurity_protocol = 'SSL'\nssl_cafile = '{pem}'",
            "[events.kafka] ssl_cafile",
        ),
    ],
)
def test_files_that_cannot_be_used_are_errors(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "file.pem").write_text("no certificate")
    text = text.replace("{pem}", str(tmp_path / "file.pem")).replace("{none}", str(tmp_path / "none.pem"))
    result = check(tmp_path, text)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stdout == ""
