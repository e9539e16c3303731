"""What the dashboard shows of events on their way out, and of what was amiss in the data."""

from __future__ import annotations

from typing import Final

from panel import Kind, Panel, Query, Row, quantiles

PUBLISHING: Final = Row(
    "Publishing",
    (
        Panel(
            Kind.LINES,
            "Time to deliver an event",
            "From an event written to the sink having it. Milliseconds while Kafka or the event log is well.",
            "s",
            quantiles("dicom_node_publish_lag_seconds"),
            8,
        ),
        Panel(
            Kind.LINES,
            "Events waiting and parked",
            "Waiting ones go out by themselves when the sink is back. Parked ones wait for `replay`.",
            "none",
            (
                Query("sum by (instance) (dicom_node_outbox_pending{S})", "{{instance}} waiting"),
                Query("sum by (instance) (dicom_node_outbox_parked{S})", "{{instance}} parked"),
            ),
            8,
        ),
        Panel(
            Kind.LINES,
            "Age of the oldest waiting event",
            "0 when none waits. A line that climbs means that nothing goes out.",
            "s",
            (Query("max by (instance) (dicom_node_outbox_oldest_seconds{S})", "{{instance}}"),),
            8,
            ((None, "green"), (600, "red")),
        ),
        Panel(
            Kind.LINES,
            "Events delivered",
            "Events that the sink took, a second.",
            "suffix: /s",
            (
                Query(
                    "sum by (instance) (rate(dicom_node_publish_lag_seconds_count{S}[$__rate_interval]))",
                    "{{instance}}",
                ),
            ),
            12,
        ),
        Panel(
            Kind.BARS,
            "Events parked, by output",
            "When events were parked: too large for the broker, or a resource that did not pass its check.",
            "none",
            (
                Query(
                    "sum by (output) (increase(dicom_node_events_parked_total{S}[$__rate_interval])) > 0",
                    "{{output}}",
                ),
            ),
            12,
            empty="none parked",
        ),
    ),
)

QUALITY: Final = Row(
    "Data quality",
    (
        Panel(
            Kind.GAUGES,
            "What was amiss in the data",
            "Values that resources could not use as sent, in the shown time, the ten most frequent rules. The log "
            "(data_quality) names attribute and study; never values.",
            "none",
            (
                Query(
                    "topk(10, sum by (rule) (increase(dicom_node_data_quality_total{S}[$__range])) > 0)",
                    "{{rule}}",
                ),
            ),
            9,
            empty="nothing amiss",
        ),
        Panel(
            Kind.BARS,
            "Put into quarantine",
            "`duplicate`: other bytes under a UID that was here. `DataSetError`: can't be read. `DataSetMismatch`: not "
            "what the sender said it is. `patient-conflict`: one study under two patients.",
            "none",
            (
                Query(
                    "sum by (reason) (increase(dicom_node_quarantined_total{S}[$__rate_interval])) > 0",
                    "{{reason}}",
                ),
            ),
            5,
            empty="none",
        ),
        Panel(
            Kind.LINES,
            "Waiting in quarantine",
            "Objects and studies that nobody has decided about yet.",
            "none",
            (Query("sum by (instance) (dicom_node_quarantine_waiting{S})", "{{instance}}"),),
            5,
        ),
        Panel(
            Kind.BARS,
            "Decided about quarantine",
            "What an operator released, so that it was taken in or published, and what was discarded for good.",
            "none",
            (
                Query(
                    "sum by (reason) (increase(dicom_node_quarantine_released_total{S}[$__rate_interval])) > 0",
                    "released: {{reason}}",
                ),
                Query(
                    "sum by (reason) (increase(dicom_node_quarantine_discarded_total{S}[$__rate_interval])) > 0",
                    "discarded: {{reason}}",
                ),
            ),
            5,
            empty="none",
        ),
    ),
)
