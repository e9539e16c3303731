"""The dashboard and the rules against a real Prometheus that scrapes real nodes: every expression has an answer."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import threading
import urllib.parse
import urllib.request
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml

from tests.harness import Address, NodeProcess, Nodes, eventually, running_nodes
from tests.monitoring import shipped
from tests.scenarios.sender import associated, instance, new_uid, send, store
from tests.scenarios.test_receivers import found, receivers
from tests.tools import ROOT

LISTENING = re.compile(r'msg="Listening on" address=127\.0\.0\.1:(\d+)')
# How a panel's variables are filled in here; Grafana makes the interval four scrapes long at least
FILLED = {"$job": "dicom-fhir-node", "$instance": ".*", "$__rate_interval": "1m", "$__range": "1h"}
PEERS = [{"ae_title": "CT*"}, {"ae_title": "MR1", "services": ["echo"]}]
OUTPUTS = [
    {"name": "r5", "profile": "r5", "topic": "imaging-study"},
    {"name": "dstu1", "profile": "dstu1", "topic": "imaging-study-dstu1"},
]
# Metrics that no panel and no rule looks at, and why
LEFT_OUT: dict[str, str] = {}


class Prometheus:
    """Debian's Prometheus with the shipped configuration: other targets, a shorter interval."""

    def __init__(self, folder: Path, targets: list[str]) -> None:
        config = shipped.read(shipped.PROMETHEUS / "prometheus.yml")
        config["global"].update(scrape_interval="1s", scrape_timeout="1s", evaluation_interval="1s")
        config["rule_files"] = [str(path) for path in shipped.RULES]
        jobs = {job["job_name"]: job for job in config["scrape_configs"]}
        jobs["dicom-fhir-node"]["static_configs"] = [{"targets": targets}]
        config["scrape_configs"] = [jobs["dicom-fhir-node"]]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        self.process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                "--web.listen-address=127.0.0.1:0",
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log: list[str] = []
        ports: queue.Queue[int | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, args=(ports,))
        self._reader.start()
        port = ports.get(timeout=30)
        assert port is not None, "".join(self.log)
        self.url = f"http://127.0.0.1:{port}/api/v1"

    def _read(self, ports: queue.Queue[int | None]) -> None:
        assert self.process.stderr is not None
        port = None
        for line in self.process.stderr:
            self.log.append(line)
            listens = LISTENING.search(line)
            port = int(listens[1]) if listens else port
            if "Server is ready to receive web requests" in line:
                ports.put(port)
        ports.put(None)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        self._reader.join(10)
        assert self.process.stderr is not None
        self.process.stderr.close()

    def ask(self, path: str, **parameters: str) -> list[dict[str, Any]]:
        query = urllib.parse.urlencode(parameters).encode()
        with urllib.request.urlopen(f"{self.url}/{path}", query, timeout=30) as response:
            answer = json.loads(response.read())
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def query(self, expr: str) -> list[dict[str, Any]]:
        """Samples now; what is no number is no answer."""
        return [one for one in self.ask("query", query=expr) if one["value"][1] != "NaN"]

    def value(self, expr: str) -> float | None:
        """Of an expression with one answer."""
        answers = self.query(expr)
        return float(answers[0]["value"][1]) if answers else None


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    yield from running_nodes(tmp_path_factory.mktemp("nodes"))


@pytest.fixture(scope="module")
def node(nodes: Nodes) -> NodeProcess:
    return nodes.start_process(
        "busy",
        dicom__receivers="2",
        peers=json.dumps(PEERS),
        outputs=json.dumps(OUTPUTS),
        completion__quiet_seconds="0.5",
        objects__min_free_bytes="1000",
    )


@pytest.fixture(scope="module")
def prometheus(
    nodes: Nodes, node: NodeProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """Has seen everything happen that the metrics tell of."""
    forgetful = nodes.start("forgetful", completion__quiet_seconds="0.5", retention__max_age_days="0.000001")
    targets = [f"127.0.0.1:{one.http_port}" for one in (node, forgetful)]
    running = Prometheus(tmp_path_factory.mktemp("prometheus"), targets)
    try:
        # Counted from 0, and 0 was seen: from now on nothing is missed
        eventually(lambda: len(running.query("dicom_node_store_bytes_total == 0")) == 2)
        send(forgetful, instance(new_uid(), 1))
        use(node)
        yield running
    finally:
        running.stop()


def use(node: NodeProcess) -> None:
    """Everything that is counted happens."""
    study = new_uid()
    send(node, instance(study, 1, PatientID=""), instance(study, 2))
    eventually(lambda: len(node.events_of(study)) == len(OUTPUTS))
    # late, again the same, and the same UID with other bytes
    late = instance(study, 3)
    send(node, late)
    send(node, late, instance(study, 1, PatientName="Other^Name"), calling_ae="US1")
    assert found(node, study) == 3
    refused(node)
    # dstu1 can't say this UID: its event is parked
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # pydicom says that it is illegal, and sends it
        study = new_uid()
        send(node, instance(study, 1, SOPInstanceUID=f"{study}.01"))
    eventually(lambda: node.metric("outbox_parked") == 1)
    decide(node)


def refused(node: Address) -> None:
    """A store of a caller who may not, an object that can't be taken, and an association for somebody else."""
    with associated(node, "MR1") as association:
        assert store(association, instance(new_uid(), 1)) == [0x0124]
    broken = instance(new_uid(), 1)
    del broken.StudyInstanceUID
    with associated(node) as association:
        assert store(association, broken, broken) == [0xC000, 0xC000]


def decide(node: Address) -> None:
    """One of each reason is released or discarded, one waits."""
    eventually(lambda: node.metric("quarantine_waiting") == 3)
    waiting = {row["reason"]: row["id"] for row in node.get("/api/quarantine")["quarantine"]}
    node.post(f"/api/quarantine/{waiting['DataSetError']}/discard")
    node.post(f"/api/quarantine/{waiting['duplicate']}/release")


def filled(expr: str) -> str:
    for name, text in FILLED.items():
        expr = expr.replace(name, text)
    assert "$" not in re.sub(r'"[^"]*"', "", expr), expr
    return expr


def answered(prometheus: Prometheus, expr: str) -> Callable[[], list[dict[str, Any]]]:
    return lambda: prometheus.query(expr)


@pytest.mark.promtool
def test_every_panel_has_data(prometheus: Prometheus) -> None:
    for panel in shipped.panels():
        for expr in panel.exprs:
            try:
                eventually(answered(prometheus, filled(expr)))
            except AssertionError as error:
                raise AssertionError(f"{panel.title}: {filled(expr)}") from error


@pytest.mark.promtool
def test_every_recording_rule_has_data(prometheus: Prometheus) -> None:
    for name in shipped.records():
        try:
            eventually(answered(prometheus, name))
        except AssertionError as error:
            raise AssertionError(name) from error


@pytest.mark.promtool
def test_the_numbers_are_those_of_what_happened(prometheus: Prometheus) -> None:
    busy = "".join(
        sorted({one["metric"]["instance"] for one in prometheus.query("dicom_node_outbox_parked == 1")})
    )
    expected = {
        "dicom_node_ready": 1,
        "sum(dicom_node_check_failing)": 0,
        "sum(dicom_node_late_instances_total)": 1,
        'dicom_node_stores_total{calling_ae="MR1",status="0x0124"}': 1,
        'dicom_node_stores_total{calling_ae="CT*",status="0xC000"}': 2,
        'dicom_node_duplicates_total{kind="same"}': 1,
        "dicom_node_receivers_running": 2,
        "dicom_node_receivers_configured": 2,
        "dicom_node_objects_bytes_min_free": 1000,
        "dicom_node_associations_limit": 100,
        'count(dicom_node_process_memory_bytes{process=~"receiver-.*"} > 1e6)': 2,
    }
    for expr, value in expected.items():
        ours = re.sub(r"dicom_node_\w+", lambda name: f'{name[0]}{{instance="{busy}"}}', expr, count=1)
        ours = ours.replace(f'{{instance="{busy}"}}{{', f'{{instance="{busy}",')
        eventually(lambda ours=ours, value=value: prometheus.value(ours) == value, 10)  # type: ignore[misc]


@pytest.mark.promtool
def test_no_rule_fails(prometheus: Prometheus) -> None:
    eventually(lambda: prometheus.query("dicom_node:office_hours"))
    with urllib.request.urlopen(f"{prometheus.url}/rules", timeout=30) as response:
        groups = json.loads(response.read())["data"]["groups"]
    states = Counter(rule["health"] for group in groups for rule in group["rules"])
    assert states.keys() <= {"ok", "unknown"}, states
    assert [line for line in prometheus.log if "level=error" in line or "level=warn" in line] == []


@pytest.mark.promtool
def test_promtool_finds_nothing_to_complain_about(prometheus: Prometheus, node: Address) -> None:
    """After everything was counted at least once."""
    del prometheus
    body = str(node.get("/metrics"))
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=body, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


@pytest.mark.promtool
def test_a_receiver_that_dies_is_counted(prometheus: Prometheus, node: NodeProcess) -> None:
    os.kill(receivers(node)[0], signal.SIGKILL)
    eventually(lambda: prometheus.value("sum(dicom_node_receivers_died_total)") == 1)
    eventually(lambda: prometheus.value("sum(dicom_node_receivers_running)") == 2)
    eventually(lambda: prometheus.value("sum(dicom_node_ready)") == 2)


@pytest.mark.promtool
def test_the_hours_are_those_of_the_wall(prometheus: Prometheus) -> None:
    """Every hour of a year, and each change of the clock of the years after it."""
    expr = shipped.records()["dicom_node:local_time_seconds"]
    expr = expr.replace("dicom_node:summer_time", f"({shipped.records()['dicom_node:summer_time']})")
    year = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    spans = [year] + [
        (datetime(after, month, 24, tzinfo=UTC), datetime(after, month + 1, 1, tzinfo=UTC))
        for after in range(2027, 2033)
        for month in (3, 10)
    ]
    paris = ZoneInfo("Europe/Paris")
    for begin, end in spans:
        answers = prometheus.ask(
            "query_range", query=expr, start=str(begin.timestamp()), end=str(end.timestamp()), step="3600"
        )
        for at, local in answers[0]["values"]:
            wall = datetime.fromtimestamp(at, paris)
            offset = wall.utcoffset()
            assert offset is not None
            assert float(local) - at == offset.total_seconds(), wall


def test_the_dashboard_is_that_of_its_description() -> None:
    committed = (shipped.GRAFANA / "dashboard.json").read_text()
    assert committed == shipped.printed(shipped.GRAFANA / "dashboard.py"), "make dashboards"


def test_make_docs_makes_it_too() -> None:
    """As the README has it: one command for all that is made of the code."""
    done = subprocess.run(
        ["make", "-n", "docs"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
    )
    assert "conf/grafana/dashboard.py" in done.stdout


def test_every_metric_is_looked_at() -> None:
    exprs = [expr for panel in shipped.panels() for expr in panel.exprs]
    looked_at = {name for expr in exprs for name in shipped.named(expr)}
    assert looked_at <= shipped.made()
    in_rules = {name for rule in shipped.rules() for name in shipped.named(rule["expr"])}
    assert shipped.made() - looked_at - in_rules == LEFT_OUT.keys()


def test_panels_can_be_read_and_do_not_overlap() -> None:
    """Titles, descriptions, units; nothing is bound to one Grafana."""
    taken: dict[tuple[int, int], str] = {}
    for panel in shipped.panels():
        assert panel.json["description"].endswith("."), panel.title
        assert panel.json["fieldConfig"]["defaults"]["unit"], panel.title
        assert panel.json["fieldConfig"]["defaults"]["thresholds"]["steps"], panel.title
        for source in (panel.json["datasource"], *(one["datasource"] for one in panel.json["targets"])):
            assert source == {"type": "prometheus", "uid": "${datasource}"}
        place = panel.json["gridPos"]
        assert place["x"] + place["w"] <= 24, panel.title
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                other = taken.setdefault((x, y), panel.title)
                assert other == panel.title, f"{panel.title} lies over {other}"
    numbers = Counter(one["id"] for one in shipped.dashboard()["panels"])
    assert max(numbers.values()) == 1
    titles = Counter(panel.title for panel in shipped.panels())
    assert max(titles.values()) == 1, titles


def test_no_event_is_in_two_bars() -> None:
    """What Grafana makes of $__rate_interval reaches over one bar, and the scrape before it."""
    scrape = seconds(shipped.read(shipped.PROMETHEUS / "prometheus.yml")["global"]["scrape_interval"])
    counting = [
        panel for panel in shipped.panels() if "increase(" in panel.exprs[0] and "$__rate_" in panel.exprs[0]
    ]
    assert len(counting) > 5
    for panel in counting:
        bar = seconds(panel.json.get("interval", "1s"))
        assert max(bar + scrape, 4 * scrape) == bar + scrape, panel.title


def seconds(span: str) -> float:
    return float(span[:-1]) * {"s": 1, "m": 60}[span[-1]]


def test_grafana_is_provisioned_with_what_is_shipped() -> None:
    (source,) = shipped.read(shipped.GRAFANA / "provisioning/datasources/prometheus.yml")["datasources"]
    assert (source["type"], source["url"]) == ("prometheus", "http://prometheus:9090")
    scrape = shipped.read(shipped.PROMETHEUS / "prometheus.yml")["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == scrape
    variables = {one["name"]: one for one in shipped.dashboard()["templating"]["list"]}
    assert variables.keys() == {"datasource", "job", "instance"}
    assert variables["job"]["current"]["value"] == "dicom-fhir-node"
