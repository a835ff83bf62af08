"""Pipelines that run without a network and without waiting.

The reports come from a simulated machine or a file. Fields of the machine, and owners of cores,
that reports do not have are assumed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from neuron_exporter.config import ConfigError, LoadedConfig, Override
from neuron_exporter.config.schema import Config
from neuron_exporter.facts.driver_files import COMPONENTS, HARDWARE_ERRORS
from neuron_exporter.generate.options import Configure
from neuron_exporter.identity.machine import IdentitySource
from neuron_exporter.model import Group, Labels, Machine, Owner, Owners, Task, Timestamp
from neuron_exporter.pipeline.build import Pipeline, build
from neuron_exporter.pipeline.cloudwatch import Connect, owner_dimensions_by_set
from neuron_exporter.pipeline.identity import is_local_source
from neuron_exporter.pipeline.otlp import ConnectOtlp
from neuron_exporter.readings import NO_READINGS, DeviceReadings, HardwareReadings
from neuron_exporter.simulator.hardware import hardware
from neuron_exporter.simulator.machine import Machine as SimulatedMachine
from neuron_exporter.simulator.options import parse
from neuron_exporter.simulator.sysfs import ARCHITECTURES
from neuron_exporter.sinks.cloudwatch.dimensions import MACHINE_DIMENSIONS
from neuron_exporter.source import SourceError

PLACEHOLDER = "stand-in"
"""Value of identity fields that reports do not have, such as the cluster."""

_ASSUMED_MACHINE = Machine(
    **{field: PLACEHOLDER for field in MACHINE_DIMENSIONS.values() if field != "ultraserver_id"}
)
"""Identity with all fields known. Most machines are not part of an UltraServer."""

_MAX_DEVICES = 64
"""More devices than any machine has."""

_ASSUMED_OWNERS = Owners(
    task=Task(Owner(task_family=PLACEHOLDER, service=PLACEHOLDER), frozenset(range(_MAX_DEVICES)))
)
"""One ECS task that owns the whole machine."""

_ECS_DIMENSIONS = ("ServiceName", "TaskDefinitionFamily")


class Inputs(NamedTuple):
    """What is read: the configuration, the reports, and the driver's files."""

    loaded: LoadedConfig
    instance_type: str
    stream: str | None
    readings: HardwareReadings


def load_inputs(
    configure: Configure, instance_type: str, stream: str | None, settings: Mapping[str, object]
) -> Inputs:
    """Load the configuration with these settings.

    Raises:
        ConfigError: it is invalid.
    """
    own = configure(()).config
    reads_driver = stream is None and own.hardware.sysfs is not False and is_local_source(own)
    flags = [
        Override("--stream" if key in ("source.kind", "source.path") else "cost", key, value)
        for key, value in {**replay_settings(stream), **settings}.items()
    ]
    readings = assumed_readings(instance_type) if reads_driver else NO_READINGS
    return Inputs(configure(flags), instance_type, stream, readings)


def replay_settings(stream: str | None) -> dict[str, object]:
    """Return the settings to read the reports of a file or the simulator without waiting."""
    return {
        "source.kind": "simulator" if stream is None else "file",
        "source.path": stream,
        "source.replay.at_end": "exit",
        "source.replay.speed": 0,
        "prometheus.enabled": True,
        "prometheus.web_config_file": None,
    }


def build_offline(
    inputs: Inputs,
    clock: Callable[[], float],
    *,
    connect: Connect | None = None,
    connect_otlp: ConnectOtlp | None = None,
) -> Pipeline:
    """Build a pipeline whose machine and owners are known, and whose requests are not sent."""
    config = inputs.loaded.config
    needs_task = not _used_owner_dimensions(config).isdisjoint(_ECS_DIMENSIONS)
    pipeline = build(
        inputs.loaded,
        environment={},
        connect=connect,
        connect_otlp=connect_otlp,
        owners=replace(
            _ASSUMED_OWNERS if needs_task else Owners(),
            process_labels=_EveryProcess(config.identity.process_labels),
        ),
        hardware=lambda: inputs.readings,
        clock=clock,
    )
    pipeline.identity.update(IdentitySource.ENVIRONMENT, _ASSUMED_MACHINE)
    return pipeline


def simulated_machine(
    pipeline: Pipeline, instance_type: str, *, with_pods: bool
) -> SimulatedMachine:
    """Return a machine that reports what this pipeline needs."""
    options = parse(["--instance-type", instance_type])._replace(
        kubernetes=with_pods and not hardware(instance_type).generation.old_tools,
        periods=dict.fromkeys(pipeline.groups or Group, int(pipeline.config.source.period)),
        own_configuration=True,
    )
    return SimulatedMachine(options)


class FileListener:
    """Listener of a file source, in place of the report processor. It calls `process` with each
    line, which returns the seconds that it covers."""

    def __init__(self, process: Callable[[memoryview], float | None]) -> None:
        self._process = process

    def on_line(self, line: memoryview, at: Timestamp) -> float | None:
        """Process a line."""
        return self._process(line)

    def on_skipped(self, *_: object) -> None:
        """Ignore all other events of a file source."""

    on_state = on_restart = on_stderr = on_tick = on_skipped


def read_file(pipeline: Pipeline, process: Callable[[memoryview], float | None]) -> None:
    """Process the reports of the configured file.

    Raises:
        ConfigError: it cannot be read, or contains no report.
    """
    try:
        pipeline.source.run(FileListener(process))
    except SourceError as error:
        raise ConfigError([f"--stream: {error}"]) from None


def assumed_readings(instance_type: str) -> HardwareReadings:
    """Return the readings of each device, by a driver that has all files of the machine's type.

    Drivers of Inf1 have other files, which are not read.
    """
    machine = hardware(instance_type)
    architecture = ARCHITECTURES.get(machine.accelerator)
    if architecture is None:
        return NO_READINGS
    cores = range(machine.cores_per_device * machine.logical_core_size)
    device = DeviceReadings(
        power=dict.fromkeys(("min", "max", "avg"), 0.0),
        serial_number=PLACEHOLDER,
        health=dict.fromkeys((*COMPONENTS, "device") if architecture.has_health else (), 1.0),
        ecc_repairable=0,
        resets={"requested": 0, "failed": 0},
        core_errors={core: dict.fromkeys(HARDWARE_ERRORS, 0) for core in cores},
    )
    return HardwareReadings(dict.fromkeys(range(machine.devices), device))


def uses_pods(config: Config) -> bool:
    """Return whether dimension sets need the pods of cores."""
    return not _used_owner_dimensions(config) <= {*_ECS_DIMENSIONS, *config.identity.process_labels}


def _used_owner_dimensions(config: Config) -> set[str]:
    """Return the owner dimensions that the dimension sets use."""
    return {name for names in owner_dimensions_by_set(config) for name in names}


class _EveryProcess(Mapping[int, Labels]):
    """Process labels of any process: each has them all."""

    def __init__(self, names: Iterable[str]) -> None:
        self._labels = tuple((name, PLACEHOLDER) for name in names)

    def __getitem__(self, pid: int) -> Labels:
        return self._labels

    def __iter__(self) -> Iterator[int]:
        return iter(())

    def __len__(self) -> int:
        return 0
