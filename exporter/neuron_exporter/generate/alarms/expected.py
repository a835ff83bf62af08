"""The number of machines or tasks that should report, in a template: read from another metric, or
set as a parameter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from neuron_exporter.generate.alarms.nodes import (
    NOTHING,
    Node,
    Value,
    equals,
    if_node,
    is_set,
    number_parameter,
    text_parameter,
)
from neuron_exporter.generate.alarms.rules import Expected


class ExpectedNumber(NamedTuple):
    """The expected number for alarms on a set with these dimensions.

    If the set has the dimensions of the metric, the alarm reads it unless the number is set.
    Otherwise, for machines, the dimension of the scaling group's metric is a parameter; the alarm
    uses the number if it is empty. For tasks, the number must be set.
    """

    expected: Expected
    dimensions: Mapping[str, Value]

    @property
    def _is_in_set(self) -> bool:
        values = [self.dimensions.get(name, Value()) for name in self.expected.dimensions]
        return all(each.reference or (each.text and not self._has_own) for each in values)

    @property
    def _has_own(self) -> bool:
        return self.expected.own_dimension is not None

    @property
    def _reads_metric(self) -> bool:
        return self._is_in_set or self._has_own

    @property
    def _is_zero(self) -> Node:
        return equals(self.expected.parameter, "0")

    def parameters(self) -> Node:
        """Return the parameters that choose the number."""
        expected, parameters = self.expected, Node()
        if expected.own_dimension is not None and not self._is_in_set:
            (name,) = expected.dimensions
            default = self.dimensions.get(name, Value()).text
            parameters[name] = text_parameter(Default=default, Description=expected.own_dimension)
        parameters[expected.parameter] = (
            number_parameter(Default=0, MinValue=0, Description=expected.about)
            if self._reads_metric
            else number_parameter(MinValue=1, Description=f"Expected number of {expected.query.id}")
        )
        return parameters

    def rules(self) -> Node:
        """Return the assertions on parameters that CloudFormation checks before it creates
        anything."""
        expected = self.expected
        if not self._has_own:
            return {}
        (name,) = expected.dimensions
        assertion = {
            "Assert": {"Fn::Not": [{"Fn::And": [equals(name, ""), self._is_zero]}]},
            "AssertDescription": f"{name} or {expected.parameter} must be set: otherwise no "
            f"missing {expected.query.id.removesuffix('s')} could be detected",
        }
        return {f"{expected.query.id.capitalize()}AreKnown": {"Assertions": [assertion]}}

    def conditions(self) -> Node:
        """Return the condition under which the metric is read."""
        if self._is_in_set:
            return {self.expected.condition: self._is_zero}
        if self._has_own:
            (name,) = self.expected.dimensions
            return {self.expected.condition: is_set(name)}
        return {}

    def expression(self, with_metric: str, with_number: str) -> Any:
        """Return what the alarm watches."""
        otherwise = {"Fn::Sub": with_number}
        if not self._reads_metric:
            return otherwise
        return if_node(self.expected.condition, with_metric, otherwise)

    def metric_dimensions(self) -> list[Node]:
        """Return the dimensions of the metric; empty if it is never read."""
        if not self._reads_metric:
            return []
        own = not self._is_in_set
        return [
            {"Name": name, "Value": {"Ref": name} if own else self.dimensions[name].node}
            for name in self.expected.dimensions
        ]

    def if_read(self, node: Node) -> Node:
        """Return the node, or nothing if the number is set."""
        return if_node(self.expected.condition, node, NOTHING)
