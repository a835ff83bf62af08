"""The reader of the driver's files by configuration."""

from __future__ import annotations

from typing import Any

import pytest

from neuron_exporter.config import ConfigError, Override, load
from neuron_exporter.daemon.reload import reconfigure
from neuron_exporter.pipeline.build import build


def settings(**values: Any) -> list[Override]:
    """Return the settings of keys whose dots are written as two underscores."""
    return [Override("test", key.replace("__", "."), value) for key, value in values.items()]


@pytest.mark.parametrize(
    ("kind", "is_read"),
    [("neuron-monitor", True), ("stdin", True), ("file", False), ("simulator", False)],
)
def test_reader_of_this_machine_only(kind: str, is_read: bool) -> None:
    """Reports of a file or of the simulator describe another machine."""
    path = {"source__path": __file__} if kind == "file" else {}
    pipeline = build(load(flags=settings(source__kind=kind, **path)), environment={})
    assert (pipeline.sysfs is not None) == is_read


@pytest.mark.parametrize("value", [True, False, "auto", "/some/folder"])
def test_settings(value: bool | str) -> None:
    assert load(flags=settings(hardware__sysfs=value)).config.hardware.sysfs == value


@pytest.mark.parametrize("value", ["some/folder", "", 7, "automatic", "/a\0b"])
def test_wrong_settings(value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        load(flags=settings(hardware__sysfs=value))
    (problem,) = caught.value.problems
    assert "hardware.sysfs: must be true, false, auto or an absolute path" in problem


def test_a_reload_changes_the_setting() -> None:
    pipeline = build(load(), environment={})
    (change,) = reconfigure(pipeline, load(flags=settings(hardware__sysfs=False)), {})
    assert pipeline.sysfs is not None
    assert (change.key, pipeline.sysfs.setting) == ("hardware.sysfs", False)
