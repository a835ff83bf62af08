"""Nodes of CloudFormation templates that their parts share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

MAX_DESCRIPTION = 1024
"""Characters of the description of an alarm, and of a template."""

_TOPIC, _HAS_TOPIC = "SnsTopicArn", "HasTopic"

RUNBOOK = "RunbookUrl"
"""Parameter with the address of the runbook."""

Node = dict[str, Any]

NOTHING: Node = {"Ref": "AWS::NoValue"}

text_parameter: Callable[..., Node] = partial(dict, Type="String")
number_parameter: Callable[..., Node] = partial(dict, Type="Number")
"""Makers of parameters."""


class Value(NamedTuple):
    """A dimension's value: a text, or the value of the parameter with this name."""

    text: str = ""
    reference: str = ""
    default: str = ""

    @property
    def node(self) -> Any:
        """The value as a node of the template."""
        return {"Ref": self.reference} if self.reference else self.text


def equals(parameter: str, value: str) -> Node:
    """Return the condition that a parameter has this value."""
    return {"Fn::Equals": [{"Ref": parameter}, value]}


def is_set(parameter: str) -> Node:
    """Return the condition that a parameter is not empty."""
    return {"Fn::Not": [equals(parameter, "")]}


def if_node(condition: str, then: Any, otherwise: Any) -> Node:
    """Return a node that depends on a condition of the template."""
    return {"Fn::If": [condition, then, otherwise]}


def topic_parameter() -> Node:
    """Return the parameter for the topic that is notified."""
    about = "SNS topic that is notified when an alarm starts and ends; empty for none"
    return {_TOPIC: text_parameter(Default="", Description=about)}


def topic_condition() -> Node:
    """Return the condition that there is a topic."""
    return {_HAS_TOPIC: is_set(_TOPIC)}


def actions() -> Node:
    """Return the properties of an alarm that notifies the topic, if there is one."""
    topic = if_node(_HAS_TOPIC, [{"Ref": _TOPIC}], NOTHING)
    return {"AlarmActions": topic, "OKActions": topic}
