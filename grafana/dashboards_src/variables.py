"""Variables of the dashboards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as models

from grafana.dashboards_src.panels import PROMETHEUS

Variable = Builder[models.VariableModel]

ALL = models.VariableOption(selected=True, text="All", value="$__all")


def data_source(kind: str, label: str) -> Variable:
    """Return the variable of the data source; panels name no data source themselves."""
    return (
        builders.DatasourceVariable("datasource")
        .label(label)
        .description("Data source of this dashboard.")
        .type(kind)
    )


def from_query(
    name: str,
    label: str,
    query: Mapping[str, object],
    description: str,
    datasource: models.DataSourceRef,
) -> builders.QueryVariable:
    """Return a variable with the values that a query of a data source returns."""
    return (
        builders.QueryVariable(name)
        .label(label)
        .description(description)
        .datasource(datasource)
        .query(dict(query))
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.NATURAL_ASC)
    )


def from_label(
    name: str,
    label: str,
    query: str,
    description: str,
    *,
    multiple: bool = True,
    all_value: str | None = ".*",
) -> Variable:
    """Return a variable with the values that a Prometheus label had in the time shown."""
    parameters = {"query": query, "refId": f"{name}-variable"}
    variable = from_query(name, label, parameters, description, PROMETHEUS)
    variable = variable.multi(multiple).include_all(multiple)
    if multiple:
        variable = variable.current(ALL)
        if all_value is not None:
            variable = variable.all_value(all_value)
    return variable


def text(name: str, label: str, value: str, description: str) -> Variable:
    """Return a variable that is typed in."""
    return builders.TextBoxVariable(name).label(label).description(description).default_value(value)


def choice(name: str, label: str, values: Sequence[str], description: str) -> Variable:
    """Return a variable with fixed values; the first is the default."""
    first = models.VariableOption(selected=True, text=values[0], value=values[0])
    return (
        builders.CustomVariable(name)
        .label(label)
        .description(description)
        .values(",".join(values))
        .current(first)
    )


def prometheus() -> list[Variable]:
    """Return the first variables of every Prometheus dashboard."""
    return [
        data_source("prometheus", "Prometheus"),
        from_label(
            "cluster",
            "Cluster",
            "label_values(neuron_exporter_up, cluster)",
            "The label `cluster`. The exporter does not set it; Prometheus, or a server above it, "
            "can add it. Without the label, choose All.",
        ),
        from_label(
            "job",
            "Job",
            'label_values(neuron_exporter_build_info{cluster=~"$cluster"}, job)',
            "Prometheus jobs that scrape Neuron Exporter.",
            all_value=None,
        ),
    ]


def instance_type() -> Variable:
    """Return the variable of the instance type."""
    return from_label(
        "type",
        "Type",
        'label_values(instance_info{cluster=~"$cluster", job=~"$job"}, instance_type)',
        "Instance type of the machines. A machine whose source is down has no type; see Sources "
        "down on the Fleet dashboard.",
    )
