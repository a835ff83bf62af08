"""Dashboards: their settings, links between them, and the placement of panels on the grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as models

from grafana.dashboards_src.panels import COLUMNS, Panel
from grafana.dashboards_src.variables import Variable

TAG = "neuron-exporter"
KINDS = {"prometheus": "Prometheus", "cloudwatch": "CloudWatch"}
"""Kinds of data sources, and their names."""

Rows = Mapping[str, Sequence[Panel]]
"""Panels by row heading. Those of the heading "" come first, without a heading."""


def dashboard(
    uid: str,
    title: str,
    description: str,
    variables: Sequence[Variable],
    rows: Rows,
    *,
    since: str = "now-1h",
    refresh: str = "30s",
    kind: str = "prometheus",
) -> models.Dashboard:
    """Return a dashboard whose panels fill each line of the grid from left to right."""
    (other,) = KINDS.keys() - {kind}
    built = (
        builders.Dashboard(f"Neuron / {title}")
        .uid(uid)
        .description(description)
        .tags([TAG, _kind_tag(kind)])
        .time(since, "now")
        .refresh(refresh)
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .editable()
        .link(_dashboards_menu("Neuron", kind, keep_variables=True))
        .link(_dashboards_menu(f"Neuron on {KINDS[other]}", other, keep_variables=False))
        .variables(list(variables))
        .build()
    )
    built.panels = _place(rows)
    for variable in built.templating.list_val or ():
        # The SDK sets these on every variable, but only interval variables have them.
        variable.auto = variable.auto_min = variable.auto_count = None
    return built


def dashboard_link(
    uid: str, title: str, variable: str, field: str, **fixed: str
) -> models.DashboardLink:
    """Return a link from a table to another dashboard, where `variable` is set from `field`.

    Args:
        fixed: values of other variables there.
    """
    kept = ["${datasource:queryparam}", "${cluster:queryparam}", "${job:queryparam}"]
    values = {variable: f"${{__data.fields.{field}}}", **fixed}
    chosen = [f"var-{name}={value}" for name, value in values.items()]
    url = f"/d/{uid}?{'&'.join([*kept, *chosen, '${__url_time_range}'])}"
    return builders.DashboardLink(title).url(url).build()


LINKS = {
    "Machine": dashboard_link("neuron-exporter-machine", "Open the machine", "machine", "Machine"),
    "Exporter": dashboard_link(
        "neuron-exporter-exporter", "Open the exporter", "instance", "Exporter"
    ),
}
"""Links from the columns of tables that name machines and exporters."""


def _kind_tag(kind: str) -> str:
    return f"{TAG}-{kind}"


def _dashboards_menu(
    title: str, kind: str, *, keep_variables: bool
) -> Builder[models.DashboardLink]:
    """Return a menu of the dashboards for a kind of data source.

    Variables are kept within a kind only: `datasource` of the other kind would leave every panel
    empty.
    """
    return (
        builders.DashboardLink(title)
        .type(models.DashboardLinkType.DASHBOARDS)
        .tags([_kind_tag(kind)])
        .as_dropdown(True)
        .include_vars(keep_variables)
        .keep_time(True)
    )


def _place(rows: Rows) -> list[models.Panel | models.RowPanel]:
    placed: list[models.Panel | models.RowPanel] = []
    y = 0
    for heading, panels in rows.items():
        if heading:
            position = models.GridPos(x=0, y=y, w=COLUMNS, h=1)
            row = builders.Row(heading).id(len(placed) + 1).grid_pos(position).build()
            row.panels = []
            placed.append(row)
            y += 1
        x = line_height = 0
        for panel in (each.build() for each in panels):
            cell = panel.grid_pos
            assert cell is not None  # noqa: S101 (every panel has a size)
            if x + cell.w > COLUMNS:
                x, y, line_height = 0, y + line_height, 0
            cell.x, cell.y = x, y
            panel.id_val = len(placed) + 1
            placed.append(panel)
            x, line_height = x + cell.w, max(line_height, cell.h)
        y += line_height
    return placed
