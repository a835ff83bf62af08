"""The command line: its flags, and what ends a command early."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from neuron_exporter import __version__
from neuron_exporter.cli import commands
from neuron_exporter.cli.arguments import REPLACED, Replaced, settings, task_definition_flags, whole
from neuron_exporter.cli.commands import FAILED, OK, WRONG_USE
from neuron_exporter.cli.stdio import discard_output, prepare
from neuron_exporter.daemon.signals import hold_back

if TYPE_CHECKING:
    from neuron_exporter.doctor.context import Run


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
        from neuron_exporter.simulator.__main__ import main as simulate

        return simulate(given[1:])
    if given[:1] == ["healthcheck"]:
        from neuron_exporter.cli.healthcheck import main as healthcheck

        return healthcheck(given[1:])
    parsed = _parser().parse_args(given)
    from neuron_exporter.config import ConfigError

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
    known = parser.add_subparsers(metavar="COMMAND", required=True)

    run = known.add_parser("run", help="export until told to stop")
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
    run.set_defaults(command=commands.run)

    demo = known.add_parser("demo", help="show everything on a simulated machine")
    demo.add_argument("--listen", metavar="HOST:PORT", default="127.0.0.1:9415")
    demo.add_argument("--instance-type", metavar="TYPE", default="trn1.32xlarge")
    demo.add_argument(
        "--scenario",
        default="inference",
        help="idle, inference (the default), training, compile or mixed",
    )
    demo.set_defaults(command=commands.demo)

    check = known.add_parser("check", help="say everything that is wrong with a configuration")
    check.add_argument("--config", metavar="FILE", required=True)
    check.set_defaults(command=commands.check)

    metrics = known.add_parser("metrics", help="list every metric")
    metrics.add_argument("--markdown", action="store_true", help="as METRICS.md")
    metrics.set_defaults(command=commands.metrics)

    cost = known.add_parser("cost", help="say what the CloudWatch metrics cost, before they do")
    _rehearsal_flags(cost)
    cost.add_argument(
        "--instances",
        metavar="N",
        type=whole(1, 10**6),
        default=1,
        help="machines of the fleet (default 1)",
    )
    cost.add_argument("--json", action="store_true", help="for programs")
    cost.set_defaults(command=commands.cost)

    alarms = known.add_parser(
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
    alarms.set_defaults(command=commands.alarms)

    board = known.add_parser(
        "cloudwatch-dashboard", help="write a CloudWatch dashboard with what is published"
    )
    _rehearsal_flags(board)
    board.add_argument("--instance-id", metavar="ID", help="this machine, in place of every one")
    board.add_argument("--region", metavar="REGION", help="default: cloudwatch.region")
    board.set_defaults(command=commands.cloudwatch_dashboard)

    definition = known.add_parser(
        "task-definition", help="write a task definition for ECS, with the exporter in it"
    )
    task_definition_flags(definition)
    definition.set_defaults(command=commands.task_definition)

    types = known.add_parser("instance-types", help="list the machines that have Neuron devices")
    types.add_argument("--json", action="store_true", help="for programs; null is not known")
    types.set_defaults(command=commands.instance_types)

    doctor = known.add_parser("doctor", help="say what is wrong on this machine, and what to do")
    doctor.add_argument("--config", metavar="FILE", help="default: as the exporter here runs")
    doctor.add_argument("--json", action="store_true", help="for programs")
    doctor.add_argument(
        "--send", action="store_true", help="send CloudWatch one datum (DoctorTest), which is paid"
    )
    doctor.add_argument("--bundle", metavar="FILE", help="a new .tar.gz to show to others")
    doctor.set_defaults(command=_doctor)

    known.add_parser("simulate", help="write reports as neuron-monitor does, without hardware")

    known.add_parser("healthcheck", help="ask the exporter of this container whether it lives")

    record = known.add_parser("record", help="write the source's lines to a file, to replay")
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
    record.set_defaults(command=commands.record)
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


def _doctor(parsed: argparse.Namespace) -> int:
    from neuron_exporter.doctor.context import Run
    from neuron_exporter.doctor.doctor import doctor

    def read_run(words: Sequence[str]) -> Run | None:
        try:
            run = _parser().parse_args(["run", *words])
        except SystemExit:  # another version's flags
            return None
        return Run(run.config, settings(run))

    return doctor(
        parsed.config,
        os.environ,
        read_run,
        json=parsed.json,
        send=parsed.send,
        bundle=parsed.bundle,
    )


if __name__ == "__main__":
    sys.exit(main())
