"""Options shared by the commands that run a configuration without a network."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from neuron_exporter.config import Config, ConfigError, LoadedConfig, Override, suggest
from neuron_exporter.facts.instance_types import INSTANCE_TYPES
from neuron_exporter.simulator.hardware import hardware
from neuron_exporter.sinks.cloudwatch.dimensions import sanitize_dimension_value

DEFAULT_INSTANCE_TYPE = "trn1.32xlarge"
"""The simulated machine if none is chosen."""

_FAMILIES = ("inf", "trn")

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
    check_type(name)
    return name


def check_type(name: str) -> None:
    """Check the option `--instance-type`.

    Raises:
        ConfigError: the type cannot be simulated.
    """
    if name not in INSTANCE_TYPES:
        raise unknown_type(name)
    try:
        hardware(name)
    except ValueError as error:
        raise ConfigError([f"--instance-type: {error}"]) from None


def unknown_type(name: str) -> ConfigError:
    """Return the error of the option `--instance-type` for a type that is not in the table."""
    type_of_ec2 = name.lower().removeprefix("ml.")  # SageMaker's prefix
    problem = f"unknown type; {suggest(type_of_ec2, INSTANCE_TYPES)}"
    if not type_of_ec2.startswith(_FAMILIES):
        problem = "has no Neuron devices; `neuron-exporter instance-types` lists types that do"
    return ConfigError([f"--instance-type: {problem} (got {name!r})"])


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
