"""What each place tells of the machine: the firmware, EC2's and ECS's metadata, the environment."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.identity import dmi, environment, imds
from neuron_exporter.identity import ecs_task as ecs
from neuron_exporter.identity import local_http as ask
from neuron_exporter.model import Machine
from tests.support import metadata
from tests.support.metadata import DOCUMENT, IDENTITY_DOCUMENT, TAGS, TASK, Answer, body

THERE = "i-0fedcba9876543210"
INSTANCE = Machine(
    instance_id=THERE,
    instance_type="trn1.32xlarge",
    availability_zone="us-west-2b",
    region="us-west-2",
    account="123456789012",
)
GROUP = frozenset({"auto_scaling_group"})
BOARD = {
    "board_vendor": "Amazon EC2\n",
    "board_asset_tag": f"{THERE}\n",
    "product_name": "trn1.32xlarge\n",
}


# The firmware


def board(folder: Path, **files: str) -> Machine:
    """What a board with these files tells."""
    for name, content in files.items():
        (folder / name).write_text(content)
    return dmi.read(folder)


def test_the_board_of_an_instance_tells_id_and_type(tmp_path: Path) -> None:
    """On Nitro no service need be asked for what the default dimensions are."""
    assert board(tmp_path, **BOARD) == Machine(instance_id=THERE, instance_type="trn1.32xlarge")


@pytest.mark.parametrize(
    "other",
    [
        {"board_vendor": "Intel Corporation\n"},
        {"board_vendor": ""},
        {"board_vendor": "Amazon EC2 compatible\n"},
        {"board_asset_tag": "Base Board Asset Tag\n", "product_name": "NUC7\n"},
        {"board_asset_tag": "i-\n", "product_name": "HVM domU\n"},
        {"board_asset_tag": f"{THERE} x\n", "product_name": ""},
        {"board_asset_tag": "\udcff", "product_name": "\x00" * 5000},
    ],
)
def test_no_other_board_is_taken_for_an_instance(tmp_path: Path, other: dict[str, str]) -> None:
    """An asset tag that somebody else wrote is no id: a wrong one would be worse than none."""
    encoded = {
        name: text.encode("utf-8", "surrogateescape").decode("latin-1")
        for name, text in {**BOARD, **other}.items()
    }
    assert board(tmp_path, **encoded) == Machine()


def test_a_machine_without_firmware_tells_nothing(tmp_path: Path) -> None:
    """A container that hides the files, and folders in their place, are borne."""
    assert dmi.read(tmp_path / "none") == Machine()
    (tmp_path / "board_vendor").mkdir()
    assert dmi.read(tmp_path) == Machine()


# EC2's metadata service


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({}, "http://169.254.169.254"),
        ({"AWS_EC2_METADATA_DISABLED": "TRUE"}, None),
        ({"AWS_EC2_METADATA_DISABLED": "false"}, "http://169.254.169.254"),
        ({"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://[::1]:99/x/"}, "http://[::1]:99/x/"),
        ({"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "IPv6"}, "http://[fd00:ec2::254]"),
    ],
)
def test_the_service_is_where_the_variables_of_aws_say(
    variables: dict[str, str], url: str | None
) -> None:
    """Who has told every AWS SDK where the service is, or that it is off, need not repeat it."""
    assert imds.endpoint(variables) == url


def test_the_identity_document_is_read_with_a_token() -> None:
    """The second version's protocol is spoken: the server tells nothing without its token."""
    with metadata.imds() as server:
        assert imds.find(server.url + "/", frozenset({"instance_id"})) == (INSTANCE, "")
        assert server.asked == ["PUT /latest/api/token", f"GET {DOCUMENT}"], "and nothing else"


def test_the_scaling_group_and_the_name_are_tags() -> None:
    """Where tags are exposed, they tell what the document does not."""
    tags = {"aws:autoscaling:groupName": "fleet a", "Name": "worker-7", "Owner": "x"}
    with metadata.imds(metadata.imds_answers(**tags)) as server:
        machine, why = imds.find(server.url, GROUP | {"instance_name"})
        assert (machine.auto_scaling_group, machine.instance_name, why) == (
            "fleet a",
            "worker-7",
            "",
        )
        assert not server.paths("Owner")


@pytest.mark.parametrize(
    ("tags", "reason"),
    [({}, "not exposed (InstanceMetadataTags)"), ({"Name": "x"}, "has no tag aws:autoscaling")],
)
def test_without_tags_the_rest_is_told(tags: dict[str, str], reason: str) -> None:
    """Tags are off by default: this costs their fields only, and the reason is said."""
    with metadata.imds(metadata.imds_answers(**tags)) as server:
        machine, why = imds.find(server.url, GROUP)
    assert machine == INSTANCE
    assert reason in why


def test_the_subnet_is_asked_for_by_the_interface() -> None:
    """Who publishes by subnet gets it, at two more questions."""
    answers = metadata.imds_answers()
    answers["/latest/meta-data/mac"] = body("02:29:96:8f:6a:2d")
    path = "/latest/meta-data/network/interfaces/macs/02:29:96:8f:6a:2d/subnet-id"
    answers[path] = body("subnet-0a1b")
    with metadata.imds(answers) as server:
        assert imds.find(server.url, frozenset({"subnet_id"})).machine.subnet_id == "subnet-0a1b"


@pytest.mark.parametrize(
    ("path", "answer", "reason"),
    [
        ("/latest/api/token", metadata.status(403), "no token: the answer was 403"),
        ("/latest/api/token", metadata.status(302), "no token: the answer was 302"),
        ("/latest/api/token", body("<html>sign in</html>"), "no token: the answer is none"),
        ("/latest/api/token", body("a\r\nX: y"), "no token: the answer is none"),
        ("/latest/api/token", body(b""), "no token: the answer is none"),
        (DOCUMENT, metadata.status(404), "no identity document: the answer was 404"),
        (DOCUMENT, metadata.status(500), "no identity document: the answer was 500"),
        (DOCUMENT, body("<html>sign in</html>"), "not JSON"),
        (DOCUMENT, body(b"\xff\xfe"), "not JSON"),
        (DOCUMENT, body("[" * 100_000), "not JSON"),
        (DOCUMENT, body("[1]"), "not a JSON object"),
        (DOCUMENT, body(b"x" * (ask.LONGEST + 1)), "does not end"),
    ],
)
def test_what_is_no_answer_teaches_nothing(path: str, answer: Answer, reason: str) -> None:
    """Refusals, a proxy's page and garbage become a reason, never a field."""
    with metadata.imds({**metadata.imds_answers(), path: answer}) as server:
        machine, why = imds.find(server.url, frozenset({"instance_id"}))
    assert machine == Machine()
    assert reason in why


@pytest.mark.parametrize(
    ("key", "value", "field"),
    [
        ("instanceId", "localhost", "instance_id"),
        ("instanceId", 7, "instance_id"),
        ("instanceType", "<b>", "instance_type"),
        ("region", "us-west-2.evil.example/", "region"),
        ("accountId", None, "account"),
    ],
)
def test_a_field_that_cannot_be_right_is_left_out(key: str, value: object, field: str) -> None:
    """Ids, types and regions have forms; what has another is not believed, and the rest is."""
    document = {**IDENTITY_DOCUMENT, key: value}
    with metadata.imds({**metadata.imds_answers(), DOCUMENT: body(document)}) as server:
        machine, _ = imds.find(server.url, frozenset({field}))
    assert getattr(machine, field) == ""
    assert machine.availability_zone == "us-west-2b"


def test_an_answer_is_shown_without_its_control_characters() -> None:
    """What others have written cannot become lines of a log or of an exposition."""
    tags = {**metadata.imds_answers(Name="x"), f"{TAGS}/Name": body("a\x1b[31m\nb")}
    with metadata.imds(tags) as server:
        name = imds.find(server.url, frozenset({"instance_name"})).machine.instance_name
    assert name.isprintable()


@pytest.mark.parametrize("answer", [metadata.silent, metadata.dripping])
def test_a_service_that_is_slow_costs_a_second(
    monkeypatch: pytest.MonkeyPatch, answer: Answer
) -> None:
    """A hop limit of 1 swallows the token, and a sick server drips: both end with the deadline."""
    monkeypatch.setattr(ask, "SECONDS", 0.3)
    with metadata.imds({"/latest/api/token": answer}) as server:
        started = time.monotonic()
        assert imds.find(server.url, GROUP) == (Machine(), "no token: no answer within 0.3 s")
        assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://127.0.0.1", "is no http:// address"),
        ("127.0.0.1", "is no http:// address"),
        ("http://127.0.0.1:99999", "is no http:// address"),
        ("http://[::1", "is no http:// address"),
        ("http://127.0.0.1:1", "refused"),
        ("http://127.0.0.1/a b", "no token"),
    ],
)
def test_an_address_that_cannot_be_asked_is_a_reason(url: str, reason: str) -> None:
    """A mistyped variable is told, and ends nothing."""
    machine, why = imds.find(url, GROUP)
    assert machine == Machine()
    assert reason in why


def test_no_proxy_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who the machine is stays on the machine, whatever http_proxy says."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with metadata.imds() as server:
        assert imds.find(server.url, GROUP).machine == INSTANCE


# ECS's agent


def test_the_agent_tells_of_the_task() -> None:
    """Cluster, service, family, task and where it runs come of one document."""
    with metadata.ecs() as server:
        assert ecs.find(server.url, GROUP) == (
            Machine(
                cluster="training",
                service="resnet-inference",
                task_family="resnet",
                task_id="158d1c8083dd49d6b527399fd6414f5c",
                account="123456789012",
                region="us-west-2",
                availability_zone="us-west-2d",
            ),
            "",
        )
        assert server.asked == ["GET /v4/0123/task"]


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        ({"Cluster": "arn:aws:ecs:us-west-2:123456789012:cluster/big"}, "cluster", "big"),
        ({"TaskARN": "arn:aws-cn:ecs:cn-north-1:1:task/abc"}, "task_id", "abc"),
        ({"TaskARN": "arn:aws-cn:ecs:cn-north-1:1:task/c/abc"}, "region", "cn-north-1"),
        ({"TaskARN": "arn:aws:s3:::task/abc"}, "task_id", ""),
        ({"TaskARN": 5}, "region", ""),
        ({"ServiceName": None, "Group": "service:old"}, "service", "old"),
        ({"ServiceName": None, "Group": "family:resnet"}, "service", ""),
        ({"Family": ["resnet"]}, "task_family", ""),
    ],
)
def test_every_shape_of_the_agents_document_is_read(
    change: dict[str, Any], field: str, value: str
) -> None:
    """Old and new ARNs, other partitions and missing fields give what they hold, and no more."""
    assert getattr(ecs.from_task({**TASK, **change}), field) == value


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (metadata.status(404), "the answer was 404"),
        (metadata.status(500), "the answer was 500"),
        (body("<html>"), "not JSON"),
    ],
)
def test_an_agent_that_fails_is_a_reason(answer: Answer, reason: str) -> None:
    """Without the task's description nothing is known of it, and why is said."""
    with metadata.ecs(answer) as server:
        machine, why = ecs.find(server.url, GROUP)
    assert machine == Machine()
    assert reason in why


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({}, None),
        ({"ECS_CONTAINER_METADATA_URI_V4": " "}, None),
        (
            {"ECS_CONTAINER_METADATA_URI_V4": "http://169.254.170.2/v4/x"},
            "http://169.254.170.2/v4/x",
        ),
    ],
)
def test_the_agent_is_asked_in_tasks_only(variables: dict[str, str], url: str | None) -> None:
    """Elsewhere there is no agent, and nobody is asked."""
    assert ecs.endpoint(variables) == url


# The environment


def test_a_pod_is_told_by_its_variables() -> None:
    """The downward API's usual names, and those of CloudWatch's agent, become fields."""
    usual = {"NODE_NAME": "n", "POD_NAME": "p", "POD_NAMESPACE": "s", "K8S_POD_NAME": "other"}
    assert environment.read(usual) == Machine(node_name="n", pod_name="p", pod_namespace="s")
    agents = {"K8S_NODE_NAME": "n", "K8S_POD_NAME": "p", "K8S_NAMESPACE": "s"}
    assert environment.read(agents) == Machine(node_name="n", pod_name="p", pod_namespace="s")
