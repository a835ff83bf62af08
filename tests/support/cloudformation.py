"""A small CloudFormation: resolve a template and its parameters to API arguments."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_NO_VALUE = object()


def arn(name: str) -> str:
    """Return the ARN of an alarm."""
    return f"arn:aws:cloudwatch:us-east-1:123456789012:alarm:{name}"


class Stack:
    """A template with values for its parameters; missing ones have their defaults."""

    def __init__(
        self, template: Mapping[str, Any], parameters: Mapping[str, Any], name: str = "stack"
    ) -> None:
        declared = template["Parameters"]
        assert parameters.keys() <= declared.keys(), parameters.keys() - declared.keys()
        self._values: dict[str, Any] = {
            "AWS::StackName": name,
            "AWS::Region": "us-east-1",
            "AWS::AccountId": "123456789012",
            "AWS::NoValue": _NO_VALUE,
        }
        for key, parameter in declared.items():
            value = parameters[key] if key in parameters else parameter["Default"]
            allowed = parameter.get("AllowedValues")
            assert allowed is None or value in allowed, f"{key}: {value} is not one of {allowed}"
            assert value != "" or not parameter.get("MinLength"), f"{key} must not be empty"
            self._values[key] = value
        self._conditions: dict[str, Any] = {}
        for key, condition in template["Conditions"].items():
            self._conditions[key] = self._resolve(condition)
        self.assertions = [
            self._resolve(assertion["Assert"])
            for rule in template.get("Rules", {}).values()
            for assertion in rule["Assertions"]
        ]
        resources = template["Resources"]
        names = {
            key: self._resolve(made["Properties"]["AlarmName"]) for key, made in resources.items()
        }
        self._values |= names
        self._values |= {f"{key}.Arn": arn(alarm) for key, alarm in names.items()}
        self._resources = {
            key: (made["Type"], self._resolve(made["Properties"]))
            for key, made in resources.items()
        }

    @property
    def alarms(self) -> dict[str, dict[str, Any]]:
        """Arguments of PutMetricAlarm for each alarm, by its key."""
        return self._of("AWS::CloudWatch::Alarm")

    @property
    def composites(self) -> dict[str, dict[str, Any]]:
        """Arguments of PutCompositeAlarm for each composite alarm, by its key."""
        return self._of("AWS::CloudWatch::CompositeAlarm")

    def _of(self, kind: str) -> dict[str, dict[str, Any]]:
        return {key: made for key, (type_, made) in self._resources.items() if type_ == kind}

    def _resolve(self, node: Any) -> Any:
        if isinstance(node, list):
            return [each for item in node if (each := self._resolve(item)) is not _NO_VALUE]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((name, argument),) = node.items()
            if name == "Ref":
                return self._values[argument]
            if name.startswith("Fn::"):
                return self._intrinsic(name, argument)
        resolved = {key: self._resolve(value) for key, value in node.items()}
        return {key: value for key, value in resolved.items() if value is not _NO_VALUE}

    def _intrinsic(self, name: str, argument: Any) -> Any:
        match name:
            case "Fn::Sub":
                return re.sub(
                    r"\$\{([\w:.]+)\}", lambda found: str(self._values[found[1]]), argument
                )
            case "Fn::If":
                condition, then, otherwise = argument
                return self._resolve(then if self._conditions[condition] else otherwise)
            case "Fn::Equals":
                one, other = self._resolve(argument)
                return str(one) == str(other)
            case "Fn::Not":
                return not self._resolve(argument)[0]
            case "Fn::And":
                return all(self._resolve(argument))
        raise AssertionError(f"{name} is not supported")
