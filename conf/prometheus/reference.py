"""Prints docs/metrics.md, from the tables that the metrics are made of: ``make docs``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector

from node.metrics import COUNTERS, GAUGES, HISTOGRAMS, LABELS, NAMESPACE, SAMPLED, Row

HEAD: Final = f"""# Metrics

What `/metrics` of the node says to Prometheus. Names begin with `{NAMESPACE}_`. A label never carries a UID or
anything of a patient; the labels that callers could fill take a bounded number of values. Counters begin at 0 when
the node is started, and so do their series as far as the label values are known by then.

[alerts.md](alerts.md) has the alerts made of them; `conf/prometheus` the rules, `conf/grafana` the dashboard.

This page is made by `make docs` from `node/metrics.py`.
"""
# Of the collector for one process that the client library has; nothing in it is this node's own
PROCESS_NOTE: Final = """Of the process that has index, events and HTTP, by the names that every Prometheus client uses;
without the prefix. Receivers are in `process_*` with the prefix.
"""


def rows(found: Mapping[str, tuple[str, Row]]) -> Iterator[str]:
    yield "| name | type | labels | says |"
    yield "|---|---|---|---|"
    for name, (kind, row) in found.items():
        labels = ", ".join(f"`{label}`" for label in row.labels)
        yield f"| `{NAMESPACE}_{name}` | {kind} | {labels} | {row.help} |"


def families() -> dict[str, tuple[str, Row]]:
    """Name -> type and row, of all that the node makes."""
    counters = {name: ("counter", row) for name, row in COUNTERS.items()}
    histograms = {name: ("histogram", row) for name, row in HISTOGRAMS.items()}
    gauges = {name: ("gauge", Row(help)) for name, help in GAUGES.items()}
    sampled = {
        name: ("counter" if name.endswith("_total") else "gauge", row) for name, row in SAMPLED.items()
    }
    build = {"build_info": ("gauge", Row("What is running; always 1.", ("version", "python")))}
    return dict(sorted((counters | histograms | gauges | sampled | build).items()))


def label_rows() -> Iterator[str]:
    yield "| label | says | values |"
    yield "|---|---|---|"
    for name, label in LABELS.items():
        yield f"| `{name}` | {label.help} | {', '.join(f'`{value}`' for value in label.values)} |"


def bucket_rows() -> Iterator[str]:
    yield "| histogram | upper bounds, seconds |"
    yield "|---|---|"
    for name, row in HISTOGRAMS.items():
        yield f"| `{NAMESPACE}_{name}` | {', '.join(f'{bound:g}' for bound in row.buckets)} |"


def process_rows() -> Iterator[str]:
    yield "| name | says |"
    yield "|---|---|"
    for family in ProcessCollector(registry=CollectorRegistry()).collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        yield f"| `{name}` | {family.documentation} |"


def page() -> str:
    """The whole page."""
    parts = [
        HEAD,
        "## The node's own\n",
        *rows(families()),
        "\n## Labels\n",
        *label_rows(),
        "\n## Buckets\n",
        "Each histogram has `_bucket`, `_sum` and `_count`; the last bucket is `+Inf`.\n",
        *bucket_rows(),
        "\n## Process\n",
        PROCESS_NOTE,
        *process_rows(),
    ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
