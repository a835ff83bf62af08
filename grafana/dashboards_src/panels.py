"""Builders of queries and panels, with the settings that all panels of a type share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypedDict, Unpack

from grafana_foundation_sdk.builders import common, prometheus
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import heatmap as heatmap_builders
from grafana_foundation_sdk.builders.barchart import Panel as BarChart
from grafana_foundation_sdk.builders.stat import Panel as Stat
from grafana_foundation_sdk.builders.statetimeline import Panel as StateTimeline
from grafana_foundation_sdk.builders.table import Panel as Table
from grafana_foundation_sdk.builders.timeseries import Panel as TimeSeries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as commons
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

PROMETHEUS = models.DataSourceRef(type_val="prometheus", uid="${datasource}")

Panel = Builder[models.Panel]
Target = Builder[Any]


class Step(NamedTuple):
    """Color of values from `value` on. Grafana adapts named colors to its light and dark theme."""

    value: float | None
    color: str


BLUE = (Step(None, "blue"),)
RED_FROM_1 = (Step(None, "green"), Step(1, "red"))
ORANGE_FROM_1 = (Step(None, "green"), Step(1, "orange"))
RED_BELOW_1 = (Step(None, "red"), Step(1, "green"))
NEARLY_FULL = (Step(None, "green"), Step(0.85, "orange"), Step(0.95, "red"))
NEARLY_FULL_PERCENT = (Step(None, "green"), Step(85.0, "orange"), Step(95.0, "red"))


class Options(TypedDict, total=False):
    """Unit, size on the grid of 24 columns, and data source of a panel."""

    unit: str
    width: int
    height: int
    datasource: models.DataSourceRef


def query(expression: str, legend: str = "__auto", *, instant: bool = False) -> Target:
    """Return a Prometheus query over the shown time range, or for its end if `instant`."""
    target = prometheus.Dataquery().expr(expression).legend_format(legend).datasource(PROMETHEUS)
    return target.instant() if instant else target.range()


def table_query(expression: str) -> Target:
    """Return an instant query with one table row per series and its labels as columns."""
    return query(expression, instant=True).format(PromQueryFormat.TABLE)


def stat(
    title: str,
    description: str,
    *targets: Target,
    steps: Sequence[Step] = BLUE,
    no_value: str = "no data",
    decimals: int | None = None,
    sparkline: bool = True,
    **options: Unpack[Options],
) -> Panel:
    """Return a panel of large numbers, one per series."""
    graph = commons.BigValueGraphMode.AREA if sparkline else commons.BigValueGraphMode.NONE
    panel = (
        _panel(Stat(), title, description, targets, {"width": 4, "height": 4, **options})
        .thresholds(_thresholds(steps))
        .no_value(no_value)
        .color_mode(commons.BigValueColorMode.VALUE)
        .graph_mode(graph)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )
    return panel if decimals is None else panel.decimals(decimals)


def graph(
    title: str,
    description: str,
    *targets: Target,
    steps: Sequence[Step] = (),
    stacked: bool = False,
    maximum: float | None = None,
    bars: bool = False,
    **options: Unpack[Options],
) -> Panel:
    """Return a graph over time, with threshold lines if there are `steps`."""
    panel = (
        _panel(TimeSeries(), title, description, targets, options)
        .min(0)
        .show_points(commons.VisibilityMode.AUTO)
        .fill_opacity(60 if stacked or bars else 8)
        .legend(
            common.VizLegendOptions()
            .display_mode(commons.LegendDisplayMode.TABLE)
            .placement(commons.LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs(["lastNotNull", "max"])
        )
        .tooltip(
            common.VizTooltipOptions()
            .mode(commons.TooltipDisplayMode.MULTI)
            .sort(commons.SortOrder.DESCENDING)
        )
    )
    if bars:
        panel = panel.draw_style(commons.GraphDrawStyle.BARS)
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(commons.StackingMode.NORMAL))
    if maximum is not None:
        panel = panel.max(maximum)
    if steps:
        dashed = common.GraphThresholdsStyleConfig().mode(commons.GraphThresholdsStyleMode.DASHED)
        panel = panel.thresholds(_thresholds(steps)).thresholds_style(dashed)
    return panel


def rates(title: str, description: str, target: Target, **options: Unpack[Options]) -> Panel:
    """Return a stacked graph of events per second."""
    options.setdefault("unit", "ops")
    return graph(title, description, target, stacked=True, **options)


def timeline(title: str, description: str, *targets: Target, **options: Unpack[Options]) -> Panel:
    """Return a panel with one band per series that is darker for larger values, from 0 to 1."""
    no_legend = (
        common.VizLegendOptions()
        .show_legend(False)
        .display_mode(commons.LegendDisplayMode.LIST)
        .placement(commons.LegendPlacement.BOTTOM)
        .calcs([])
    )
    return (
        _panel(StateTimeline(), title, description, targets, options)
        .min(0)
        .max(1)
        .decimals(0)
        .color_scheme(builders.FieldColor().mode(models.FieldColorModeId.CONTINUOUS_BLUES))
        .show_value(commons.VisibilityMode.NEVER)
        .row_height(0.9)
        .per_page(32)
        .legend(no_legend)
    )


def heatmap(title: str, description: str, target: Target, **options: Unpack[Options]) -> Panel:
    """Return a heat map with one row per series, of values from 0 to 1."""
    color = (
        heatmap_builders.HeatmapColorOptions()
        .mode(HeatmapColorMode.SCHEME)
        .scheme("Blues")
        .fill("blue")
        .exponent(1)
        .steps(64)
        .min(0)
        .max(1)
    )
    return (
        _panel(heatmap_builders.Panel(), title, description, [target], options)
        .calculate(False)
        .color(color)
        .cell_values(heatmap_builders.CellValues().unit(options.get("unit", "none")))
        .cell_gap(1)
        .show_legend()
    )


def table(
    title: str,
    description: str,
    headings: Mapping[str, str],
    *targets: Target,
    units: Mapping[str, str] | None = None,
    link: models.DashboardLink | None = None,
    linked: str = "",
    no_value: str = "none",
    **options: Unpack[Options],
) -> Panel:
    """Return a table of the fields in `headings`, in that order.

    Args:
        units: units by heading.
        link: link of the cells below the heading `linked`.
    """
    panel = (
        _panel(Table(), title, description, targets, options)
        .no_value(no_value)
        .with_transformation(_merge())
        .with_transformation(_select(headings))
    )
    for heading, unit in (units or {}).items():
        panel = panel.override_by_name(heading, [models.DynamicConfigValue("unit", unit)])
    if link is not None:
        links = [{"title": link.title, "url": link.url, "targetBlank": False}]
        panel = panel.override_by_name(linked, [models.DynamicConfigValue("links", links)])
    return panel


def bars(
    title: str,
    description: str,
    label: str,
    headings: Mapping[str, str],
    *targets: Target,
    **options: Unpack[Options],
) -> Panel:
    """Return a bar chart with one bar per value of `label`, stacked from the queries' values."""
    return (
        _panel(BarChart(), title, description, targets, options)
        .min(0)
        .x_field(headings[label])
        .stacking(commons.StackingMode.NORMAL)
        .show_value(commons.VisibilityMode.NEVER)
        .x_tick_label_spacing(100)
        .with_transformation(_merge())
        .with_transformation(_select(headings))
    )


def _panel(
    panel: Any, title: str, description: str, targets: Sequence[Target], options: Options
) -> Any:
    for letter, target in zip("ABCDEFGHIJ", targets, strict=False):
        panel = panel.with_target(target.ref_id(letter))
    return (
        panel.title(title)
        .description(description)
        .unit(options.get("unit", "none"))
        .datasource(options.get("datasource", PROMETHEUS))
        .span(options.get("width", 12))
        .height(options.get("height", 8))
    )


def _thresholds(steps: Sequence[Step]) -> Builder[models.ThresholdsConfig]:
    return (
        builders.ThresholdsConfig()
        .mode(models.ThresholdsMode.ABSOLUTE)
        .steps([models.Threshold(value=step.value, color=step.color) for step in steps])
    )


def _merge() -> models.DataTransformerConfig:
    return models.DataTransformerConfig(id_val="merge", options={})


def _select(headings: Mapping[str, str]) -> models.DataTransformerConfig:
    """Return a transformation that keeps and renames these fields, in this order."""
    return models.DataTransformerConfig(
        id_val="organize",
        options={
            "includeByName": dict.fromkeys(headings, True),
            "indexByName": {name: index for index, name in enumerate(headings)},
            "renameByName": dict(headings),
        },
    )
