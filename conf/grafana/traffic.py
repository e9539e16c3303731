"""What the dashboard shows of objects on their way in, and of the studies they make."""

from __future__ import annotations

from typing import Final

from panel import Kind, Panel, Query, Row, now, quantiles

GLANCE: Final = Row(
    "At a glance",
    (
        now(
            "Ready",
            "Whether the node takes objects and can do all its work: what /readyz says. Not ready: the checks below "
            "say which part, /readyz why. Down: it does not answer Prometheus.",
            "none",
            "min(dicom_node_ready{S} or on (job, instance) up{S} - 1)",
        )._replace(texts=(("-1", "Down", "red"), ("0", "Not ready", "red"), ("1", "Ready", "green"))),
        now(
            "Alerts firing",
            "Alerts of the node that fire now. What each means and what to do: docs/alerts.md.",
            "none",
            'count(ALERTS{alertname=~"DicomNode.*",alertstate="firing",instance=~"$instance|"}) or vector(0)',
            (1, "red"),
        ),
        now(
            "Receiving",
            "Objects stored a second, of all callers.",
            "suffix: /s",
            'sum(rate(dicom_node_stores_total{S,status="0x0000"}[$__rate_interval]))',
        ),
        now(
            "Associations",
            "Open now. When dicom.max_associations is reached, callers are told to come again.",
            "none",
            "sum(dicom_node_associations_active{S})",
        ),
        now(
            "Open studies",
            "Studies that are filling, or held by an operator: not published yet.",
            "none",
            "sum(dicom_node_studies_open{S})",
        ),
        now(
            "Late objects today",
            "Objects of the last 24 hours that came after their study was published, as a share of all. Above a few "
            "percent the quiet period is too short for some caller.",
            "percentunit",
            "sum(increase(dicom_node_late_instances_total{S}[1d]))"
            ' / (sum(increase(dicom_node_stores_total{S,status="0x0000"}[1d])) > 0)',
            (0.02, "orange"),
            (0.05, "red"),
        )._replace(empty="nothing stored"),
        now(
            "Events waiting",
            "Events written but not delivered yet. It falls to 0 within seconds while the sink takes them.",
            "none",
            "sum(dicom_node_outbox_pending{S})",
            (100, "orange"),
            (1000, "red"),
        ),
        now(
            "Oldest waits",
            "How long the oldest event has waited for delivery. Minutes mean that Kafka or the event log is not there.",
            "s",
            "max(dicom_node_outbox_oldest_seconds{S})",
            (60, "orange"),
            (600, "red"),
        ),
        now(
            "Events parked",
            "Events that the sink will never take as they are. Consumers miss these versions until they are replayed.",
            "none",
            "sum(dicom_node_outbox_parked{S})",
            (1, "red"),
        ),
        now(
            "In quarantine",
            "Objects and studies put aside that somebody has to decide about.",
            "none",
            "sum(dicom_node_quarantine_waiting{S})",
            (1, "orange"),
        ),
        now(
            "Disk until refusal",
            "What can still be stored before the node refuses associations (objects.min_free_bytes).",
            "bytes",
            "min(dicom_node_objects_bytes_free{S} - dicom_node_objects_bytes_min_free{S})",
        )._replace(steps=((None, "red"), (0, "orange"), (10e9, "green"))),
        now(
            "Running for",
            "Time since the node was started.",
            "s",
            "min(time() - process_start_time_seconds{S})",
        ),
        Panel(
            Kind.STATES,
            "Checks that fail",
            "Each check of /readyz over time; red while it fails. `silent`: the checks themselves do not answer, as "
            "on a disk that hangs.",
            "none",
            (Query("max by (check) (dicom_node_check_failing{S})", "{{check}}"),),
            24,
            texts=(("0", "well", "green"), ("1", "fails", "red")),
        ),
    ),
)

RECEIVING: Final = Row(
    "Receiving",
    (
        Panel(
            Kind.STACK,
            "Objects stored, by caller",
            "Objects answered 0x0000 a second. The caller is the ae_title of its [[peers]] entry; those without one "
            "are `other`.",
            "suffix: /s",
            (
                Query(
                    'sum by (calling_ae) (rate(dicom_node_stores_total{S,status="0x0000"}[$__rate_interval]))',
                    "{{calling_ae}}",
                ),
            ),
            12,
        ),
        Panel(
            Kind.LINES,
            "Bytes stored",
            "Bytes of data sets stored a second, by node.",
            "Bps",
            (
                Query(
                    "sum by (instance) (rate(dicom_node_store_bytes_total{S}[$__rate_interval]))",
                    "{{instance}}",
                ),
            ),
            12,
        ),
        Panel(
            Kind.LINES,
            "Time to answer a store",
            "From the whole request read to the answer sent, the object being on disk by then. p95: one in twenty "
            "takes longer. It grows with the size of objects and with a slow disk.",
            "s",
            quantiles("dicom_node_store_seconds"),
            12,
        ),
        Panel(
            Kind.BARS,
            "Stores that failed",
            "C-STOREs not answered 0x0000, by caller and status. 0xA700: no room, or the index is behind. 0xA900, "
            "0xC000: the object is not what it says or can't be read, and is in quarantine. 0x0124: the caller may "
            "not store.",
            "none",
            (
                Query(
                    "sum by (calling_ae, status) "
                    '(increase(dicom_node_stores_total{S,status!="0x0000"}[$__rate_interval])) > 0',
                    "{{calling_ae}} {{status}}",
                ),
            ),
            12,
            empty="none failed",
        ),
        Panel(
            Kind.LINES,
            "Associations open",
            "Open now, and how many may be (dicom.max_associations).",
            "none",
            (
                Query("sum(dicom_node_associations_active{S})", "open"),
                Query("sum(dicom_node_associations_limit{S})", "limit"),
            ),
            8,
        ),
        Panel(
            Kind.BARS,
            "Associations ended",
            "By how they ended. `released` is as it should be. `rejected`: wrong AE title, unknown caller, or no room. "
            "`lost`, `timeout`: the network or the sender. `failed`: a fault of the node.",
            "none",
            (
                Query(
                    "sum by (result) (increase(dicom_node_associations_total{S}[$__rate_interval])) > 0",
                    "{{result}}",
                ),
            ),
            8,
            empty="none ended",
        ),
        Panel(
            Kind.LINES,
            "Queries answered",
            "C-FIND a second, by level and final status. 0xFE00: the caller cancelled, or the answers were cut at "
            "dicom.max_find_answers.",
            "suffix: /s",
            (
                Query(
                    "sum by (level, status) (rate(dicom_node_finds_total{S}[$__rate_interval]))",
                    "{{level}} {{status}}",
                ),
            ),
            8,
            empty="no queries",
        ),
    ),
)

STUDIES: Final = Row(
    "Studies",
    (
        Panel(
            Kind.BARS,
            "Versions published",
            "Events written, by output: `completed` is the first version of a study, `amended` each one after it. Many "
            "amended ones mean that studies are published too early.",
            "none",
            (
                Query(
                    "sum by (output, kind) (label_replace(increase(dicom_node_events_total{S}[$__rate_interval]), "
                    '"kind", "$1", "type", ".*[.]([a-z]+)[.]v[0-9]+")) > 0',
                    "{{output}} {{kind}}",
                ),
            ),
            12,
            empty="none published",
        ),
        Panel(
            Kind.LINES,
            "Last object to event",
            "How long after its last object a study was published. It is the quiet period, unless an association was "
            "still open or an operator completed it.",
            "s",
            quantiles("dicom_node_study_quiet_seconds"),
            12,
        ),
        Panel(
            Kind.BARS,
            "Late objects, by caller",
            "Objects that came after their study was published, and so made a further version of it.",
            "none",
            (
                Query(
                    "sum by (calling_ae) (increase(dicom_node_late_instances_total{S}[$__rate_interval])) > 0",
                    "{{calling_ae}}",
                ),
            ),
            8,
            empty="none late",
        ),
        Panel(
            Kind.GAUGES,
            "Share of late objects, by caller",
            "Of what each caller stored in the shown time. Above a few percent give it a longer quiet period in "
            "[[completion.rules]].",
            "percentunit",
            (
                Query(
                    "sum by (calling_ae) (increase(dicom_node_late_instances_total{S}[$__range]))"
                    ' / (sum by (calling_ae) (increase(dicom_node_stores_total{S,status="0x0000"}[$__range])) > 0)',
                    "{{calling_ae}}",
                ),
            ),
            8,
            ((None, "green"), (0.02, "orange"), (0.05, "red")),
            empty="nothing stored",
        ),
        Panel(
            Kind.BARS,
            "Objects that were here already",
            "`same`: sent again, harmless. `other-bytes`: the same SOP Instance UID with other content, one of the two "
            "is in quarantine (objects.on_duplicate).",
            "none",
            (
                Query(
                    "sum by (kind) (increase(dicom_node_duplicates_total{S}[$__rate_interval])) > 0",
                    "{{kind}}",
                ),
            ),
            8,
            empty="none came twice",
        ),
    ),
)
