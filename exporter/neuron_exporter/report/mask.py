"""Takes out of reports what may name somebody, so that they can be shown to others."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

_KEPT_TEXT = frozenset(
    (
        "instance_type",
        "instance_availability_zone",
        "instance_availability_zone_id",
        "instance_region",
        "neuron_device_type",
        "neuron_device_version",
        "neuroncore_version",
    )
)
"""Keys whose text says what kind of machine it is. All other text may name somebody."""

_SHAPES = {
    "instance_id": "i-{:017x}",
    "ami_id": "ami-{:017x}",
    "subnet_id": "subnet-{:017x}",
    "uuid": "{:032x}",
    "neuron_runtime_tag": "runtime-{}",
}
"""What replaces the text of these keys; elsewhere it is the key and a number."""


class Masker:
    """Takes names, ids, tags and paths out of reports. The same text is masked in the same way in
    all reports of a recording, so that series stay what they are when it is replayed."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str | int, int]] = defaultdict(dict)

    def line(self, line: bytes) -> bytes:
        """A line of JSON, masked.

        Raises:
            ValueError: it is not JSON.
        """
        document = json.loads(line.decode("utf-8", "replace"))
        return json.dumps(self._masked(document, ""), separators=(",", ":")).encode()

    def _masked(self, value: Any, key: str) -> Any:
        if isinstance(value, dict):
            return {name: self._masked(item, name) for name, item in value.items()}
        if isinstance(value, list):
            return [self._masked(item, key) for item in value]
        if isinstance(value, str) and value and key not in _KEPT_TEXT:
            if key == "error":
                return " ".join(_plain(word) for word in value.split()) or "*"
            return _SHAPES.get(key, f"{key}-{{}}").format(self._number(key, value))
        if key == "pid" and isinstance(value, int):
            return self._number(key, value)
        return value

    def _number(self, key: str, value: str | int) -> int:
        known = self._known[key]
        return known.setdefault(value, len(known) + 1)


def _plain(word: str) -> str:
    """A word of an error text; one with other than letters may be a path, an id or an address."""
    return word if word.strip(".,:;()").isalpha() else "*"
