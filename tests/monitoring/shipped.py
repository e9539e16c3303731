"""What is shipped for Prometheus and Grafana, read for tests."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from node import metrics
from tests.tools import ROOT

PROMETHEUS: Final = ROOT / "conf/prometheus"
GRAFANA: Final = ROOT / "conf/grafana"
RULES: Final = sorted(PROMETHEUS.glob("*.rules.yml"))
_NAME: Final = re.compile(r"(?<![:\w])dicom_node_\w+")  # not those of recording rules, which have a colon
_PARTS: Final = re.compile(r"_(bucket|sum|count)$")


class Panel(NamedTuple):
    """A panel and its expressions as they stand in the JSON."""

    title: str
    exprs: tuple[str, ...]
    json: dict[str, Any]


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def rules() -> Iterator[dict[str, Any]]:
    """Recording and alert rules of every file."""
    for path in RULES:
        for group in read(path)["groups"]:
            yield from group["rules"]


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def records() -> dict[str, str]:
    """Name -> expression of the recording rules."""
    return {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GRAFANA / "dashboard.json").read_text())
    return found


def panels() -> list[Panel]:
    return [
        Panel(one["title"], tuple(target["expr"] for target in one["targets"]), one)
        for one in dashboard()["panels"]
        if one["type"] != "row"
    ]


def made() -> set[str]:
    """Names of the metrics that the node makes."""
    tables = (metrics.COUNTERS, metrics.HISTOGRAMS, metrics.GAUGES, metrics.SAMPLED)
    return {f"{metrics.NAMESPACE}_{name}" for table in tables for name in table} | {"dicom_node_build_info"}


def named(expr: str) -> set[str]:
    """Names of the node's metrics in an expression, a histogram by its own name."""
    histograms = {f"{metrics.NAMESPACE}_{name}" for name in metrics.HISTOGRAMS}
    found = set()
    for name in _NAME.findall(re.sub(r'"[^"]*"', '""', expr)):
        base = _PARTS.sub("", name)
        found.add(base if base in histograms else name)
    return {name for name in found if f"{name}:" not in expr}


def printed(script: Path) -> str:
    """What a script that makes a committed file prints."""
    # -B: its neighbours are imported, and conf/ is shipped as it is
    command = [sys.executable, "-B", str(script)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
