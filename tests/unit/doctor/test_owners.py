"""Owner providers: their answers, and why a label is empty."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neuron_exporter.doctor import owners
from neuron_exporter.doctor.context import Context, Sample
from neuron_exporter.doctor.finding import Finding, Verdict
from neuron_exporter.identity.owners.lookup import OwnersResult
from neuron_exporter.identity.owners.process_labels import HIDDEN, NO_HOST_PIDS
from neuron_exporter.model import SourceState
from tests.support import metadata
from tests.support.cgroups import process_in
from tests.support.doctor import make_context, seen_with
from tests.support.kubelet import CORE, DEVICE, PodClaim, PodResource, kubelet_server
from tests.support.reports import HARDWARE, cores, decode_document, report, runtime

TASK, TRAINER = "158d1c8083dd49d6b527399fd6414f5c", "1" * 64
UID = "8dbc5577-d0e2-4706-8787-57d52c03ddf2"
NO_PROCESS = 2**22 + 1
"""A process id that cannot exist."""


def sampled(environment: Mapping[str, str], *pids: int, **more: Any) -> Context:
    """Return a context whose source reported these processes."""
    context = make_context(environment, **more.pop("settings", {}))
    document = report(*(runtime(pid, neuroncore_counters=cores(_0=1)) for pid in pids), **more)
    context.sample = Sample(SourceState.OK, "", report=decode_document(document))
    return context


def all_findings(context: Context) -> list[Finding]:
    """Return all findings about owners."""
    return [*owners.check(context)]


def test_owner_dimensions_without_provider() -> None:
    assert {each.verdict for each in all_findings(make_context())} == {Verdict.SKIPPED}
    by_pod = make_context(
        cloudwatch__enabled=True, cloudwatch__dimension_sets=[["ClusterName", "PodName"]]
    )
    (warned,) = seen_with(all_findings(by_pod), Verdict.WARNING)
    assert "nothing is published in it" in warned


def test_labels_of_processes() -> None:
    """Without a provider of owners, processes need none."""
    settings = {"identity__process_labels": {"job_id": "JOB"}}
    found = seen_with(all_findings(sampled({}, NO_PROCESS, settings=settings)), Verdict.WARNING)
    no_host_pids = f"process labels: {NO_HOST_PIDS}"  # as where the tests run in a container
    assert found in (["process labels: 0 of 1 processes have some"], [no_host_pids])


def test_hidden_processes() -> None:
    """The fix names the right that shows them."""
    (found,) = owners._answer("process labels", OwnersResult(error=f"/proc/PID/stat: {HIDDEN}"))
    assert found.verdict is Verdict.WARNING
    assert "hidepid" in found.seen
    assert "CAP_SYS_PTRACE" in found.fix


def test_simulated_source_has_no_providers() -> None:
    assert (
        len(all_findings(make_context({"KUBERNETES_SERVICE_HOST": "x"}, source__kind="simulator")))
        == 1
    )


# Kubernetes


def test_kubelet_allocation(tmp_path: Path) -> None:
    with kubelet_server(
        tmp_path, PodResource("a", CORE, [0, 1]), PodResource("b", DEVICE, [1])
    ) as kubelet:
        found = all_findings(sampled({"NEURON_EXPORTER_KUBELET_SOCKET": str(kubelet.socket)}))
    assert seen_with(found, Verdict.WARNING) == []
    (seen,) = [each for each in seen_with(found, Verdict.OK) if "pods have" in each]
    assert seen == (
        "kubelet: pods have 2 cores and 1 devices (aws.amazon.com/neuron, "
        "aws.amazon.com/neuroncore)"
    )


def test_kubelet_without_neuron_devices(tmp_path: Path) -> None:
    """No pod has an owner label, since none requested a Neuron device."""
    with kubelet_server(tmp_path, PodResource("a", "nvidia.com/gpu", [0])) as kubelet:
        found = all_findings(sampled({"NEURON_EXPORTER_KUBELET_SOCKET": str(kubelet.socket)}))
    (warned,) = [each for each in found if each.verdict is Verdict.WARNING]
    assert warned.seen == ("kubelet: no pod has a Neuron core or device (pods have nvidia.com/gpu)")
    assert "device plugin" in warned.fix


def test_missing_kubelet_socket(tmp_path: Path) -> None:
    """The fix names the directory to mount."""
    environment = {"NEURON_EXPORTER_KUBELET_SOCKET": str(tmp_path / "kubelet.sock")}
    (warned,) = [
        each for each in all_findings(sampled(environment)) if each.verdict is Verdict.WARNING
    ]
    assert "does not exist" in warned.seen
    assert "/var/lib/kubelet/pod-resources" in warned.fix


def test_unknown_resource(tmp_path: Path) -> None:
    """The fix does not suggest mounting a socket that answered."""
    with kubelet_server(tmp_path, PodResource("a", "aws.amazon.com/neuronlink", [0])) as kubelet:
        found = all_findings(sampled({"NEURON_EXPORTER_KUBELET_SOCKET": str(kubelet.socket)}))
    (warned,) = [each for each in found if each.verdict is Verdict.WARNING]
    assert "aws.amazon.com/neuronlink is not supported" in warned.seen
    assert "mount" not in warned.fix


def test_claimed_devices(tmp_path: Path) -> None:
    """Devices that a pod claimed are counted; a name of an unknown form is a warning."""
    with kubelet_server(tmp_path, PodClaim("a", ["neuron-device-0", "neurondevice1"])) as kubelet:
        environment = {"NEURON_EXPORTER_KUBELET_SOCKET": str(kubelet.socket)}
        found = all_findings(sampled(environment))
        assert seen_with(found, Verdict.WARNING) == []
        counted = "kubelet: pods have 0 cores and 2 devices (neuron.aws.com)"
        assert counted in seen_with(found, Verdict.OK)
        kubelet.allocated = [PodClaim("a", ["neuron-device-0", "neuron-node-7"])]
        (warned,) = (
            each for each in all_findings(sampled(environment)) if each.verdict is Verdict.WARNING
        )
    assert warned.seen == "kubelet: neuron.aws.com 'neuron-node-7' is not supported"
    assert "device plugin" not in warned.fix.partition(". Known are")[0], "no other way to allocate"


def test_ambiguous_core_numbers(tmp_path: Path) -> None:
    """With logical cores, a plugin that does not list its cores names no owner."""
    hardware = {**HARDWARE, "neuroncore_per_device_count": 4, "logical_neuroncore_config": 2}
    with kubelet_server(tmp_path, PodResource("a", CORE, [0, 1])) as kubelet:
        environment = {"NEURON_EXPORTER_KUBELET_SOCKET": str(kubelet.socket)}
        found = all_findings(sampled(environment, neuron_hardware_info=hardware))
    (warned,) = seen_with(found, Verdict.WARNING)
    assert "(0, 1) may be logical or physical cores" in warned


# Processes


def test_processes_without_owner(tmp_path: Path, no_folder: Path) -> None:
    """A hidden process, one outside containers and one in an unknown container differ."""
    with (
        kubelet_server(tmp_path, PodResource("a", CORE, [0])) as kubelet,
        process_in("/somewhere/else") as outside,
        process_in(f"/kubepods/burstable/pod{UID}/{TRAINER}") as other,
    ):
        environment = {"NEURON_EXPORTER_KUBELET_SOCKET": str(kubelet.socket)}
        found = all_findings(sampled(environment, NO_PROCESS, outside, other))
    warned = seen_with(found, Verdict.WARNING)
    assert any(f"processes {NO_PROCESS} are not visible here" in each for each in warned)
    assert any(f"processes {outside} have a cgroup of no known" in each for each in warned)
    assert any(
        f"processes {other} run in containers that no provider knows" in each for each in warned
    )
    assert any(f"containers: {no_folder}: " in each for each in warned)


def test_long_process_lists_are_cut(tmp_path: Path) -> None:
    with kubelet_server(tmp_path, PodResource("a", CORE, [0])) as kubelet:
        environment = {"NEURON_EXPORTER_KUBELET_SOCKET": str(kubelet.socket)}
        found = all_findings(sampled(environment, *range(NO_PROCESS, NO_PROCESS + 40)))
    assert any("and 35 more are not visible" in each for each in seen_with(found, Verdict.WARNING))


# ECS


def test_ecs_agent_counts_processes() -> None:
    described = metadata.agent_task("train", TASK, {TRAINER: "trainer"})
    with (
        process_in(f"/ecs/{TASK}/{TRAINER}") as pid,
        metadata.agent_server(described) as agent,
    ):
        found = all_findings(sampled({"NEURON_EXPORTER_ECS_AGENT": agent.url}, pid))
    assert seen_with(found, Verdict.WARNING) == []
    assert "ECS: answered, with the owners of 1 processes" in seen_with(found, Verdict.OK)


def test_unreachable_ecs_agent() -> None:
    with process_in(f"/ecs/{TASK}/{TRAINER}") as pid:
        found = all_findings(sampled({"NEURON_EXPORTER_ECS_AGENT": "http://127.0.0.1:1"}, pid))
    (first, *_) = [each for each in found if each.verdict is Verdict.WARNING]
    assert first.seen == "ECS: agent at http://127.0.0.1:1: Connection refused"
    assert "networkMode: host" in first.fix


def test_pod_labels_without_a_service_account(tmp_path: Path, no_folder: Path) -> None:
    """The finding names the missing file, the fix the permission."""
    with kubelet_server(tmp_path, PodResource("a", CORE, [0])) as kubelet:
        environment = {
            "NEURON_EXPORTER_KUBELET_SOCKET": str(kubelet.socket),
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": "1",
        }
        settings = {"identity__pod_labels": ["team"]}
        found = all_findings(sampled(environment, settings=settings))
    (warned,) = [each for each in found if each.verdict is Verdict.WARNING]
    assert warned.seen == f"pod labels: {no_folder}/ca.crt: No such file or directory"
    assert "verb get" in warned.fix
