"""Panels on devices from the driver's files: power, faults, health and resets.

Without these files there is no data, which is neither healthy nor unhealthy.
"""

from __future__ import annotations

from collections.abc import Mapping

from grafana.dashboards_src import colors, panels, tables
from grafana.dashboards_src.layout import LINKS
from grafana.dashboards_src.panels import Panel, query
from grafana.dashboards_src.queries import FLEET, MACHINE, TARGET, events, increase, select
from grafana.dashboards_src.tables import table_query
from grafana.rules_src.devices import HEALTH, UNHEALTHY

NO_DATA = "no data from the driver"

_DEVICE = f"{TARGET}, instance_id, neuron_device_index"
_POWER = "neurondevice_power_utilization_ratio"
_ERRORS = "neuroncore_hardware_errors_total"
_HEALTH = "neurondevice_health"
_RESETS = "neurondevice_resets_total"

_UNKNOWN = -1
_STATES = {
    0: ("unhealthy", "red"),
    1: ("healthy", "green"),
    _UNKNOWN: (NO_DATA, "text"),
}
_ALL_STATES = {0: ("unhealthy", "red"), 1: ("none of those that report", "green")}


def of_machine() -> list[Panel]:
    """Return the panels of one machine."""
    return [
        _power(),
        panels.graph(
            "Hardware faults",
            "New errors of the hardware that the driver counts, by type. The bars add up to the "
            "total in the legend.",
            query(
                f"sum by (error_type) ({events(_ERRORS, MACHINE)})",
                "{{error_type}}",
                interval="1m",
            ),
            names=colors.HARDWARE_ERRORS,
            bars=True,
            totals=True,
            no_value=NO_DATA,
            height=8,
        ),
        _devices(),
        _unhealthy(MACHINE, {}, width=6, height=8),
        _cores_with_faults(),
    ]


def of_fleet() -> list[Panel]:
    """Return the panels of a fleet: only devices with something to see."""
    return [
        _unhealthy(FLEET, {"instance_id": "Machine"}, width=14, height=6),
        _reset_devices(),
    ]


def _reset_devices() -> Panel:
    resets = f"sum by ({_DEVICE}, result) ({increase(_RESETS, FLEET)})"
    return tables.table(
        "Resets of devices",
        "Resets in the time shown that were requested, and those of them that failed.",
        {
            "instance_id": "Machine",
            "neuron_device_index": "Device",
            "result": "Result",
            "Value": "Resets",
        },
        table_query(f"{resets} > 0 or on () 0 * sum({resets})"),
        links=LINKS,
        decimals={"Resets": 0},
        widths={"Device": 85, "Result": 110, "Resets": 75},
        sort={"Result": False},
        no_value=NO_DATA,
        width=10,
        height=6,
    )


def _power() -> Panel:
    def statistic(name: str) -> str:
        return select(_POWER, MACHINE, f'statistic="{name}"')

    return panels.graph(
        "Power of each device",
        "Share of the maximum power: each device's average of a minute, and the lowest and highest "
        "value of all devices. Empty unless the driver says that its values are valid.",
        query(
            f"max by (neuron_device_index) ({statistic('avg')})", "device {{neuron_device_index}}"
        ),
        query(f"min({statistic('min')})", "lowest"),
        query(f"max({statistic('max')})", "highest"),
        unit="percentunit",
        no_value=NO_DATA,
        height=8,
    )


def _devices() -> Panel:
    power = f"max by ({_DEVICE}) ({select(_POWER, MACHINE, _AVERAGE)})"
    resets = _resets("requested")
    health = (
        f"min by ({_DEVICE}) ({select(_HEALTH, MACHINE)}) "
        f"or on ({_DEVICE}) 0 * ({power} or on ({_DEVICE}) {resets}) + {_UNKNOWN}"
    )
    values = (health, power, resets, _resets("failed"))
    first, *others = (_with_serial_number(each, MACHINE) for each in values)
    # Of several empty queries, Grafana would show the headings only.
    first += f" or on () 0 * max({select('instance_info', MACHINE)}) + {_UNKNOWN}"
    return tables.table(
        "Devices",
        "What the driver reports about each device: whether all of its components are healthy, its "
        "power, and its resets in the time shown. The serial number needs the preset full.",
        {
            "neuron_device_index": "Device",
            "serial_number": "Serial number",
            **tables.values(["Health", "Power", "Resets", "Failed"]),
        },
        *map(table_query, (first, *others)),
        units={"Power": "percentunit"},
        texts={"Health": _STATES},
        steps={"Failed": colors.RED_FROM_1},
        decimals={"Power": 0, "Resets": 0, "Failed": 0},
        widths={"Device": 85, "Health": 150, "Power": 70, "Resets": 75, "Failed": 70},
        transformations=[tables.number("neuron_device_index")],
        sort={"Device": False},
        no_value=NO_DATA,
        height=8,
    )


_AVERAGE = 'statistic="avg"'


def _unhealthy(scope: str, more: Mapping[str, str], *, width: int, height: int) -> Panel:
    """Return a table of unhealthy components, or one row if all are healthy."""
    unhealthy = f"max by ({_DEVICE}, component) ({select(UNHEALTHY, scope)})"
    return tables.table(
        "Unhealthy devices",
        "Components that the driver reports as unhealthy. Machines whose driver has no files on "
        "health are not judged.",
        {
            **more,
            "neuron_device_index": "Device",
            "component": "Component",
            **({"serial_number": "Serial number"} if more else {}),
            "Value": "State",
        },
        table_query(
            f"{_with_serial_number(unhealthy, scope)} or on () max({select(HEALTH, scope)})"
        ),
        texts={"State": _ALL_STATES},
        links=LINKS,
        widths={"Device": 85},
        sort={"Device": False},
        no_value=NO_DATA,
        width=width,
        height=height,
    )


def _cores_with_faults() -> Panel:
    errors = f"sum by (neuroncore, error_type) ({increase(_ERRORS, MACHINE)}) > 0"
    return tables.table(
        "Cores with hardware faults",
        "Errors of the hardware in the time shown, by core and type.",
        {"neuroncore": "Core", "error_type": "Type", "Value": "Errors"},
        table_query(f"{errors} or on () 0 * sum({increase(_ERRORS, MACHINE)})"),
        steps={"Errors": colors.RED_FROM_1},
        decimals={"Errors": 0},
        widths={"Core": 65, "Errors": 90},
        sort={"Errors": True},
        no_value=NO_DATA,
        width=6,
        height=8,
    )


def _resets(result: str) -> str:
    """Return the resets of each device of the machine in the time shown."""
    matcher = f'result="{result}"'
    return f"sum by ({_DEVICE}) ({increase(_RESETS, MACHINE, matcher)})"


def _with_serial_number(value: str, scope: str) -> str:
    """Add the label `serial_number` where it is known."""
    info = f"max by ({_DEVICE}, serial_number) ({select('neurondevice_info', scope)})"
    return (
        f"({value}) * on ({_DEVICE}) group_left (serial_number) {info} "
        f"or ({value}) unless on ({_DEVICE}) {info}"
    )
