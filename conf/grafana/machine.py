"""What the dashboard shows of disk and processes."""

from __future__ import annotations

from typing import Final

from panel import Kind, Panel, Query, Row

STORAGE: Final = Row(
    "Storage",
    (
        Panel(
            Kind.LINES,
            "Free space",
            "Free where objects are kept, and the limit below which associations are refused (objects.min_free_bytes). "
            "Below a fifth of the limit stores are answered 0xA700.",
            "bytes",
            (
                Query("min by (instance) (dicom_node_objects_bytes_free{S})", "{{instance}} free"),
                Query("max by (instance) (dicom_node_objects_bytes_min_free{S})", "{{instance}} limit"),
            ),
            12,
        ),
        Panel(
            Kind.BARS,
            "Objects deleted by retention",
            "Objects of published studies that [retention] deleted, for their age or for space.",
            "none",
            (
                Query(
                    "sum by (why) (increase(dicom_node_objects_deleted_total{S}[$__rate_interval])) > 0",
                    "{{why}}",
                ),
            ),
            12,
            empty="none deleted",
        ),
    ),
)

MACHINE: Final = Row(
    "Processes",
    (
        Panel(
            Kind.STACK,
            "CPU",
            "Processors used by each process: `node` has index, events and HTTP, `receiver-N` the associations.",
            "none",
            (
                Query(
                    "sum by (instance, process) (rate(dicom_node_process_cpu_seconds_total{S}[$__rate_interval]))",
                    "{{instance}} {{process}}",
                ),
            ),
            8,
        ),
        Panel(
            Kind.STACK,
            "Memory",
            "Memory of each process; what they share is divided among them, so the stack is what the node takes.",
            "bytes",
            (
                Query(
                    "sum by (instance, process) (dicom_node_process_memory_bytes{S})",
                    "{{instance}} {{process}}",
                ),
            ),
            8,
        ),
        Panel(
            Kind.LINES,
            "Open file descriptors",
            "Of each process, and how many it may have. An association takes one, an object being received another.",
            "none",
            (
                Query(
                    "max by (instance, process) (dicom_node_process_open_fds{S})", "{{instance}} {{process}}"
                ),
                Query("min(process_max_fds{S})", "limit"),
            ),
            8,
        ),
        Panel(
            Kind.LINES,
            "Receiver processes",
            "How many take associations, how many there should be, and how many died in the last hour. One that dies "
            "costs its open associations; what it had answered is kept.",
            "none",
            (
                Query("sum by (instance) (dicom_node_receivers_running{S})", "{{instance}} running"),
                Query("sum by (instance) (dicom_node_receivers_configured{S})", "{{instance}} configured"),
                Query(
                    "sum by (instance) (increase(dicom_node_receivers_died_total{S}[1h]))",
                    "{{instance}} died in an hour",
                ),
            ),
            8,
        ),
        Panel(
            Kind.LINES,
            "Clock against Prometheus",
            "The node's clock minus that of Prometheus, about the time of a scrape. More than seconds: one of them is "
            "not synchronised.",
            "s",
            (
                Query(
                    "dicom_node_clock_seconds{S} - timestamp(dicom_node_clock_seconds{S})",
                    "{{instance}}",
                ),
            ),
            8,
            least=None,
        ),
        Panel(
            Kind.STAT,
            "Version",
            "What runs.",
            "none",
            (
                Query(
                    "max by (instance, version, python) (dicom_node_build_info{S})",
                    "{{instance}}: {{version}}, Python {{python}}",
                ),
            ),
            8,
        ),
    ),
)
