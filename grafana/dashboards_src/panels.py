"""Builders of queries and panels, with the settings that all panels of a type share."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, Unpack

from grafana_foundation_sdk.builders import common, prometheus
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders.stat import Panel as Stat
from grafana_foundation_sdk.builders.statetimeline import Panel as StateTimeline
from grafana_foundation_sdk.builders.timeseries import Panel as TimeSeries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as commons
from grafana_foundation_sdk.models import dashboard as models

from grafana.dashboards_src import colors
from grafana.dashboards_src.colors import Step

PROMETHEUS = models.DataSourceRef(type_val="prometheus", uid="${datasource}")

Panel = Builder[models.Panel]
Target = Builder[Any]

COLUMNS = 24
"""Columns of the grid."""

LETTERS = string.ascii_uppercase
"""Names of a panel's queries, in their order."""

_VALUE_SIZE = 32
"""Size of large numbers in pixels. Five digits fit into the narrowest panel."""

WHOLE = {"percentunit": 1, "percent": 100}
"""Upper end of the axis by unit of a share: 2 % must not look like 100 %."""


class Options(TypedDict, total=False):
    """Unit, size on the grid of 24 columns, and data source of a panel."""

    unit: str
    width: int
    height: int
    datasource: models.DataSourceRef


def query(
    expression: str, legend: str = "__auto", *, instant: bool = False, interval: str = ""
) -> Target:
    """Return a Prometheus query over the shown time range, or for its end if `instant`.

    Args:
        legend: name of each series, such as `device {{neuron_device_index}}`.
        interval: shortest step.
    """
    target = prometheus.Dataquery().expr(expression).legend_format(legend).datasource(PROMETHEUS)
    if interval:
        target = target.interval(interval)
    return target.instant() if instant else target.range()


def stat(
    title: str,
    description: str,
    *targets: Target,
    steps: Sequence[Step] = colors.BLUE,
    texts: Mapping[float, tuple[str, str]] | None = None,
    no_value: str = "no data",
    decimals: int | None = None,
    total: bool = False,
    **options: Unpack[Options],
) -> Panel:
    """Return a panel of large numbers, or of `texts` and colors for them, one per series.

    Args:
        total: show the sum of the values in the time shown, instead of the last value.
    """
    panel = (
        base(Stat(), title, description, targets, {"width": 4, "height": 4, **options})
        .thresholds(thresholds(steps))
        .no_value(no_value)
        .color_mode(commons.BigValueColorMode.VALUE)
        .graph_mode(commons.BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["sum" if total else "lastNotNull"]))
    )
    if texts:
        panel = panel.mappings([mapping(texts)])
    else:
        # In a size of its own, each panel's text would be the larger, the less it says.
        panel = panel.text(common.VizTextDisplayOptions().value_size(_VALUE_SIZE))
    return panel if decimals is None else panel.decimals(decimals)


def graph(
    title: str,
    description: str,
    *targets: Target,
    steps: Sequence[Step] = (),
    names: Mapping[str, str] | None = None,
    hue: str = "",
    stacked: bool = False,
    bars: bool = False,
    logarithmic: bool = False,
    maximum: float | None = None,
    readable: float | None = None,
    totals: bool = False,
    no_value: str = "none",
    **options: Unpack[Options],
) -> Panel:
    """Return a graph over time, with threshold lines if there are `steps`.

    Args:
        names: fixed colors by the last word of a series' name, such as `colors.STATUSES`.
        hue: color whose shades all series have, such as orange for errors of any name.
        logarithmic: for values of different magnitudes, such as p50 and the maximum.
        maximum: end of the axis, by default 100 % for shares.
        readable: instead of `maximum`, end of the axis while no value is higher, for shares such as
            that of failures, of which a few percent are many.
        totals: show the sum of each series' values in the legend.
        no_value: text of a panel without any series.
    """
    panel = (
        base(TimeSeries(), title, description, targets, options)
        .no_value(no_value)
        .show_points(commons.VisibilityMode.AUTO)
        .fill_opacity(80 if stacked or bars else 0)
        .legend(legend(["sum"] if totals else ["lastNotNull", "max"], options))
        .tooltip(tooltip())
    )
    if logarithmic:
        scale = common.ScaleDistributionConfig().type(commons.ScaleDistribution.LOG).log(10)
        panel = panel.scale_distribution(scale).fill_opacity(0)
    else:
        panel = panel.min(0)
    if bars:
        panel = panel.draw_style(commons.GraphDrawStyle.BARS)
        panel = panel.bar_alignment(commons.BarAlignment.BEFORE)
    if stacked or bars:
        # A line would draw series of zeros, such as failures, on top of the others.
        panel = panel.line_width(0).stacking(
            common.StackingConfig().mode(commons.StackingMode.NORMAL)
        )
    maximum = maximum or WHOLE.get(options.get("unit", ""))
    if readable is not None:
        panel = panel.axis_soft_max(readable)
    elif maximum is not None:
        panel = panel.max(maximum)
    if steps:
        dashed = common.GraphThresholdsStyleConfig().mode(commons.GraphThresholdsStyleMode.DASHED)
        lines = [step for step in steps if step.value != 0]
        panel = panel.thresholds(thresholds(lines)).thresholds_style(dashed)
    if hue:
        shades = builders.FieldColor().mode(models.FieldColorModeId.SHADES).fixed_color(hue)
        panel = panel.color_scheme(shades)
    for name, color in (names or {}).items():
        fixed = models.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": color})
        panel = panel.override_by_regexp(f"/(^| ){name}$/", [fixed])
    return panel


def rates(
    title: str,
    description: str,
    target: Target,
    *,
    names: Mapping[str, str] | None = None,
    hue: str = "",
    **options: Unpack[Options],
) -> Panel:
    """Return a stacked graph of events per second; `names` and `hue` as in `graph`."""
    options.setdefault("unit", "ops")
    return graph(title, description, target, stacked=True, names=names, hue=hue, **options)


def timeline(
    title: str,
    description: str,
    *targets: Target,
    hangs: bool = False,
    **options: Unpack[Options],
) -> Panel:
    """Return a panel with one band per series of a utilization from 0 to 1, in pages.

    Idle is gray and busy is blue, the darker the busier; where there is no value, nothing is drawn.

    Args:
        hangs: values may also be `colors.NO_EXECUTION` and `colors.HUNG`. The title then says what
            the colors mean, because Grafana's legend would show them as 200 % and 300 %.
    """
    colors_shown = (
        common.VizLegendOptions()
        .show_legend(not hangs)
        .display_mode(commons.LegendDisplayMode.LIST)
        .placement(commons.LegendPlacement.BOTTOM)
        .calcs([])
    )
    steps = colors.UTILIZATION
    if hangs:
        title += " (gray: idle, blue: busy, yellow: no execution ends, red: hung)"
        steps += tuple(Step(value, color) for value, (_, color) in colors.HANGS.items())
    panel = (
        base(StateTimeline(), title, description, targets, options)
        .decimals(0)
        .thresholds(thresholds(steps))
        .color_scheme(builders.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
        .show_value(commons.VisibilityMode.NEVER)
        .merge_values(True)
        .line_width(0)
        .fill_opacity(100)
        .row_height(0.9)
        .per_page(_bands_per_page(options.get("height", 9), 150 if hangs else 180))
        .legend(colors_shown)
        .tooltip(tooltip())
    )
    return panel.mappings([mapping(colors.HANGS)]) if hangs else panel


def _bands_per_page(height: int, other: int) -> int:
    """Return how many bands have room for their names, beside `other` pixels for title and axis."""
    return (38 * height - other) // 14


def mapping(texts: Mapping[float, tuple[str, str]]) -> models.ValueMap:
    """Return texts and colors that are shown for values."""
    return models.ValueMap(
        options={
            f"{value:g}": models.ValueMappingResult(text=text, color=color, index=index)
            for index, (value, (text, color)) in enumerate(texts.items())
        }
    )


_DISPLAY_NAMES = {"lastNotNull": "Last *", "max": "Max", "sum": "Total"}


def legend(calculations: list[str], options: Options) -> common.VizLegendOptions:
    """Return a legend that begins with the largest series, below the panel if that is narrow."""
    is_wide = options.get("width", 12) == COLUMNS
    side = commons.LegendPlacement.RIGHT if is_wide else commons.LegendPlacement.BOTTOM
    return (
        common.VizLegendOptions()
        .display_mode(commons.LegendDisplayMode.TABLE)
        .placement(side)
        .show_legend(True)
        .calcs(calculations)
        .sort_by(_DISPLAY_NAMES[calculations[-1]])
        .sort_desc(True)
    )


def tooltip() -> common.VizTooltipOptions:
    """Return a tooltip with all series at a time, the largest first."""
    return (
        common.VizTooltipOptions()
        .mode(commons.TooltipDisplayMode.MULTI)
        .sort(commons.SortOrder.DESCENDING)
    )


def base(
    panel: Any, title: str, description: str, targets: Sequence[Target], options: Options
) -> Any:
    """Return `panel` with what panels of all types have."""
    for letter, target in zip(LETTERS, targets, strict=False):
        panel = panel.with_target(target.ref_id(letter))
    return (
        panel.title(title)
        .description(description)
        .unit(options.get("unit", "none"))
        .datasource(options.get("datasource", PROMETHEUS))
        .span(options.get("width", 12))
        .height(options.get("height", 9))
    )


def thresholds(steps: Sequence[Step]) -> Builder[models.ThresholdsConfig]:
    """Return the colors of values."""
    return (
        builders.ThresholdsConfig()
        .mode(models.ThresholdsMode.ABSOLUTE)
        .steps([models.Threshold(value=step.value, color=step.color) for step in steps])
    )
