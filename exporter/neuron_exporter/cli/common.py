"""What each command does. Each imports what it needs, when it is called; gives the exit status."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from neuron_exporter.cli.arguments import settings

if TYPE_CHECKING:
    from neuron_exporter.config import Given, Loaded

OK, FAILED, WRONG_USE = 0, 1, 2


def run(parsed: argparse.Namespace) -> int:
    """Export until told to stop."""
    from neuron_exporter import log
    from neuron_exporter.config import Origin
    from neuron_exporter.daemon.daemon import Daemon
    from neuron_exporter.pipeline.build import build
    from neuron_exporter.web import BindError

    # Until the daemon answers it. What was meant by it is not lost: the file is watched from here.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    origin = Origin(parsed.config, os.environ, settings(parsed))
    loaded = _checked(origin.load)
    log.configure(loaded.config.log.level, loaded.config.log.format)
    try:
        daemon = Daemon(build(loaded), origin)
    except BindError as error:
        print(f"neuron-exporter: {error} (prometheus.listen, or --listen)", file=sys.stderr)
        return FAILED
    return daemon.run()


def demo(parsed: argparse.Namespace) -> int:
    """Show everything on a simulated machine."""
    from neuron_exporter.cli.demo import demo

    return demo(parsed.listen, parsed.instance_type, parsed.scenario)


def check(parsed: argparse.Namespace) -> int:
    """Say everything that is wrong with a configuration."""
    from neuron_exporter.pipeline.build import build, summary

    pipeline = build(_load(parsed.config))
    for warning in pipeline.warnings:
        print(f"warning: {warning}")
    print(f"{parsed.config}: good")
    for line in summary(pipeline):
        print(f"  {line}")
    return OK


def metrics(parsed: argparse.Namespace) -> int:
    """List every metric."""
    from neuron_exporter.generate.metrics_md import as_markdown, as_text

    print(as_markdown() if parsed.markdown else as_text(), end="")
    return OK


def cost(parsed: argparse.Namespace) -> int:
    """Say what the CloudWatch metrics cost."""
    from neuron_exporter import log
    from neuron_exporter.generate.cost.estimate import estimate
    from neuron_exporter.generate.cost.report import as_json, as_text

    log.configure("critical")  # what matters of a rehearsal is in its result
    told = estimate(
        lambda flags: _load(parsed.config, flags),
        parsed.instance_type,
        parsed.stream,
        parsed.instances,
    )
    print(as_json(told) if parsed.json else as_text(told), end="")
    return OK


def alarms(parsed: argparse.Namespace) -> int:
    """Write a template with alarms."""
    from neuron_exporter import log
    from neuron_exporter.generate.alarms.alarms import Asked, alarms, as_json, as_yaml

    log.configure("critical")  # what matters of a rehearsal is in its result
    document = alarms(
        lambda flags: _load(parsed.config, flags),
        Asked(
            instance_type=parsed.instance_type,
            stream=parsed.stream,
            instance_id=parsed.instance_id,
            without=parsed.without,
        ),
    )
    print(as_json(document) if parsed.json else as_yaml(document), end="")
    return OK


def cloudwatch_dashboard(parsed: argparse.Namespace) -> int:
    """Write a dashboard of CloudWatch."""
    from neuron_exporter import log
    from neuron_exporter.generate.dashboard import Asked, as_json, cloudwatch_dashboard

    log.configure("critical")  # what matters of a rehearsal is in its result
    body = cloudwatch_dashboard(
        lambda flags: _load(parsed.config, flags),
        Asked(
            instance_type=parsed.instance_type,
            stream=parsed.stream,
            instance_id=parsed.instance_id,
            region=parsed.region,
        ),
    )
    print(as_json(body), end="")
    return OK


def task_definition(parsed: argparse.Namespace) -> int:
    """Write a task definition for ECS."""
    from neuron_exporter.generate.ecs.task_definition import Asked, as_json, task_definition

    definition = task_definition(
        Asked(
            instance_type=parsed.instance_type,
            workload=parsed.workload,
            launch=parsed.launch,
            devices=parsed.devices,
            image=parsed.image,
            workload_image=parsed.workload_image,
            command=parsed.words,
            memory_mib=parsed.memory,
            account=parsed.account,
            region=parsed.region,
        )
    )
    print(as_json(definition), end="")
    return OK


def instance_types(parsed: argparse.Namespace) -> int:
    """List the machines that have Neuron devices."""
    from neuron_exporter.generate.instance_types import as_json, as_text

    print(as_json() if parsed.json else as_text(), end="")
    return OK


def record(parsed: argparse.Namespace) -> int:
    """Write the source's lines to a file."""
    from neuron_exporter.cli.record import record

    return record(
        _load(parsed.config, settings(parsed)), parsed.output, parsed.reports, mask=parsed.mask
    )


def _load(path: str | None, flags: Iterable[Given] = ()) -> Loaded:
    from neuron_exporter.config import load

    return _checked(lambda: load(path, os.environ, flags))


def _checked(load: Callable[[], Loaded]) -> Loaded:
    """The configuration; what is wrong with it is told together with what the parts say of it."""
    from neuron_exporter.config import ConfigError

    try:
        return load()
    except ConfigError as error:
        from neuron_exporter.pipeline.build import all_problems

        raise ConfigError(all_problems(error)) from None
