"""Rules, alerts and their pages: what promtool says, and that each alert is tested, explained and can be found."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.monitoring import shipped
from tests.tools import ROOT

TESTS = sorted((shipped.PROMETHEUS / "tests").glob("*_test.yml"))


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run(
        ["promtool", *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.promtool
def test_promtool_takes_the_configuration_and_its_rules() -> None:
    said = promtool("check", "config", shipped.PROMETHEUS / "prometheus.yml")
    for path in shipped.RULES:
        assert path.name in said


@pytest.mark.promtool
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_alerts_fire_and_are_silent(path: Path) -> None:
    assert "SUCCESS" in promtool("test", "rules", path)


def cases() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Expression and expected samples of every test of ALERTS."""
    for path in TESTS:
        for group in shipped.read(path)["tests"]:
            for case in group["promql_expr_test"]:
                if "ALERTS" in case["expr"]:
                    yield case["expr"], case["exp_samples"]


def asked(expr: str, alert: str) -> bool:
    """Whether the expression would show ``alert``."""
    matcher = re.search(r'alertname=~?"([^"]+)"', expr)
    return matcher is None or re.fullmatch(matcher[1], alert) is not None


@pytest.mark.parametrize("alert", shipped.alerts())
def test_each_alert_is_seen_firing_and_silent(alert: str) -> None:
    seen = [samples for expr, samples in cases() if asked(expr, alert)]
    exact = [samples for expr, samples in cases() if f'alertname="{alert}"' in expr]
    fires = any(exact) or any(f'alertname="{alert}"' in one["labels"] for some in seen for one in some)
    assert fires, f"no test in conf/prometheus/tests shows {alert} firing"
    assert [] in seen, f"no test in conf/prometheus/tests shows {alert} silent"


@pytest.mark.parametrize("alert", shipped.alerts().values(), ids=shipped.alerts())
def test_each_alert_says_how_bad_it_is_and_where_to_read_on(alert: dict[str, Any]) -> None:
    assert alert["labels"] == {"severity": alert["labels"]["severity"]}
    assert alert["labels"]["severity"] in ("critical", "warning")
    annotations = alert["annotations"]
    assert annotations.keys() == {"summary", "description", "runbook"}
    assert annotations["runbook"] == f"docs/alerts.md#{alert['alert'].lower()}"


def test_each_alert_has_its_section_and_each_section_its_alert() -> None:
    page = (ROOT / "docs/alerts.md").read_text()
    assert re.findall(r"^### (\w+)$", page, re.MULTILINE) == list(shipped.alerts())
    for name, alert in shipped.alerts().items():
        section = page.partition(f"### {name}\n")[2].partition("\n### ")[0]
        assert f"*{alert['labels']['severity']}" in section, f"{name}: severity"
        assert "**Do:**" in section, f"{name}: what to do"


def test_rules_ask_for_what_there_is() -> None:
    for rule in shipped.rules():
        assert shipped.named(rule["expr"]) <= shipped.made(), rule
        for name in re.findall(r"[a-z_]+:[a-z_0-9:]+", rule["expr"]):
            assert name in shipped.records(), f"{name} is not recorded"


def test_what_is_recorded_is_used() -> None:
    text = " ".join(rule["expr"] for rule in shipped.rules())
    unused = {name for name in shipped.records() if name not in text}
    assert unused == {"caller:dicom_node_objects_stored:rate5m"}  # for people, who ask it most


def test_the_page_of_metrics_is_that_of_the_code() -> None:
    page = (ROOT / "docs/metrics.md").read_text()
    assert page == shipped.printed(shipped.PROMETHEUS / "reference.py"), "make docs"
