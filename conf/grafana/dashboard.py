"""Prints the dashboard for Grafana: ``python conf/grafana/dashboard.py > conf/grafana/dashboard.json``.

What it shows stands in ``traffic.py``, ``delivery.py`` and ``machine.py``; here it becomes JSON, by Grafana's own SDK.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from delivery import PUBLISHING, QUALITY
from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    timeseries,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models import dashboard as model
from machine import MACHINE, STORAGE
from panel import Kind, Panel, Query
from traffic import GLANCE, RECEIVING, STUDIES

ROWS: Final = (GLANCE, RECEIVING, STUDIES, PUBLISHING, QUALITY, STORAGE, MACHINE)
SELECTOR: Final = '{job="$job",instance=~"$instance"'
# The shortest time of a bar. $__rate_interval is a scrape longer than a bar, but four scrapes at least: with shorter
# bars it would reach over several, and each of them would show the same event
BAR: Final = "1m"
SOURCE: Final = model.DataSourceRef(type_val="prometheus", uid="${datasource}")


def target(number: int, query: Query, now: bool) -> prometheus.Dataquery:
    """One query; ``now`` asks for its value at the end of the shown time only."""
    made = prometheus.Dataquery().expr(query.expr.replace("{S", SELECTOR)).ref_id("ABCDEF"[number])
    made = made.legend_format(query.legend or "__auto").datasource(SOURCE)
    return made.instant() if now else made.range()


def thresholds(steps: Sequence[tuple[float | None, str]]) -> dashboard.ThresholdsConfig:
    """Colours from values on."""
    made = dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE)
    return made.steps([model.Threshold(value, colour) for value, colour in steps])


def texts(found: Sequence[tuple[str, str, str]]) -> list[model.ValueMapping]:
    """Words for values."""
    if not found:
        return []
    results: Mapping[str, model.ValueMappingResult] = {
        value: model.ValueMappingResult(text=text, color=colour, index=index)
        for index, (value, text, colour) in enumerate(found)
    }
    return [model.ValueMap(options=dict(results))]


def last() -> common.ReduceDataOptions:
    """The newest value."""
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)


def stat_panel(panel: Panel) -> stat.Panel:
    made = stat.Panel().reduce_options(last()).graph_mode(shapes.BigValueGraphMode.AREA)
    made = made.color_mode(shapes.BigValueColorMode.VALUE).text_mode(shapes.BigValueTextMode.AUTO)
    if panel.texts or panel.queries[0].legend:  # a curve of a word says nothing
        made = made.graph_mode(shapes.BigValueGraphMode.NONE)
    if panel.queries[0].legend:
        made = made.text_mode(shapes.BigValueTextMode.NAME)
    return made


def gauges_panel(panel: Panel) -> bargauge.Panel:
    made = bargauge.Panel().reduce_options(last()).orientation(shapes.VizOrientation.HORIZONTAL)
    return (
        made.display_mode(shapes.BarGaugeDisplayMode.BASIC)
        .min(0)
        .decimals(2 if "percent" in panel.unit else 0)
    )


def states_panel(_panel: Panel) -> statetimeline.Panel:
    made = statetimeline.Panel().show_value(shapes.VisibilityMode.NEVER).row_height(0.8).line_width(0)
    made = made.fill_opacity(70).merge_values(True)
    return made.legend(common.VizLegendOptions().show_legend(False))


def series_panel(panel: Panel) -> timeseries.Panel:
    made = timeseries.Panel().show_points(shapes.VisibilityMode.NEVER).line_width(1).fill_opacity(8)
    made = made.span_nulls(False).tooltip(
        common.VizTooltipOptions().mode(shapes.TooltipDisplayMode.MULTI).sort(shapes.SortOrder.DESCENDING)
    )
    legend = common.VizLegendOptions().show_legend(True).placement(shapes.LegendPlacement.BOTTOM)
    made = made.legend(legend.display_mode(shapes.LegendDisplayMode.LIST))
    if panel.least is not None:
        made = made.min(panel.least)
    if panel.kind is Kind.STACK:
        made = made.fill_opacity(25)
    if panel.kind is Kind.BARS:
        made = made.draw_style(shapes.GraphDrawStyle.BARS).fill_opacity(80).decimals(0).interval(BAR)
    if panel.kind in (Kind.STACK, Kind.BARS):
        made = made.stacking(common.StackingConfig().mode(shapes.StackingMode.NORMAL).group("A"))
    if len(panel.steps) > 1:
        style = common.GraphThresholdsStyleConfig().mode(shapes.GraphThresholdsStyleMode.DASHED)
        made = made.thresholds_style(style)
    return made


MAKERS: Final[Mapping[Kind, Any]] = {
    Kind.STAT: stat_panel,
    Kind.GAUGES: gauges_panel,
    Kind.STATES: states_panel,
    Kind.LINES: series_panel,
    Kind.STACK: series_panel,
    Kind.BARS: series_panel,
}


def built(number: int, panel: Panel) -> Any:
    """The builder of one panel."""
    now = panel.kind is Kind.GAUGES or (
        panel.kind is Kind.STAT and bool(panel.texts or panel.queries[0].legend)
    )
    made = MAKERS[panel.kind](panel).id(number).title(panel.title).description(panel.description)
    made = made.unit(panel.unit).datasource(SOURCE).height(panel.height).span(panel.width)
    made = made.thresholds(thresholds(panel.steps)).mappings(texts(panel.texts))
    if panel.empty:
        made = made.no_value(panel.empty)
    return made.targets([target(place, query, now) for place, query in enumerate(panel.queries)])


def variables() -> list[Any]:
    """Which Prometheus, which job of it, which nodes."""
    source = dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus")
    job = (
        dashboard.QueryVariable("job")
        .label("Job")
        .datasource(SOURCE)
        .query("label_values(dicom_node_build_info, job)")
        .current(model.VariableOption(text="dicom-fhir-node", value="dicom-fhir-node"))
    )
    instance = (
        dashboard.QueryVariable("instance")
        .label("Node")
        .datasource(SOURCE)
        .query('label_values(up{job="$job"}, instance)')
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(model.VariableOption(text=["All"], value=["$__all"]))
    )
    fresh = model.VariableRefresh.ON_TIME_RANGE_CHANGED
    by_name = model.VariableSort.ALPHABETICAL_ASC
    return [source, job.refresh(fresh).sort(by_name), instance.refresh(fresh).sort(by_name)]


def starts() -> dashboard.AnnotationQuery:
    """A line in every panel where a node was started."""
    expr = f"changes(process_start_time_seconds{SELECTOR}}}[1m]) > 0"
    made = dashboard.AnnotationQuery().name("Starts").datasource(SOURCE).enable(True).icon_color("purple")
    return made.expr(expr)


def whole() -> dashboard.Dashboard:
    """The dashboard."""
    made = (
        dashboard.Dashboard("DICOM FHIR node")
        .uid("dicom-fhir-node")
        .description("What the node receives, publishes and waits for. Alerts: docs/alerts.md.")
        .tags(["dicom", "fhir"])
        .timezone("browser")
        .refresh("30s")
        .time("now-6h", "now")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .variables(variables())
        .annotation(starts())
    )
    number = 0
    for row in ROWS:
        number += 1
        made = made.with_row(dashboard.Row(row.title).id(number))
        for panel in row.panels:
            number += 1
            made = made.with_panel(built(number, panel))
    return made


if __name__ == "__main__":
    sys.stdout.write(JSONEncoder(sort_keys=True, indent=2, ensure_ascii=False).encode(whole().build()) + "\n")
