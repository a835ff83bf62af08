"""Who is asked whose cores are, by what was configured and by where we run."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import Any

import pytest

from neuron_exporter.config import Given, Loaded, load
from neuron_exporter.pipeline import owners as ownership
from tests.support.exporter import clean_environment

NOWHERE = "http://127.0.0.1:1"
POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
TASK = {"ECS_CONTAINER_METADATA_URI_V4": NOWHERE}


def loaded(**identity: Any) -> Loaded:
    """A configuration with these keys of `identity`."""
    return load(flags=[Given("test", f"identity.{key}", value) for key, value in identity.items()])


def asked(environment: dict[str, str], **identity: Any) -> list[str]:
    """Who is asked."""
    finder = ownership.make_owners_finder(loaded(**identity).config, environment)
    return [] if finder is None else [*finder.status()]


@pytest.mark.parametrize(
    ("environment", "identity", "who"),
    [
        ({}, {}, []),
        (TASK, {}, ["ECS"]),
        ({"NEURON_EXPORTER_ECS_AGENT": NOWHERE}, {}, ["ECS"]),
        (TASK, {"ecs": False}, []),
        (POD, {}, ["kubelet", "containers"]),
        ({"NEURON_EXPORTER_KUBELET_SOCKET": "/x"}, {}, ["kubelet", "containers"]),
        ({}, {"kubernetes": True}, ["kubelet", "containers"]),
        (POD, {"kubernetes": False}, []),
        (POD, {"pod_labels": ["team"]}, ["kubelet", "containers", "pod labels"]),
        ({**POD, **TASK}, {}, ["kubelet", "containers", "ECS"]),
    ],
)
def test_who_could_know_is_asked(
    environment: dict[str, str], identity: dict[str, Any], who: list[str]
) -> None:
    """In a pod the kubelet, in a task ECS, elsewhere nobody; a switch has the last word."""
    assert asked(environment, **identity) == who


def test_reports_of_another_machine_are_nobodys_here() -> None:
    """Whose cores are here says nothing of a recording, or of what is simulated."""
    config = load(flags=[Given("test", "source.kind", "simulator")]).config
    assert ownership.make_owners_finder(config, {**POD, **TASK}) is None


@pytest.mark.parametrize(
    ("identity", "problem"),
    [
        ({"ecs": False, "ecs_services": True}, "identity.ecs_services: needs identity.ecs"),
        ({"kubernetes": False, "pod_labels": ["a"]}, "identity.pod_labels: needs identity.kuber"),
    ],
)
def test_wishes_that_contradict_each_other_are_errors(
    identity: dict[str, Any], problem: str
) -> None:
    """What cannot be is said at start, with its key."""
    (found,) = ownership.check(loaded(**identity))
    assert problem in found


def test_labels_of_pods_outside_of_a_pod_are_a_warning() -> None:
    """There is no account to ask with."""
    config = loaded(kubernetes=True, pod_labels=["team"])
    (warning,) = ownership.warnings(config, {})
    assert "KUBERNETES_SERVICE_HOST is not set" in warning


WITHOUT_GRPC = """
    import sys
    sys.modules["grpc"] = None  # as where the extra is not installed
    from neuron_exporter import ownership
    from neuron_exporter.config import Given, load
    flags = [Given("test", "identity.kubernetes", VALUE)]
    told = load(flags=flags)
    pod = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    print(list(ownership.check(told)))
    print(list(ownership.warnings(told, pod)))
    finder = ownership.make_owners_finder(told.config, pod)
    print(list(finder.status()))
"""


def without_grpc(value: str) -> list[str]:
    """What is said where gRPC is not there."""
    program = textwrap.dedent(WITHOUT_GRPC).replace("VALUE", value)
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, check=True, env=clean_environment(),
    ).stdout.splitlines()  # fmt: skip


def test_without_the_extra_pods_of_processes_are_all_that_is_known() -> None:
    """`auto` is one warning and no labels of cores; `true` is an error that names the extra."""
    problems, warnings, who = without_grpc("'auto'")
    assert problems == "[]"
    assert "needs the extra `kubernetes`" in warnings
    assert who == "['containers']"
    problems, _, _ = without_grpc("True")
    assert "needs the extra `kubernetes`" in problems


def test_grpc_is_for_those_who_have_a_kubelet() -> None:
    """Nobody else pays its 26 MiB."""
    program = textwrap.dedent(
        """
        import sys
        from neuron_exporter.config import load
        from neuron_exporter.pipeline.build import build
        build(load())
        assert "grpc" not in sys.modules and "google.protobuf" not in sys.modules
        import os
        os.environ["KUBERNETES_SERVICE_HOST"] = "10.0.0.1"
        build(load())
        assert "grpc" in sys.modules
        """
    )
    subprocess.run([sys.executable, "-c", program], check=True, env=clean_environment())
