"""The machines of each job of a scheduler, and how far they are from each other."""

from __future__ import annotations

from grafana.dashboards_src import colors, panels, tables
from grafana.dashboards_src.layout import LINKS
from grafana.dashboards_src.panels import Panel, query
from grafana.dashboards_src.queries import FLEET, JOB, TARGET, WORKLOAD, select
from grafana.dashboards_src.tables import table_query
from grafana.rules_src import jobs
from grafana.rules_src.parameters import STRAGGLER_RATIO

_NO_JOBS = "no job_id"
_MACHINE = f"{TARGET}, instance_id, job_id, job_name"
_SPREAD = {"highest": "max", "median": "quantile", "lowest": "min"}
_CHOSEN = select("workload:neuroncores:count", WORKLOAD, 'job_id!=""')
_BEHIND = (colors.UNKNOWN, colors.Step(0, "orange"), colors.Step(STRAGGLER_RATIO, "text"))


def machines_of_jobs() -> list[Panel]:
    """Return the panels."""
    share = f"on ({jobs.SAME_JOB}) group_left ()"
    utilization, executions = (_chosen(each) for each in (jobs.UTILIZATION, jobs.EXECUTIONS))
    columns = {
        "Cores": _chosen(jobs.CORES),
        "Utilization": utilization,
        "Of the median": f"{utilization} / {share} {select(jobs.MEDIAN_UTILIZATION, JOB)}",
        "Executions/s and core": executions,
        "Of their median": f"{executions} / {share} {select(jobs.MEDIAN_EXECUTIONS, JOB)}",
    }
    return [
        tables.table(
            "Machines of each job, slowest first",
            "Machines compared with the median of their job; below half, they are stragglers. In a "
            "job whose machines wait for each other, executions are equal, and the slow machine is "
            "the one that differs in utilization: the idlest if the others wait inside of "
            "executions, the busiest if they wait outside. Needs the label job_id.",
            {
                "job_id": "Job",
                "job_name": "Name",
                "instance_id": "Machine",
                **tables.values(columns),
            },
            *(table_query(each) for each in columns.values()),
            units={
                "Utilization": "percentunit",
                "Of the median": "percentunit",
                "Executions/s and core": "ops",
                "Of their median": "percentunit",
            },
            steps={"Of the median": _BEHIND, "Of their median": _BEHIND},
            decimals=dict.fromkeys(("Cores", "Utilization", "Of the median", "Of their median"), 0),
            widths={
                "Cores": 70,
                "Utilization": 100,
                "Of the median": 140,
                "Executions/s and core": 180,
                "Of their median": 140,
            },
            links=LINKS,
            sort={"Of the median": False},
            no_value="-",
            width=24,
            height=9,
        ),
        _spread(
            "Utilization on the machines of each job",
            "Lowest, median and highest average of the job's cores on a machine.",
            utilization,
            "percentunit",
        ),
        _spread(
            "Completed executions on the machines of each job",
            "Lowest, median and highest rate of completed executions per core on a machine.",
            executions,
            "ops",
        ),
    ]


def _spread(title: str, description: str, value: str, unit: str) -> Panel:
    labels = f"{jobs.SAME_JOB}, job_name"
    return panels.graph(
        title,
        description,
        *(
            query(
                f"{function} by ({labels}) ({'0.5, ' if function == 'quantile' else ''}{value})",
                f"{{{{job_id}}}} {{{{job_name}}}} {name}",
            )
            for name, function in _SPREAD.items()
        ),
        unit=unit,
        no_value=_NO_JOBS,
    )


def _chosen(metric: str) -> str:
    """Return a recorded series for the jobs that the chosen workloads are part of.

    Without its name, so that a table has the values of a machine in one row.
    """
    series = f"{select(metric, FLEET)} and on ({TARGET}, job_id) {_CHOSEN}"
    return f"max by ({_MACHINE}) ({series})"
