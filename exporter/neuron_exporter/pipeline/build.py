"""Build the parts of the exporter from a configuration, or report all errors of an invalid one."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from neuron_exporter import log
from neuron_exporter.config import Config, ConfigError, LoadedConfig
from neuron_exporter.facts.problems import RestartReason
from neuron_exporter.hardware.kernel_log import KernelLog
from neuron_exporter.hardware.sysfs import SysfsReader
from neuron_exporter.identity.machine import Identity
from neuron_exporter.identity.owners.lookup import OwnerLookup
from neuron_exporter.identity.resolver import IdentityResolver
from neuron_exporter.metrics.selection import select_for_prometheus
from neuron_exporter.model import Group, Layout, MetricSpec, Owners, Selection, SourceState
from neuron_exporter.pipeline.branches import (
    Selections,
    make_branches,
    make_report_period,
    published_rows,
)
from neuron_exporter.pipeline.cloudwatch import (
    Connect,
    check_cloudwatch,
    check_endpoint,
    make_cloudwatch_sink,
    select_for_cloudwatch,
)
from neuron_exporter.pipeline.hardware import JoinedReadings, make_kernel_log, make_sysfs_reader
from neuron_exporter.pipeline.identity import make_identity
from neuron_exporter.pipeline.otlp import (
    ConnectOtlp,
    check_otlp,
    check_runtime,
    make_otlp_sink,
    select_for_otlp,
    why_unusable,
)
from neuron_exporter.pipeline.owners import check_owners, make_owner_lookup
from neuron_exporter.pipeline.processor import ReportProcessor
from neuron_exporter.pipeline.prometheus import check_labels
from neuron_exporter.pipeline.source import check_source, groups_of, is_simulated, make_source
from neuron_exporter.pipeline.warnings import config_warnings
from neuron_exporter.readings import NO_READINGS, HardwareReadings
from neuron_exporter.sinks.cloudwatch.sink import CloudWatchSink
from neuron_exporter.sinks.delivery.sink import DeliveringSink
from neuron_exporter.sinks.prometheus import PrometheusSink
from neuron_exporter.source import Source
from neuron_exporter.source.memory import limited_group
from neuron_exporter.telemetry import Telemetry
from neuron_exporter.validation import bounded_problems

if TYPE_CHECKING:
    from neuron_exporter.sinks.otlp.sink import OtlpSink
    from neuron_exporter.web.config_file import WebConfigFile

_NO_OWNERS = Owners()
"""Default of `build`. Always the same object: results computed from owners are cached by it."""


@dataclass(slots=True)
class Pipeline:
    """The parts of the exporter, not started. A sink that is off is None.

    A reload replaces `config`, `identity_resolver`, `web_config`, `rows` and `warnings`.
    """

    config: Config
    source: Source
    processor: ReportProcessor
    identity: Identity
    identity_resolver: IdentityResolver | None
    owner_lookup: OwnerLookup | None
    sysfs: SysfsReader | None
    kernel_log: KernelLog | None
    prometheus: PrometheusSink | None
    cloudwatch: CloudWatchSink | None
    otlp: OtlpSink | None
    web_config: WebConfigFile | None
    telemetry: Telemetry
    rows: tuple[MetricSpec, ...]
    warnings: tuple[str, ...]
    is_dry_run: bool

    @property
    def groups(self) -> frozenset[Group]:
        """The groups of neuron-monitor that the sinks need."""
        return groups_of(self.rows)

    @property
    def helpers(self) -> tuple[IdentityResolver | OwnerLookup | SysfsReader | KernelLog, ...]:
        """The parts with a thread that adds to the reports."""
        parts = (self.identity_resolver, self.owner_lookup, self.sysfs, self.kernel_log)
        return tuple(part for part in parts if part is not None)

    @property
    def senders(self) -> tuple[DeliveringSink[Any], ...]:
        """The sinks with a thread that sends."""
        return tuple(sink for sink in (self.cloudwatch, self.otlp) if sink is not None)

    @property
    def certificate_expiry(self) -> float:
        """Unix time at which the web server's certificate expires; NaN without TLS."""
        tls = None if self.web_config is None else self.web_config.access().tls
        return math.nan if tls is None else tls.expires_at

    @property
    def is_simulated(self) -> bool:
        """Whether reports are simulated or replayed, not measured on this machine now."""
        return is_simulated(self.config.source, self.identity)


def build(
    loaded: LoadedConfig,
    *,
    environment: Mapping[str, str] = os.environ,
    connect: Connect | None = None,
    connect_otlp: ConnectOtlp | None = None,
    owners: Owners = _NO_OWNERS,
    hardware: Callable[[], HardwareReadings] | None = None,
    clock: Callable[[], float] | None = None,
) -> Pipeline:
    """Build all parts.

    Args:
        connect: opens CloudWatch's transport to a region, in place of the configured transport. It
            makes the run a dry run, whose requests are not sent, and which has no other sink that
            sends.
        connect_otlp: the same for OTLP.
        owners: the owners of cores if there is no provider of owners.
        hardware: returns readings in place of those of the driver's files.
        clock: replaces both clocks of the sinks that send, for simulated time.

    Raises:
        ConfigError: with all errors beyond the schema.
    """
    config = loaded.config
    selections, web_config = validate(loaded)
    is_dry_run = connect is not None or connect_otlp is not None
    if is_dry_run:
        unconnected = {"cloudwatch": connect is None, "otlp": connect_otlp is None}
        selections = {n: each for n, each in selections.items() if not unconnected.get(n)}
    if problems := _runtime_problems(loaded, selections, environment, is_dry_run=is_dry_run):
        raise ConfigError(problems)

    telemetry = Telemetry(SourceState, RestartReason)
    telemetry.set_config(loaded.sha256)
    log.on_drop(telemetry.log_lines_dropped.inc)
    if web_config is not None:
        web_config.on_reload = telemetry.web_config_reload_successful.set

    identity, identity_resolver = make_identity(config, environment)
    telemetry.source_simulated.set_function(lambda: is_simulated(config.source, identity))
    group = limited_group()
    if group is not None:
        telemetry.memory_limit.set(group.limit)
        telemetry.memory_used.set_function(group.used)
    owner_lookup = make_owner_lookup(config, environment)
    if owner_lookup is not None:
        up = telemetry.owner_lookup_up
        owner_lookup.on_result = lambda provider, succeeded: up.labels(
            provider.lower().replace(" ", "_")
        ).set(succeeded)

    prometheus = cloudwatch = otlp = None
    if "prometheus" in selections:
        settings = config.prometheus
        prometheus = PrometheusSink(
            selections["prometheus"],
            labels=tuple(settings.labels.items()),
            identity_labels=settings.identity_labels,
        )
    if "cloudwatch" in selections:
        cloudwatch = make_cloudwatch_sink(
            config, selections["cloudwatch"], identity.machine, connect, telemetry, clock
        )
    if "otlp" in selections:
        otlp = make_otlp_sink(
            config,
            selections["otlp"],
            identity.machine,
            connect_otlp,
            telemetry,
            clock,
            environment,
        )

    rows = published_rows(selections)
    period = make_report_period(config)
    sysfs = make_sysfs_reader(config, lambda: period.seconds, telemetry)
    if hardware is None:
        hardware = sysfs.readings if sysfs is not None else lambda: NO_READINGS
    kernel_log = make_kernel_log(config, telemetry)
    if kernel_log is not None:
        hardware = JoinedReadings(hardware, kernel_log.errors)
    processor = ReportProcessor(
        identity,
        make_branches(
            config,
            period,
            selections,
            [sink for sink in (prometheus, otlp) if sink is not None],
            cloudwatch,
            is_dry_run=is_dry_run,
        ),
        period,
        owner_lookup.owners if owner_lookup else lambda: owners,
        telemetry,
        owner_lookup.observe if owner_lookup else lambda pids, cores: None,
        hardware,
    )
    pipeline = Pipeline(
        config=config,
        source=make_source(loaded, rows),
        processor=processor,
        identity=identity,
        identity_resolver=identity_resolver,
        owner_lookup=owner_lookup,
        sysfs=sysfs,
        kernel_log=kernel_log,
        prometheus=prometheus,
        cloudwatch=cloudwatch,
        otlp=otlp,
        web_config=web_config,
        telemetry=telemetry,
        rows=rows,
        warnings=tuple(config_warnings(loaded, selections, environment, web_config)),
        is_dry_run=is_dry_run,
    )
    telemetry.web_certificate_expiry.set_function(lambda: pipeline.certificate_expiry)
    return pipeline


def validate(
    loaded: LoadedConfig, *, read_web_config: bool = True
) -> tuple[Selections, WebConfigFile | None]:
    """Check what the schema cannot check. Return the selections, and the web configuration if any.

    Raises:
        ConfigError: with all errors.
    """
    config = loaded.config
    problems: list[str] = []
    selections: dict[str, Selection] = {}
    if config.prometheus.enabled:
        settings = config.prometheus
        selections["prometheus"], invalid = select_for_prometheus(
            settings.preset, settings.include, settings.exclude, Layout(settings.layout)
        )
        problems += (
            loaded.problem(f"prometheus.{key}", text, value) for key, value, text in invalid
        )
    if config.cloudwatch.enabled:
        selections["cloudwatch"], lines = select_for_cloudwatch(loaded)
        problems += lines
    if config.otlp.enabled:
        selections["otlp"], lines = select_for_otlp(loaded)
        problems += lines
    problems += check_labels(loaded)
    problems += check_cloudwatch(loaded, selections.get("cloudwatch"))
    problems += check_otlp(loaded)
    problems += check_source(loaded)
    problems += check_owners(loaded)
    web_config = _read_web_config(loaded, problems) if read_web_config else None
    if problems:
        raise ConfigError(bounded_problems(problems))
    return selections, web_config


def all_problems(error: ConfigError) -> list[str]:
    """Return the errors of a configuration, and those that `validate` finds in its valid part."""
    problems = list(error.problems)
    if error.partial is not None:
        try:
            validate(error.partial)
        except ConfigError as more:
            problems += more.problems
    return problems


def _runtime_problems(
    loaded: LoadedConfig,
    selections: Selections,
    environment: Mapping[str, str],
    *,
    is_dry_run: bool,
) -> list[str]:
    """Return the errors that depend on where the exporter runs."""
    if not is_dry_run:
        return [*check_endpoint(loaded, environment), *check_runtime(loaded, environment)]
    reason = why_unusable() if "otlp" in selections else ""
    return [loaded.problem("otlp.enabled", reason)] if reason else []


def _read_web_config(loaded: LoadedConfig, problems: list[str]) -> WebConfigFile | None:
    path = loaded.config.prometheus.web_config_file
    if path is None:
        return None
    # Imported only if needed: it loads OpenSSL and bcrypt.
    from neuron_exporter.web.config_file import WebConfigError, WebConfigFile

    try:
        return WebConfigFile(path)
    except WebConfigError as error:
        problems += [loaded.problem("prometheus.web_config_file", each) for each in error.problems]
        return None
