"""The command line. Each command imports what it needs, when it is called."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from exporter import __version__
from exporter.flags import AWS_DIMENSIONS, REPLACED, Replaced, task_definition_flags, whole
from exporter.signals import hold_back
from exporter.standard_streams import discard_output, prepare

if TYPE_CHECKING:
    from exporter.config import Given, Loaded

OK, FAILED, WRONG_USE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit status: 0 success, 1 failure while running, 2 wrong use."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] in (["run"], ["demo"]):
        hold_back()
    prepare()
    # An ignored SIGCHLD is inherited, and would make children vanish before their end is read.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        try:
            return _dispatch(given)
        finally:
            sys.stdout.flush()  # here, since a failure at the interpreter's exit is not ours to say
    except BrokenPipeError:
        # Whoever read our output has gone; nothing is left to say to it.
        discard_output()
        return OK
    except KeyboardInterrupt:
        return OK
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
            raise
        discard_output()
        print(f"neuron-exporter: the output cannot be written: {error.strerror}", file=sys.stderr)
        return FAILED


def _dispatch(given: list[str]) -> int:
    if given[:1] == ["simulate"]:
        from exporter.simulator.__main__ import main as simulate

        return simulate(given[1:])
    if given[:1] == ["healthcheck"]:
        from exporter.healthcheck import main as healthcheck

        return healthcheck(given[1:])
    parsed = _parser().parse_args(given)
    from exporter.config import ConfigError

    try:
        status: int = parsed.command(parsed)
    except ConfigError as error:
        for problem in error.problems:
            print(f"neuron-exporter: {problem}", file=sys.stderr)
        return WRONG_USE
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="neuron-exporter",
        description="The truth about AWS Neuron accelerators, in Prometheus and CloudWatch.",
        epilog="`neuron-exporter COMMAND --help` tells more of each.",
    )
    parser.add_argument("--version", action="version", version=f"neuron-exporter {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    run = commands.add_parser("run", help="export until told to stop")
    _source_flags(run)
    run.add_argument("--listen", metavar="HOST:PORT", help="prometheus.listen")
    aws = run.add_argument_group("as AWS's scripts had them")
    aws.add_argument(
        "--port", metavar="PORT", type=whole(0, 65535), help="the port of prometheus.listen"
    )
    aws.add_argument("--namespace", metavar="NAME", help="cloudwatch.namespace; turns it on")
    aws.add_argument("--region", metavar="REGION", help="cloudwatch.region; turns it on")
    aws.add_argument("--common-dims", metavar="LIST", help="cloudwatch.dimension_sets, one set")
    for flag in REPLACED:
        run.add_argument(flag, action=Replaced, help=argparse.SUPPRESS)
    run.set_defaults(command=_run)

    demo = commands.add_parser("demo", help="show everything on a simulated machine")
    demo.add_argument("--listen", metavar="HOST:PORT", default="127.0.0.1:9415")
    demo.add_argument("--instance-type", metavar="TYPE", default="trn1.32xlarge")
    demo.add_argument(
        "--scenario",
        default="inference",
        help="idle, inference (the default), training, compile or mixed",
    )
    demo.set_defaults(command=_demo)

    check = commands.add_parser("check", help="say everything that is wrong with a configuration")
    check.add_argument("--config", metavar="FILE", required=True)
    check.set_defaults(command=_check)

    metrics = commands.add_parser("metrics", help="list every metric")
    metrics.add_argument("--markdown", action="store_true", help="as METRICS.md")
    metrics.set_defaults(command=_metrics)

    cost = commands.add_parser("cost", help="say what the CloudWatch metrics cost, before they do")
    _rehearsal_flags(cost)
    cost.add_argument(
        "--instances",
        metavar="N",
        type=whole(1, 10**6),
        default=1,
        help="machines of the fleet (default 1)",
    )
    cost.add_argument("--json", action="store_true", help="for programs")
    cost.set_defaults(command=_cost)

    alarms = commands.add_parser(
        "alarms", help="write a CloudFormation template with alarms on what is published"
    )
    _rehearsal_flags(alarms)
    alarms.add_argument(
        "--instance-id", metavar="ID", help="alarms on this machine, in place of a fleet's"
    )
    alarms.add_argument(
        "--without", metavar="NAME", nargs="+", action="extend", default=[], help="leave alarms out"
    )
    alarms.add_argument("--json", action="store_true", help="JSON in place of YAML")
    alarms.set_defaults(command=_alarms)

    definition = commands.add_parser(
        "task-definition", help="write a task definition for ECS, with the exporter in it"
    )
    task_definition_flags(definition)
    definition.set_defaults(command=_task_definition)

    types = commands.add_parser("instance-types", help="list the machines that have Neuron devices")
    types.add_argument("--json", action="store_true", help="for programs; null is not known")
    types.set_defaults(command=_instance_types)

    doctor = commands.add_parser("doctor", help="say what is wrong on this machine, and what to do")
    doctor.add_argument("--config", metavar="FILE", help="default: as the exporter here runs")
    doctor.add_argument("--json", action="store_true", help="for programs")
    doctor.add_argument(
        "--send", action="store_true", help="send CloudWatch one datum (DoctorTest), which is paid"
    )
    doctor.add_argument("--bundle", metavar="FILE", help="a new .tar.gz to show to others")
    doctor.set_defaults(command=_doctor)

    commands.add_parser("simulate", help="write reports as neuron-monitor does, without hardware")

    commands.add_parser("healthcheck", help="ask the exporter of this container whether it lives")

    record = commands.add_parser("record", help="write the source's lines to a file, to replay")
    _source_flags(record)
    record.add_argument(
        "--output", metavar="FILE", help="a new file, compressed if it ends in .gz (default: print)"
    )
    record.add_argument(
        "--reports", metavar="N", type=whole(1, 10**9), help="end after so many reports"
    )
    record.add_argument(
        "--mask", action="store_true", help="replace names and ids of machine, models and processes"
    )
    record.set_defaults(command=_record)
    return parser


def _source_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="the configuration (YAML)")
    parser.add_argument(
        "--source", metavar="WHAT", help="stdin, simulator, neuron-monitor, or a file of reports"
    )


def _rehearsal_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", required=True)
    machine = parser.add_mutually_exclusive_group()
    machine.add_argument(
        "--instance-type",
        metavar="TYPE",
        help="a simulated machine (default: identity.instance_type, or trn1.32xlarge)",
    )
    machine.add_argument("--stream", metavar="FILE", help="reports, as `record` writes them")


# Commands


def _run(parsed: argparse.Namespace) -> int:
    from exporter import log
    from exporter.config import Origin
    from exporter.daemon import Daemon
    from exporter.pipeline import build
    from exporter.web import BindError

    # Until the daemon answers it. What was meant by it is not lost: the file is watched from here.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    origin = Origin(parsed.config, os.environ, _flags(parsed))
    loaded = _checked(origin.load)
    log.configure(loaded.config.log.level, loaded.config.log.format)
    try:
        daemon = Daemon(build(loaded), origin)
    except BindError as error:
        print(f"neuron-exporter: {error} (prometheus.listen, or --listen)", file=sys.stderr)
        return FAILED
    return daemon.run()


def _demo(parsed: argparse.Namespace) -> int:
    from exporter.demo import demo

    return demo(parsed.listen, parsed.instance_type, parsed.scenario)


def _check(parsed: argparse.Namespace) -> int:
    from exporter.pipeline import build, summary

    pipeline = build(_load(parsed.config))
    for warning in pipeline.warnings:
        print(f"warning: {warning}")
    print(f"{parsed.config}: good")
    for line in summary(pipeline):
        print(f"  {line}")
    return OK


def _metrics(parsed: argparse.Namespace) -> int:
    from exporter.generate.metrics_md import as_markdown, as_text

    print(as_markdown() if parsed.markdown else as_text(), end="")
    return OK


def _cost(parsed: argparse.Namespace) -> int:
    from exporter import log
    from exporter.generate.cost import estimate
    from exporter.generate.cost_told import as_json, as_text

    log.configure("critical")  # what matters of a rehearsal is in its result
    told = estimate(
        lambda flags: _load(parsed.config, flags),
        parsed.instance_type,
        parsed.stream,
        parsed.instances,
    )
    print(as_json(told) if parsed.json else as_text(told), end="")
    return OK


def _alarms(parsed: argparse.Namespace) -> int:
    from exporter import log
    from exporter.generate.alarms import Asked, alarms, as_json, as_yaml

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


def _task_definition(parsed: argparse.Namespace) -> int:
    from exporter.generate.task_definition import Asked, as_json, task_definition

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


def _instance_types(parsed: argparse.Namespace) -> int:
    from exporter.generate.instance_types import as_json, as_text

    print(as_json() if parsed.json else as_text(), end="")
    return OK


def _doctor(parsed: argparse.Namespace) -> int:
    from exporter.doctor.case import Run
    from exporter.doctor.doctor import doctor

    def read_run(words: Sequence[str]) -> Run | None:
        try:
            run = _parser().parse_args(["run", *words])
        except SystemExit:  # another version's flags
            return None
        return Run(run.config, _flags(run))

    return doctor(
        parsed.config,
        os.environ,
        read_run,
        json=parsed.json,
        send=parsed.send,
        bundle=parsed.bundle,
    )


def _record(parsed: argparse.Namespace) -> int:
    from exporter.record import record

    return record(
        _load(parsed.config, _flags(parsed)), parsed.output, parsed.reports, mask=parsed.mask
    )


def _load(path: str | None, flags: Iterable[Given] = ()) -> Loaded:
    from exporter.config import load

    return _checked(lambda: load(path, os.environ, flags))


def _checked(load: Callable[[], Loaded]) -> Loaded:
    """The configuration; what is wrong with it is told together with what the parts say of it."""
    from exporter.config import ConfigError

    try:
        return load()
    except ConfigError as error:
        from exporter.pipeline import all_problems

        raise ConfigError(all_problems(error)) from None


def _flags(parsed: argparse.Namespace) -> list[Given]:
    """What the flags say, as values of the configuration."""
    from exporter.config import Given

    flags = []
    source = parsed.source
    if source in ("stdin", "simulator", "neuron-monitor"):
        flags.append(Given("--source", "source.kind", source))
    elif source is not None:
        flags += [
            Given("--source", "source.kind", "file"),
            Given("--source", "source.path", source),
        ]
    if getattr(parsed, "port", None) is not None:
        flags.append(Given("--port", "prometheus.listen", f"0.0.0.0:{parsed.port}"))
    if getattr(parsed, "listen", None) is not None:
        flags.append(Given("--listen", "prometheus.listen", parsed.listen))
    for name in ("namespace", "region"):
        value = getattr(parsed, name, None)
        if value is not None:
            flags.append(Given(f"--{name}", "cloudwatch.enabled", True))
            flags.append(Given(f"--{name}", f"cloudwatch.{name}", value))
    if getattr(parsed, "common_dims", None) is not None:
        names = [name.strip() for name in parsed.common_dims.split(",") if name.strip()]
        dimensions = list(dict.fromkeys(AWS_DIMENSIONS.get(name, name) for name in names))
        sets = [dimensions] if dimensions else []
        flags.append(Given("--common-dims", "cloudwatch.dimension_sets", sets))
    return flags


if __name__ == "__main__":
    sys.exit(main())
