"""Whose cores are: who is asked, what he answers, and why a label is empty."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neuron_exporter.doctor import owners
from neuron_exporter.doctor.context import Case, Sample
from neuron_exporter.doctor.finding import Finding, Verdict
from neuron_exporter.doctor.scraped import Exposed
from neuron_exporter.doctor.source import listen
from neuron_exporter.model import SourceState
from tests.support import metadata
from tests.support.cgroups import process_in
from tests.support.doctoring import case, of
from tests.support.exporter import SIMULATOR
from tests.support.kubelet import CORE, DEVICE, Given, kubelet
from tests.support.reports import HARDWARE, cores, decoded, report, runtime

TASK, TRAINER = "158d1c8083dd49d6b527399fd6414f5c", "1" * 64
UID = "8dbc5577-d0e2-4706-8787-57d52c03ddf2"
NOBODY = 2**22 + 1
"""No process has this number."""


def heard(environment: Mapping[str, str], *pids: int, **more: Any) -> Case:
    """A case whose source told of these processes."""
    told = case(environment, **more.pop("settings", {}))
    document = report(*(runtime(pid, neuroncore_counters=cores(_0=1)) for pid in pids), **more)
    told.sample = Sample(SourceState.OK, "", report=decoded(document))
    return told


def examined(told: Case) -> list[Finding]:
    """All that is found."""
    return [*owners.examine(told)]


def test_owners_come_from_reports() -> None:
    """What reports tell of pods is said, by a report that was heard or by an exporter's series."""
    told = case(source__command=[*SIMULATOR, "--kubernetes"], source__period="1s")
    told.sample = listen(told)
    first, nobody = examined(told)
    assert first.verdict is Verdict.OK
    assert "neuron_k8s_info names the pods of" in first.seen
    assert nobody.seen.startswith("nobody is asked")

    told = case()
    told.exposed = Exposed(
        'neuron_exporter_build_info{version="1"} 1\nneuroncore_utilization_ratio{pod="a"} 1\n'
    )
    assert examined(told)[0].verdict is Verdict.OK


def test_a_set_by_holder_without_anybody_to_ask_is_warned_of() -> None:
    """Who pays for metrics by pod learns that there will be none."""
    assert {each.verdict for each in examined(case())} == {Verdict.SKIPPED}
    by_pod = case(cloudwatch__enabled=True, cloudwatch__dimension_sets=[["ClusterName", "PodName"]])
    (warned,) = of(examined(by_pod), Verdict.WARNING)
    assert "it stays empty" in warned


def test_reports_of_another_machine_are_nobodys_here() -> None:
    """Nobody is asked about what is simulated or replayed."""
    assert len(examined(case({"KUBERNETES_SERVICE_HOST": "x"}, source__kind="simulator"))) == 1


# Kubernetes


def test_what_the_kubelet_gave_is_said(tmp_path: Path) -> None:
    """How many cores and devices pods have, and nothing to do."""
    with kubelet(tmp_path, Given("a", CORE, [0, 1]), Given("b", DEVICE, [1])) as played:
        found = examined(heard({"NEURON_EXPORTER_KUBELET_SOCKET": str(played.socket)}))
    assert of(found, Verdict.WARNING) == []
    (given,) = [each for each in of(found, Verdict.OK) if "gave" in each]
    assert given == (
        "kubelet: gave 2 cores and 1 devices to pods (aws.amazon.com/neuron, "
        "aws.amazon.com/neuroncore)"
    )


def test_a_kubelet_that_gave_nothing_is_looked_into(tmp_path: Path) -> None:
    """The most repeated complaint: no pod is named, since none asked for a device."""
    with kubelet(tmp_path, Given("a", "nvidia.com/gpu", [0])) as played:
        found = examined(heard({"NEURON_EXPORTER_KUBELET_SOCKET": str(played.socket)}))
    (warned,) = [each for each in found if each.verdict is Verdict.WARNING]
    assert warned.seen == (
        "kubelet: no pod was given a Neuron core or device (pods have nvidia.com/gpu)"
    )
    assert "device plugin" in warned.fix


def test_a_kubelet_that_is_not_there_says_what_to_mount(tmp_path: Path) -> None:
    """The folder of the socket is the fix."""
    environment = {"NEURON_EXPORTER_KUBELET_SOCKET": str(tmp_path / "kubelet.sock")}
    (warned,) = [each for each in examined(heard(environment)) if each.verdict is Verdict.WARNING]
    assert "is not there" in warned.seen
    assert "/var/lib/kubelet/pod-resources" in warned.fix


def test_what_is_not_understood_is_not_taken_for_silence(tmp_path: Path) -> None:
    """Where a pod has devices of another kind, nobody is told to mount the socket that answered."""
    with kubelet(tmp_path, Given("a", "aws.amazon.com/neuronlink", [0])) as played:
        found = examined(heard({"NEURON_EXPORTER_KUBELET_SOCKET": str(played.socket)}))
    (warned,) = [each for each in found if each.verdict is Verdict.WARNING]
    assert "aws.amazon.com/neuronlink is not understood" in warned.seen
    assert "mount" not in warned.fix


def test_numbers_that_may_be_of_either_kind_are_said(tmp_path: Path) -> None:
    """With logical cores, a plugin that does not say which cores there are names nobody."""
    hardware = {**HARDWARE, "neuroncore_per_device_count": 4, "logical_neuroncore_config": 2}
    with kubelet(tmp_path, Given("a", CORE, [0, 1])) as played:
        environment = {"NEURON_EXPORTER_KUBELET_SOCKET": str(played.socket)}
        found = examined(heard(environment, neuron_hardware_info=hardware))
    (warned,) = of(found, Verdict.WARNING)
    assert "(0, 1) may be those of logical or of physical cores" in warned


# Processes


def test_each_process_without_an_owner_has_a_reason(tmp_path: Path) -> None:
    """One that is not to be seen, one in no container, and one in a container of nobody's."""
    with (
        kubelet(tmp_path, Given("a", CORE, [0])) as played,
        process_in("/somewhere/else") as outside,
        process_in(f"/kubepods/burstable/pod{UID}/{TRAINER}") as stranger,
    ):
        environment = {"NEURON_EXPORTER_KUBELET_SOCKET": str(played.socket)}
        found = examined(heard(environment, NOBODY, outside, stranger))
    warned = of(found, Verdict.WARNING)
    assert any(f"processes {NOBODY} are not to be seen from here" in each for each in warned)
    assert any(f"processes {outside} run in no container" in each for each in warned)
    assert any(
        f"processes {stranger} run in containers that nobody knows" in each for each in warned
    )
    assert any("containers: /var/log/containers: " in each for each in warned)


def test_many_processes_are_not_all_listed(tmp_path: Path) -> None:
    """A line stays a line."""
    with kubelet(tmp_path, Given("a", CORE, [0])) as played:
        environment = {"NEURON_EXPORTER_KUBELET_SOCKET": str(played.socket)}
        found = examined(heard(environment, *range(NOBODY, NOBODY + 40)))
    assert any("and 35 more are not" in each for each in of(found, Verdict.WARNING))


# ECS


def test_a_daemons_processes_are_counted() -> None:
    """The agent answered, and how many processes that names."""
    described = metadata.introspected("train", TASK, {TRAINER: "trainer"})
    with (
        process_in(f"/ecs/{TASK}/{TRAINER}") as pid,
        metadata.introspection(described) as agent,
    ):
        found = examined(heard({"NEURON_EXPORTER_ECS_AGENT": agent.url}, pid))
    assert of(found, Verdict.WARNING) == []
    assert "ECS: answered, names 1 processes" in of(found, Verdict.OK)


def test_an_agent_that_does_not_answer_says_what_it_needs() -> None:
    """The host's network."""
    with process_in(f"/ecs/{TASK}/{TRAINER}") as pid:
        found = examined(heard({"NEURON_EXPORTER_ECS_AGENT": "http://127.0.0.1:1"}, pid))
    (first, *_) = [each for each in found if each.verdict is Verdict.WARNING]
    assert first.seen == "ECS: agent at http://127.0.0.1:1: Connection refused"
    assert "networkMode host" in first.fix


def test_labels_of_pods_without_an_account_say_what_they_need(tmp_path: Path) -> None:
    """A right that is missing is named."""
    with kubelet(tmp_path, Given("a", CORE, [0])) as played:
        environment = {
            "NEURON_EXPORTER_KUBELET_SOCKET": str(played.socket),
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": "1",
        }
        settings = {"identity__pod_labels": ["team"]}
        found = examined(heard(environment, settings=settings))
    (warned,) = [each for each in found if each.verdict is Verdict.WARNING]
    assert warned.seen.startswith("pod labels: https://127.0.0.1:1: ")
    assert "verb get" in warned.fix
