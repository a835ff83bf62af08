"""Identity from firmware and environment variables."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuron_exporter.identity import local
from neuron_exporter.model import Machine

INSTANCE_ID = "i-0fedcba9876543210"
BOARD = {
    "board_vendor": "Amazon EC2\n",
    "board_asset_tag": f"{INSTANCE_ID}\n",
    "product_name": "trn1.32xlarge\n",
}


def read_board(folder: Path, **files: str) -> Machine:
    """Return the identity read from a DMI folder with these files."""
    for name, content in files.items():
        (folder / name).write_text(content)
    return local.read_dmi(folder)


def test_dmi_of_ec2(tmp_path: Path) -> None:
    assert read_board(tmp_path, **BOARD) == Machine(
        instance_id=INSTANCE_ID, instance_type="trn1.32xlarge"
    )


@pytest.mark.parametrize(
    "other",
    [
        {"board_vendor": "Intel Corporation\n"},
        {"board_vendor": ""},
        {"board_vendor": "Amazon EC2 compatible\n"},
        {"board_asset_tag": "Base Board Asset Tag\n", "product_name": "NUC7\n"},
        {"board_asset_tag": "i-\n", "product_name": "HVM domU\n"},
        {"board_asset_tag": f"{INSTANCE_ID} x\n", "product_name": ""},
        {"board_asset_tag": "\udcff", "product_name": "\x00" * 5000},
    ],
)
def test_dmi_of_other_boards(tmp_path: Path, other: dict[str, str]) -> None:
    """Firmware values that are not an EC2 id or type are ignored."""
    encoded = {
        name: text.encode("utf-8", "surrogateescape").decode("latin-1")
        for name, text in {**BOARD, **other}.items()
    }
    assert read_board(tmp_path, **encoded) == Machine()


def test_dmi_without_files(tmp_path: Path) -> None:
    assert local.read_dmi(tmp_path / "none") == Machine()
    (tmp_path / "board_vendor").mkdir()
    assert local.read_dmi(tmp_path) == Machine()


def test_environment_of_a_pod() -> None:
    """The usual names for the downward API and those of the CloudWatch agent are read."""
    usual = {"NODE_NAME": "n", "POD_NAME": "p", "POD_NAMESPACE": "s", "K8S_POD_NAME": "other"}
    assert local.read_environment(usual) == Machine(node_name="n", pod_name="p", pod_namespace="s")
    agents = {"K8S_NODE_NAME": "n", "K8S_POD_NAME": "p", "K8S_NAMESPACE": "s"}
    assert local.read_environment(agents) == Machine(node_name="n", pod_name="p", pod_namespace="s")


@pytest.mark.parametrize(
    ("devices", "of_the_driver", "count"),
    [
        (["neuron4", "neuron5", "null"], [f"neuron{number}" for number in range(16)], 2),
        (["neuron0", "neuron1"], ["neuron0"], None),
        (["neuron0", "neuron1"], None, None),
        ([], ["neuron0"], None),
    ],
    ids=["container", "lost-device", "no-sysfs", "no-devices"],
)
def test_devices_of_a_container(
    tmp_path: Path, devices: list[str], of_the_driver: list[str] | None, count: int | None
) -> None:
    """Only where the driver has more devices than /dev, the container has a part of them."""
    for folder, names in (("dev", devices), ("class", of_the_driver or [])):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).touch()
    device_class = "class" if of_the_driver is not None else "nowhere"
    found = local.container_device_count(str(tmp_path / "dev"), str(tmp_path / device_class))
    assert found == count
