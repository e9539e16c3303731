"""What docs/install.md names exists, and its settings are legal."""

from __future__ import annotations

import configparser
import os
import re
from pathlib import Path
from typing import Final

import pytest
from typer.main import get_command

from node.cli import app
from node.config import load
from tests.packages.installed import Installed
from tests.packages.test_compose import PROFILES, services
from tests.packages.test_wheel import VERSION
from tests.packages.unit import PREFIX, directives, only, shutdown_seconds
from tests.tools import ROOT

PAGE: Final = ROOT / "docs" / "install.md"
TEXT: Final = PAGE.read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("block", blocks("toml"))
def test_settings(block: str, tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text(block)
    load(path, {})


def test_variables() -> None:
    """Names of variables; values stand for themselves."""
    names = set(re.findall(r"\bNODE_[A-Z_]+\b", TEXT))
    values = {"NODE_EVENTS__SINK": "ndjson", "NODE_HTTP__ALLOWED_HOSTS": '["localhost"]'}
    load(None, {name: values.get(name, "value") for name in names})
    assert len(names) > 3


def test_commands() -> None:
    commands = set(get_command(app).commands)  # type: ignore[attr-defined]
    named = set(re.findall(r"(?:`|bin/|exec node )dicom-fhir-node ([a-z][a-z-]+)", TEXT))
    assert {"serve", "reindex", "check-config", "studies"} <= named <= commands


def test_links_and_files_of_the_repository() -> None:
    linked = re.findall(r"\]\(([^)#]+)\)", TEXT)
    named = re.findall(r"\b((?:conf|docker)/[\w./-]+\w)", re.sub(r"\]\([^)]*\)", "", TEXT))
    assert not [path for path in linked if not (PAGE.parent / path).exists()]
    assert not [path for path in named if path != "docker/.env" and not (ROOT / path).exists()]
    assert f"dicom_fhir_node-{VERSION}-py3-none-any.whl" in TEXT


def test_files_of_the_installed_wheel(installed: Installed) -> None:
    named = re.findall(r"\$share/([\w./-]+)", TEXT)
    assert named
    assert re.findall(r"^# share=(.*)$", TEXT, re.MULTILINE) == [str(PREFIX / "share" / "dicom-fhir-node")]
    listed = re.findall(
        r"`([\w./-]+)`", TEXT.partition("`share/dicom-fhir-node`")[2].partition("## As a service")[0]
    )
    assert {"node.toml", "schemas/", "grafana/"} <= set(listed)
    assert not [path for path in (*named, *listed) if not (installed.share / path).exists()]


def test_the_unit_is_installed_where_it_looks() -> None:
    places = re.findall(r"install -D [^\n]* (/etc/\S+)", TEXT)
    assert f"/etc/{only('ConfigurationDirectory')}/node.toml" in places
    assert only("EnvironmentFile").removeprefix("-") in TEXT
    more = float(only("TimeoutStopSec")) - shutdown_seconds()
    assert (
        f"With more than {shutdown_seconds():g} for `shutdown_seconds`, set `TimeoutStopSec=` to {more:g} more"
        in TEXT
    )


def test_the_drop_in_overrides_what_is_there() -> None:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    (block,) = blocks("ini")
    parser.read_string(block)
    known = {*directives(), "ReadWritePaths"}
    assert set(parser["Service"]) <= known
    # A disk that may be written must be there first: an empty folder in its place looks like a new node's.
    assert parser["Unit"]["RequiresMountsFor"] == parser["Service"]["ReadWritePaths"]


def test_containers() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| ", TEXT.partition("## In containers")[2].partition("## Ports")[0], re.MULTILINE
    )
    assert set(rows) == set(PROFILES)
    ports = {
        port.rsplit(":", 1)[0].removeprefix("127.0.0.1:")
        for one in services().values()
        for port in one["ports"]
    }
    assert not [port for port in ports if port not in TEXT]
    assert os.fspath(PAGE.relative_to(ROOT)) in (ROOT / "docker" / "compose.yml").read_text()
