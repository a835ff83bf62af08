"""Options shared by the commands that run a configuration without a network."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from neuron_exporter.config import Config, ConfigError, LoadedConfig, Override, suggest
from neuron_exporter.facts.instance_types import INSTANCE_TYPES
from neuron_exporter.simulator.hardware import hardware
from neuron_exporter.sinks.cloudwatch.dimensions import sanitize_dimension_value

DEFAULT_INSTANCE_TYPE = "trn1.32xlarge"
"""The simulated machine if none is chosen."""

Configure = Callable[[Iterable[Override]], LoadedConfig]
"""Load the user's configuration with these flags."""


def choose_type(config: Config, instance_type: str | None, stream: str | None) -> str:
    """Return the instance type from the option, the configuration or the default.

    Raises:
        ConfigError: there is no stream of reports, and the type cannot be simulated.
    """
    name = instance_type or config.identity.instance_type or DEFAULT_INSTANCE_TYPE
    if stream is not None:
        return name
    if name not in INSTANCE_TYPES:
        suggestion = suggest(name, INSTANCE_TYPES)
        raise ConfigError([f"--instance-type: unknown type; {suggestion} (got {name!r})"])
    try:
        hardware(name)
    except ValueError as error:
        raise ConfigError([f"--instance-type: {error}"]) from None
    return name


def check_instance_id(instance_id: str | None) -> None:
    """Check the option `--instance-id`.

    Raises:
        ConfigError: it cannot be the value of the dimension InstanceId.
    """
    if instance_id is not None and (
        not instance_id.strip() or sanitize_dimension_value(instance_id) != instance_id
    ):
        raise ConfigError(
            ["--instance-id: must be 1 to 1024 printable ASCII characters, such as i-0abc "
             f"(got {instance_id!r})"]
        )  # fmt: skip
