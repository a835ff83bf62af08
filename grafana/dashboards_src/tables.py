"""Panels of the rows of tables: tables, and bars of one row each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Unpack

from grafana_foundation_sdk.builders import common
from grafana_foundation_sdk.builders.barchart import Panel as BarChart
from grafana_foundation_sdk.builders.table import Panel as Table
from grafana_foundation_sdk.models import common as commons
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from grafana.dashboards_src import panels
from grafana.dashboards_src.colors import UNKNOWN, Step
from grafana.dashboards_src.panels import Options, Panel, Target, mapping, query


def table_query(expression: str) -> Target:
    """Return an instant query with one table row per series and its labels as columns."""
    return query(expression, instant=True).format(PromQueryFormat.TABLE)


def table(
    title: str,
    description: str,
    headings: Mapping[str, str],
    *targets: Target,
    units: Mapping[str, str] | None = None,
    links: Mapping[str, models.DashboardLink] | None = None,
    steps: Mapping[str, Sequence[Step]] | None = None,
    texts: Mapping[str, Mapping[float, tuple[str, str]]] | None = None,
    widths: Mapping[str, int] | None = None,
    decimals: Mapping[str, int] | None = None,
    transformations: Sequence[models.DataTransformerConfig] = (),
    sort: Mapping[str, bool] | None = None,
    paged: bool = True,
    no_value: str = "none",
    **options: Unpack[Options],
) -> Panel:
    """Return a table of the fields in `headings`, in that order.

    Args:
        units: units by heading.
        links: links of the cells by heading.
        steps: colors of the numbers by heading.
        texts: by heading, text and color that are shown for a value.
        widths: widths of columns in pixels by heading.
        decimals: digits after the decimal point by heading.
        transformations: after the rows are merged, before fields are selected and renamed.
        sort: headings to sort by, each with whether the largest comes first.
    """
    panel = (
        panels.base(Table(), title, description, targets, options)
        .no_value(no_value)
        .footer(common.TableFooterOptions().enable_pagination(paged))
        .sort_by(
            [
                common.TableSortByFieldState().display_name(heading).desc(largest)
                for heading, largest in (sort or {}).items()
            ]
        )
    )
    for each in (_merge(), *transformations, _select(headings)):
        panel = panel.with_transformation(each)
    for heading in headings.values():
        properties = []
        if unit := (units or {}).get(heading):
            properties.append(models.DynamicConfigValue("unit", unit))
        if link := (links or {}).get(heading):
            cell = {"title": link.title, "url": link.url, "targetBlank": False}
            properties.append(models.DynamicConfigValue("links", [cell]))
        if width := (widths or {}).get(heading):
            properties.append(models.DynamicConfigValue("custom.width", width))
        if (digits := (decimals or {}).get(heading)) is not None:
            properties.append(models.DynamicConfigValue("decimals", digits))
        if scale := (steps or {}).get(heading):
            properties += [
                models.DynamicConfigValue("thresholds", panels.thresholds(scale).build()),
                models.DynamicConfigValue("custom.cellOptions", {"type": "color-text"}),
            ]
        if shown := (texts or {}).get(heading):
            properties += [
                models.DynamicConfigValue("mappings", [mapping(shown)]),
                # Without a value, there is nothing to be green about.
                models.DynamicConfigValue("thresholds", panels.thresholds([UNKNOWN]).build()),
                models.DynamicConfigValue("custom.align", "left"),
                models.DynamicConfigValue("custom.cellOptions", {"type": "color-text"}),
            ]
        if properties:
            panel = panel.override_by_name(heading, properties)
    return panel


def values(headings: Iterable[str]) -> dict[str, str]:
    """Return the fields with the values of a table's queries, with their headings in that order."""
    return {
        f"Value #{letter}": each for letter, each in zip(panels.LETTERS, headings, strict=False)
    }


def bars(
    title: str,
    description: str,
    label: str,
    headings: Mapping[str, str],
    *targets: Target,
    **options: Unpack[Options],
) -> Panel:
    """Return a bar chart with one bar per value of `label`, stacked from the queries' values.

    The values of `label` are numbers, and the bars are in their order.
    """
    name = headings[label]
    panel = (
        panels.base(BarChart(), title, description, targets, options)
        .min(0)
        .x_field(name)
        .stacking(commons.StackingMode.NORMAL)
        .show_value(commons.VisibilityMode.NEVER)
        .x_tick_label_spacing(20)
        .x_tick_label_max_length(8)
        .legend(panels.legend(["max"], options))
        .tooltip(panels.tooltip())
    )
    for each in (_merge(), _select(headings), number(name), sort_by(name), text(name)):
        panel = panel.with_transformation(each)
    return panel.override_by_name(name, [models.DynamicConfigValue("unit", "none")])


def number(*fields: str) -> models.DataTransformerConfig:
    """Return a transformation of fields with numbers as text, such as labels, into numbers."""
    return _convert(fields, "number")


def text(*fields: str) -> models.DataTransformerConfig:
    """Return a transformation of fields into text."""
    return _convert(fields, "string")


def sort_by(field: str) -> models.DataTransformerConfig:
    """Return a transformation that sorts rows: Prometheus returns them in any order."""
    return models.DataTransformerConfig(
        id_val="sortBy", options={"fields": {}, "sort": [{"field": field}]}
    )


def _convert(fields: Sequence[str], kind: str) -> models.DataTransformerConfig:
    conversions = [{"targetField": field, "destinationType": kind} for field in fields]
    return models.DataTransformerConfig(
        id_val="convertFieldType", options={"fields": {}, "conversions": conversions}
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
