"""Panels: what all of one kind have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from grafana_foundation_sdk.builders import (
    barchart,
    common,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as commons
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

PROMETHEUS = models.DataSourceRef(type_val="prometheus", uid="${datasource}")

Panel = Builder[models.Panel]
Target = Builder[Any]


class Step(NamedTuple):
    """From this value on, this color (a name: Grafana has a shade of it for light and for dark)."""

    value: float | None
    color: str


GOOD = (Step(None, "green"),)
ANY_IS_BAD = (Step(None, "green"), Step(1, "red"))
ANY_IS_ODD = (Step(None, "green"), Step(1, "orange"))
FULL = (Step(None, "green"), Step(0.85, "orange"), Step(0.95, "red"))
NEUTRAL = (Step(None, "blue"),)
ZERO_IS_BAD = (Step(None, "red"), Step(1, "green"))


class About(NamedTuple):
    """What every panel says of itself, and its size on a grid of 24 columns."""

    title: str
    description: str
    unit: str
    width: int = 12
    height: int = 8
    source: models.DataSourceRef = PROMETHEUS


def query(expression: str, legend: str = "__auto", *, instant: bool = False) -> Target:
    """A range of values, or one for now."""
    target = prometheus.Dataquery().expr(expression).legend_format(legend).datasource(PROMETHEUS)
    return target.instant() if instant else target.range()


def rows(expression: str) -> Target:
    """One row of a table for each series, with its labels as columns."""
    return query(expression, instant=True).format(PromQueryFormat.TABLE)


def thresholds(steps: Sequence[Step]) -> Builder[models.ThresholdsConfig]:
    """Colors by value."""
    return (
        builders.ThresholdsConfig()
        .mode(models.ThresholdsMode.ABSOLUTE)
        .steps([models.Threshold(value=step.value, color=step.color) for step in steps])
    )


def number(
    about: About,
    *targets: Target,
    steps: Sequence[Step] = NEUTRAL,
    none: str = "no data",
    decimals: int | None = None,
    spark: bool = True,
) -> Panel:
    """One number, or a few, large."""
    panel = (
        _begin(stat.Panel(), about, targets)
        .thresholds(thresholds(steps))
        .no_value(none)
        .color_mode(commons.BigValueColorMode.VALUE)
        .graph_mode(commons.BigValueGraphMode.AREA if spark else commons.BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )
    return panel if decimals is None else panel.decimals(decimals)


def lines(
    about: About,
    *targets: Target,
    steps: Sequence[Step] = (),
    stacked: bool = False,
    most: float | None = None,
    bars: bool = False,
) -> Panel:
    """Values over time; lines of thresholds where there are steps."""
    panel = (
        _begin(timeseries.Panel(), about, targets)
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
    if most is not None:
        panel = panel.max(most)
    if steps:
        dashed = common.GraphThresholdsStyleConfig().mode(commons.GraphThresholdsStyleMode.DASHED)
        panel = panel.thresholds(thresholds(steps)).thresholds_style(dashed)
    return panel


def states(about: About, *targets: Target) -> Panel:
    """A band for each series, the darker the more: shares from 0 to 1."""
    return (
        _begin(statetimeline.Panel(), about, targets)
        .min(0)
        .max(1)
        .decimals(0)
        .color_scheme(builders.FieldColor().mode(models.FieldColorModeId.CONTINUOUS_BLUES))
        .show_value(commons.VisibilityMode.NEVER)
        .row_height(0.9)
        .per_page(32)
        .legend(_no_legend())
    )


def heat(about: About, target: Target) -> Panel:
    """A row for each series, a cell for each time: shares from 0 to 1."""
    return (
        _begin(heatmap.Panel(), about, [target])
        .calculate(False)
        .color(
            heatmap.HeatmapColorOptions()
            .mode(HeatmapColorMode.SCHEME)
            .scheme("Blues")
            .fill("blue")
            .exponent(1)
            .steps(64)
            .min(0)
            .max(1)
        )
        .cell_values(heatmap.CellValues().unit(about.unit))
        .cell_gap(1)
        .show_legend()
    )


def columns(
    about: About,
    names: Mapping[str, str],
    *targets: Target,
    units: Mapping[str, str] | None = None,
    link: models.DashboardLink | None = None,
    linked: str = "",
    none: str = "none",
) -> Panel:
    """A table: `names` has the fields that are shown, in order, with their headings."""
    panel = (
        _begin(table.Panel(), about, targets)
        .no_value(none)
        .with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(_only(names))
    )
    for heading, unit in (units or {}).items():
        panel = panel.override_by_name(heading, [models.DynamicConfigValue("unit", unit)])
    if link is not None:
        links = [{"title": link.title, "url": link.url, "targetBlank": False}]
        panel = panel.override_by_name(linked, [models.DynamicConfigValue("links", links)])
    return panel


def stacks(about: About, across: str, names: Mapping[str, str], *targets: Target) -> Panel:
    """A bar for each value of a label, in parts: one for each query."""
    return (
        _begin(barchart.Panel(), about, targets)
        .min(0)
        .x_field(names[across])
        .stacking(commons.StackingMode.NORMAL)
        .show_value(commons.VisibilityMode.NEVER)
        .x_tick_label_spacing(100)
        .with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(_only(names))
    )


def _begin(panel: Any, about: About, targets: Sequence[Target]) -> Any:
    for letter, target in zip("ABCDEFGHIJ", targets, strict=False):
        panel = panel.with_target(target.ref_id(letter))
    return (
        panel.title(about.title)
        .description(about.description)
        .unit(about.unit)
        .datasource(about.source)
        .span(about.width)
        .height(about.height)
    )


def _only(names: Mapping[str, str]) -> models.DataTransformerConfig:
    """The fields that are named, in this order, and no others."""
    return models.DataTransformerConfig(
        id_val="organize",
        options={
            "includeByName": dict.fromkeys(names, True),
            "indexByName": {name: index for index, name in enumerate(names)},
            "renameByName": dict(names),
        },
    )


def _no_legend() -> Builder[commons.VizLegendOptions]:
    return (
        common.VizLegendOptions()
        .show_legend(False)
        .display_mode(commons.LegendDisplayMode.LIST)
        .placement(commons.LegendPlacement.BOTTOM)
        .calcs([])
    )
