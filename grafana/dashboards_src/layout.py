"""What surrounds the panels: variables, links between the dashboards, and the grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as models

from grafana.source.panels import PROMETHEUS, Panel

TAG = "neuron-exporter"
COLUMNS = 24

Variable = Builder[models.VariableModel]
Rows = Mapping[str, Sequence[Panel]]
"""The panels below each heading; those below "" come first, without one."""

ALL = models.VariableOption(selected=True, text="All", value="$__all")


def dashboard(
    uid: str,
    title: str,
    description: str,
    variables: Sequence[Variable],
    rows: Rows,
    *,
    since: str = "now-1h",
    refresh: str = "30s",
) -> models.Dashboard:
    """A dashboard whose panels stand side by side as long as they fit."""
    made = (
        builders.Dashboard(f"Neuron / {title}")
        .uid(uid)
        .description(description)
        .tags([TAG])
        .time(since, "now")
        .refresh(refresh)
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .editable()
        .link(_others())
        .variables(list(variables))
        .build()
    )
    made.panels = _placed(rows)
    for variable in made.templating.list_val or ():
        # The SDK gives every variable what only those for intervals have.
        variable.auto = variable.auto_min = variable.auto_count = None
    return made


def choice(
    name: str,
    label: str,
    query: str,
    description: str,
    *,
    many: bool = True,
    all_value: str | None = ".*",
) -> Variable:
    """A variable with the values of a label, as they were in the time that is shown."""
    asked = {"query": query, "refId": f"{name}-variable"}
    variable = query_variable(name, label, asked, description, PROMETHEUS)
    variable = variable.multi(many).include_all(many)
    if many:
        variable = variable.current(ALL)
        if all_value is not None:
            variable = variable.all_value(all_value)
    return variable


def query_variable(
    name: str, label: str, asked: dict[str, object], description: str, at: models.DataSourceRef
) -> builders.QueryVariable:
    """A variable whose values a data source tells."""
    return (
        builders.QueryVariable(name)
        .label(label)
        .description(description)
        .datasource(at)
        .query(asked)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.NATURAL_ASC)
    )


def source(kind: str, label: str) -> Variable:
    """The data source: the only place that names one."""
    return (
        builders.DatasourceVariable("datasource")
        .label(label)
        .description("Where the dashboard asks.")
        .type(kind)
    )


def text(name: str, label: str, value: str, description: str) -> Variable:
    """A number that is typed in."""
    return builders.TextBoxVariable(name).label(label).description(description).default_value(value)


def options(name: str, label: str, values: Sequence[str], description: str) -> Variable:
    """One of a few words; the first is the default."""
    first = models.VariableOption(selected=True, text=values[0], value=values[0])
    return (
        builders.CustomVariable(name)
        .label(label)
        .description(description)
        .values(",".join(values))
        .current(first)
    )


def prometheus_variables() -> list[Variable]:
    """Those that every dashboard on Prometheus begins with."""
    return [
        source("prometheus", "Prometheus"),
        choice(
            "cluster",
            "Cluster",
            "label_values(neuron_exporter_up, cluster)",
            "The label `cluster`. The exporter has none: it is there if Prometheus, or what is "
            "above it, adds one. Without it, this is All.",
        ),
        choice(
            "job",
            "Job",
            'label_values(neuron_exporter_build_info{cluster=~"$cluster"}, job)',
            "The jobs of Prometheus that scrape Neuron Exporter.",
            all_value=None,
        ),
    ]


def type_variable() -> Variable:
    """The machines' type."""
    return choice(
        "type",
        "Type",
        'label_values(instance_info{cluster=~"$cluster", job=~"$job"}, instance_type)',
        "The machines' type. A machine whose source is dead has none, and is among the dead.",
    )


def opens(uid: str, title: str, variable: str, field: str) -> models.DashboardLink:
    """A link out of a table to another dashboard, with the same variables but one."""
    kept = "&".join(["${datasource:queryparam}", "${cluster:queryparam}", "${job:queryparam}"])
    url = f"/d/{uid}?{kept}&var-{variable}=${{__data.fields.{field}}}&${{__url_time_range}}"
    return builders.DashboardLink(title).url(url).build()


def _others() -> Builder[models.DashboardLink]:
    return (
        builders.DashboardLink("Neuron")
        .type(models.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .as_dropdown(True)
        .include_vars(True)
        .keep_time(True)
    )


def _placed(rows: Rows) -> list[models.Panel | models.RowPanel]:
    placed: list[models.Panel | models.RowPanel] = []
    y = 0
    for heading, panels in rows.items():
        if heading:
            place = models.GridPos(x=0, y=y, w=COLUMNS, h=1)
            row = builders.Row(heading).id(len(placed) + 1).grid_pos(place).build()
            row.panels = []
            placed.append(row)
            y += 1
        x = tallest = 0
        for panel in (each.build() for each in panels):
            place = panel.grid_pos
            assert place is not None  # noqa: S101 (each has its size)
            if x + place.w > COLUMNS:
                x, y, tallest = 0, y + tallest, 0
            place.x, place.y = x, y
            panel.id_val = len(placed) + 1
            placed.append(panel)
            x, tallest = x + place.w, max(tallest, place.h)
        y += tallest
    return placed
