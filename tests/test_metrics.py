"""Metrics: the contract's names and labels, bounded label values, both formats, promtool's opinion."""

from __future__ import annotations

import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from node import holding
from node import metrics as module
from node.errors import DataSetError, DataSetMismatch, IndexUnavailable, StorageError
from node.index import intake
from node.metrics import GAUGES, Metrics
from node.model import Event
from node.peers import Peer, Peers

# Written down from the contract, not from the code
CONTRACT = {
    "associations_active": set(),
    "associations_total": {"result"},
    "stores_total": {"calling_ae", "status"},
    "store_bytes_total": set(),
    "store_seconds_count": set(),
    "finds_total": {"level", "status"},
    "studies_open": set(),
    "study_quiet_seconds_count": set(),
    "publish_lag_seconds_count": set(),
    "events_total": {"output", "type"},
    "outbox_pending": set(),
    "outbox_oldest_seconds": set(),
    "late_instances_total": {"calling_ae"},
    "duplicates_total": {"kind"},
    "quarantined_total": {"reason"},
    "data_quality_total": {"rule"},
    "objects_bytes_free": set(),
    "objects_bytes_min_free": set(),
    "associations_limit": set(),
    "outbox_parked": set(),
    "events_parked_total": {"output"},
    "quarantine_waiting": set(),
    "ready": set(),
    "receivers_running": set(),
    "receivers_configured": set(),
    "clock_seconds": set(),
    "check_failing": {"check"},
    "receivers_died_total": set(),
    "process_cpu_seconds_total": {"process"},
    "process_memory_bytes": {"process"},
    "process_open_fds": {"process"},
    "build_info": {"version", "python"},
}
EVENT = Event("r5/1.2/1", "r5", "imaging-study", "1.2", {"type": "org.example.completed.v1"}, b"{}")


def used(peers: Peers | None = None) -> Metrics:
    """Metrics after everything has happened once."""
    metrics = Metrics(
        peers or Peers([Peer("CT*"), Peer("MR1")], ["echo"]),
        "1.2.3",
        {name: partial(float, number) for number, name in enumerate(GAUGES)},
    )
    for name, row in module.SAMPLED.items():
        metrics.sample(name, partial(dict, {"some" if row.labels else "": 1.0}))
    metrics.association("released")
    metrics.stored("CT7", 0x0000, 1000, 0.002)
    metrics.stored("WHO", 0xA700, 500, 0.1)
    metrics.found("STUDY", 0xFE00)
    metrics.found("1.2.3.4", 0x0000)
    metrics.written(EVENT)
    metrics.delivered(EVENT, 0.02)
    metrics.parked(EVENT)
    metrics.study_quiet(61.5)
    metrics.late_instances("MR1", 3)
    metrics.duplicate("same")
    metrics.quarantined("collision")
    metrics.data_quality("date", 2)
    return metrics


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = metrics.render()[0].decode()
    return {
        (sample.name.removeprefix("dicom_node_"), tuple(sorted(sample.labels.items()))): sample.value
        for family in parse_text(text)
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return samples(metrics).get((name, tuple(sorted(labels.items()))))


def test_every_metric_of_the_contract_with_its_labels() -> None:
    labels: dict[str, set[str]] = {}
    for (name, pairs), _ in samples(used()).items():
        labels.setdefault(name, set()).update(key for key, _ in pairs)
    assert {name: labels.get(name) for name in CONTRACT} == CONTRACT


def test_stores_count_by_bounded_title_and_status() -> None:
    metrics = used()
    assert value(metrics, "stores_total", calling_ae="CT*", status="0x0000") == 1
    assert value(metrics, "stores_total", calling_ae="other", status="0xA700") == 1
    assert value(metrics, "store_bytes_total") == 1000
    assert value(metrics, "store_seconds_count") == 2
    assert value(metrics, "late_instances_total", calling_ae="MR1") == 3


def test_callers_can_not_make_labels() -> None:
    metrics = used()
    before = len(samples(metrics))
    for number in range(3000):
        metrics.stored(f"X{number}", 0x0000, 1, 0.001)
        metrics.late_instances(f"X{number}")
        metrics.found(f"LEVEL{number}", 0x0000)
    added = set(samples(metrics)) - set(samples(used()))
    assert len(samples(metrics)) == before
    assert not added


def test_find_levels_are_bounded() -> None:
    metrics = used()
    assert value(metrics, "finds_total", level="STUDY", status="0xFE00") == 1
    assert value(metrics, "finds_total", level="other", status="0x0000") == 1


def test_events_by_output_and_type() -> None:
    metrics = used()
    assert value(metrics, "events_total", output="r5", type="org.example.completed.v1") == 1
    assert value(metrics, "events_parked_total", output="r5") == 1
    assert value(metrics, "publish_lag_seconds_sum") == 0.02


def test_gauges_are_asked_at_scrape_time() -> None:
    metrics = Metrics(Peers([], []), "1")
    assert value(metrics, "outbox_pending") is None
    waiting = [3]
    metrics.watch("outbox_pending", lambda: waiting[0])
    assert value(metrics, "outbox_pending") == 3
    waiting[0] = 4
    assert value(metrics, "outbox_pending") == 4


def test_a_gauge_that_can_not_be_had_leaves_the_others() -> None:
    def broken() -> float:
        raise IndexUnavailable("index: disk I/O error")

    metrics = used()
    metrics.watch("studies_open", broken)
    assert value(metrics, "studies_open") is None
    assert value(metrics, "objects_bytes_free") is not None


def test_unknown_gauges_are_refused() -> None:
    with pytest.raises(KeyError, match="nope"):
        Metrics(Peers([], []), "1").watch("nope", lambda: 0.0)


def test_two_nodes_in_one_process_do_not_meet() -> None:
    first, second = used(), Metrics(Peers([], []), "1")
    assert value(first, "duplicates_total", kind="same") == 1
    assert value(second, "duplicates_total", kind="same") == 0


def test_what_can_be_told_before_is_counted_from_0() -> None:
    """increase() does not see the event that a series begins with."""
    metrics = Metrics(Peers([Peer("CT*")], []), "1")
    metrics.begin("r5", ["org.example.completed.v1"])
    for calling_ae in ("CT*", "other"):
        assert value(metrics, "late_instances_total", calling_ae=calling_ae) == 0
        for status in ("0x0000", "0xA700", "0xA900", "0xC000", "0x0124"):
            assert value(metrics, "stores_total", calling_ae=calling_ae, status=status) == 0
    assert value(metrics, "quarantined_total", reason="DataSetMismatch") == 0
    assert value(metrics, "associations_total", result="failed") == 0
    assert value(metrics, "data_quality_total", rule="date-invalid") == 0
    assert value(metrics, "events_total", output="r5", type="org.example.completed.v1") == 0
    assert value(metrics, "events_parked_total", output="r5") == 0


def test_samples_by_label_are_asked_at_scrape_time() -> None:
    def broken() -> dict[str, float]:
        raise IndexUnavailable("index: disk I/O error")

    metrics = Metrics(Peers([], []), "1")
    failing = {"sink": 0.0}
    metrics.sample("check_failing", lambda: failing)
    metrics.sample("receivers_died_total", lambda: {"": 2.0})
    metrics.sample("process_memory_bytes", broken)
    assert value(metrics, "check_failing", check="sink") == 0
    failing["sink"] = 1.0
    assert value(metrics, "check_failing", check="sink") == 1
    assert value(metrics, "receivers_died_total") == 2
    assert value(metrics, "process_memory_bytes") is None
    with pytest.raises(KeyError, match="nope"):
        metrics.sample("nope", dict)


def test_reasons_are_those_of_the_code() -> None:
    """The label's values are written down here, where no part of the node may be imported from."""
    assert {holding.PATIENT_CONFLICT, holding.NO_PATIENT_ID, intake.DUPLICATE} <= set(module.REASONS)
    refusals: list[type[DataSetError]] = [DataSetError, *DataSetError.__subclasses__()]
    assert {error.__name__ for error in refusals} <= set(module.REASONS)
    statuses = {f"0x{error.status:04X}" for error in (DataSetError, DataSetMismatch, StorageError)}
    assert statuses < set(module.STATUSES)


def test_text_format_has_no_creation_times() -> None:
    body, content_type = used().render("text/plain")
    assert content_type.startswith("text/plain; version=0.0.4")
    assert b"_created" not in body


def test_openmetrics_when_asked_for() -> None:
    body, content_type = used().render("application/openmetrics-text; version=1.0.0,text/plain;q=0.5")
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    families = {family.name for family in parse_openmetrics(body.decode())}  # type: ignore[no-untyped-call]
    assert {"dicom_node_stores", "dicom_node_build", "dicom_node_store_seconds"} <= families


def test_no_count_is_lost_between_threads() -> None:
    metrics = Metrics(Peers([], []), "1")

    def work() -> None:
        for _ in range(2000):
            metrics.stored("A", 0x0000, 10, 0.001)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert value(metrics, "stores_total", calling_ae="other", status="0x0000") == 8000
    assert value(metrics, "store_bytes_total") == 80000
    assert value(metrics, "store_seconds_count") == 8000


@pytest.mark.promtool
def test_promtool_finds_nothing_to_complain_about() -> None:
    body, _ = used().render()
    checked = subprocess.run(["promtool", "check", "metrics"], input=body, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def test_buckets_rise() -> None:
    for row in module.HISTOGRAMS.values():
        assert list(row.buckets) == sorted(set(row.buckets))


def test_nobody_else_imports_the_client() -> None:
    package = Path(sys.modules["node"].__file__ or "").parent
    users = {path.name for path in package.rglob("*.py") if "prometheus_client" in path.read_text("utf-8")}
    assert users == {"metrics.py"}


def test_stores_that_are_counted_elsewhere_are_the_same() -> None:
    """As sums of receivers, or one by one: nobody who reads the metrics can tell."""
    stores = [("CT7", 1000 * number, number / 700) for number in range(40)]
    stores += [("WHO", 5, seconds) for seconds in (0.0, 0.0005, 0.00051, 120.0, 121.0)]
    peers = Peers([Peer("CT*")], ["echo"])
    one_by_one, together = Metrics(peers, "1.2.3"), Metrics(peers, "1.2.3")
    for calling_ae, size, seconds in stores:
        one_by_one.stored(calling_ae, 0x0000, size, seconds)
    for part in (stores[:13], stores[13:], []):
        for sums in module.summed(part):
            together.stored_together(sums)

    def seen(metrics: Metrics) -> dict[str, float]:
        families = parse_text(metrics.render()[0].decode())
        samples = [sample for family in families for sample in family.samples if "_store" in sample.name]
        return {f"{sample.name} {sorted(sample.labels.items())}": sample.value for sample in samples}

    assert seen(together) == pytest.approx(seen(one_by_one))
    assert seen(together)["dicom_node_store_seconds_bucket [('le', '0.0005')]"] == 3
    assert seen(together)["dicom_node_store_seconds_bucket [('le', '120.0')]"] == 44
    assert seen(together)["dicom_node_store_seconds_count []"] == 45
    assert seen(together)["dicom_node_store_bytes_total []"] == 780_025
