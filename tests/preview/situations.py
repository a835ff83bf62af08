"""Machines in every situation that the dashboards must show, all of one fleet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.dashboard_rig import PODS, Machine, Rig, running_machines
from tests.support.endpoint import reject
from tests.support.exporter import simulated
from tests.support.kubelet import CORE, PodResource
from tests.support.modified_simulator import modified_simulator
from tests.support.otlp_receiver import otlp_receiver
from tests.support.validating_endpoint import validating_endpoint
from tests.support.waiting import wait_for

SCRAPE = 5.0
"""Interval of scrapes and rules in seconds."""

JOB = "neuron-exporter"

WELL = ""
"""In place of the reason of a problem."""


SLOW_POD = "search-0"
"""Pod whose executions become slow after some minutes."""

IDLE_POD = "notebook-0"
"""Pod that does not use its cores. The other cores of its machine are free."""


class Situation(NamedTuple):
    """A machine, and the reason of its worst problem in `instance:neuron_problem:rank`."""

    instance_type: str
    flags: tuple[str, ...]
    reason: str = WELL
    change: str = ""
    """Change of `modified_simulator`."""
    pods: Sequence[PodResource] = ()
    has_files: bool = False
    """Whether the exporter reads files of a driver."""


SITUATIONS: Mapping[str, Situation] = {
    "inference": Situation("inf2.48xlarge", ("--scenario", "inference")),
    "training": Situation("trn1.32xlarge", ("--scenario", "training")),
    "pods": Situation("inf2.24xlarge", ("--scenario", "mixed"), pods=PODS),
    "slow": Situation(
        "trn1.32xlarge",
        ("--scenario", "inference"),
        change="slow-runtime",
        pods=[
            PodResource(name, CORE, range(8 * number, 8 * number + 8))
            for number, name in enumerate(("chat-0", SLOW_POD, "rerank-0", "embed-0"))
        ],
    ),
    "idle": Situation(
        "trn1.32xlarge",
        ("--scenario", "idle"),
        pods=[PodResource(IDLE_POD, CORE, range(8))],
    ),
    "compile": Situation("inf2.24xlarge", ("--scenario", "compile")),
    "hung": Situation("trn1.32xlarge", ("--scenario", "training", "--faults", "hang@60"), "hung"),
    "failing": Situation(
        "inf2.48xlarge", ("--scenario", "inference", "--faults", "execution-errors@20"), "failing"
    ),
    "uncorrected": Situation(
        "trn1.32xlarge",
        ("--scenario", "training", "--faults", "ecc-level"),
        "uncorrected_ecc",
        "only-uncorrected-ecc",
    ),
    "corrected": Situation(
        "trn1.32xlarge",
        ("--scenario", "training", "--faults", "ecc-level"),
        "corrected_ecc",
        "only-corrected-ecc",
    ),
    "filling": Situation(
        "inf2.24xlarge", ("--scenario", "inference", "--faults", "memory-filling"), "memory_full"
    ),
    "crashing": Situation(
        "inf2.24xlarge", ("--scenario", "inference", "--faults", "crash@7"), "crash_loop"
    ),
    "lost": Situation(
        "trn1.32xlarge", ("--scenario", "training", "--faults", "lost-device@20"), "device_missing"
    ),
    "unpublished": Situation("inf2.24xlarge", ("--scenario", "inference"), "sink_failing"),
    "unhealthy": Situation(
        "trn2.48xlarge",
        ("--scenario", "training", "--faults", "hardware-errors@20,unhealthy-device@20"),
        "device_unhealthy",
        has_files=True,
    ),
}

JOB_OF = dict.fromkeys(("training", "hung", "uncorrected", "corrected"), "4711")
"""Job of a scheduler by machine, of which one falls behind. Their targets have the label, in place
of the processes."""

NO_PROGRAM = "no-program"
"""Machine whose neuron-monitor does not exist."""

DOWN = "down"
"""Target that does not listen."""

REASONS = {
    **{name: each.reason for name, each in SITUATIONS.items()},
    NO_PROGRAM: "source_down",
    DOWN: "exporter_down",
}
"""Reason for the worst problem, by machine."""

INSTANCES = {name: f"ip-10-0-1-{10 + number}:9415" for number, name in enumerate(REASONS)}
"""Addresses as Prometheus would have them, by machine."""


class Fleet(NamedTuple):
    """Running machines, and the requests of PutMetricData that CloudWatch has accepted."""

    rig: Rig
    published: Sequence[Mapping[str, Any]]


@contextmanager
def situations(folder: Path) -> Iterator[Fleet]:
    """Start all machines and a Prometheus with the rules."""
    with ExitStack() as stack:
        accepting, rejecting = (stack.enter_context(validating_endpoint()) for _ in range(2))
        rejecting.answer = reject(403, "AccessDenied")
        receiver = stack.enter_context(otlp_receiver())
        machines = {
            name: Machine(
                _labels(name),
                _source(number, situation, folder / f"sysfs-{name}"),
                {
                    **_publishing((rejecting if name == "unpublished" else accepting).url),
                    "otlp": {"enabled": True, "endpoint": receiver.url, "interval": "10s"},
                    **(_reading(folder / f"sysfs-{name}") if situation.has_files else {}),
                },
                situation.pods,
            )
            for number, (name, situation) in enumerate(SITUATIONS.items(), 1)
        }
        machines[NO_PROGRAM] = Machine(
            _labels(NO_PROGRAM), {"command": ["/opt/aws/neuron/bin/neuron-monitor"]}
        )
        rig = stack.enter_context(running_machines(folder, machines, _labels(DOWN), SCRAPE))
        yield Fleet(rig, accepting.requests)


def wait_for_reasons(rig: Rig, seconds: float) -> None:
    """Wait until the rules have recorded the problem of every machine that has one."""
    expected = {(INSTANCES[name], reason) for name, reason in REASONS.items() if reason}

    def found() -> bool:
        recorded = rig.prometheus.query("instance:neuron_problem:rank")
        pairs = {(each["metric"]["instance"], each["metric"]["reason"]) for each in recorded}
        return expected <= pairs

    wait_for(found, seconds, every=1)


def _labels(name: str) -> dict[str, str]:
    job = {"job_id": JOB_OF[name]} if name in JOB_OF else {}
    return {"job": JOB, "instance": INSTANCES[name], **job}


def _source(number: int, situation: Situation, files: Path) -> dict[str, Any]:
    flags = ("--instance-type", situation.instance_type, "--seed", str(number), *situation.flags)
    if situation.has_files:
        files.mkdir()  # the exporter looks for a folder that is missing once a minute only
        flags += ("--sysfs", str(files))
    if situation.change:
        return modified_simulator(situation.change, *flags)
    return simulated(*flags)


def _reading(files: Path) -> dict[str, Any]:
    return {"hardware": {"sysfs": str(files)}, "prometheus": {"include": ["neurondevice_info"]}}


def _publishing(url: str) -> dict[str, Any]:
    settings = {"region": "us-east-1", "endpoint_url": url, "flush_interval": "10s"}
    return {"cloudwatch": {"enabled": True, **settings}}
